"""Refusals of status 400 that pass: the server's state, and what the model itself wrote."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from midspec.llm import Outcome, Request, Store, open_client
from midspec.llm._errors import (
    FailedGenerationError,
    RateLimitError,
    RetryableError,
    SamplingFieldError,
    ServerFaultError,
    read_error_status,
)

from .outside import FORM, OPENAI, Answer, Seen, answering, said, wish, wrong

CRASHED = "The model has crashed without additional information. (Exit code: null)"


def run(answer: Answer, store: Store, *requests: Request, **access: Any) -> tuple[list[Outcome], list[Seen]]:
    """One run: all requests, one after the other."""

    async def ask() -> tuple[list[Outcome], list[Seen]]:
        async with AsyncExitStack() as stack:
            small = await stack.enter_async_context(answering(answer))
            client = await stack.enter_async_context(open_client(OPENAI, small.access(**access), store, role="author"))
            return [await client.ask(request) for request in requests], small.seen

    return asyncio.run(ask())


def failed_generation(code: str = "json_validate_failed", words: str = '{"a": "temperature is not allowed') -> Any:
    message = "Failed to generate JSON. Please adjust your prompt. See 'failed_generation' for more details."
    error = {"message": message, "type": "invalid_request_error", "code": code, "failed_generation": words}
    return web.json_response({"error": error}, status=400)


def passing(body: Any, n: int = 2) -> Answer:
    """A server that is down for the second to the `n`th request."""

    def answer(seen: Seen) -> web.Response:
        return web.json_response(body, status=400) if 1 <= seen.number < n else said("Yes.")

    return answer


STATES = [
    CRASHED,
    "Model unloaded.",
    "Model is not loaded",
    "Model is loading",
    "No models loaded. Please load a model in the developer page",
    "Failed to load model",
    "CUDA error: an illegal memory access was encountered",
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "EngineCore encountered an issue. See stack trace (above) for the root cause.",
    "The service is temporarily unavailable",
    "Model is not ready for inference. Wait and try your request again later.",
    "no slot available",
    "failed to find free slot",
    "The server is busy",
]


@pytest.mark.parametrize("words", STATES)
def test_a_400_about_the_servers_state_is_asked_again(words: str, tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        outcomes, seen = run(passing({"error": words}), store, wish("a"), wish("b"))
        assert [outcome.kind for outcome in outcomes] == ["ok", "ok"]
        assert len(seen) == 3
        assert store.ledger()[0].kinds == {"ok": 2, "again": 1}


@pytest.mark.parametrize("words", ["no slot available", "The server is busy at present"])
def test_a_400_of_a_full_server_holds_others_back(words: str) -> None:
    body = web.json_response({"error": words}).body
    assert isinstance(body, bytes)
    found = read_error_status(400, {}, body, where="m", key="", has_schema=True)
    assert isinstance(found, RateLimitError)


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8192 tokens",
        "the request exceeds the available context size (n_ctx_slot 4096), try increasing it",
        "Your prompt was flagged. Please modify it and retry your request.",
        "messages: roles must alternate",
        "the prompt is too long; try again with a shorter one",
        "the request exceeds the context window of 4096 tokens; try again later with a shorter one",
        "content_filter: modify the prompt and try again later",
        "Failed to load model: cannot find gemma-3",
        "Error loading model: file not found",
    ],
)
def test_a_400_about_the_request_is_no_state(words: str) -> None:
    body = web.json_response({"error": words}).body
    assert isinstance(body, bytes)
    assert isinstance(read_error_status(400, {}, body, where="m", key="", has_schema=False), Outcome)


def test_a_400_in_unknown_words_is_asked_once_more_by_the_next_run_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wishes = [wish(task) for task in "abcd"]
    with Store(tmp_path / "s") as store:
        outcomes, seen = run(passing({"error": "Hmpf."}, 3), store, *wishes, wishes[1])
        assert [outcome.kind for outcome in outcomes] == ["ok", "failed", "failed", "ok", "failed"]
        assert len(seen) == 4
        assert not caplog.messages
    with Store(tmp_path / "s") as store:  # it is so still, for one of them
        outcomes, seen = run(lambda one: wrong(400, "Hmpf.") if one.number else said("Yes."), store, *wishes, wishes[2])
        assert [outcome.kind for outcome in outcomes] == ["ok", "ok", "failed", "ok", "failed"]
        assert len(seen) == 2
    assert len(caplog.messages) == 1
    assert "refused in an earlier run" in caplog.text
    assert "400: Hmpf." in caplog.text
    with Store(tmp_path / "s") as store:
        outcomes, seen = run(lambda _: said("Yes."), store, *wishes)
        assert [outcome.kind for outcome in outcomes] == ["ok", "ok", "failed", "ok"]
        assert not seen, "it was asked again once, and not by every run"


@pytest.mark.parametrize(
    ("status", "words"), [(400, "This model's maximum context length is 8192 tokens"), (422, "no such role")]
)
def test_a_refusal_for_a_known_reason_stays(status: int, words: str, tmp_path: Path) -> None:
    def answer(seen: Seen) -> web.Response:
        return wrong(status, words) if seen.number else said("Yes.")

    with Store(tmp_path / "s") as store:
        run(answer, store, wish("a"), wish("b"))
    with Store(tmp_path / "s") as store:
        outcomes, seen = run(answer, store, wish("a"), wish("b"))
        assert ([outcome.kind for outcome in outcomes], seen) == (["ok", "failed"], [])


@pytest.mark.parametrize("code", ["json_validate_failed", "tool_use_failed"])
def test_what_the_model_wrote_and_its_server_refuses_is_asked_again_and_nothing_is_left_out(
    code: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(seen: Seen) -> web.Response:
        return failed_generation(code) if seen.number in {1, 2} else said('{"names": []}')

    with Store(tmp_path / "s") as store:
        outcomes, seen = run(answer, store, *(wish(task, form=FORM) for task in "abc"))
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 3
        assert store.ledger()[0].kinds == {"ok": 3, "timed_out": 2}  # it may have been billed
    assert len(seen) == 5
    assert all({"temperature", "response_format"} <= set(one.body) for one in seen)
    assert not caplog.messages


def test_a_model_that_always_writes_what_its_server_refuses_loses_that_request_alone(tmp_path: Path) -> None:
    def answer(seen: Seen) -> web.Response:
        return failed_generation() if "Write b" in str(seen.body) else said("Yes.")

    with Store(tmp_path / "s") as store:
        outcomes, seen = run(answer, store, *(wish(task) for task in "abc"))
        assert [outcome.kind for outcome in outcomes] == ["ok", "timed_out", "ok"]
        assert len(seen) == 8
        assert "Failed to generate JSON" in outcomes[1].note
        assert "temperature" not in outcomes[1].note


def test_a_server_that_refuses_all_that_is_written_with_a_schema_is_asked_without(tmp_path: Path) -> None:
    def answer(seen: Seen) -> web.Response:
        return failed_generation() if "response_format" in seen.body else said('{"names": []}')

    with Store(tmp_path / "s") as store:
        outcomes, seen = run(answer, store, *(wish(task, form=FORM) for task in "abc"))
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 3
    assert "response_format" not in seen[-1].body


def read(status: int, body: Any, **options: Any) -> Any:
    content = web.json_response(body).body
    assert isinstance(content, bytes)
    return read_error_status(status, {}, content, where="m", key="", **{"has_schema": False, **options})


def test_what_is_wrong_with_a_request_goes_before_a_state_of_the_server() -> None:
    words = "temperature is not supported by this model; try again later without it"
    found = read(400, {"error": words}, sent=("temperature",))
    assert isinstance(found, SamplingFieldError)
    assert read(413, {"error": "service unavailable for such a body"}).kind == "failed"
    assert read(400, {"error": "flagged by the content_filter; retry later"}).kind == "filtered"
    assert isinstance(read(400, {"error": "the model is loading, try again later"}), ServerFaultError)
    assert isinstance(read(409, {"error": "context window is being moved"}), RetryableError)


@pytest.mark.parametrize("name", ["body", "request", "messages"])
def test_a_request_that_a_server_repeats_is_not_read(name: str) -> None:
    found = read(400, {"error": {"message": "no such role"}, name: [{"content": "service unavailable"}]})
    assert isinstance(found, Outcome)


ECHOED = [
    {"error": {"message": "no", "failed_generation": "temperature is not allowed, max_tokens unsupported"}},
    {"detail": [{"msg": "no", "loc": ["body", "messages"], "input": "temperature is not allowed; insufficient_quota"}]},
    {"error": {"message": "no", "metadata": {"raw": '{"error": {"failed_generation": "temperature not allowed"}}'}}},
]


@pytest.mark.parametrize("body", ECHOED)
def test_what_a_server_repeats_of_texts_is_not_read_as_its_words(body: Any) -> None:
    content = web.json_response(body).body
    assert isinstance(content, bytes)
    sent = ("temperature", "max_tokens")
    found = read_error_status(400, {}, content, where="m", key="", has_schema=True, sent=sent)
    assert isinstance(found, FailedGenerationError | Outcome)
    assert not isinstance(found, ServerFaultError)
    assert "temperature" not in (found.note if isinstance(found, Outcome) else found.reason)
