"""OpenAI's API for files and batches: many requests in one file, answered in the background; they need a token."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from smoothcse.service.batch_runner import BatchRunner
from smoothcse.service.batch_schemas import (
    BatchRequest,
    DeletedFile,
    RequestBatch,
    RequestBatches,
    StoredFile,
    StoredFiles,
)
from smoothcse.service.limits import Refusal


async def _the_runner(request: Request) -> BatchRunner:
    if not request.app.state.authenticated:
        raise Refusal(403, "Files and batches need a service that requires a token; start it with SMOOTHCSE_TOKEN.")
    if request.app.state.batches is None:
        raise Refusal(404, "This service has no folder for files and batches; start it with --batches FOLDER.")
    return cast("BatchRunner", request.app.state.batches)


TheRunner = Annotated[BatchRunner, Depends(_the_runner)]
router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])


@router.post("/files")
async def upload(
    batches: TheRunner,
    file: Annotated[UploadFile, File(description="JSON lines.")],
    purpose: Annotated[str, Form(description="`batch`.")],
) -> StoredFile:
    """Upload the requests of a batch: one JSON object per line, with custom_id, method, url and body."""
    if purpose != "batch":
        raise Refusal(400, f"The purpose {purpose!r} is not supported; upload files for batches only.")
    content = await file.read()
    return await run_in_threadpool(batches.store.add_file, content, file.filename or "batch.jsonl", purpose)


@router.get("/files")
async def files(batches: TheRunner) -> StoredFiles:
    """List the files."""
    return StoredFiles(data=await run_in_threadpool(batches.store.files))


@router.get("/files/{id}")
async def describe_file(id: str, batches: TheRunner) -> StoredFile:
    """Describe a file."""
    return await run_in_threadpool(batches.store.file, id)


@router.get("/files/{id}/content", response_class=FileResponse)
async def download(id: str, batches: TheRunner) -> FileResponse:
    """Download a file."""
    await run_in_threadpool(batches.store.file, id)
    return FileResponse(batches.store.content(id), media_type="application/jsonl")


@router.delete("/files/{id}")
async def delete_file(id: str, batches: TheRunner) -> DeletedFile:
    """Delete a file."""
    await run_in_threadpool(batches.store.delete_file, id)
    return DeletedFile(id=id)


@router.post("/batches")
async def create_batch(request: BatchRequest, batches: TheRunner) -> RequestBatch:
    """Answer the requests of a file in the background."""
    batch = await run_in_threadpool(batches.store.add_batch, request)
    batches.wake()
    return batch


@router.get("/batches")
async def list_batches(batches: TheRunner) -> RequestBatches:
    """List the batches."""
    found = await run_in_threadpool(batches.store.batches)
    ends = (found[0].id, found[-1].id) if found else (None, None)
    return RequestBatches(data=found, first_id=ends[0], last_id=ends[1])


@router.get("/batches/{id}")
async def describe_batch(id: str, batches: TheRunner) -> RequestBatch:
    """Describe a batch: its status, the number of its answered requests, and its files once it has ended."""
    return await run_in_threadpool(batches.store.batch, id)


@router.post("/batches/{id}/cancel")
async def cancel_batch(id: str, batches: TheRunner) -> RequestBatch:
    """Stop a batch; the answers so far become its output."""
    return batches.cancel(id)
