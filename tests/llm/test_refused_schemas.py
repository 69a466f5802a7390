"""Schemas that are refused in many words, counts that are none, and replies of calls alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.loopback import Settings, serve

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm import (
    Access,
    ModelConfig,
    Outcome,
    Store,
    UnreadableReplyError,
    UsableReplies,
    converse,
    open_client,
)

from .outside import ANTHROPIC, FORM, OPENAI, Answer, Seen, answering, said, told, wish

BOTH = pytest.mark.parametrize("model", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])


def ask(answer: Answer, folder: Path, model: ModelConfig = OPENAI, n: int = 4) -> tuple[list[Outcome], list[Seen]]:
    async def run() -> tuple[list[Outcome], list[Seen]]:
        async with answering(answer) as small:
            with Store(folder / "s") as store:
                async with open_client(model, small.access(), store, role="author") as client:
                    return [await client.ask(wish(f"t{at}", form=FORM)) for at in range(n)], small.seen

    return asyncio.run(run())


UNKNOWN = (
    "Invalid JSON payload received. Unknown name \"strict\" at 'generation_config.response_schema': Cannot find field."
)
NO_MORE = "Invalid JSON payload received. Unknown name \"additionalProperties\" at 'tools[0]': Cannot find field."
STATES = "The specified schema produces a constraint that has too many states for serving."
REFUSALS: list[tuple[int, Any]] = [
    (400, [{"error": {"code": 400, "message": UNKNOWN, "status": "INVALID_ARGUMENT"}}]),
    (400, [{"error": {"code": 400, "message": NO_MORE, "status": "INVALID_ARGUMENT"}}]),
    (400, [{"error": {"code": 400, "message": STATES, "status": "INVALID_ARGUMENT"}}]),
    (400, {"error": {"type": "invalid_request_error", "message": "Schema is too complex for compilation."}}),
    (400, {"object": "error", "message": "The provided JSON schema contains features not supported by xgrammar."}),
    (400, {"error": {"code": 400, "message": "Failed to initialize samplers: failed to parse grammar"}}),
    (400, {"error": {"message": "failed to initialize samplers"}}),
    (422, {"detail": [{"loc": ["body"], "msg": "$ref can not be resolved", "type": "value_error"}]}),
    (500, {"error": {"message": "Schema is too complex"}}),
]


@BOTH
@pytest.mark.parametrize(("status", "body"), REFUSALS)
def test_a_schema_that_is_refused_is_left_out_and_told(
    status: int, body: Any, model: ModelConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    field = "response_format" if model is OPENAI else "output_config"

    def answer(seen: Seen) -> web.Response:
        if field in seen.body:
            return web.json_response(body, status=status)
        return said('{"names": []}') if model is OPENAI else told('{"names": []}')

    outcomes, seen = ask(answer, tmp_path, model)
    assert [outcome.kind for outcome in outcomes] == ["ok"] * 4
    assert [field in one.body for one in seen] == [True] + [False] * 4
    assert len(caplog.messages) == 1
    assert f"takes no {field}; left out from now on" in caplog.text


# Counts --------------------------------------------------------------------------------------------------------------
NOTHING = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "input_tokens": 0, "output_tokens": 0}


@BOTH
def test_counts_of_nothing_for_a_reply_are_unknown_and_hold_the_budget(model: ModelConfig, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(f"{model.model}: {{input: 1.0, output: 100.0}}\n")

    async def run(url: str) -> list[Outcome]:
        access = Access(base_url=url, budget_usd=1.0, prices=str(prices))
        with Store(tmp_path / "s") as store:
            async with open_client(model, access, store, role="author") as client:
                return [await client.ask(wish(f"t{at}")) for at in range(10)]

    with serve(reshape=lambda body: {**body, "usage": NOTHING}) as served:
        with pytest.raises(MidspecError, match="USD are used up"):  # a reply may cost 0.4
            asyncio.run(run(served.url if model is ANTHROPIC else served.openai_url))
        assert len(served.log) == 2
    with Store(tmp_path / "s") as store:
        assert sum(row.n for row in store.unmetered()) == 2
        assert store.ledger()[0].cost_usd is None


@BOTH
def test_counts_of_nothing_for_nothing_are_counts(model: ModelConfig, tmp_path: Path) -> None:
    with serve(Settings(fates=("empty",)), reshape=lambda body: {**body, "usage": NOTHING}) as served:

        async def run() -> Outcome:
            access = Access(base_url=served.url if model is ANTHROPIC else served.openai_url)
            with Store(tmp_path / "s") as store:
                async with open_client(model, access, store, role="author") as client:
                    return await client.ask(wish())

        assert asyncio.run(run()).usage is not None


# Replies of other things ---------------------------------------------------------------------------------------------
def test_replies_of_calls_alone_end_the_run_with_what_they_stopped_for(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "write", "arguments": "{}"}}

    def parse(text: str) -> str:
        raise UnreadableReplyError("the reply must be one JSON object")

    async def run() -> list[str]:
        async with answering(lambda _: said(None, "tool_calls", tool_calls=[call])) as small:
            with Store(tmp_path / "s") as store:
                replies = UsableReplies(store, where="openai/tiny")
                async with open_client(OPENAI, small.access(), store, role="author") as client:
                    for at in range(9):
                        request = wish(f"t{at}")
                        replies.count(request, await converse(client, store, request, parse))
            return []

    with pytest.raises(MidspecError) as caught:
        asyncio.run(run())
    line = "5 unparsable: an empty reply, stopped for tool_calls (the reply must be one JSON object)"
    assert f"none of the first 5 requests gave a reply that can be used ({line})" in str(caught.value)


def test_lm_studios_words_for_an_unknown_address_of_status_200_end_the_run_with_the_hint(tmp_path: Path) -> None:
    words = "Unexpected endpoint or method. (POST /chat/completions). Returning 200 anyway"
    with pytest.raises(ConfigError) as caught:
        ask(lambda _: web.json_response({"error": words}), tmp_path)
    assert "Unexpected endpoint or method" in str(caught.value)
    assert "have theirs at .../v1" in str(caught.value)
