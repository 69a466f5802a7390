"""Slow servers of one's own: when replies are streamed, and what is read from a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.llm.outside import OPENAI, Seen, answering, said, wish, wrong

from midspec.llm import Access, Outcome, Request, RetryableError
from midspec.llm._attempts import Timed
from midspec.llm._errors import DeadlineError
from midspec.llm._runaway import REPEATED
from midspec.llm._server import Silence
from midspec.llm._streaming import is_own_server
from midspec.llm.providers._openai import OpenAIClient

SLOW_S = 0.3  # for some 50 tokens; a reply of 20,000 would take two minutes
LONG = {"max_tokens": 20_000}
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 60}}


def chunk(finish_reason: str | None = None, usage: Any = None, **delta: str) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    event = {"id": "1", "model": "tiny-1", "object": "chat.completion.chunk", "choices": [choice], "usage": usage}
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


async def each(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        await asyncio.sleep(0)
        yield block


def slow(blocks: Callable[[], AsyncIterator[bytes]]) -> Callable[[Seen], Awaitable[web.StreamResponse]]:
    """A server that is slow with a whole reply, and streams these where it is asked to."""

    async def answer(seen: Seen) -> web.StreamResponse:
        if not seen.body["stream"]:
            await asyncio.sleep(SLOW_S)
            return said("A long answer about tea. " * 5)
        return web.Response(body=blocks(), headers={"content-type": "text/event-stream"})

    return answer


def ask(answer: Any, *requests: Request) -> tuple[list[Outcome], list[Seen]]:
    async def main() -> tuple[list[Outcome], list[Seen]]:
        async with answering(answer) as small:
            client = OpenAIClient(OPENAI, small.access())
            try:
                return [await client.ask(request) for request in requests], small.seen
            finally:
                await client.close()

    return asyncio.run(main())


def streamed(*blocks: bytes) -> Outcome:
    """The outcome of a reply that comes as these blocks."""
    outcomes, seen = ask(slow(lambda: each(blocks)), wish("a", **LONG), wish("b", **LONG))
    assert [one.body["stream"] for one in seen] == [False, True]
    return outcomes[1]


PARTS = [chunk(role="assistant"), chunk(content="Tea "), chunk(content="is a drink."), chunk("stop", usage=USAGE)]


def test_where_replies_are_long_in_coming_the_next_one_is_streamed_and_reads_as_if_it_were_not() -> None:
    assert streamed(*PARTS, b"data: [DONE]\n\n") == ask(lambda _: said("Tea is a drink."), wish("a"))[0][0]


def test_the_tokens_are_asked_for_and_nothing_else_is_changed() -> None:
    _, (plain, stream) = ask(slow(lambda: each(PARTS)), wish("a", **LONG), wish("a", **LONG))
    assert stream.body == plain.body | {"stream": True, "stream_options": {"include_usage": True}}


def test_a_fast_server_and_a_short_reply_are_never_streamed() -> None:
    _, seen = ask(lambda _: said("Tea is a drink. " * 50), *[wish(name, **LONG) for name in "abc"])
    _, more = ask(slow(lambda: each(PARTS)), *[wish(name, max_tokens=64) for name in "abc"])
    assert {one.body["stream"] for one in (*seen, *more)} == {False}


def test_a_provider_that_is_paid_is_never_asked_for_a_stream() -> None:
    client = OpenAIClient(OPENAI, Access(base_url="https://api.example.com/v1"))
    assert client.streaming is None
    asyncio.run(client.close())


@pytest.mark.parametrize(
    ("url", "is_own"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://192.168.1.20:8000/v1", True),
        ("http://10.0.0.7/v1", True),
        ("http://gpu.lan:8000/v1", True),
        ("https://api.example.com/v1", False),
        ("http://8.8.8.8/v1", False),
        ("https://localhost.example.com/v1", False),
        (None, False),
    ],
)
def test_own_servers_are_known_by_their_address(url: str | None, is_own: bool) -> None:
    assert is_own_server(url) is is_own


# What streams hold ---------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=80), size=st.integers(1, 40))
def test_any_text_comes_through_however_it_is_cut_on_the_way(text: str, size: int) -> None:
    whole = b": keep-alive\r\n\r\n" + b"".join(chunk(content=letter) for letter in text) + chunk("stop") + b"\n"
    cut = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert streamed(*cut).text == text


def test_usage_in_a_last_event_without_a_choice_is_read_and_a_stream_without_done_is_whole() -> None:
    last = b'data: {"choices": [], "usage": ' + json.dumps(USAGE).encode() + b"}\n\n"
    outcome = streamed(chunk(content="Tea."), chunk("stop"), last)
    assert (outcome.kind, outcome.text) == ("ok", "Tea.")
    assert outcome.usage is not None
    assert outcome.usage.n_output == 20


def test_reasoning_stays_apart_and_a_cut_stream_is_truncated() -> None:
    outcome = streamed(chunk(reasoning_content="Hm, tea."), chunk(content="Tea"), chunk("length"))
    assert (outcome.kind, outcome.text, outcome.stop_reason) == ("truncated", "Tea", "length")


@pytest.mark.parametrize(
    "blocks",
    [
        [chunk(content="Tea")],
        [chunk(content="Tea"), b'data: {"error": "out of memory"}\n\n'],
        [chunk(content="Tea"), b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'],
        [b"data: tea\n\n"],
        [b"data: [1]\n\n"],
        [b"data: [DONE]\n\n"],
    ],
    ids=["ends", "error", "error object", "no JSON", "a list", "nothing"],
)
def test_a_stream_that_breaks_is_an_attempt_that_came_to_nothing(blocks: list[bytes]) -> None:
    with pytest.raises(RetryableError):
        streamed(*blocks)


def test_a_reply_that_repeats_itself_is_broken_off_and_the_server_is_left_alone() -> None:
    n_sent = 0

    async def forever() -> AsyncIterator[bytes]:
        nonlocal n_sent
        while n_sent < 20_000:
            n_sent += 1
            await asyncio.sleep(0.0002)
            yield chunk(content="that is, ")

    outcomes, _ = ask(slow(forever), wish("a", **LONG), wish("b", **LONG))
    assert (outcomes[1].kind, outcomes[1].stop_reason, outcomes[1].usage) == ("truncated", REPEATED, None)
    assert len(outcomes[1].text) < 3000
    assert n_sent < 5000


def test_a_server_that_offers_no_streams_is_asked_once_and_loses_nothing() -> None:
    async def answer(seen: Seen) -> web.StreamResponse:
        if seen.body["stream"]:
            return wrong(400, "stream is not offered")
        await asyncio.sleep(SLOW_S)
        return said("Tea is a drink.")

    outcomes, seen = ask(answer, *[wish(name, **LONG) for name in "abc"])
    assert [outcome.text for outcome in outcomes] == ["Tea is a drink."] * 3
    assert [one.body["stream"] for one in seen] == [False, True, False, False]


def test_a_server_that_ignores_the_wish_is_read_as_it_answers() -> None:
    async def answer(seen: Seen) -> web.StreamResponse:
        await asyncio.sleep(SLOW_S)
        return said("Tea is a drink.")

    outcomes, _ = ask(answer, *[wish(name, **LONG) for name in "abc"])
    assert [outcome.text for outcome in outcomes] == ["Tea is a drink."] * 3


def test_a_request_that_is_refused_either_way_is_failed_and_others_are_still_streamed() -> None:
    async def answer(seen: Seen) -> web.StreamResponse:
        if "bad" in seen.body["messages"][0]["content"]:
            return wrong(400, "too long")
        return await slow(lambda: each(PARTS))(seen)

    requests = [wish("a", **LONG), wish("b", prompt="bad", **LONG), wish("c", **LONG)]
    outcomes, seen = ask(answer, *requests)
    assert [outcome.kind for outcome in outcomes] == ["ok", "failed", "ok"]
    assert [one.body["stream"] for one in seen] == [False, True, False, True]


def test_a_reply_that_is_still_coming_is_not_late_and_one_that_stops_coming_is() -> None:
    async def drip(n: int) -> AsyncIterator[bytes]:
        for _ in range(n):
            await asyncio.sleep(0.1)
            yield chunk(content="tea ")
        if n < 20:
            await asyncio.sleep(30)
        yield chunk("stop")

    async def main(n: int) -> tuple[Outcome, float]:
        async with answering(slow(lambda: drip(n))) as small:
            client = Timed(OpenAIClient(OPENAI, small.access()), 1.0, Silence(""))
            try:
                await client.ask(wish("a", **LONG))
                began = asyncio.get_running_loop().time()
                return await client.ask(wish("b", **LONG)), asyncio.get_running_loop().time() - began
            finally:
                await client.close()

    outcome, seconds = asyncio.run(main(20))
    assert (outcome.kind, outcome.text) == ("ok", "tea " * 20)
    assert seconds > 1.9
    with pytest.raises(DeadlineError):
        asyncio.run(main(3))
