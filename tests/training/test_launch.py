"""A run on several devices fails with one sentence, whichever of its ranks fails and however it ends."""

from __future__ import annotations

import os

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from commands import run_here
from smoothcse.errors import FAILURE_FILE, SmoothCSEError, Stopped, hand_over
from smoothcse.training import TrainConfig, launch


def test_the_message_of_all_ranks_is_printed_once(tiny_bert, corpus_file, tmp_path, monkeypatch, capfd):
    """The ranks are processes of their own, whose output is captured, too."""
    monkeypatch.setenv("SMOOTHCSE_CPU", "1")
    command = ["train", corpus_file, "--model", tiny_bert, "--devices", "2", "--batch-size", "7"]
    assert run_here(*command, "--output", tmp_path / "run") == 2
    said = capfd.readouterr().err
    assert said == "smoothcse: batch_size 7 cannot be shared evenly by 2 devices; use a multiple of 2.\n"
    assert not (tmp_path / "run").exists()


@pytest.fixture
def failing(monkeypatch):
    """Return a function that launches a run whose ranks leave these messages, the first with this exit code."""

    def launched(code, *messages):
        def torchrun(_):
            assert [hand_over(SmoothCSEError(message)) for message in messages] == [True] * len(messages)
            raise ChildFailedError("smoothcse", {1: ProcessFailure(1, 4711, code, "none")})

        monkeypatch.setattr(launch, "torchrun", torchrun)
        launch.launch(TrainConfig(), resume=False, overwrite=False, devices=2)

    monkeypatch.setattr(launch.torch.cuda, "device_count", lambda: 0)
    return launched


@pytest.mark.parametrize(
    ("code", "messages", "kind", "told"),
    [
        (2, ["The first.", "The second."], SmoothCSEError, "The first."),
        (143, ["Stopped after step 3."], Stopped, "Stopped after step 3."),
        (1, [], SmoothCSEError, "Rank 1 of the 2 ended with exit code 1; its traceback is above."),
        (-9, ["Stopped."], SmoothCSEError, "Rank 1 of the 2 was killed by SIGKILL (the machine may have run out of "
         "memory); continue with --resume."),
    ],
)  # fmt: skip
def test_the_error_of_the_first_failed_rank_is_raised(code, messages, kind, told, failing):
    with pytest.raises(kind) as error:
        failing(code, *messages)
    assert str(error.value) == told
    assert error.value.exit_code == (143 if code == 143 else 2)
    assert FAILURE_FILE not in os.environ


def test_an_error_is_handed_over_only_inside_a_launch(monkeypatch, tmp_path):
    assert not hand_over(SmoothCSEError("A message."))
    monkeypatch.setenv(FAILURE_FILE, str(tmp_path / "missing" / "failure"))
    assert not hand_over(SmoothCSEError("A message."))


def test_too_many_processes_for_the_cores_are_refused(failing, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(SmoothCSEError, match=r"--devices 99 .* the processor has 2 cores; use at most 8"):
        launch.launch(TrainConfig(), resume=False, overwrite=False, devices=99)


def test_more_devices_than_are_visible_are_refused(monkeypatch):
    monkeypatch.setattr(launch.torch.cuda, "device_count", lambda: 4)
    with pytest.raises(SmoothCSEError, match="--devices 5 was asked for, but 4 GPUs are visible"):
        launch.launch(TrainConfig(), resume=False, overwrite=False, devices=5)
