"""Vectors of texts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from tests.loopback import serve

from midspec.core.errors import ConfigError, DataError, MidspecError
from midspec.llm import ModelConfig, embed

from .outside import ANTHROPIC, OPENAI, Answer, Seen, answering, wrong


def vectors(seen: Seen) -> web.Response:
    """Each text's length as its vector; the last text comes first."""
    rows = [{"index": at, "embedding": [len(text), 1]} for at, text in enumerate(seen.body["input"])]
    return web.json_response({"data": rows[::-1]})


def embedded(answer: Answer, texts: list[str], model: ModelConfig = OPENAI, **access: Any) -> tuple[Any, list[Seen]]:
    async def run() -> tuple[Any, list[Seen]]:
        async with answering(answer) as small:
            return await embed(texts, model, small.access(**access)), small.seen

    return asyncio.run(run())


def test_vectors_come_in_the_order_of_the_texts_over_several_requests() -> None:
    texts = ["x" * (number % 50) for number in range(600)]
    found, seen = embedded(vectors, texts)
    assert found == [[float(len(text)), 1.0] for text in texts]
    assert len(seen) == 3


def test_long_texts_are_spread_over_more_requests() -> None:
    _, seen = embedded(vectors, ["x" * 300_000] * 3)
    assert len(seen) == 3


def test_of_no_texts_nothing_is_asked() -> None:
    assert embedded(vectors, []) == ([], [])


def test_fields_of_the_models_own_are_sent() -> None:
    _, (seen,) = embedded(vectors, ["a"], ModelConfig(model="openai/tiny", extra={"dimensions": 8}))
    assert seen.body == {"model": "tiny", "input": ["a"], "dimensions": 8}


def test_it_asks_again_after_a_failure() -> None:
    found, seen = embedded(
        lambda seen: wrong(429, "wait", Retry_After="0.05") if seen.number == 0 else vectors(seen), ["abc"]
    )
    assert (found, len(seen)) == ([[3.0, 1.0]], 2)


def test_what_the_server_does_not_take_ends_in_one_line() -> None:
    with pytest.raises(DataError, match="too long for me"):
        embedded(lambda _: wrong(400, "too long for me"), ["a"])
    with pytest.raises(ConfigError, match="404"):
        embedded(lambda _: wrong(404, "no such model"), ["a"])
    with pytest.raises(DataError, match="0 vectors came for 1 texts"):
        embedded(lambda _: web.json_response({"data": []}), ["a"])


def test_a_server_that_never_answers_ends_in_one_line() -> None:
    with pytest.raises(MidspecError, match="same command goes on"):
        embedded(lambda _: wrong(500, "no", Retry_After="0.01"), ["a"], patience_s=0.05)


def test_a_model_of_the_other_protocol_has_no_embeddings() -> None:
    with pytest.raises(ConfigError, match="gives no embeddings"):
        embedded(vectors, ["a"], ANTHROPIC)


def test_texts_that_share_words_are_nearer_on_the_loopback_provider() -> None:
    async def run(url: str) -> list[list[float]]:
        from midspec.llm import Access

        return await embed(["red green blue", "red green grey", "one two three"], OPENAI, Access(base_url=url))

    with serve() as served:
        first, second, third = asyncio.run(run(served.openai_url))
    near = sum(a * b for a, b in zip(first, second, strict=True))
    assert near > sum(a * b for a, b in zip(first, third, strict=True))
