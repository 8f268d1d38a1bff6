"""The configuration of a run: one dataclass whose fields are the YAML keys and the command-line flags."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from os import PathLike, fspath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import ConfigDict, Field, SkipValidation, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs, PydanticCustomError

from smoothcse._utils.defaults import LORA_DROPOUT, NOISE_COUNT
from smoothcse._utils.validation import first_problem
from smoothcse.encoders.lora_settings import LoRA
from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import read_method
from smoothcse.runs.config_forms import DEFAULT_METHOD, REMOVED, method_values, with_settings_inside, without_removed
from smoothcse.runs.config_rules import problems
from smoothcse.runs.host_settings import HostValue, accumulated_batches, check_trainer_args
from smoothcse.views.choice import DROPOUT, read_views

if TYPE_CHECKING:
    from typing import Unpack

    from smoothcse.runs.options import TrainOptions


class Group(NamedTuple):
    """Heading in ``smoothcse train --help`` of a field and those after it."""

    title: str


class OneText(NamedTuple):
    """Marks a field that is given as one text on the command line, which the field itself reads."""


@dataclass(config=ConfigDict(extra="forbid", allow_inf_nan=False), frozen=True, kw_only=True)
class TrainConfig:
    """Configuration of a run; two runs with equal configurations on one machine give equal results.

    Each field's description is its help text. Each construction, including that of a changed copy, checks types,
    ranges and the rules between fields. ``method`` takes a method's name, its settings (``ESimCSE(queue_size=80)``),
    or a mapping of both (``{"name": "esimcse", "queue_size": 80}``), and holds the settings.

    Raises:
        SmoothCSEError: If a value is wrong, or fields contradict each other; the message names the fields.
    """

    # Data: the text to learn from.
    corpus: Annotated[
        str,
        Group("Data"),
        Field(
            description="Text to train on: a .txt, .jsonl, .csv, .tsv or .parquet file (.gz and .zst too), a folder "
            "of these, a hub dataset, 'wiki1m', or 'python-docs', the documentation of the installed Python."
        ),
    ] = "python-docs"
    column: Annotated[str | None, Field(description="Column that holds the sentences, if there are several.")] = None
    columns: Annotated[
        list[str] | None,
        Field(
            min_length=2,
            max_length=3,
            description="Columns of labelled pairs: the sentence, its positive and, optionally, its hard negative.",
        ),
    ] = None
    limit: Annotated[int | None, Field(ge=2, description="Train on a random sample of this many sentences.")] = None

    # Encoder: the model to start from, and how it turns a text into one vector.
    model: Annotated[
        str,
        Group("Encoder"),
        Field(description="Encoder to start from: a folder, a hub name, or 'packaged-minilm' (extra demo)."),
    ] = "bert-base-uncased"
    pooling: Annotated[
        Literal["cls", "mean", "max", "lasttoken", "avg_first_last", "avg_top2"] | None,
        Field(
            description="Pooling of the token vectors. Unset: the model's own pooling or, if it has none, "
            "lasttoken for causal models and cls for others."
        ),
    ] = None
    bidirectional: Annotated[
        bool,
        Field(
            description="Let each token of a decoder attend to all tokens, as LLM2Vec does; the saved models do, too."
        ),
    ] = False
    projection: Annotated[
        bool, Field(description="Train with SimCSE's projection head, which the saved models omit.")
    ] = True
    max_length: Annotated[int, Field(ge=3, description="Maximum tokens per sentence; longer ones are truncated.")] = 32
    lora_rank: Annotated[
        int | None,
        Field(
            ge=1,
            description="Train LoRA adapters of this rank, such as 16, in place of the encoder's weights (extra "
            "lora); `best` and `last` are saved with the adapters merged. Unset: train the weights.",
        ),
    ] = None
    lora_alpha: Annotated[
        float | None, Field(gt=0, description="α of LoRA; its adapters are scaled by α / rank. Unset: twice the rank.")
    ] = None
    lora_dropout: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Dropout of the adapters' input. It makes the views differ if the encoder has no dropout.",
        ),
    ] = LORA_DROPOUT
    lora_targets: Annotated[
        list[str] | None,
        Field(min_length=1, description="Layers with adapters, such as query,value. Unset: all linear layers."),
    ] = None
    keep_adapters: Annotated[
        bool,
        Field(
            description="Also save the adapters of `best` and `last`, in `best-adapters` and `last-adapters`, small "
            "folders that sentence-transformers loads on top of the start model."
        ),
    ] = False

    # Views: what makes two views of one text differ.
    views: Annotated[
        dict[str, float],
        Group("Views"),
        OneText(),
        Field(
            description="Two views of a text: dropout, crops (random spans), sentence (one sentence and the rest of "
            "its passage), neighbours (the text before or after), title (title and text), or several by weight, such "
            "as sentence=2,crops=1. [dropout]"
        ),
    ] = field(default_factory=lambda: {DROPOUT: 1.0})
    crop_length: Annotated[
        list[float],
        Field(
            min_length=2,
            max_length=2,
            description="Minimum and maximum length of a crop: fractions of the text's words if both are at most 1, "
            "else numbers of words. [0.2,0.6]",
        ),
    ] = field(default_factory=lambda: [0.2, 0.6])
    crop_deletion: Annotated[
        float, Field(ge=0, lt=1, description="Probability with which each word of a crop is deleted.")
    ] = 0.0
    title_column: Annotated[
        str, Field(description="Column that holds the titles, for the view title; column names the text.")
    ] = "title"
    language: Annotated[
        str,
        Field(
            description="Language of the text as an ISO 639 code, for the view sentence: its abbreviations end no "
            "sentence."
        ),
    ] = "en"
    dropout: Annotated[
        float | None,
        Field(gt=0, lt=1, description="Dropout of the encoder. Unset: the model's own."),
    ] = None

    # Objective: the method, the noise, the temperature.
    method: Annotated[
        MethodSettings,
        SkipValidation,  # __post_init__ reads it last, as this imports the method
        Group("Objective"),
        Field(description="Training method; see `smoothcse list methods`. Noise can be added to each."),
    ] = field(default_factory=lambda: read_method(DEFAULT_METHOD))
    noise_count: Annotated[
        int | None,
        Field(ge=0, description=f"M, Gaussian negatives per step; 0 is plain SimCSE, the control. [{NOISE_COUNT}]"),
    ] = None
    noise_ratio: Annotated[
        float | None, Field(ge=0, description="M as a multiple of the batch size, instead of a count.")
    ] = None
    noise_weight: Annotated[float, Field(gt=0, description="λ, weight of the noise in the denominator.")] = 1.0
    noise_share: Annotated[
        float | None,
        Field(gt=0, lt=1, description="Keep the noise share at this value by choosing λ at each step."),
    ] = None
    noise_mode: Annotated[
        Literal["sampled", "expected"],
        Field(description="Draw the noise, or use its closed-form expectation."),
    ] = "sampled"
    noise_mean: Annotated[float, Field(description="μ, mean of the noise.")] = 0.0
    noise_std: Annotated[
        float, Field(gt=0, description="σ, standard deviation of the noise; without effect at mean 0.")
    ] = 1.0
    temperature: Annotated[float, Field(gt=0, le=10, description="τ, temperature of the similarities.")] = 0.05
    hard_negative_log_weight: Annotated[
        float, Field(description="Added to the logit of each sentence's own hard negative; 0 is weight 1.")
    ] = 0.0
    matryoshka: Annotated[
        list[int] | None,
        Field(
            min_length=1,
            description="Train embeddings that can be truncated: average the loss over these numbers of first "
            "dimensions, such as 256,128,64, and over all dimensions. Needs --no-projection.",
        ),
    ] = None
    symmetric: Annotated[
        bool, Field(description="Let each positive choose among the anchors, too, and take the mean of both losses.")
    ] = False
    ratio: Annotated[
        float | None,
        Field(
            gt=0,
            le=100,
            description="r, pull of the positive per push of the negatives in the gradient; 1 is InfoNCE's. A held "
            "noise share s has 1/(1-s).",
        ),
    ] = None
    hinge: Annotated[
        float | None,
        Field(
            gt=0,
            le=2,
            description="With ratio, learn only from positives that lead the hardest negative by less than this "
            "cosine; published: 0.3.",
        ),
    ] = None
    key_gradient: Annotated[
        Literal["all", "positives", "none"],
        Field(description="Keys with a gradient: all, each anchor's own positive (as published with ratio), or none."),
    ] = "all"
    margin: Annotated[float, Field(ge=0, le=2, description="m, cosine by which a positive must lead.")] = 0.0
    decoupled: Annotated[
        bool, Field(description="Leave the positive out of the denominator (decoupled contrastive loss, DCL).")
    ] = False
    positive_prior: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Probability that a negative is a positive, for which the debiased loss corrects; such as "
            "0.01.",
        ),
    ] = None
    adaptive_temperature: Annotated[
        float | None,
        Field(gt=0, le=10, description="α of MACL: multiply τ by 1 + α times the mean cosine of the positive pairs."),
    ] = None
    false_negative_threshold: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Leave out negatives whose cosine with the anchor exceeds this in the start model; published "
            "by DCLR: 0.9.",
        ),
    ] = None

    # Optimisation: batches, steps, learning rate, random seed.
    batch_size: Annotated[
        int, Group("Optimisation"), Field(ge=2, description="Sentences per step, over all devices.")
    ] = 64
    learning_rate: Annotated[float, Field(gt=0, lt=1, description="Peak learning rate of the optimizer.")] = 3e-5
    epochs: Annotated[float, Field(gt=0, description="Passes over the corpus.")] = 1.0
    max_steps: Annotated[
        int | None, Field(ge=1, description="Stop after this many steps, regardless of the epochs.")
    ] = None
    lr_scheduler: Annotated[
        Literal["linear", "cosine", "constant"],
        Field(description="Learning rate schedule after the warm-up."),
    ] = "linear"
    warmup_ratio: Annotated[float, Field(ge=0, lt=1, description="Fraction of the steps spent warming up.")] = 0.0
    weight_decay: Annotated[float, Field(ge=0, description="Weight decay of the optimizer.")] = 0.0
    start_decay: Annotated[
        float,
        Field(
            ge=0,
            description="Decay of the weights toward those of the start model (L2-SP): after each step, the encoder's "
            "weights lose the fraction learning rate x start_decay of their distance to it; such as 1000. [0]",
        ),
    ] = 0.0
    train_layers: Annotated[
        int | None,
        Field(
            ge=1,
            description="Train this many of the last transformer layers, and what comes after them; the embeddings "
            "and earlier layers stay as they are. Unset: all.",
        ),
    ] = None
    adam_epsilon: Annotated[float, Field(gt=0, description="AdamW's epsilon.")] = 1e-8
    max_grad_norm: Annotated[float, Field(gt=0, description="Gradients are clipped to this norm.")] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**31, description="Seed of data order, dropout, head and noise.")] = 42

    # Evaluation: what selects the best step.
    dev: Annotated[
        str | None,
        Group("Evaluation"),
        Field(
            description="Data that selects the best step: your own labels (a file of queries with their documents, "
            "scored pairs or triplets, or a folder in BEIR's layout), a folder in SentEval's layout or "
            "'hub[@COMMIT]' (STS-B dev), 'python-docs' (retrieval), or 'none' (a label-free criterion). Unset: "
            "python-docs for that corpus, otherwise none."
        ),
    ] = None
    eval_steps: Annotated[int, Field(ge=1, description="Steps between dev evaluations and checkpoints.")] = 125

    # Host: where and how the steps are computed, and what is written.
    output: Annotated[str, Group("Host"), Field(description="Output folder of the run.")] = "smoothcse-run"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Field(description="Arithmetic of the encoder; auto: bf16 if the hardware supports it, including CPUs."),
    ] = "auto"
    mini_batch: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1)] | None,
        Field(
            description="Tokens per mini-batch, with gradient caching: memory is independent of the batch size, a "
            "step takes a third longer. 'auto': as many as fit. Unset: auto above 1,024 sentences per device, "
            "otherwise, or with gradient_checkpointing or shard, off."
        ),
    ] = None
    gradient_checkpointing: Annotated[
        bool,
        Field(
            description="Keep only the input of each layer, and compute the layer again in the backward pass: less "
            "memory, one more forward pass a step, the same gradients."
        ),
    ] = False
    shard: Annotated[
        bool,
        Field(
            description="Divide the weights, gradients and optimizer state among the devices (FSDP2), for encoders "
            "that do not fit one; needs several devices."
        ),
    ] = False
    workers: Annotated[
        int, Field(ge=0, description="Processes per device that tokenise in advance; does not change results.")
    ] = 0
    deterministic: Annotated[
        bool, Field(description="On GPUs, use deterministic kernels only: bit-identical results, slower.")
    ] = False
    fast_path: Annotated[
        bool,
        Field(description="Use the faster training steps of this package instead of those of the host libraries."),
    ] = True
    log_steps: Annotated[int, Field(ge=1, description="Steps between entries in metrics.jsonl.")] = 10
    trainer_args: Annotated[
        dict[str, HostValue],
        Field(description="Further arguments of sentence-transformers' trainer, such as report_to or optim."),
    ] = field(default_factory=dict)

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[TrainOptions]) -> None: ...

    @field_validator("*", mode="before")
    @classmethod
    def _read_plain_text(cls, value: Any) -> Any:
        if isinstance(value, PathLike):
            value = fspath(value)
        if isinstance(value, bytes) or (isinstance(value, str) and not _is_plain(value)):
            raise PydanticCustomError("plain_text", "it contains a character that is not allowed in a name")
        return value

    @field_validator("views", mode="before")
    @classmethod
    def _read_views(cls, value: object) -> dict[str, float]:
        return read_views(value)

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, values: Any, build: Callable[[Any], Self]) -> Self:
        if isinstance(values, ArgsKwargs):
            values = ArgsKwargs(values.args, with_settings_inside(values.kwargs or {}))
        try:
            return build(values)
        except ValidationError as error:
            raise SmoothCSEError(_sentence(error)) from error

    def __post_init__(self) -> None:
        """Check the rules between fields, then the settings of the method and the trainer's arguments."""
        for problem in problems(self):
            raise SmoothCSEError(problem)
        object.__setattr__(self, "method", read_method(self.method))
        if self.trainer_args:
            check_trainer_args(self.trainer_args)

    def replace(self, **changes: Any) -> TrainConfig:
        """Return a checked copy with some fields changed."""
        return TrainConfig(**{**self.as_dict(), **changes})

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON and YAML."""
        return dataclasses.asdict(self)

    def steps_over(self, sentences: int) -> int:
        """Return the number of steps of a run for a corpus size; incomplete last batches are dropped."""
        batches = sentences // self.batch_size
        return self.max_steps or math.ceil(self.epochs * math.ceil(batches / accumulated_batches(self.trainer_args)))

    @property
    def lora(self) -> LoRA | None:
        """Settings of the adapters to train, or None."""
        if self.lora_rank is None:
            return None
        return LoRA(self.lora_rank, self.lora_alpha, self.lora_dropout, self.lora_targets)

    def noise_for(self, batch: int) -> int:
        """Return ``M`` for an effective batch size."""
        if self.noise_ratio is not None:
            return round(self.noise_ratio * batch)
        return NOISE_COUNT if self.noise_count is None else self.noise_count


def field_names() -> list[str]:
    """Return the names of all configuration fields."""
    return [field.name for field in dataclasses.fields(TrainConfig)]


def recorded_config(values: Mapping[str, Any], *, where: str = "") -> TrainConfig:
    """Build a configuration from a record; fields that this version does not know are left out.

    Args:
        values: Fields as ``run.json`` of this or an earlier version holds them.
        where: File that the values come from, for the message.

    Raises:
        SmoothCSEError: If a value is wrong; see :func:`make_config`.
    """
    known = {*field_names(), "settings", *REMOVED}
    return make_config({name: value for name, value in values.items() if name in known}, where=where)


def changed_fields(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields in which a recorded configuration differs from a current one.

    A field or setting that is missing in the record had its default. ``output`` does not affect the results and is not
    compared.

    Args:
        before: Fields from ``run.json`` or ``runs.jsonl``.
        now: All fields of a configuration.
    """
    then = TrainConfig().as_dict() | with_settings_inside(before)
    with contextlib.suppress(SmoothCSEError):  # a method unknown to this version differs
        then["method"] = method_values(read_method(then["method"]))
    removed = [name for name, default in REMOVED.items() if before.get(name, default) != default]
    return removed + [name for name, value in now.items() if name != "output" and then[name] != value]


def make_config(values: Mapping[str, Any], *, where: str = "") -> TrainConfig:
    """Build a configuration from a mapping.

    Args:
        values: Field names to values; missing ones take their defaults.
        where: File that the values come from, for the message.

    Raises:
        SmoothCSEError: If a value is wrong; see :class:`TrainConfig`. The message names the file.
    """
    with located(where):
        return TrainConfig(**without_removed(values))


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Add the file to the message of an error, unless it is empty."""
    try:
        yield
    except SmoothCSEError as error:
        raise SmoothCSEError(f"{where}: {error}" if where else str(error)) from error


def _sentence(error: ValidationError) -> str:
    problem = first_problem(error, depth=1)
    if problem.unknown:
        return f"there is no configuration field {problem.field!r}.{did_you_mean(problem.field, field_names())}"
    return f"{problem}."


def _is_plain(text: str) -> bool:
    """Return whether a text can be a path: it has no NUL and no unpaired surrogate."""
    return "\0" not in text and text.encode("utf-8", "ignore").decode("utf-8") == text
