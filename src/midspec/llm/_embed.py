"""Vectors of texts, from any server that speaks the OpenAI embeddings protocol."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from midspec.errors import ConfigError, DataError, MidspecError
from midspec.llm._openai import openai_sdk
from midspec.llm._types import Access, ModelConfig
from midspec.llm._wire import HOW_JSON_IS_SENT, AgainError, failed_connection, failed_status, not_json

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["embed"]

_MOST_TEXTS = 256
_MOST_CHARACTERS = 400_000
_FEWEST_FAILURES = 5
_LONGEST_PAUSE_S = 60.0


async def embed(texts: Sequence[str], model: ModelConfig, access: Access) -> list[list[float]]:
    """One vector for each text, in their order.

    Args:
        texts: what is embedded; none of them empty.
        model: `openai/<embedding model>`; its `extra` is sent along (`{"dimensions": 256}`).
        access: how it is reached.

    Raises:
        ConfigError: the model is not of this protocol, or the key is missing or not accepted.
        DataError: the server does not take the texts, or gives fewer vectors than there are texts.
        MidspecError: nothing has been answered for as long as the patience goes.
    """
    if not model.model.startswith("openai/"):
        mend = "Name a model behind the OpenAI protocol: openai/<model>"
        raise ConfigError(f"{model.model} gives no embeddings", where="model", mend=mend)
    sdk = openai_sdk(access)
    room = asyncio.Semaphore(access.concurrency)

    async def one(part: Sequence[str]) -> list[list[float]]:
        async with room:
            return await _patient(sdk, part, model, access)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(part)) for part in _parts(texts)]
    except* MidspecError as errors:
        first = errors.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    finally:
        await sdk.close()
    return [vector for task in tasks for vector in task.result()]


def _parts(texts: Sequence[str]) -> list[list[str]]:
    """The texts in runs that one request takes."""
    parts: list[list[str]] = []
    n_characters = 0
    for text in texts:
        if not parts or len(parts[-1]) >= _MOST_TEXTS or n_characters + len(text) > _MOST_CHARACTERS:
            parts.append([])
            n_characters = 0
        parts[-1].append(text)
        n_characters += len(text)
    return parts


async def _patient(sdk: AsyncOpenAI, part: Sequence[str], model: ModelConfig, access: Access) -> list[list[float]]:
    started_at = time.monotonic()
    n_failed = 0
    while True:
        try:
            return await _once(sdk, part, model)
        except AgainError as error:
            n_failed += 1
            if n_failed >= _FEWEST_FAILURES and time.monotonic() - started_at > access.patience_s:
                what = f"no embeddings in {n_failed} attempts ({error.words})"
                raise MidspecError(what, where=model.model, mend="The same command goes on from here") from None
            pause_s = min(_LONGEST_PAUSE_S, 0.25 * 2.0 ** min(n_failed, 30))
            await asyncio.sleep(pause_s if error.wait_s is None else error.wait_s)


async def _once(sdk: AsyncOpenAI, part: Sequence[str], model: ModelConfig) -> list[list[float]]:
    import httpx2
    import openai

    body = {"model": model.model.removeprefix("openai/"), "input": list(part), **model.extra}
    try:
        response = await sdk.post(
            "/embeddings",
            content=json.dumps(body).encode("ascii"),
            cast_to=httpx2.Response,
            options=HOW_JSON_IS_SENT,
        )
    except openai.APIStatusError as error:
        raise _failure(error.response, model.model, sdk.api_key) from None
    except openai.APIConnectionError as error:
        raise failed_connection(error) from None
    return _vectors(response.content, len(part), model.model)


def _failure(response: Any, where: str, key: str) -> Exception:
    found = failed_status(
        response.status_code, response.headers, response.content, where=where, key=key, has_form=False
    )
    return (
        found
        if isinstance(found, Exception)
        else DataError(f"the server does not take the texts ({found.note})", where=where)
    )


def _vectors(content: bytes, n_texts: int, where: str) -> list[list[float]]:
    try:
        rows = sorted(json.loads(content)["data"], key=lambda row: int(row["index"]))
        vectors = [[float(value) for value in row["embedding"]] for row in rows]
    except (ValueError, TypeError, KeyError):
        raise not_json(content) from None
    if len(vectors) != n_texts:
        raise DataError(f"{len(vectors)} vectors came for {n_texts} texts", where=where, mend="Use another server")
    return vectors
