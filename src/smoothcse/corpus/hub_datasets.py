"""Files of dataset repositories on the Hugging Face hub.

``HF_ENDPOINT`` is read at each call. Everything else (``HF_HUB_OFFLINE``, ``HF_HOME``, ``HF_TOKEN``, resuming, the
download cache shared by processes) is left to huggingface_hub.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub import errors as hub_errors

from smoothcse.corpus.formats import SUPPORTED, TextFile, is_supported
from smoothcse.errors import SmoothCSEError, did_you_mean, first_line, some_of

_SPELLING = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:]+))?(?::(?P<file>.+))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_USE_A_LOCAL_COPY = "or give a local file or folder instead, such as one copied from another machine"
_EXPLANATIONS: tuple[tuple[type[Exception], str], ...] = (
    (
        hub_errors.OfflineModeIsEnabled,
        f"is not in the local cache and HF_HUB_OFFLINE is set: unset it, {_USE_A_LOCAL_COPY}.",
    ),
    (
        hub_errors.GatedRepoError,
        "requires the owner's permission: request access on its page, then run `hf auth login`.",
    ),
    (
        hub_errors.RepositoryNotFoundError,
        "does not exist on the hub, or is private: check the spelling of owner/name, run `hf auth login` "
        "if you have access, or put ./ before the path of a local file.",
    ),
    (hub_errors.RevisionNotFoundError, "has no such revision: name a branch, tag or commit that exists."),
    (hub_errors.HFValidationError, "is not a valid dataset id: write owner/name or owner/name:file."),
)


@dataclass(frozen=True)
class HubAddress:
    """Address of a dataset: ``owner/name``, optionally with ``@revision`` and ``:file``.

    Attributes:
        repository: ``owner/name``.
        revision: Branch, tag or commit; None for the default branch.
        file: Path in the repository; None for the whole repository.
    """

    repository: str
    revision: str | None = None
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubAddress | None:
        """Parse an address; return None if the text is not one."""
        match = _SPELLING.fullmatch(text)
        return cls(**match.groupdict()) if match else None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repository}{revision}" + (f":{self.file}" if self.file else "")


def fetch(address: HubAddress) -> list[TextFile]:
    """Download the file of an address, or the data files of its repository.

    Without a file name, these are the files with ``train`` in their path, or all supported files if there are none.

    Args:
        address: Address of a file or repository.

    Returns:
        Local files, sorted by name. Large files have the sha256 that the hub publishes.

    Raises:
        SmoothCSEError: If the repository, revision or file does not exist, or the hub cannot be reached.
    """
    names = [address.file] if address.file else _data_files(address)
    return [_text_file(HubAddress(address.repository, address.revision, name)) for name in names]


def download(address: HubAddress) -> Path:
    """Download the file of an address, unless it is in the download cache of huggingface_hub.

    Args:
        address: Address with a file name.

    Returns:
        Local file, ``snapshots/<commit>/<name>`` in that cache.

    Raises:
        SmoothCSEError: If the repository, revision or file does not exist, or the hub cannot be reached.
    """
    assert address.file is not None
    with _plain_errors(address):
        return Path(
            hf_hub_download(
                address.repository, address.file, repo_type="dataset", revision=address.revision, endpoint=_endpoint()
            )
        )


def verify(file: TextFile) -> None:
    """Compare a downloaded file with its digest, and remove it from the download cache if they differ.

    Args:
        file: Downloaded file; without a digest, nothing is checked.

    Raises:
        SmoothCSEError: If the digests differ.
    """
    if file.sha256 is None:
        return
    with file.path.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual == file.sha256:
        return
    file.path.resolve().unlink()
    file.path.unlink(missing_ok=True)
    raise SmoothCSEError(
        f"{file.label} was damaged during the download (sha256 {actual[:12]} instead of {file.sha256[:12]}): "
        "the copy was removed, run the command again to download it."
    )


def _text_file(address: HubAddress) -> TextFile:
    if not is_supported(address.file or ""):
        raise SmoothCSEError(f"{address} has an unsupported format: supported are {SUPPORTED}.")
    path = download(address)
    # The download cache names each blob by the ETag that the hub sent, a sha256 for files in large-file storage.
    blob = path.resolve().name
    return TextFile(path, str(address), sha256=blob if _SHA256.fullmatch(blob) else None)


def _data_files(address: HubAddress) -> list[str]:
    names = sorted(name for name in _list_files(address) if is_supported(name))
    if not names:
        raise SmoothCSEError(f"{address} contains no file in a supported format: supported are {SUPPORTED}.")
    return [name for name in names if "train" in name.lower()] or names


def _list_files(address: HubAddress) -> list[str]:
    repository, revision = address.repository, address.revision
    with _plain_errors(address):
        try:
            return HfApi(endpoint=_endpoint()).list_repo_files(repository, repo_type="dataset", revision=revision)
        except (hub_errors.RepositoryNotFoundError, hub_errors.RevisionNotFoundError):
            raise
        except Exception as unreachable:
            # Files downloaded earlier must stay usable without a network.
            try:
                folder = snapshot_download(repository, repo_type="dataset", revision=revision, local_files_only=True)
            except hub_errors.LocalEntryNotFoundError:
                raise unreachable from None
            return [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()]


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _plain_errors(address: HubAddress) -> Iterator[None]:
    """Convert the exceptions of huggingface_hub and its HTTP client to a :class:`SmoothCSEError`.

    The clause is broad because the client's exception classes differ between releases of huggingface_hub.
    """
    try:
        yield
    except hub_errors.RemoteEntryNotFoundError as error:
        names = [name for name in _list_files(HubAddress(address.repository, address.revision)) if is_supported(name)]
        raise SmoothCSEError(
            f"Dataset {address.repository} has no file {address.file!r}; "
            f"it has {some_of(names) or 'none in a supported format'}."
            f"{did_you_mean(address.file or '', names)}"
        ) from error
    except Exception as error:
        raise SmoothCSEError(f"Dataset {address} {_explanation(error)}") from error


def _explanation(error: Exception) -> str:
    # If a file is neither on the hub nor in the cache, the cause says why the hub did not send it.
    missing = isinstance(error, hub_errors.LocalEntryNotFoundError)
    reason = (error.__cause__ if missing else None) or error
    for kind, explanation in _EXPLANATIONS:
        if isinstance(reason, kind):
            return explanation
    if isinstance(reason, hub_errors.HfHubHTTPError) and reason.response.status_code in (401, 403):
        return f"is refused by the hub: check your token with `hf auth whoami`, {_USE_A_LOCAL_COPY}."
    if isinstance(reason, OSError) and reason.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"cannot be stored ({reason.strerror}): free disk space, or set HF_HOME to a folder that has some."
    summary = f"{type(reason).__name__}: {first_line(reason).rstrip('.')}"
    return f"cannot be downloaded ({summary}): check the network and try again, {_USE_A_LOCAL_COPY}."
