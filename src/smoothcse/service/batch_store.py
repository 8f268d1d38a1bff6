"""Files and batches of OpenAI's API on disk, so that both survive a restart.

::

    folder/
      file-ID.jsonl         content of a file
      file-ID.json          its name, size and purpose
      batch_ID.json         state of a batch
      batch_ID.output       answers so far; becomes a file when the batch ends
      batch_ID.errors       refusals so far; likewise
"""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path

from smoothcse._utils.atomic import write_text_atomic
from smoothcse.service.batch_schemas import BatchRequest, RequestBatch, StoredFile
from smoothcse.service.limits import Limits, Refusal

_ID = re.compile(r"(file-|batch_)[0-9a-f]{32}")
_ENDED = ("failed", "completed", "cancelled")


class BatchStore:
    """Files and batches in a folder, which belongs to one service.

    Args:
        folder: Existing folder.
        limits: Limits on the size of all files together.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self._limits = folder, limits

    def add_file(self, content: bytes, name: str, purpose: str) -> StoredFile:
        """Store a file.

        Args:
            content: Content.
            name: Name given by the client; it names nothing on disk.
            purpose: Purpose, such as ``batch``.

        Raises:
            Refusal: Status 413 if all files together would be too large.
        """
        stored = sum(file.stat().st_size for file in self.folder.glob("file-*.jsonl"))
        if stored + len(content) > self._limits.stored_bytes:
            raise Refusal(413, "The files of this service have no room for another one; delete some.")
        id = _new("file-")
        self.content(id).write_bytes(content)
        return self._describe(id, len(content), name, purpose)

    def adopt(self, part: Path, name: str, purpose: str) -> StoredFile:
        """Turn a file that has been written in the folder into a stored one."""
        id = _new("file-")
        size = part.stat().st_size
        part.rename(self.content(id))
        return self._describe(id, size, name, purpose)

    def file(self, id: str) -> StoredFile:
        """Return the description of a file.

        Raises:
            Refusal: Status 404 if there is no such file.
        """
        return StoredFile.model_validate_json(self._read(id, "file-", "file"))

    def files(self) -> list[StoredFile]:
        """Return all files, the newest first."""
        found = [StoredFile.model_validate_json(path.read_bytes()) for path in self.folder.glob("file-*.json")]
        return sorted(found, key=lambda file: file.created_at, reverse=True)

    def content(self, id: str) -> Path:
        """Return the path of the content of a file."""
        return self.folder / f"{id}.jsonl"

    def delete_file(self, id: str) -> None:
        """Delete a file.

        Raises:
            Refusal: Status 404 if there is no such file, 400 if a batch still reads it.
        """
        self.file(id)
        if any(id == batch.input_file_id for batch in self.unfinished()):
            raise Refusal(400, f"The file {id} is the input of a batch that has not ended; cancel the batch first.")
        (self.folder / f"{id}.json").unlink(missing_ok=True)
        self.content(id).unlink(missing_ok=True)

    def add_batch(self, request: BatchRequest) -> RequestBatch:
        """Store a new batch.

        Raises:
            Refusal: Status 404 if its input does not exist.
        """
        self.file(request.input_file_id)
        return self.save(RequestBatch(id=_new("batch_"), created_at=int(time.time()), **request.model_dump()))

    def save(self, batch: RequestBatch) -> RequestBatch:
        """Write the state of a batch atomically."""
        write_text_atomic(self.folder / f"{batch.id}.json", batch.model_dump_json() + "\n")
        return batch

    def batch(self, id: str) -> RequestBatch:
        """Return a batch.

        Raises:
            Refusal: Status 404 if there is no such batch.
        """
        return RequestBatch.model_validate_json(self._read(id, "batch_", "batch"))

    def batches(self) -> list[RequestBatch]:
        """Return all batches, the newest first."""
        found = [RequestBatch.model_validate_json(path.read_bytes()) for path in self.folder.glob("batch_*.json")]
        return sorted(found, key=lambda batch: batch.created_at, reverse=True)

    def unfinished(self) -> list[RequestBatch]:
        """Return the batches that have not ended, the oldest first."""
        return [batch for batch in reversed(self.batches()) if batch.status not in _ENDED]

    def parts(self, batch: RequestBatch) -> tuple[Path, Path]:
        """Return the files with the answers and the refusals of a batch so far."""
        return self.folder / f"{batch.id}.output", self.folder / f"{batch.id}.errors"

    def _read(self, id: str, prefix: str, kind: str) -> bytes:
        try:
            if _ID.fullmatch(id) and id.startswith(prefix):
                return (self.folder / f"{id}.json").read_bytes()
        except FileNotFoundError:
            pass
        raise Refusal(404, f"There is no {kind} {id!r}.")

    def _describe(self, id: str, size: int, name: str, purpose: str) -> StoredFile:
        file = StoredFile(id=id, bytes=size, created_at=int(time.time()), filename=name, purpose=purpose)
        write_text_atomic(self.folder / f"{id}.json", file.model_dump_json() + "\n")
        return file


def _new(prefix: str) -> str:
    return f"{prefix}{uuid.uuid4().hex}"
