"""Batches are answered in the background, one after another, a few requests of each at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from smoothcse.errors import SmoothCSEError
from smoothcse.service.batch_lines import BatchLine, answer_line, answered, check_lines, read_lines
from smoothcse.service.batch_schemas import BatchError, BatchErrors, RequestBatch, RequestCounts
from smoothcse.service.batch_store import BatchStore
from smoothcse.service.error_answers import error_answer, what_is_invalid
from smoothcse.service.limits import Limits, Refusal

Answer = Callable[[Any], Awaitable[bytes]]
"""Function from the body of a request to the body of its answer, as the endpoint would send it."""

_AT_ONCE = 4  # so that the model has the next texts while answers are written
_BUSY = (429, 503)
_PAUSE = 1.0  # seconds


class BatchRunner:
    """Answers the batches of a store.

    Args:
        store: Files and batches.
        answer: Function that answers one request.
        limits: Limits on batches.
    """

    def __init__(self, store: BatchStore, answer: Answer, limits: Limits) -> None:
        self.store, self._answer, self._limits = store, answer, limits
        self._new = asyncio.Event()
        self._cancelled: dict[str, int] = {}  # times by id

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer batches while the block runs; those that have not ended then are continued by the next service."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def wake(self) -> None:
        """Look for new batches."""
        self._new.set()

    def cancel(self, id: str) -> RequestBatch:
        """Stop a batch after the requests in progress; the answers so far are kept.

        Args:
            id: Id of the batch.

        Raises:
            Refusal: Status 404 if there is no such batch, 400 if it has ended.
        """
        batch = self.store.batch(id)  # read and written without a pause, in which the batch could end
        if batch.status not in ("validating", "in_progress", "cancelling"):
            raise Refusal(400, f"The batch {id} cannot be cancelled, because it is {batch.status}.")
        self._cancelled[id] = _now()
        self.wake()
        return self._save(batch)

    async def _run(self) -> None:
        while True:
            self._new.clear()
            for batch in await run_in_threadpool(self.store.unfinished):
                await self._carry_out(batch)
            await self._new.wait()

    async def _carry_out(self, batch: RequestBatch) -> None:
        file = self.store.content(batch.input_file_id)
        try:
            total, errors = await run_in_threadpool(check_lines, file, batch.endpoint, self._limits)
            if errors:
                self._save(batch, status="failed", failed_at=_now(), errors=BatchErrors(data=errors))
                return
            if batch.status == "cancelling":  # before a restart
                self._cancelled[batch.id] = batch.cancelling_at or _now()
            elif batch.id not in self._cancelled:
                batch = self._save(batch, status="in_progress", in_progress_at=batch.in_progress_at or _now())
            await self._finish(await self._answer_all(batch, total))
        except OSError as error:
            self._fail(batch, "storage", f"A file cannot be read or written: {error.strerror}.")
        except Exception as error:  # a bug in one batch must not end the others
            self._fail(batch, "internal", f"Internal error ({type(error).__name__}).")

    def _fail(self, batch: RequestBatch, code: str, message: str) -> None:
        with suppress(OSError):
            errors = BatchErrors(data=[BatchError(code=code, message=message)])
            self._save(batch, status="failed", failed_at=_now(), errors=errors)

    async def _answer_all(self, batch: RequestBatch, total: int) -> RequestBatch:
        """Answer the requests that have no answer yet, a few at a time, in the order of the file."""
        output, refused = self.store.parts(batch)
        done, failed = await run_in_threadpool(lambda: (answered(output), answered(refused)))
        counts = RequestCounts(total=total, completed=len(done), failed=len(failed))
        lines = read_lines(self.store.content(batch.input_file_id))
        todo = (line for line in lines if line.custom_id not in done and line.custom_id not in failed)
        with output.open("ab") as answers, refused.open("ab") as refusals:
            while batch.id not in self._cancelled and (part := await run_in_threadpool(_take, todo)):
                for line, (status, body) in zip(part, await asyncio.gather(*map(self._one, part)), strict=True):
                    (answers if status == 200 else refusals).write(answer_line(line.custom_id, status, body))
                    counts.completed += status == 200
                    counts.failed += status != 200
                answers.flush()
                refusals.flush()
                batch = self._save(batch, request_counts=counts.model_copy())
        return batch.model_copy(update={"request_counts": counts})

    async def _one(self, line: BatchLine) -> tuple[int, bytes]:
        """Answer one request, waiting while the service is busy with others."""
        while True:
            try:
                return 200, await self._answer(line.body)
            except Refusal as refusal:
                if refusal.status not in _BUSY:
                    return refusal.status, bytes(error_answer(refusal.status, refusal.message).body)
                await asyncio.sleep(_PAUSE)
            except SmoothCSEError as error:
                return 400, bytes(error_answer(400, str(error)).body)
            except ValidationError as error:
                found = error.errors()[0]
                status, message = what_is_invalid({**found, "loc": ("body", *found["loc"])})
                return status, bytes(error_answer(status, message).body)
            except Exception:  # a bug of one request must not end the others
                return 500, to_json({"error": {"message": "Internal error.", "type": "server_error"}})

    async def _finish(self, batch: RequestBatch) -> None:
        batch = self._save(batch, finalizing_at=_now())
        files: dict[str, str] = {}
        for part, field, name in zip(
            self.store.parts(batch), ("output_file_id", "error_file_id"), ("output", "error"), strict=True
        ):
            if part.is_file() and part.stat().st_size:
                files[field] = self.store.adopt(part, f"{batch.id}_{name}.jsonl", "batch_output").id
            part.unlink(missing_ok=True)
        status = "cancelled" if batch.id in self._cancelled else "completed"
        self._save(batch, status=status, **{f"{status}_at": _now()}, **files)
        self._cancelled.pop(batch.id, None)

    def _save(self, batch: RequestBatch, **changes: Any) -> RequestBatch:
        if batch.id in self._cancelled:
            changes = {"status": "cancelling", "cancelling_at": self._cancelled[batch.id], **changes}
        return self.store.save(batch.model_copy(update=changes))


def _take(lines: Any) -> list[BatchLine]:
    return [line for _, line in zip(range(_AT_ONCE), lines, strict=False)]


def _now() -> int:
    return int(time.time())
