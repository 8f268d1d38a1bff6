"""A file appears under its name completely or not at all."""

from __future__ import annotations

import pytest

from smoothcse._utils.atomic import explain_unwritable, open_atomic, write_text_atomic
from smoothcse.errors import SmoothCSEError


@pytest.mark.parametrize("unique", [False, True])
def test_a_file_is_replaced_when_it_is_complete(tmp_path, unique):
    target = tmp_path / "file"
    write_text_atomic(target, "before")
    with open_atomic(target, unique=unique) as file:
        file.write(b"after")
        assert target.read_text() == "before"
    assert target.read_text() == "after"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("unique", [False, True])
def test_an_error_leaves_the_file_as_it_was(tmp_path, unique):
    target = tmp_path / "file"
    write_text_atomic(target, "before")
    with pytest.raises(TypeError), open_atomic(target, unique=unique) as file:
        file.writelines([b"half", None])
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_several_writers_of_one_file_do_not_meet(tmp_path):
    target = tmp_path / "file"
    with open_atomic(target, unique=True) as first, open_atomic(target, unique=True) as second:
        first.write(b"first")
        second.write(b"second")
    assert target.read_bytes() == b"first"  # finished last


def test_a_failed_write_names_the_file(tmp_path):
    target = tmp_path / "missing" / "file"
    message = r"missing/file cannot be written \(No such file or directory\): free some space, or"
    with pytest.raises(SmoothCSEError, match=message), explain_unwritable(target):
        write_text_atomic(target, "text")
