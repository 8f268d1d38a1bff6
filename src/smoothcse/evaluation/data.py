"""Benchmark data: from a folder, or from the archive that SimCSE's authors publish on the Hub.

Of the archive, only the files in use are unpacked, to ``$SMOOTHCSE_CACHE`` (default ``~/.cache/smoothcse``). The
target folder is named after the archive's commit, so that results can state which data they were measured on. The data
sets have licences of their own (research use; SICK: CC BY-NC-SA); do not redistribute them.
"""

from __future__ import annotations

import logging
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from smoothcse._utils.atomic import explain_unwritable
from smoothcse._utils.cache import cache_folder
from smoothcse._utils.paths import local_path
from smoothcse.corpus.hub_datasets import HubAddress, download
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.evaluation.benchmark_files import LARGEST_FILE
from smoothcse.evaluation.sts_tasks import STS_TASKS, STSB_DEV, files_of
from smoothcse.evaluation.transfer_tasks import TRANSFER_FILES

HUB = "hub"
"""Name of the Hub as a data source; ``hub@REVISION`` pins a branch, a tag or a commit."""

DATASET = "princeton-nlp/datasets-for-simcse"
ARCHIVE = "senteval.tar"
_log = logging.getLogger(__name__)


def sts_folder(source: Path | str = HUB) -> Path:
    """Return a folder of STS data that :func:`~smoothcse.evaluation.sts.load_task` reads.

    Args:
        source: Folder in SentEval's layout, folder that contains such a folder named ``sts``, or ``"hub"``. Use
            ``"hub@COMMIT"`` to measure on the same data at another time.

    Returns:
        The given folder, its ``sts``, or ``<cache>/senteval/<commit>/sts``.

    Raises:
        SmoothCSEError: If the Hub or the archive cannot be read.
    """
    if not is_hub(source):
        return _level(source, "sts")
    return _from_hub("sts", (path for name in STS_TASKS for path in files_of(name)), source)


def transfer_folder(source: Path | str = HUB) -> Path:
    """Return a folder of transfer data that :func:`~smoothcse.evaluation.transfer.load_transfer` reads.

    Arguments, result and errors are those of :func:`sts_folder`, with ``transfer`` in place of ``sts``.
    """
    if not is_hub(source):
        return _level(source, "transfer")
    return _from_hub("transfer", TRANSFER_FILES, source)


def is_hub(source: Path | str) -> bool:
    """Return whether a data source is the Hub, at any revision."""
    return str(source).partition("@")[0] == HUB


def has_stsb_dev(source: Path | str) -> bool:
    """Return whether a data source holds STS-B dev in SentEval's layout; the Hub does, and is downloaded."""
    folder = sts_folder(source)
    return all((folder / file).is_file() or (folder / "STS" / file).is_file() for file in files_of(STSB_DEV))


def _level(source: Path | str, kind: str) -> Path:
    """Return the folder with one kind of data: the given folder, or its subfolder of that name."""
    folder = local_path(source)
    # Compared with the listing, because on case-insensitive file systems SentEval's own folder STS would match sts.
    return folder / kind if folder.is_dir() and kind in os.listdir(folder) else folder


def _from_hub(kind: str, wanted: Iterable[str], source: Path | str) -> Path:
    revision = str(source).partition("@")[2]
    archive = download(HubAddress(DATASET, revision or None, ARCHIVE))
    commit = archive.parent.name  # the Hub's cache stores a file under snapshots/<commit>/
    folder = cache_folder() / "senteval" / commit / kind
    if not folder.is_dir():
        _unpack(archive, wanted, folder)
    _log.info("SentEval data: %s at commit %s, in %s", DATASET, commit, folder)
    return folder


def _unpack(archive: Path, wanted: Iterable[str], folder: Path) -> None:
    """Unpack the wanted files atomically, wherever they are in the archive."""
    with explain_unwritable(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        if not _extract(archive, list(wanted), scratch):
            raise SmoothCSEError(f"{archive} contains no {folder.name} files; give a folder with the data instead.")
        if not folder.is_dir():  # another process may have created it meanwhile
            scratch.rename(folder)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SmoothCSEError(
            f"{archive} cannot be unpacked to {folder} ({first_line(error)}); check the free disk space, or delete "
            "the archive to download it again."
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
                # The path is ours, not the archive's, so that no member can escape the folder.
                tar.extract(member.replace(name=relative), folder, filter="data")
                count += 1
    return count
