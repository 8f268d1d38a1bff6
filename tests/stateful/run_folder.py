"""Use a run folder by commands in any order, kill some of them, and compare the folder with a model of its state.

    python tests/stateful/run_folder.py --examples 200 --steps 15

The commands are those of a user: train, resume, overwrite, evaluate and export. Further rules change the text, make
the preflight check fail, hold the folder in another process, or kill a separate process before the first step, in a
step, in a checkpoint before its checksums, or after the last step.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from rich.console import Console

from forked import FORKED
from smoothcse._utils.folder_lock import LOCK_FILES, lock_folder
from smoothcse._utils.quiet import quiet_libraries
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.export.export_model import export_model
from smoothcse.runs.checkpoints import WriteChecksums
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import read_manifest
from smoothcse.training import TrainConfig, TrainResult, execution, make_config, preflight, read_result, train
from smoothcse.training.callbacks import Metrics
from tiny import save_tiny_model, sentences

QUIET = Console(quiet=True)
STEPS = 4
SEEDS = (1, 2)
TEXTS = sentences(6, seed=9)

PLACES: dict[str, Callable[[], None]] = {}
"""Functions that let this process exit at a moment, by the name of the moment."""


@dataclass(frozen=True)
class State:
    """The expected state of a folder.

    Attributes:
        seed: Seed of the run; None without a run.
        finished: Whether the run has finished.
        before: State that the run replaces, until its first step.
    """

    seed: int | None = None
    finished: bool = False
    before: State | None = None


class World:
    """A text, a model, and an uninterrupted run per seed.

    Args:
        home: Folder for all files.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.text = home / "text.txt"
        self.restore_text()
        save_tiny_model(home / "model")
        self.whole = {seed: what_came_of(train(self.config(f"whole-{seed}", seed), console=QUIET)) for seed in SEEDS}

    def config(self, name: str, seed: int) -> TrainConfig:
        """Return the configuration of a run."""
        fields = {"batch_size": 4, "noise_count": 4, "max_steps": STEPS, "eval_steps": 2, "log_steps": 1, "seed": seed}
        fields |= {"precision": "fp32", "learning_rate": 1e-3, "lr_scheduler": "constant"}
        paths = {"corpus": self.text, "model": self.home / "model", "output": self.home / name}
        return make_config({**fields, **{field: str(path) for field, path in paths.items()}})

    def restore_text(self, seed: int = 0) -> None:
        """Write the text; another seed gives another text."""
        self.text.write_text("\n".join(sentences(16, seed=seed)) + "\n", encoding="utf-8")


def what_came_of(result: TrainResult) -> dict[str, Any]:
    """Return the results that must be equal, bit for bit, in two runs with the same configuration."""
    traced = ("step", "loss", "eval_dev_score")
    folder = RunFolder(result.folder)
    models = (result.best, result.last)
    return {
        "result": read_manifest(result.folder).result,
        "metrics": [{name: entry[name] for name in traced if name in entry} for entry in folder.metrics()],
        "weights": [(model / "model.safetensors").read_bytes() for model in models],
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder without its lock files."""
    if not folder.is_dir():
        return {}
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in LOCK_FILES)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def die(*_: Any, **__: Any) -> None:
    """Exit this process immediately, as a kill would."""
    os._exit(9)


def _moment(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(arm: Callable[[], None]) -> Callable[[], None]:
        PLACES[name] = arm
        return arm

    return add


@_moment("before the first step")
def _at_the_start() -> None:
    execution.settle = die  # type: ignore[assignment]


@_moment("in the third step")
def _in_a_step() -> None:
    original = Metrics.on_log

    def on_log(self: Metrics, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        original(self, args, state, control, logs, **kwargs)
        if state.global_step == STEPS - 1 and "loss" in logs:
            die()

    Metrics.on_log = on_log  # type: ignore[method-assign]


@_moment("in a checkpoint")
def _before_the_checksums() -> None:
    WriteChecksums.on_save = die  # type: ignore[method-assign]


@_moment("after the last step")
def _after_the_last_step() -> None:
    execution.Execution._result = die  # type: ignore[assignment,method-assign]


class RunFolderMachine(RuleBasedStateMachine):
    """Commands on one folder, and the checks after each of them."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory(dir=self.world.home)
        self.folder = RunFolder(Path(self.scratch.name) / "run")
        self.state = State()

    def teardown(self) -> None:
        self.scratch.cleanup()

    def _config(self, seed: int) -> TrainConfig:
        return self.world.config(str(self.folder.path.relative_to(self.world.home)), seed)

    def _refused(self, why: str, act: Callable[[], Any], *, changes: bool = False) -> None:
        """Check that a command is refused with a message and, without ``changes``, leaves the folder unchanged."""
        before = contents(self.folder.path)
        try:
            act()
        except SmoothCSEError as error:
            assert why in str(error), error  # noqa: PT017
        else:
            raise AssertionError(f"not refused: {why}")
        assert changes or contents(self.folder.path) == before, why

    def _completes(self, seed: int, **how: bool) -> None:
        result = train(self._config(seed), **how, console=QUIET)
        assert what_came_of(result) == self.world.whole[seed]
        self.state = State(seed, finished=True)

    @rule(seed=st.sampled_from(SEEDS))
    def train(self, seed: int) -> None:
        """Start a run; a run killed before its first step is undone first."""
        found = self.state.before or self.state
        if found.seed is None:
            self._completes(seed)
            return
        undone = self.state.before is not None
        self._refused("holds another run", lambda: train(self._config(seed), console=QUIET), changes=undone)
        self.state = found

    @rule(seed=st.sampled_from(SEEDS))
    def overwrite(self, seed: int) -> None:
        """Replace the run in the folder, if any."""
        self._completes(seed, overwrite=True)

    @rule(seed=st.sampled_from(SEEDS))
    def resume(self, seed: int) -> None:
        """Resume the run in the folder; its results must equal those of the uninterrupted run."""
        config = self._config(seed)
        if self.state.seed is None:
            self._refused("holds no run to resume", lambda: train(config, resume=True, console=QUIET))
        elif self.state.seed != seed:
            self._refused("another configuration", lambda: train(config, resume=True, console=QUIET))
        elif self.state.finished:
            before = contents(self.folder.path)
            assert train(config, resume=True, console=QUIET).folder == self.folder.path
            assert contents(self.folder.path) == before
        else:
            self._completes(seed, resume=True)

    @precondition(lambda self: self.state.seed is not None and not self.state.finished)
    @rule()
    def resume_with_another_text(self) -> None:
        """Resume after the text has changed, and be refused."""
        self.world.restore_text(seed=1)
        try:
            config = self._config(self.state.seed or 0)
            self._refused("its corpus has changed", lambda: train(config, resume=True, console=QUIET))
        finally:
            self.world.restore_text()

    @rule(seed=st.sampled_from(SEEDS), place=st.sampled_from(sorted(PLACES)), how=st.sampled_from(["new", "resume"]))
    def be_killed(self, seed: int, place: str, how: str) -> None:
        """Kill a new run that replaces the existing one, or a resumed run."""
        if how == "resume" and (self.state.finished or self.state.seed != seed):
            return
        options = {"resume": True} if how == "resume" else {"overwrite": True}
        process = FORKED.Process(target=_train_and_die, args=(self._config(seed).as_dict(), place, options))
        process.start()
        process.join(120)
        if process.exitcode == 0 and how == "resume":  # the run was already past that moment
            assert what_came_of(read_result(self.folder.path)) == self.world.whole[seed]
            self.state = State(seed, finished=True)
            return
        assert process.exitcode == 9, f"the run was not killed {place}"
        if place != "before the first step":
            self.state = State(seed)
        elif how == "new":
            self.state = State(seed, before=self.state.before or self.state)

    @rule(seed=st.sampled_from(SEEDS))
    def be_refused(self, seed: int) -> None:
        """Fail the check of the loaded model; the previous run must be restored."""
        found = self.state.before or self.state
        original = preflight.require_two_views
        preflight.require_two_views = _refuse  # type: ignore[assignment]
        try:
            train(self._config(seed), overwrite=True, console=QUIET)
        except SmoothCSEError as error:
            assert str(error) == "it cannot learn"  # noqa: PT017
        finally:
            preflight.require_two_views = original
        self.state = found

    @precondition(lambda self: self.folder.path.is_dir())
    @rule(seed=st.sampled_from(SEEDS), how=st.sampled_from([{}, {"overwrite": True}]))
    def find_it_in_use(self, seed: int, how: dict[str, bool]) -> None:
        """Train while another process holds the folder, and be refused."""
        with lock_folder(self.folder.path, remedy=""):
            self._refused("is in use by process", lambda: train(self._config(seed), **how, console=QUIET))

    @precondition(lambda self: self.state.finished)
    @rule()
    def evaluate_and_export(self) -> None:
        """Evaluate and export the model; the run must not change."""
        before = contents(self.folder.path)
        vectors = load_encoder(self.folder.path, device="cpu").encode(TEXTS)
        target = Path(self.scratch.name) / "exported"
        export_model(load_encoder(self.folder.best, device="cpu"), target, "safetensors", TEXTS, console=QUIET)
        assert np.array_equal(load_encoder(target, device="cpu").encode(TEXTS), vectors)
        shutil.rmtree(target)
        assert contents(self.folder.path) == before

    @invariant()
    def the_record_is_whole(self) -> None:
        """Check that the folder contains the expected run and that its manifest is readable."""
        if self.state.seed is None:
            assert not contents(self.folder.path)
            return
        manifest = json.loads(self.folder.manifest_file.read_text(encoding="utf-8"))
        assert manifest["config"]["seed"] == self.state.seed
        assert self.folder.finished == self.state.finished


def _refuse(*_: Any) -> None:
    raise SmoothCSEError("it cannot learn")


def _train_and_die(config: dict[str, Any], place: str, options: dict[str, bool]) -> None:
    PLACES[place]()
    quiet_libraries()
    train(make_config(config), **options, console=QUIET)


def check(home: Path, *, examples: int, steps: int, derandomize: bool) -> None:
    """Run the state machine.

    Args:
        home: Empty working folder.
        examples: Number of sequences of commands.
        steps: Number of commands per sequence.
        derandomize: Whether to use the same sequences in each run, and to report failures without shrinking.
    """
    RunFolderMachine.world = World(home)
    chosen = settings(
        max_examples=examples, stateful_step_count=steps, derandomize=derandomize, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, *([] if derandomize else [Phase.shrink])],
    )  # fmt: skip
    run_state_machine_as_test(RunFolderMachine, settings=chosen)


def main() -> None:
    """Run many sequences from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=50, help="sequences of commands (default: 50)")
    parser.add_argument("--steps", type=int, default=15, help="commands per sequence (default: 15)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SMOOTHCSE_CACHE"] = str(Path(home) / "cache")
        check(Path(home), examples=arguments.examples, steps=arguments.steps, derandomize=False)
    print(f"{arguments.examples} sequences of up to {arguments.steps} commands: all checks passed")


if __name__ == "__main__":
    main()
