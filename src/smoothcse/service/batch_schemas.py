"""Bodies of OpenAI's API for files and batches."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from smoothcse.service.schemas import Body

EMBEDDINGS = "/v1/embeddings"
"""Endpoint of the requests in a batch."""

BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "cancelling", "cancelled"
]  # fmt: skip


class StoredFile(BaseModel):
    """A file in the service's folder."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class StoredFiles(BaseModel):
    """Files, the newest first."""

    object: Literal["list"] = "list"
    data: list[StoredFile]
    has_more: bool = False


class DeletedFile(BaseModel):
    """A file that has been deleted."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class BatchRequest(Body):
    """Requests of an uploaded file, to answer in the background."""

    input_file_id: str = Field(description="File uploaded with the purpose `batch`.")
    endpoint: Literal["/v1/embeddings"] = Field(description="Endpoint of all requests in the file.")
    completion_window: Literal["24h"] = Field(
        default="24h", description="Accepted for compatibility; batches do not expire."
    )
    metadata: dict[str, str] | None = None


class BatchError(BaseModel):
    """Why a batch has failed."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchErrors(BaseModel):
    """Why a batch has failed: one entry per line, the first ones."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(BaseModel):
    """Requests of a batch."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class RequestBatch(BaseModel):
    """A batch of requests."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: str
    status: BatchStatus = "validating"
    output_file_id: str | None = Field(default=None, description="File with the answers, one JSON object per line.")
    error_file_id: str | None = Field(default=None, description="File with the requests that were refused.")
    created_at: int
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expires_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts = Field(default_factory=RequestCounts)
    metadata: dict[str, Any] | None = None


class RequestBatches(BaseModel):
    """Batches, the newest first."""

    object: Literal["list"] = "list"
    data: list[RequestBatch]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False
