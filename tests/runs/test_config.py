"""The configuration: its method in every form, its arguments for the host, its groups, its typed options."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer.main
import yaml

import smoothcse
from smoothcse import SmoothCSEError, TrainConfig
from smoothcse.cli import app
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import METHODS, find_method
from smoothcse.runs.config import Group, changed_fields, make_config, recorded_config
from smoothcse.runs.config_file import resolve_config
from smoothcse.runs.host_settings import OUR_FIELDS, REFUSALS
from smoothcse.runs.options import TrainOptions
from smoothcse.training.run import train

WANTED = smoothcse.ESimCSE(queue_size=80)


@pytest.mark.parametrize(
    "fields",
    [
        {"method": WANTED},
        {"method": {"name": "esimcse", "queue_size": 80}},
        {"method": "esimcse", "settings": {"queue_size": 80}},
        {"method": {"name": "esimcse"}, "settings": {"queue_size": 80}},
    ],
    ids=["settings", "mapping", "older form", "both"],
)
def test_a_method_is_read_in_every_form(fields, tmp_path):
    assert TrainConfig(**fields).method == WANTED
    assert TrainConfig().replace(**fields).method == WANTED
    assert recorded_config({**fields, "a field of tomorrow": 1}).method == WANTED
    if not isinstance(fields["method"], MethodSettings):
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(fields))
        assert resolve_config(file=tmp_path / "mine.yaml").method == WANTED


@pytest.mark.parametrize("name", METHODS)
def test_a_name_stands_for_the_methods_defaults_and_every_form_comes_back(name):
    config = TrainConfig(method=name)
    assert config.method == find_method(name).settings()
    assert config.method.name == name
    assert make_config(json.loads(json.dumps(config.as_dict()))) == config
    assert make_config(yaml.safe_load(yaml.safe_dump(config.as_dict()))) == config


def test_the_public_settings_are_those_of_the_methods():
    public = {value for value in map(smoothcse.__getattr__, smoothcse.__all__) if inspect.isclass(value)}
    settings = {kind for kind in public if issubclass(kind, MethodSettings)}
    assert settings == {find_method(name).settings for name in METHODS}


def test_settings_are_added_to_a_recipes_where_the_method_is_the_same():
    recipe = resolve_config("esimcse/roberta-base").method
    assert (recipe.repetition_rate, recipe.queue_size) == (0.3, 160)
    for overrides in ({"settings": {"queue_size": 80}}, {"method": "esimcse", "settings": {"queue_size": 80}}):
        method = resolve_config("esimcse/roberta-base", overrides=overrides).method
        assert (method.repetition_rate, method.queue_size) == (0.3, 80)
    assert resolve_config("esimcse/roberta-base", overrides={"method": "simcse"}).method == smoothcse.SimCSE()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "esimse"}, "There is no method 'esimse'. Did you mean 'esimcse'?"),
        ({"method": 3}, "method is 3, but must be a name, or a mapping with the name and settings"),
        ({"method": {"queue_size": 80}}, "must be a name, or a mapping with the name and settings"),
        ({"method": {"name": "esimcse", "queue": 8}}, "The method esimcse has no setting 'queue'; it has repetition"),
        ({"method": {"name": "esimcse", "queue": 8}}, "Did you mean 'queue_size'?"),
        ({"method": {"name": "esimcse", "queue_size": -1}}, "The setting queue_size of esimcse is -1, but input"),
        ({"settings": [1]}, "settings is [1], but must be a mapping of the method's settings."),
        ({"settings": {"queue_size": 80}}, "The method simcse has no setting 'queue_size'"),
    ],
)
def test_a_wrong_method_setting_is_one_sentence(fields, message):
    for build in (lambda: TrainConfig(**fields), lambda: TrainConfig().replace(**fields)):
        with pytest.raises(SmoothCSEError) as caught:
            build()
        assert message in str(caught.value)


def test_settings_check_themselves():
    with pytest.raises(SmoothCSEError, match="The setting queue_size of esimcse is -1"):
        smoothcse.ESimCSE(queue_size=-1)
    with pytest.raises(SmoothCSEError, match="The setting name of esimcse is 'simcse'"):
        smoothcse.ESimCSE(name="simcse")
    with pytest.raises(SmoothCSEError, match="The setting margin of arccon"):
        dataclasses.replace(smoothcse.ArcCon(), margin=-1)


def test_a_record_of_the_older_form_is_compared_setting_by_setting():
    now = TrainConfig(method=WANTED).as_dict()
    older = {**now, "method": "esimcse", "settings": {"queue_size": 80}}
    assert changed_fields(older, now) == []
    assert changed_fields({**older, "settings": {"queue_size": 8}}, now) == ["method"]
    assert changed_fields({**older, "method": "a method of tomorrow"}, now) == ["method"]
    plain = {**TrainConfig().as_dict(), "method": "simcse", "settings": None}
    assert changed_fields(plain, TrainConfig().as_dict()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optm": "sgd"}, "trainer_args sets 'optm', which is no argument of sentence-transformers' trainer. Did you"),
        ({"num_train_epochs": 3}, "trainer_args sets num_train_epochs, which the field epochs sets; use that field."),
        ({"bf16": True}, "which the field precision sets"),
        ({"load_best_model_at_end": True}, "cannot set load_best_model_at_end: the run selects its best step by dev"),
        ({"remove_unused_columns": True}, "cannot set remove_unused_columns: the batches of a run depend"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0, but must be a whole number"),
        ({"gradient_accumulation_steps": 2.5}, "gradient_accumulation_steps is 2.5, but must be a whole number"),
        ({"optim": {"a": {"b": 1}}}, "trainer_args is"),
    ],
)
def test_trainer_args_that_would_break_a_guarantee_are_refused(given, message):
    with pytest.raises(SmoothCSEError) as caught:
        TrainConfig(trainer_args=given)
    assert message in str(caught.value)


def test_every_argument_that_is_refused_exists():
    from sentence_transformers import SentenceTransformerTrainingArguments

    known = {field.name for field in dataclasses.fields(SentenceTransformerTrainingArguments)}
    assert set(OUR_FIELDS) <= known
    assert set(OUR_FIELDS.values()) <= {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(REFUSALS) <= known
    assert not set(OUR_FIELDS) & set(REFUSALS)


def test_steps_with_accumulated_batches_equal_the_trainers():
    config = TrainConfig(batch_size=8, epochs=2, trainer_args={"gradient_accumulation_steps": 3})
    assert config.steps_over(8 * 7) == 6  # 3, 3 and 1 batches a pass
    assert config.replace(trainer_args={}).steps_over(8 * 7) == 14


def test_the_typed_options_are_the_fields():
    read = ("method", "views", "corpus", "model", "dev", "output")  # the configuration reads these in several forms
    fields = get_type_hints(TrainConfig)
    options = get_type_hints(TrainOptions)
    assert list(options) == list(fields)
    others = {name: kind for name, kind in options.items() if name not in read}
    assert others == {name: fields[name] for name in others}


def test_paths_are_read_as_their_text():
    fields = {"corpus": "text.txt", "model": "folder/model", "dev": "sts", "output": "run"}
    assert TrainConfig(**{name: Path(value) for name, value in fields.items()}) == TrainConfig(**fields)
    with pytest.raises(SmoothCSEError, match=r"output is .*, but it contains a character"):
        TrainConfig(output=Path("a\0b"))


def test_every_field_is_described_and_stands_in_the_panel_of_its_group():
    hints = get_type_hints(TrainConfig, include_extras=True)
    titles = [extra.title for hint in hints.values() for extra in get_args(hint) if isinstance(extra, Group)]
    assert titles == ["Data", "Encoder", "Views", "Objective", "Optimisation", "Evaluation", "Host"]
    command = typer.main.get_command(app).get_command(None, "train")
    panels = {one.name: getattr(one, "rich_help_panel", None) for one in command.params}
    assert [panels[name] for name in ("limit", "model", "views", "settings", "seed", "dev", "trainer_args")] == titles
    assert all(one.help for one in command.params if one.name in hints)


def test_reading_the_configuration_loads_nothing_heavy():
    code = "import sys, smoothcse.runs.config_file; assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_train_takes_a_text_and_fields(tmp_path, tiny_bert, corpus_file, monkeypatch):
    asked = []

    def plan_run(config):
        asked.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("smoothcse.training.run.plan_run", plan_run)
    fields = {"model": tiny_bert, "output": str(tmp_path / "run"), "noise_share": 0.4}
    for given in (corpus_file, str(corpus_file), TrainConfig(corpus=str(corpus_file))):
        with pytest.raises(KeyboardInterrupt):
            train(given, **fields)
    assert asked == [TrainConfig(corpus=str(corpus_file), **fields)] * 3
    with pytest.raises(SmoothCSEError, match="there is no configuration field 'modle'"):
        train(corpus_file, modle="x")


def test_trainer_args_are_added_to_those_of_a_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("trainer_args: {optim: adafactor, run_name: first}\n")
    config = resolve_config(file=tmp_path / "mine.yaml", overrides={"trainer_args": {"run_name": "second"}})
    assert config.trainer_args == {"optim": "adafactor", "run_name": "second"}
