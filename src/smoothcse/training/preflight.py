"""Checks and measurements before the first step: the text, the two views, the start score and the time of a step."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

from smoothcse.encoders.behaviour import require_distinct_embeddings
from smoothcse.methods import ContrastiveLoss
from smoothcse.runs.host_settings import accumulated_batches
from smoothcse.training.callbacks.monitors import require_two_views
from smoothcse.training.card import Probe, probe
from smoothcse.training.inputs import RunInputs
from smoothcse.training.mini_batch import WHOLE_BATCH
from smoothcse.training.plan import RunPlan
from smoothcse.training.selection import DEV_SCORE, CriterionEvaluator
from smoothcse.training.text_check import TextCheck, check_text, warn_about_text, warn_about_views
from smoothcse.training.warnings import Warnings


def check_inputs(plan: RunPlan, inputs: RunInputs, warnings: Warnings) -> TextCheck:
    """Check that the encoder can learn from the text, and warn about bad text.

    Raises:
        SmoothCSEError: If most of the text is unknown to the tokenizer, or the encoder gives the same embedding to
            different sentences or to both views of a sentence.
    """
    config, model = plan.config, inputs.model
    generated = plan.method.add_texts is not None
    check = check_text(model, inputs.corpus, config.max_length, config.seed, inputs.views, generated)
    warn_about_text(check, config.model, config.max_length, warnings)
    first = inputs.corpus.dataset[:8]["sentence"]
    require_distinct_embeddings(model, config.model, first)
    if inputs.views:
        warn_about_views(inputs.views, warnings)
    if plan.needs_dropout:
        require_two_views(model, first, config.max_length)
    return check


def score_start(
    trainer: SentenceTransformerTrainer, evaluator: CriterionEvaluator, model: SentenceTransformer
) -> float:
    """Score the untrained model and call the callbacks, as the trainer's ``evaluate`` would.

    ``evaluate`` itself marks the model as prepared for several devices without preparing it for training, so that the
    ranks of a later ``train`` would not share their gradients.
    """
    metrics = {f"eval_{name}": value for name, value in evaluator(model).items()}
    trainer.log(dict(metrics))
    trainer.control = trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, metrics)
    return float(metrics[f"eval_{DEV_SCORE}"])


def time_step(plan: RunPlan, inputs: RunInputs, loss: ContrastiveLoss, rank: int) -> tuple[Probe, float]:
    """Time a step on the first sentences.

    Args:
        plan: Plan of the run.
        inputs: Text and encoder.
        loss: Loss of the run.
        rank: Rank of this process. Each rank takes different rows, since equal rows would be false negatives.

    Returns:
        The measurement, and the duration of a whole step estimated from it, in seconds.
    """
    rows = min(plan.rank_batch, WHOLE_BATCH)
    texts = inputs.texts(range(rows * rank, rows * (rank + 1)))
    length, dtype = plan.config.max_length, plan.hardware.autocast_dtype
    measured = probe(inputs.model, loss, texts, inputs.prompts, length, dtype)
    batches = accumulated_batches(plan.config.trainer_args)
    return measured, measured.seconds * batches * plan.rank_batch / rows
