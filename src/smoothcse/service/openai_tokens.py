"""Token ids in requests of OpenAI's API.

Ids do not tell which tokenizer made them. In OpenAI's API, they are those of its embedding models (``cl100k_base``),
which LangChain's ``OpenAIEmbeddings`` sends by default. vLLM and text-embeddings-inference take them for ids of the
served model's tokenizer. Which of the two holds is a setting of the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from smoothcse.errors import first_line
from smoothcse.service.limits import Refusal
from smoothcse.service.request_inputs import TokenIds

if TYPE_CHECKING:
    from tiktoken import Encoding

CL100K = "cl100k_base"
_SECONDS_TO_LOAD = 20.0  # tiktoken downloads its file without a limit on the time


class OpenAITokens:
    """The vocabulary of OpenAI's embedding models, read when the first ids arrive."""

    def __init__(self) -> None:
        self._encoding: Encoding | None = None

    async def decode(self, rows: Sequence[TokenIds]) -> list[str]:
        """Return the text of each list of ids.

        Args:
            rows: Token ids of each text.

        Raises:
            Refusal: Status 400 if the vocabulary cannot be read, or has no token with one of the ids.
        """
        encoding = self._encoding = self._encoding or await _load()
        return await run_in_threadpool(lambda: [_text_of(encoding, ids) for ids in rows])


async def _load() -> Encoding:
    try:
        async with asyncio.timeout(_SECONDS_TO_LOAD):
            return await asyncio.to_thread(_read)  # unlike run_in_threadpool, it can be left behind
    except Exception as error:  # tiktoken passes on the errors of its HTTP library
        reason = "no answer from its server" if isinstance(error, TimeoutError) else first_line(error)
        raise Refusal(
            400,
            "Token ids cannot be decoded, because tiktoken cannot read OpenAI's vocabulary; send texts (in LangChain, "
            "set check_embedding_ctx_length=False), or give the service tiktoken's file in the folder "
            "TIKTOKEN_CACHE_DIR, or start it with --token-ids model if the ids are of the model's own tokenizer "
            f"({reason}).",
        ) from error


def _read() -> Encoding:
    import tiktoken

    return tiktoken.get_encoding(CL100K)


def _text_of(encoding: Encoding, ids: TokenIds) -> str:
    try:
        return encoding.decode(ids)
    except (KeyError, OverflowError) as error:
        raise Refusal(
            400,
            f"The input has a token id that {CL100K} does not have; send texts, or start the service with --token-ids "
            "model if the ids are of the model's own tokenizer.",
        ) from error
