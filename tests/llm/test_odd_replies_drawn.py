"""2,000 odd replies, drawn: whatever a server answers, an attempt ends in an outcome or in an error that is typed."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midspec.core.errors import MidspecError
from midspec.llm import ModelConfig, Outcome, Prices, Request, Store, converse, parse_tags
from midspec.llm._attempts import Recorded
from midspec.llm._errors import RetryableError
from midspec.llm._providers import provider_of
from midspec.llm._store import as_recorded

from .outside import FORM, Seen, answering

GOOD: dict[str, dict[str, Any]] = {
    "openai": {
        "id": "1",
        "object": "chat.completion",
        "model": "tiny-1",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "<document>Tea.</document>",
                    "refusal": None,
                    "reasoning_content": "Hm.",
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 60},
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
    },
    "anthropic": {
        "id": "1",
        "type": "message",
        "model": "tiny-1",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "x"},
            {"type": "text", "text": "<document>Tea.</document>"},
        ],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 10,
            "output_tokens": 20,
            "cache_read_input_tokens": 60,
            "cache_creation_input_tokens": 30,
        },
    },
}
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 12.0, -0.5, 1e308, 10**30, "", " \n\t", "12", "null", "stop", "length", "\ud800"),
    *("<think>Hm.", "<think>Hm.</think>", "</think>", "<|channel|>analysis<|message|>Hm.", "﻿", "\x00", "x" * 3000),
    *([], {}, [[]], [None], [{}], {"type": "text"}, {"type": "text", "text": None}, {"type": "text", "text": ["a", 1]}),
    *([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Tea."}],),
    *({"error": "no"}, {"error": {"code": "429"}}, {"message": {"message": {}}}, {"code": 10**9}, float("nan")),
)
NAMES = ("error", "detail", "object", "message", "choices", "content", "usage", "type", "code")
STATUSES = st.one_of(
    st.just(200),
    st.sampled_from(
        [200, 201, 204, 206, 226, 300, 304, 400, 401, 402, 403, 404, 405, 407, 408, 409, 410, 413, 418, 422]
    ),
    st.sampled_from(
        [425, 426, 429, 431, 451, 499, 500, 501, 502, 503, 504, 507, 520, 521, 522, 524, 529, 530, 598, 599]
    ),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Retry-After", "retry-after-ms", "Content-Type", "x-ratelimit-remaining-requests", "Server", "Via"]
    ),
    st.sampled_from(
        ["", "0", "-1", "1e9", "soon", "nan", "inf", "text/html", "Wed, 21 Oct 2026 07:28:00 GMT", "1795000000"]
    ),
    max_size=2,
)
WORDS = st.sampled_from(
    [
        *(b"", b"\n", b"<html><title>Sign in</title></html>", b"Internal Server Error", b"\xff\xfe\x00", b"null", b"0"),
        *(
            b'"error"',
            b"[" * 100_000,
            b"{" * 50,
            b"9" * 5000,
            b'{"choices": [{"message"',
            b"\xef\xbb\xbf{}",
            b"data: {}\n\n",
        ),
        *(b'{"error": "temperature is not supported"}', b'{"error": {"message": "unknown field response_format"}}'),
        *(
            b'{"error": {"message": "max_tokens is not supported, use max_completion_tokens"}}',
            b'{"detail": [{"loc": []}]}',
        ),
        *(b'{"type": "error", "error": {"type": "overloaded_error"}}', b'{"type": "error", "error": "no"}'),
    ]
)


@st.composite
def bodies(draw: st.DrawFn, protocol: str) -> bytes:
    """A good reply with a few of its parts removed, doubled or replaced; or words that are no reply at all."""
    if draw(st.integers(0, 5)) == 0:
        return draw(WORDS)
    body: Any = copy.deepcopy(GOOD[protocol])
    for _ in range(draw(st.integers(1, 4))):
        body = _changed(draw, body)
    text = json.dumps(body).encode()
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


def _changed(draw: st.DrawFn, body: Any) -> Any:
    at, parent, key = body, None, None
    for _ in range(draw(st.integers(0, 5))):
        if not isinstance(at, dict | list) or not at:
            break
        parent, key = at, draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        at = parent[key]
    odd = copy.deepcopy(draw(st.sampled_from(ODD)))
    if parent is None:
        return {**body, draw(st.sampled_from(NAMES)): odd} if isinstance(body, dict) else odd
    how = draw(st.sampled_from(["replace", "remove", "wrap", "unwrap", "add"]))
    if how == "remove":
        del parent[key]
    elif how == "add" and isinstance(parent, dict):
        parent[draw(st.sampled_from(NAMES))] = odd
    else:
        parent[key] = [at] if how == "wrap" else at[0] if how == "unwrap" and isinstance(at, list) and at else odd
    return body


class Server:
    """A server and a client of it in one event loop, for many examples."""

    def __init__(self, runner: asyncio.Runner, protocol: str, folder: Path) -> None:
        self._runner, self._stack = runner, AsyncExitStack()
        self.reply: tuple[int, bytes, dict[str, str]] = (200, b"{}", {})
        self.n = 0
        self.store = Store(folder / "calls.sqlite")
        self.model = ModelConfig(model=f"{protocol}/tiny")
        runner.run(self._open())

    async def _open(self) -> None:
        def answer(_: Seen) -> web.Response:
            status, body, headers = self.reply
            return web.Response(status=status, body=body, headers={"Content-Type": "application/json", **headers})

        self._small = await self._stack.enter_async_context(answering(answer))

    def ask(self, *, form: bool) -> Outcome | Exception:
        return self._runner.run(self._ask(form=form))

    async def _ask(self, *, form: bool) -> Outcome | Exception:
        self.n += 1
        request = Request(
            task=str(self.n), stage="documents", prompt="Write.", max_tokens=400, form=FORM if form else None
        )
        provider = provider_of(self.model.model)
        client = Recorded(
            provider.client(self.model, self._small.access(deadline_s=5.0)),  # type: ignore[arg-type]
            self.store,
            self.model,
            "author",
            Prices({}),
        )
        try:
            outcome = await client.ask(request)
            assert self.store.answer(request.task, 0) == as_recorded(outcome)
            # And nothing that is made of it later breaks either.
            replayed = _Replayed(outcome)
            await converse(replayed, self.store, request, lambda text: parse_tags(text, "document"))
            return outcome
        except (RetryableError, MidspecError) as error:
            return error
        finally:
            await client.close()

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self.store.close()


class _Replayed:
    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    async def ask(self, request: Request) -> Outcome:
        return self._outcome if request.turn == 0 else Outcome(kind="failed", note="no more")

    async def close(self) -> None: ...


@pytest.fixture(scope="module", params=["openai", "anthropic"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with asyncio.Runner() as runner:
        made = Server(runner, request.param, tmp_path_factory.mktemp("drawn"))
        try:
            yield made
        finally:
            made.close()


def check(server: Server, data: st.DataObject, status: int, headers: dict[str, str], *, form: bool) -> None:
    body = data.draw(bodies(server.model.model.partition("/")[0]))
    server.reply = (status, body, headers)
    found = server.ask(form=form)
    if isinstance(found, Outcome):
        assert found.kind != "timed_out"
        assert found.kind == "ok" or found.note
        assert found.kind != "ok" or found.text.strip()
        counts = found.usage.model_dump().values() if found.usage else ()
        assert all(0 <= count < 2**53 for count in counts)
    else:
        assert "\n" not in str(found)
        assert len(str(found)) < 800


DRAWN = {"data": st.data(), "status": STATUSES, "headers": HEADERS, "form": st.booleans()}
FREELY = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(FREELY, max_examples=60)
@given(**DRAWN)
def test_an_odd_reply_ends_in_an_outcome_or_a_typed_error(server: Server, **drawn: Any) -> None:
    check(server, **drawn)


@pytest.mark.slow
@settings(FREELY, max_examples=1000)
@given(**DRAWN)
def test_a_thousand_of_each_protocol_do(server: Server, **drawn: Any) -> None:
    check(server, **drawn)


def test_nothing_is_spent_by_what_no_model_said(server: Server) -> None:
    for status in (200, 502):
        server.reply = (status, b"<html><body>Sign in to continue</body></html>", {})
        with contextlib.suppress(RetryableError):
            server.ask(form=False)
    rows = server.store.ledger()
    assert all(row.cost_usd in {None, 0.0} for row in rows)
