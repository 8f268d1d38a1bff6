"""Where the benchmark data comes from: a folder, or the archive that SimCSE's authors keep on the hub.

The archive is unpacked, the few files that are used and no others, to ``$SMOOTHCSE_CACHE`` (default
``~/.cache/smoothcse``) in a folder that is named after the commit it came from, so that results can say which
data they were measured on. The data sets have licences of their own (research use, SICK CC BY-NC-SA): read
them, do not pass them on.
"""

from __future__ import annotations

import logging
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from smoothcse._utils.cache import cache_folder
from smoothcse._utils.paths import local_path
from smoothcse.corpus.hub_datasets import HubAddress, download
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.evaluation.benchmark_files import LARGEST_FILE
from smoothcse.evaluation.sts_tasks import STS_TASKS, files_of
from smoothcse.evaluation.transfer_tasks import TRANSFER_FILES

HUB = "hub"
"""The source that stands for the hub; ``hub@REVISION`` pins a branch, a tag or a commit of it."""

DATASET = "princeton-nlp/datasets-for-simcse"
ARCHIVE = "senteval.tar"
_log = logging.getLogger(__name__)


def sts_folder(source: Path | str = HUB) -> Path:
    """Return a folder that :func:`~smoothcse.evaluation.sts.load_task` reads.

    Args:
        source: a folder in SentEval's layout, one that holds such a folder under the name ``sts``, or ``"hub"``;
            ``"hub@COMMIT"`` for results that are to be compared with those of another day.

    Returns:
        The folder as given, its ``sts``, or ``<cache>/senteval/<commit>/sts``.

    Raises:
        SmoothCSEError: if the hub or the archive cannot be read.
    """
    if not is_hub(source):
        return _level(source, "sts")
    return _from_hub("sts", (path for name in STS_TASKS for path in files_of(name)), source)


def transfer_folder(source: Path | str = HUB) -> Path:
    """Return a folder that :func:`~smoothcse.evaluation.transfer.load_transfer` reads.

    Arguments, result and errors are those of :func:`sts_folder`, with ``transfer`` for ``sts``.
    """
    if not is_hub(source):
        return _level(source, "transfer")
    return _from_hub("transfer", TRANSFER_FILES, source)


def is_hub(source: Path | str) -> bool:
    """Whether a source of data is the hub, at whatever revision."""
    return str(source).partition("@")[0] == HUB


def _level(source: Path | str, kind: str) -> Path:
    """Return the folder that holds one kind of data: the one given, or the one of that name in it."""
    folder = local_path(source)
    # Asked of the listing, as on some file systems SentEval's own level STS would answer to the name sts.
    return folder / kind if folder.is_dir() and kind in os.listdir(folder) else folder


def _from_hub(kind: str, wanted: Iterable[str], source: Path | str) -> Path:
    revision = str(source).partition("@")[2]
    archive = download(HubAddress(DATASET, revision or None, ARCHIVE))
    commit = archive.parent.name  # the hub's cache keeps a file under snapshots/<commit>/
    folder = cache_folder() / "senteval" / commit / kind
    if not folder.is_dir():
        _unpack(archive, wanted, folder)
    _log.info("SentEval data: %s at commit %s, in %s", DATASET, commit, folder)
    return folder


def _unpack(archive: Path, wanted: Iterable[str], folder: Path) -> None:
    """Unpack the wanted files, wherever in the archive they lie, all or none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        if not _extract(archive, list(wanted), scratch):
            raise SmoothCSEError(f"{archive} holds none of the {folder.name} files; give a folder with the data.")
        if not folder.is_dir():  # another process may have been quicker
            scratch.rename(folder)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SmoothCSEError(
            f"{archive} cannot be unpacked to {folder} ({first_line(error)}); delete the archive to fetch it again, "
            "and see that the disk has room."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(archive: Path, wanted: list[str], folder: Path) -> int:
    count = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            relative = next((path for path in wanted if f"/{member.name}".endswith(f"/{path}")), None)
            if relative and member.isfile():
                if member.size > LARGEST_FILE:
                    raise tarfile.ReadError(f"{member.name} would take {member.size} bytes")
                # The path is ours, not the archive's, so that no member can lead out of the folder.
                tar.extract(member.replace(name=relative), folder, filter="data")
                count += 1
    return count
