"""The loss adapter: views, columns, steps, ranks, and its place in the host's trainer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from smoothcse.encoders.build import build_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.methods import GSInfoNCELoss
from smoothcse.objectives import FixedNoise, GaussianNoise, Noise, gs_info_nce
from smoothcse.training import NoiseStep
from smoothcse.views.embed import embed, embed_views
from tiny import sentences

TEXTS = sentences(8)


@pytest.fixture
def encoder(tiny_bert):
    return build_encoder(tiny_bert, device="cpu", dropout=0.3)


def test_one_column_becomes_two_dropout_views_in_one_forward(encoder):
    encoder.train()
    calls = []
    encoder[0].register_forward_hook(lambda module, inputs, output: calls.append(len(output["attention_mask"])))
    first, second = embed_views(encoder, [encoder.preprocess(TEXTS)])
    assert calls == [2 * len(TEXTS)]
    assert first.shape == second.shape == (8, 32)
    assert not torch.allclose(first, second)
    encoder.eval()
    first, second = embed_views(encoder, [encoder.preprocess(TEXTS)])
    torch.testing.assert_close(first, second)


def test_packed_rows_are_encoded_twice(encoder):
    class Packed(torch.nn.Module):
        calls = 0

        def forward(self, features):
            Packed.calls += 1
            return {"sentence_embedding": torch.ones(3, 4)}

    features = {"input_ids": torch.ones(1, 9), "cu_seq_lens_q": torch.tensor([0, 3, 6, 9])}
    first, _ = embed_views(Packed(), [features])
    assert (Packed.calls, len(first)) == (2, 3)


@pytest.mark.parametrize("columns", [2, 3])
def test_pairs_and_triplets_equal_the_hosts_loss(columns, encoder):
    encoder.eval()  # without dropout, so that both losses see the same embeddings
    loss = GSInfoNCELoss(encoder, noise_count=0)
    features = [encoder.preprocess(sentences(8, seed)) for seed in range(columns)]
    embeddings = [embed(encoder, dict(feature)) for feature in features]
    expected = MultipleNegativesRankingLoss(encoder).compute_loss_from_embeddings(embeddings, None)
    torch.testing.assert_close(loss([dict(feature) for feature in features]), expected)


def test_it_computes_the_objective_with_the_noise_of_its_step(encoder):
    loss = GSInfoNCELoss(encoder, noise_count=5, noise_weight=2.0, temperature=0.1, seed=9)
    z1, z2 = torch.randn(2, 8, 32).unbind()
    loss.step = 7
    noise = Noise(5, weight=2.0, source=FixedNoise(GaussianNoise(9).draw(7, 5, 32)))
    expected = gs_info_nce(z1, z2, noise=noise, temperature=0.1)
    torch.testing.assert_close(loss.compute_loss_from_embeddings([z1, z2]), expected)
    assert 0 < loss.last_noise_share < 1


def test_ratio_and_expected_mode(encoder):
    z1, z2 = torch.randn(2, 8, 32).unbind()
    by_ratio = GSInfoNCELoss(encoder, noise_ratio=1.5)
    assert by_ratio.noise.count_for(8) == 12
    by_count = GSInfoNCELoss(encoder, noise_count=12)
    assert by_ratio.compute_loss_from_embeddings([z1, z2]) == by_count.compute_loss_from_embeddings([z1, z2])
    expected = GSInfoNCELoss(encoder, noise_count=12, noise_mode="expected")
    torch.testing.assert_close(
        expected.compute_loss_from_embeddings([z1, z2]), gs_info_nce(z1, z2, noise=Noise(12, mode="expected"))
    )
    assert 0 < expected.last_noise_share < 1


def test_on_its_own_it_counts_training_forwards_only(encoder):
    loss = GSInfoNCELoss(encoder)
    features = encoder.preprocess(TEXTS)
    loss.train()
    loss([dict(features)])
    loss([dict(features)])
    loss.eval()
    loss([dict(features)])
    assert loss._forwards == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_weight": 0.0}, "noise_weight must be greater than 0"),
        ({"temperature": 0.0}, "temperature must be greater than 0"),
        ({"noise_std": 0.0}, "noise_std must be greater than 0"),
        ({"noise_count": -1}, "must not be negative"),
        ({"noise_mode": "mean"}, "noise_mode 'mean' is unknown"),
        ({"noise_mode": "expected", "noise_mean": 1.0}, "closed form for noise_mean 0 only"),
    ],
)
def test_arguments_out_of_range(arguments, message, encoder):
    with pytest.raises(SmoothCSEError, match=message):
        GSInfoNCELoss(encoder, **arguments)


def trace(model_path, output, *, accumulation=1, steps=6, resume=False, stop_after=None):
    """Train with the host's own trainer and return the logged losses by step."""
    encoder = build_encoder(model_path, device="cpu")
    loss = GSInfoNCELoss(encoder, noise_count=16)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulation,
        max_steps=steps,
        logging_steps=1,
        save_steps=3,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    dataset = Dataset.from_dict({"sentence": sentences(16)})
    trainer = SentenceTransformerTrainer(
        model=encoder, args=arguments, train_dataset=dataset, loss=loss, callbacks=[NoiseStep(loss)]
    )
    if stop_after:
        trainer.args.max_steps = steps
        trainer.add_callback(_StopAfter(stop_after))
    trainer.train(resume_from_checkpoint=resume or None)
    return {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}


class _StopAfter(__import__("transformers").TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


def test_in_the_hosts_trainer_a_resumed_run_repeats_the_uninterrupted_one(tiny_bert, tmp_path):
    whole = trace(tiny_bert, tmp_path / "whole")
    trace(tiny_bert, tmp_path / "cut", stop_after=3)
    resumed = trace(tiny_bert, tmp_path / "cut", resume=True)
    assert {step: resumed[step] for step in (4, 5, 6)} == {step: whole[step] for step in (4, 5, 6)}


def test_micro_batches_of_a_step_share_its_noise(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    loss = GSInfoNCELoss(encoder, noise_count=4)
    drawn = []

    class Recording(GaussianNoise):
        def draw(self, *arguments, **options):
            drawn.append(super().draw(*arguments, **options))
            return drawn[-1]

    loss.noise = replace(loss.noise, source=Recording())
    arguments = SentenceTransformerTrainingArguments(
        output_dir="unused",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_steps=2,
        save_strategy="no",
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    SentenceTransformerTrainer(
        model=encoder,
        args=arguments,
        train_dataset=Dataset.from_dict({"sentence": sentences(16)}),
        loss=loss,
        callbacks=[NoiseStep(loss)],
    ).train()
    assert len(drawn) == 4
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[2], drawn[3])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_held_noise_share_is_what_is_measured(encoder):
    loss = GSInfoNCELoss(encoder, noise_count=24, noise_share=0.25).train()
    loss([encoder.preprocess(TEXTS)])
    assert float(loss.last_noise_share) == pytest.approx(0.25, rel=1e-5)  # float32
    with pytest.raises(SmoothCSEError, match="noise_share must lie between 0 and 1"):
        GSInfoNCELoss(encoder, noise_share=1.0)


def test_a_fourth_column_of_text_is_refused(encoder):
    loss = GSInfoNCELoss(encoder)
    columns = [encoder.preprocess(sentences(4, seed=seed)) for seed in range(4)]
    for call in (loss, lambda given: loss.loss_at(0, given)):
        with pytest.raises(SmoothCSEError, match="4 columns of text; give one column"):
            call(columns)


def test_the_noise_share_of_a_batch_is_the_mean_over_its_anchors(encoder):
    loss = GSInfoNCELoss(encoder, noise_count=16, seed=7)
    assert loss.batch_noise_share() is None
    loss([encoder.preprocess(sentences(4))])
    assert loss.batch_noise_share() == float(loss.last_noise_share)
    assert 0 < loss.batch_noise_share() < 1
    assert loss.seed == 7
