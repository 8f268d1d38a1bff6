"""A folder is written to by one process at a time, and the other one is told by whom."""

from __future__ import annotations

import errno
import multiprocessing
import os
import socket
import threading

import pytest
from filelock import FileLock

from smoothcse._utils.folder_lock import HOLDER_FILE, LOCK_FILES, lock_folder
from smoothcse.errors import SmoothCSEError

REMEDY = "wait for it"
FORK = multiprocessing.get_context("fork")


def hold(folder, held, forks=False):
    with lock_folder(folder, remedy=REMEDY):
        if forks:  # a worker that outlives its killed parent
            child = FORK.Process(target=threading.Event().wait, args=(20,))
            child.start()
            held.send(child.pid)
        held.send("held")
        threading.Event().wait(20)


@pytest.fixture
def other(tmp_path):
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=hold, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() == "held"
    yield process
    process.kill()
    process.join()


def test_a_held_folder_is_refused_and_its_holder_named(tmp_path, other):
    message = rf"{tmp_path} is in use by process {other.pid} on {socket.gethostname()} since \d{{4}}-.*; wait for it\."
    with pytest.raises(SmoothCSEError, match=message), lock_folder(tmp_path, remedy=REMEDY):
        pass


def test_a_killed_holder_leaves_no_lock(tmp_path, other):
    other.kill()
    other.join()
    assert (tmp_path / HOLDER_FILE).is_file()
    with lock_folder(tmp_path, remedy=REMEDY):
        assert f'"pid": {os.getpid()}' in (tmp_path / HOLDER_FILE).read_text()
    assert not any((tmp_path / name).exists() for name in LOCK_FILES)


def test_a_worker_of_a_killed_holder_holds_nothing(tmp_path):
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=hold, args=(tmp_path, theirs, True))
    process.start()
    worker = ours.recv()
    try:
        assert ours.recv() == "held"
        process.kill()
        process.join()
        with lock_folder(tmp_path, remedy=REMEDY):
            pass
    finally:
        os.kill(worker, 9)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_process_cannot_hold_it_twice(tmp_path, threads):
    refused = []

    def take():
        try:
            with lock_folder(tmp_path, remedy=REMEDY):
                pass
        except SmoothCSEError as error:
            refused.append(str(error))

    with lock_folder(tmp_path, remedy=REMEDY):
        if threads == 1:
            take()
        else:
            thread = threading.Thread(target=take)
            thread.start()
            thread.join()
        assert refused
        assert f"process {os.getpid()}" in refused[0]
    take()
    assert len(refused) == 1


def test_an_error_inside_is_not_taken_for_one_of_the_lock(tmp_path):
    with pytest.raises(RuntimeError, match="inside"), lock_folder(tmp_path, remedy=REMEDY):
        raise RuntimeError("inside")
    with lock_folder(tmp_path, remedy=REMEDY):
        pass


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOLCK])
def test_a_folder_that_cannot_be_locked_is_told(tmp_path, monkeypatch, code):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(FileLock, "_acquire", refuse)
    with (
        pytest.raises(SmoothCSEError, match=rf"cannot be locked for writing \({os.strerror(code)}\)"),
        lock_folder(tmp_path, remedy=REMEDY),
    ):
        pass


def test_a_full_disk_gives_the_lock_back(tmp_path, monkeypatch):
    (tmp_path / HOLDER_FILE).mkdir()
    with pytest.raises(SmoothCSEError, match="cannot be locked"), lock_folder(tmp_path, remedy=REMEDY):
        pass
    (tmp_path / HOLDER_FILE).rmdir()
    with lock_folder(tmp_path, remedy=REMEDY):
        pass
