"""Each field of each recipe is what METHODS.md 1.3 and 2.1 record of the authors' scripts and logs."""

from __future__ import annotations

import dataclasses

import pytest

from smoothcse.errors import SmoothCSEError
from smoothcse.methods.table import describe_settings
from smoothcse.runs.config import TrainConfig, changed_fields, make_config
from smoothcse.runs.config_file import resolve_config
from smoothcse.runs.recipes import recipe_fields, recipes
from smoothcse.views.drawn_pairs import DebCSESettings

COMMON = {
    "corpus": "wiki1m",
    "pooling": "cls",
    "projection": True,
    "max_length": 32,
    "noise_weight": 1.0,
    "temperature": 0.05,
    "epochs": 1,
    "lr_scheduler": "linear",
    "warmup_ratio": 0.0,
    "weight_decay": 0.0,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "precision": "fp16",
    "seed": 42,
    "dev": "hub",
    "eval_steps": 125,
}
#           model              batch  rate  dropout
GS_INFONCE = {
    "bert-base-uncased": (64, 3e-5, 0.2),
    "bert-large-uncased": (64, 1e-5, 0.2),
    "roberta-base": (64, 1e-5, 0.1),
    "roberta-large": (128, 2e-5, 0.1),
}
SIMCSE = {
    "bert-base-uncased": (64, 3e-5, 0.1),
    "bert-large-uncased": (64, 1e-5, 0.1),
    "roberta-base": (512, 1e-5, 0.1),
    "roberta-large": (512, 3e-5, 0.1),
}


@pytest.mark.parametrize(
    ("method", "table", "noise_count"),
    [("gs-infonce", GS_INFONCE, 192), ("control", GS_INFONCE, 0), ("simcse", SIMCSE, 0)],
)
@pytest.mark.parametrize("model", list(SIMCSE))
def test_recipe_fields_equal_the_authors(method, table, noise_count, model):
    batch, rate, dropout = table[model]
    own = {
        "model": model,
        "noise_count": noise_count,
        "batch_size": batch,
        "learning_rate": rate,
        "dropout": dropout,
    }
    assert recipe_fields(f"{method}/{model}") == COMMON | own


ESIMCSE = {  # rate, dropout, repetition, queue
    "bert-base-uncased": (3e-5, 0.1, 0.32, 160),
    "bert-large-uncased": (1e-5, 0.1, 0.32, 160),
    "roberta-base": (1e-5, 0.1, 0.30, 160),
    "roberta-large": (1e-5, 0.15, 0.28, 128),
}


@pytest.mark.parametrize("model", list(ESIMCSE))
def test_esimcse_recipe_equals_the_authors(model):
    rate, dropout, repetition, queue = ESIMCSE[model]
    settings = {"repetition_rate": repetition, "queue_size": queue, "momentum": 0.995}
    own = {"model": model, "noise_count": 0, "batch_size": 64, "learning_rate": rate, "dropout": dropout}
    assert recipe_fields(f"esimcse/{model}") == COMMON | own | {"method": {"name": "esimcse", **settings}}


IS_CSE = {  # batch, rate, weight at the start and later, precision
    "bert-base-uncased": (64, 3e-5, 0.1, 0.1, "fp32"),
    "bert-large-uncased": (64, 1e-5, 0.005, 0.05, "fp16"),
    "roberta-base": (512, 1e-5, 0.1, 0.1, "fp32"),
    "roberta-large": (512, 3e-5, 0.005, 0.05, "fp16"),
}


@pytest.mark.parametrize("model", list(IS_CSE))
def test_is_cse_recipe_equals_the_authors(model):
    batch, rate, start, weight, precision = IS_CSE[model]
    settings = {"weight": weight, "weight_at_start": start, "buffer_size": 1024, "neighbours": 16}
    own = {"model": model, "noise_count": 0, "batch_size": batch, "learning_rate": rate, "dropout": 0.1}
    own |= {"method": {"name": "is-cse", **settings}, "precision": precision}
    assert recipe_fields(f"is-cse/{model}") == COMMON | own


@pytest.mark.parametrize("model", list(SIMCSE))
def test_debcse_recipe_differs_from_simcse_only_in_our_own_choices(model):
    """Nothing is published: the settings are the method's defaults."""
    settings = {name: float(default) for name, default, _ in describe_settings(DebCSESettings)}
    simcse = recipe_fields(f"simcse/{model}")
    assert recipe_fields(f"debcse/{model}") == simcse | {"method": {"name": "debcse", **settings}}
    assert "our reading of the abstract" in recipes()[f"debcse/{model}"].about


SUP_SIMCSE = {"bert-base-uncased": 5e-5, "bert-large-uncased": 1e-5, "roberta-base": 5e-5, "roberta-large": 1e-5}


@pytest.mark.parametrize("model", list(SUP_SIMCSE))
def test_supervised_simcse_recipe_equals_the_authors(model):
    own = {"model": model, "noise_count": 0, "batch_size": 512, "learning_rate": SUP_SIMCSE[model], "dropout": 0.1}
    own |= {"corpus": "princeton-nlp/datasets-for-simcse:nli_for_simcse.csv", "epochs": 3}
    own |= {"columns": ["sent0", "sent1", "hard_neg"], "hard_negative_log_weight": 0.0}
    assert recipe_fields(f"sup-simcse/{model}") == COMMON | own
    assert resolve_config(f"sup-simcse/{model}").columns == own["columns"]


def test_simcse_pp_recipe_equals_the_authors():
    settings = {"positive_weight": 0.9, "dimension_weight": 0.1, "dimension_temperature": 5.0}
    own = {"model": "bert-base-uncased", "noise_count": 0, "batch_size": 64, "learning_rate": 3e-5, "dropout": 0.1}
    assert recipe_fields("simcse++/bert-base-uncased") == COMMON | own | {"method": {"name": "simcse++", **settings}}


PROMPTED = {name: value for name, value in COMMON.items() if name != "pooling"} | {"noise_count": 0, "dropout": 0.1}

SNCSE = {  # batch, rate, weight
    "bert-base-uncased": (256, 1e-5, 1e-3),
    "bert-large-uncased": (128, 5e-6, 1e-3),
    "roberta-base": (256, 1e-5, 5e-4),
    "roberta-large": (128, 5e-6, 5e-4),
}


@pytest.mark.parametrize("model", list(SNCSE))
def test_sncse_recipe_equals_the_authors(model):
    batch, rate, weight = SNCSE[model]
    anchor, positive = (f'This sentence {word} " {{sentence}} " means {{mask}} .' for word in (":", "of"))
    settings = {"anchor": anchor, "positive": positive, "weight": weight, "nearest": 0.1, "farthest": 0.3}
    settings |= {"negation": "spacy"}
    own = {"model": model, "batch_size": batch, "learning_rate": rate, "precision": "fp32"}
    assert recipe_fields(f"sncse/{model}") == PROMPTED | own | {"method": {"name": "sncse", **settings}}


@pytest.mark.parametrize("model", list(SIMCSE))
def test_conpvp_recipe_uses_simcses_batch_size_and_learning_rate(model):
    batch, rate, _ = SIMCSE[model]
    own = {"model": model, "batch_size": batch, "learning_rate": rate}
    assert recipe_fields(f"conpvp/{model}") == PROMPTED | own | {"method": {"name": "conpvp", "prompt_tokens": 4}}


PROMPTBERT = {
    "bert": ('This sentence of "{sentence}" means{mask}.', 'This sentence : "{sentence}" means{mask}.'),
    "roberta": ("This sentence : ' {sentence} ' means{mask}.", "The sentence : ' {sentence} ' means{mask}."),
}


@pytest.mark.parametrize("model", list(SIMCSE))
def test_promptbert_recipe_equals_the_authors(model):
    anchor, positive = PROMPTBERT[model.split("-")[0]]
    own = {"model": model, "batch_size": 256, "learning_rate": 1e-5, "max_length": 42}
    settings = {"anchor": anchor, "positive": positive}
    assert recipe_fields(f"promptbert/{model}") == PROMPTED | own | {"method": {"name": "promptbert", **settings}}


def test_recipes_are_exactly_the_tested_ones_and_each_is_explained():
    methods = ("gs-infonce", "control", "simcse", "sup-simcse", "esimcse", "is-cse", "sncse", "conpvp", "promptbert")
    known = {f"{method}/{model}" for method in (*methods, "debcse") for model in SIMCSE}
    assert set(recipes()) == known | {"simcse++/bert-base-uncased"}
    assert all(len(recipe.about) > 20 for recipe in recipes().values())


def test_later_layers_win(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: gs-infonce/bert-base-uncased\nlearning_rate: 1e-5\nmodel: some/model\n")
    config = resolve_config(file=file, overrides={"learning_rate": 2e-5})
    assert (config.learning_rate, config.model, config.dropout) == (2e-5, "some/model", 0.2)


def test_a_ratio_replaces_the_count_of_a_recipe():
    config = resolve_config("gs-infonce/bert-base-uncased", overrides={"noise_ratio": 1.5})
    assert config.noise_for(config.batch_size) == 96


def test_default_noise_is_the_published_one():
    assert make_config({}).noise_for(64) == 192
    assert make_config({"noise_count": 0}).noise_for(64) == 0


def test_round_trip():
    config = make_config({"noise_ratio": 3.0, "learning_rate": 1e-5})
    assert make_config(config.as_dict()) == config
    assert config.replace(seed=7).seed == 7


MISTAKES = pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learnig_rate": 1}, "no configuration field 'learnig_rate'. Did you mean 'learning_rate'?"),
        ({"learning_rate": -1}, "learning_rate is -1, but input should be greater than 0"),
        ({"temperature": 0}, "temperature is 0, but"),
        ({"noise_weight": 0}, "noise_weight is 0, but"),
        ({"noise_count": -3}, "noise_count is -3, but"),
        ({"batch_size": "many"}, "batch_size is 'many', but input should be a valid integer"),
        ({"pooling": "top"}, "pooling is 'top', but input should be 'cls', 'mean'"),
        ({"noise_count": 1, "noise_ratio": 1.0}, "both set M"),
        ({"columns": ["a"]}, "columns is ['a'], but list should have at least 2 items"),
        ({"columns": ["a", "b"], "column": "a"}, "column and columns are both set"),
        ({"columns": ["a", "b"], "hard_negative_log_weight": 1.0}, "applies to hard negatives, the third"),
        ({"noise_mode": "expected", "noise_mean": 1.0}, "closed form for noise_mean 0 only"),
        ({"noise_share": 0.5, "noise_weight": 2.0}, "both set λ"),
        ({"noise_share": 0.5, "noise_count": 0}, "noise_share is set, but there is no noise (M = 0)"),
        ({"noise_weight": 2.0, "noise_ratio": 0.0}, "noise_weight is set, but there is no noise (M = 0)"),
        ({"crop_length": [0.1, 0.2]}, "crop_length applies to crops; add crops to views"),
        ({"crop_deletion": 0.1, "views": {"sentence": 1.0}}, "crop_deletion applies to crops"),
        ({"ratio": 1.5}, "ratio and the noise both raise the pull"),
        ({"noise_count": 0, "hinge": 0.3}, "hinge belongs to ratio"),
        ({"noise_count": 0, "ratio": 1.5, "hinge": 0.3, "decoupled": True}, "hinge and decoupled both set"),
        ({"noise_count": 0, "ratio": 1.5, "hinge": 0.3, "margin": 0.1}, "hinge and margin both set"),
        ({"noise_count": 0, "ratio": 1.5, "positive_prior": 0.1}, "whose ratio is then not ratio"),
        ({"positive_prior": 0.1, "false_negative_threshold": 0.9}, "both treat false negatives"),
        ({"positive_prior": 0.1, "columns": ["a", "b", "c"]}, "not the hard negatives of columns"),
        ({"output": "a\0b"}, "contains a character that is not allowed in a name"),
        ({"output": b"a"}, "contains a character that is not allowed in a name"),
        ({"learning_rate": -1, "sed": 1}, "no configuration field 'sed'. Did you mean 'seed'?"),
    ],
)


@MISTAKES
def test_bad_values_name_field_and_remedy(values, message):
    with pytest.raises(SmoothCSEError) as caught:
        make_config(values, where="mine.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("mine.yaml: ")


@MISTAKES
@pytest.mark.parametrize(
    "build",
    [
        lambda values: TrainConfig(**values),
        lambda values: TrainConfig().replace(**values),
        lambda values: dataclasses.replace(TrainConfig(), **values),
        lambda values: resolve_config(overrides=values),
    ],
    ids=["class", "replace", "dataclasses.replace", "command line"],
)
def test_every_way_to_build_a_configuration_checks_the_rules(values, message, build):
    with pytest.raises(SmoothCSEError) as caught:
        build(values)
    assert message in str(caught.value)


def test_a_changed_field_is_checked_against_the_others():
    config = TrainConfig(noise_count=10)
    for change in (config.replace, lambda **fields: dataclasses.replace(config, **fields)):
        assert change(noise_count=None, noise_ratio=2.0).noise_for(64) == 128
        with pytest.raises(SmoothCSEError, match="both set M"):
            change(noise_ratio=2.0)


def test_a_file_is_checked_together_with_its_recipe(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: sup-simcse/bert-base-uncased\nhard_negative_log_weight: 0.5\n")
    assert resolve_config(file=file).hard_negative_log_weight == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("- 1\n", "must hold 'field: value' lines"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("learning_rat: 1\n", "Did you mean 'learning_rate'?"),
        ("seed: 1\nmodel: x\n'seed': 2\n", "mine.yaml:3 is not valid YAML (the key 'seed' is given twice"),
        ("method: esimcse\nsettings:\n  a: 1\n  a: 1\n", "mine.yaml:4 is not valid YAML (the key 'a' is given twice"),
        ("column: {? [a, b] : 1, b: {c: 1, c: 2}}\n", "mine.yaml:1 is not valid YAML (the key 'c' is given twice"),
        ("1: 2\n", "no configuration field '1'"),
        ("settings: 3\n", "mine.yaml: settings is 3, but must be a mapping"),
        ("method: {name: esimcse, queue: 3}\n", "Did you mean 'queue_size'?"),
    ],
)
def test_bad_configuration_files_are_refused(text, message, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(SmoothCSEError) as caught:
        resolve_config(file=file)
    assert message in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_missing_file_and_recipe():
    with pytest.raises(SmoothCSEError, match=r"nowhere\.yaml cannot be read: No such file"):
        resolve_config(file="nowhere.yaml")
    with pytest.raises(SmoothCSEError, match="Did you mean 'gs-infonce/roberta-base'"):
        resolve_config("gs-infonce/roberta-bas")


def test_a_field_that_a_record_does_not_know_stood_at_its_default():
    now = TrainConfig().as_dict()
    before = {name: value for name, value in now.items() if name != "adam_epsilon"}
    assert changed_fields({**before, "output": "elsewhere"}, now) == []
    assert changed_fields(before, {**now, "adam_epsilon": 0.5, "seed": 1}) == ["adam_epsilon", "seed"]


@pytest.mark.parametrize(
    ("field", "default", "other"), [("noise_per_anchor", False, True), ("gradient_noise", 0.0, 0.1)]
)
def test_a_record_with_a_removed_field_is_read_at_its_default_only(field, default, other):
    now = TrainConfig().as_dict()
    assert make_config({field: default, "seed": 1}) == TrainConfig(seed=1)
    assert changed_fields({**now, field: default}, now) == []
    with pytest.raises(SmoothCSEError, match=rf"old\.yaml: {field} is no longer a configuration field"):
        make_config({field: other}, where="old.yaml")
    assert changed_fields({**now, field: other}, now) == [field]
