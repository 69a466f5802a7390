"""Replies as servers really send them: each by hand, with what it must come to."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from aiohttp import web
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.core.errors import ConfigError
from midspec.core.records import Message
from midspec.llm import Access, ModelConfig, Outcome, ParsedReply, Prices, Request, Store, UsableReplies, Usage
from midspec.llm._attempts import Recorded
from midspec.llm._errors import BrokenReplyError, NoReplyError, RateLimitError, RetryableError
from midspec.llm._providers import provider_of

from .outside import ANTHROPIC, FORM, OPENAI, Answer, Seen, answering, said, told, wish, wrong

BOTH = pytest.mark.parametrize("model", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
PRICES = Prices.load(None)


def ask_all(
    answer: Answer, *requests: Request, model: ModelConfig = OPENAI, store: Store | None = None
) -> tuple[list[Outcome | Exception], list[Seen]]:
    """Ask one after the other; an attempt that may be repeated gives its error."""

    async def run() -> tuple[list[Outcome | Exception], list[Seen]]:
        async with answering(answer) as small:
            client: Any = provider_of(model.model).client(model, small.access())
            if store is not None:
                client = Recorded(client, store, model, "author", Prices({}), lambda: client._client.sampling)
            found: list[Outcome | Exception] = []
            try:
                for request in requests or (wish(),):
                    try:
                        found.append(await client.ask(request))
                    except RetryableError as error:
                        found.append(error)
            finally:
                await client.close()
            return found, small.seen

    return asyncio.run(run())


def ask(answer: Answer, *, model: ModelConfig = OPENAI, **more: Any) -> Any:
    (found,), _ = ask_all(answer, wish(**more), model=model)
    return found


def completion(message: Any, *, usage: Any = None, stop: Any = "stop", **more: Any) -> web.Response:
    body = {"model": "tiny-1", "choices": [{"index": 0, "message": message, "finish_reason": stop}], **more}
    return web.json_response({**body, "usage": usage})


# Text ----------------------------------------------------------------------------------------------------------------
PARTS: list[tuple[Any, str]] = [
    ([{"type": "text", "text": "Tea."}], "Tea."),
    ([{"type": "text", "text": "Te"}, {"type": "text", "text": "a."}], "Tea."),
    ([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Tea."}], "Tea."),
    ([{"type": "reasoning", "text": "Hm."}, {"type": "output_text", "text": "Tea."}], "Tea."),
    ([{"type": "text", "text": {"value": "Tea.", "annotations": []}}], "Tea."),
    (["Tea."], "Tea."),
    ({"type": "text", "text": "Tea."}, "Tea."),
    ([{"text": "Tea."}], "Tea."),
    ([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "Tea."}, None, 3], "Tea."),
]


@pytest.mark.parametrize(("content", "text"), PARTS)
def test_content_of_typed_parts_is_their_text(content: Any, text: str) -> None:
    outcome = ask(lambda _: completion({"role": "assistant", "content": content}))
    assert (outcome.kind, outcome.text) == ("ok", text)


@pytest.mark.parametrize(
    ("asked", "answered", "is_told"),
    [
        ("any-model", "gemma-3-1b-it-qat:2", True),
        ("gpt-5", "gpt-3.5-turbo-0125", True),
        ("gpt-5", "gpt-5-2025-08-07", False),
        ("anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet-20250929", False),
        ("mistral-large-latest", "mistral-large-2411", False),
        ("Qwen/Qwen3-32B", "/models/qwen3-32b-q4.gguf", False),
        ("qwen3", "qwen3:latest", False),
        ("m", "", False),
    ],
)
def test_a_server_that_answers_as_another_model_is_told_once(
    asked: str, answered: str, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"model": answered, "choices": [{"message": {"content": "Tea."}, "finish_reason": "stop"}]}
    model = ModelConfig(model=f"openai/{asked}")
    found, _ = ask_all(lambda _: web.json_response(body), wish("a"), wish("b"), model=model)
    assert [outcome.text for outcome in found if isinstance(outcome, Outcome)] == ["Tea.", "Tea."]
    assert [answered in line for line in caplog.messages] == [True] * is_told


@pytest.mark.parametrize("before", [b": PROCESSING\n\n: PROCESSING\n\n", b" \n:\r\n\r\n", b"\n \n"])
def test_what_a_router_sends_to_keep_a_connection_open_is_no_part_of_the_reply(before: bytes) -> None:
    body = {"model": "tiny-1", "choices": [{"index": 0, "message": {"content": "Tea."}, "finish_reason": "stop"}]}
    answer = web.Response(body=before + json.dumps(body).encode(), content_type="application/json")
    assert ask(lambda _: answer).text == "Tea."


def test_a_refusal_among_the_parts_is_a_refusal() -> None:
    outcome = ask(lambda _: completion({"content": [{"type": "refusal", "refusal": "No."}]}))
    assert (outcome.kind, outcome.note) == ("refused", "No.")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking", "reasoning_text", "thought"])
@pytest.mark.parametrize("content", [None, "", " \n", []])
def test_reasoning_alone_is_no_reply_and_says_so(field: str, content: Any) -> None:
    outcome = ask(lambda _: completion({"content": content, field: "Let me see."}))
    assert (outcome.kind, outcome.text.strip()) == ("unparsable", "")
    assert outcome.note == "only reasoning and no text (11 characters)"


def test_reasoning_among_the_parts_alone_is_no_reply() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Let me see."}]}]
    assert ask(lambda _: completion({"content": parts})).note == "only reasoning and no text (11 characters)"


def test_thinking_alone_is_no_reply_of_anthropics_protocol_either() -> None:
    body = {"type": "message", "content": [{"type": "thinking", "thinking": "Hm."}], "stop_reason": "end_turn"}
    outcome = ask(lambda _: web.json_response(body), model=ANTHROPIC)
    assert (outcome.kind, outcome.note) == ("unparsable", "only reasoning and no text (3 characters)")


@pytest.mark.parametrize("message", [None, [], "Tea.", 3, {}, {"content": 3}, {"content": [None]}])
def test_a_message_that_is_none_is_an_empty_reply(message: Any) -> None:
    outcome = ask(lambda _: completion(message, usage={"prompt_tokens": 9, "completion_tokens": 0}))
    assert (outcome.kind, outcome.note, outcome.usage) == ("unparsable", "an empty reply", Usage(n_input=9))


@pytest.mark.parametrize("content", [None, [], "Tea.", [None], [{"type": "tool_use"}]])
def test_a_message_of_anthropics_protocol_with_odd_content_is_typed(content: Any) -> None:
    body = {"type": "message", "content": content, "stop_reason": "end_turn", "usage": None}
    outcome = ask(lambda _: web.json_response(body), model=ANTHROPIC)
    assert outcome.kind == ("ok" if content == "Tea." else "unparsable")


def test_no_choice_that_was_counted_is_an_empty_reply_and_paid() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 0}
    outcome = ask(lambda _: web.json_response({"choices": [], "usage": usage}))
    assert (outcome.kind, outcome.usage) == ("unparsable", Usage(n_input=100))


STOPS = {
    "ok": ("STOP", "eos_token_id", "<|im_end|>", "completed", "end_turn"),
    "truncated": ("MAX_TOKENS", "max_new_tokens", "model_length", "model_context_window_exceeded"),
    "filtered": ("SAFETY", "content_filtered", "guardrail_intervened"),
    "refused": ("refusal",),
    "unparsable": ("tool_calls", "abort", "unknown", None),
}


@pytest.mark.parametrize(("stop", "kind"), [(stop, kind) for kind, stops in STOPS.items() for stop in stops])
def test_a_stop_reason_is_known_by_every_servers_word_for_it(stop: str | None, kind: str) -> None:
    assert ask(lambda _: completion({"content": "Tea."}, stop=stop)).kind == kind


def test_a_server_that_gave_up_is_asked_again() -> None:
    assert isinstance(ask(lambda _: completion({"content": ""}, stop="insufficient_system_resource")), BrokenReplyError)
    upstream = {"error": {"code": 429, "message": "busy"}, "message": {"content": ""}, "finish_reason": "error"}
    assert isinstance(ask(lambda _: web.json_response({"choices": [upstream]})), RateLimitError)


STREAM = b"".join(
    b"data: " + json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": stop}]}).encode() + b"\n\n"
    for text, stop in (("Te", None), ("a.", "stop"))
)
BODY = json.dumps({"choices": [{"message": {"content": "Tea."}, "finish_reason": "stop"}]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        STREAM,
        b": keep-alive\n\n" + STREAM + b"data: [DONE]\n\n",
        b"\xef\xbb\xbf" + BODY,
        b"\r\n   " + BODY + b"\r\n",
        BODY.replace(b"message", b"delta"),
        b'{"choices": [{"index": 1, "message": {"content": "No."}}, {"index": 0, ' + BODY[14:],
    ],
)
def test_a_reply_is_read_in_whatever_wrapping_it_comes(body: bytes) -> None:
    outcome = ask(lambda _: web.Response(body=body))
    assert (outcome.kind, outcome.text) == ("ok", "Tea.")


def test_line_ends_left_in_a_string_are_part_of_the_text() -> None:
    assert ask(lambda _: web.Response(body=BODY.replace(b"Tea.", b"Tea.\nMint."))).text == "Tea.\nMint."


ERRORS: list[tuple[int, Any, str]] = [
    (400, {"message": "ThrottlingException: Too many requests"}, "RateLimitError"),
    (400, [{"error": {"message": "API key not valid. Please pass one.", "status": "INVALID_ARGUMENT"}}], "key"),
    (400, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}, "model"),
    (400, {"error": {"message": "Input blocked by safety filter"}}, "filtered"),
    (400, {"error": {"code": "data_inspection_failed", "message": "Output may be inappropriate."}}, "filtered"),
    (405, {"detail": "Method Not Allowed"}, "base URL"),
    (424, {"error": "Request failed during generation"}, "RetryableError"),
    (451, {"error": "Unavailable for legal reasons"}, "filtered"),
    (200, {"status": 429, "message": "Too many requests"}, "RateLimitError"),
    (200, {"code": 503, "msg": "busy"}, "RateLimitError"),
]


@pytest.mark.parametrize(("status", "body", "means"), ERRORS)
def test_an_error_means_what_its_words_say_under_whatever_status(status: int, body: Any, means: str) -> None:
    def answer(_: Seen) -> web.Response:
        return web.json_response(body, status=status)

    if means in ("key", "model", "base URL"):
        with pytest.raises(ConfigError, match=means):
            ask(answer)
    else:
        found = ask(answer)
        assert means in (getattr(found, "kind", ""), type(found).__name__)


# Usage ---------------------------------------------------------------------------------------------------------------
USAGES: list[tuple[Any, Usage | None]] = [
    (None, None),
    ("12", None),
    ([], None),
    ({}, None),
    ({"prompt_tokens": None, "completion_tokens": None}, None),
    ({"prompt_tokens": "a", "completion_tokens": 2}, None),
    ({"prompt_tokens": -1, "completion_tokens": 2}, None),
    ({"prompt_tokens": True, "completion_tokens": 2}, None),
    ({"prompt_tokens": 10**30, "completion_tokens": 2}, None),
    ({"prompt_tokens": 10}, None),
    ({"prompt_tokens": 10.0, "completion_tokens": 2.0}, Usage(n_input=10, n_output=2)),
    ({"prompt_tokens": "10", "completion_tokens": "2"}, Usage(n_input=10, n_output=2)),
    ({"prompt_tokens": 10, "total_tokens": 12}, Usage(n_input=10, n_output=2)),
    ({"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": []}, Usage(n_input=10, n_output=2)),
    ({"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(n_input=10, n_output=2)),
    (
        {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 6}},
        Usage(n_input=4, n_cache_read=6, n_output=2),
    ),
    # DeepSeek's names; what a router to Anthropic writes; a server that counts the cached ones apart.
    (
        {"prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4},
        Usage(n_input=4, n_cache_read=6, n_output=2),
    ),
    (
        {
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 4,
        },
        Usage(n_input=3, n_cache_read=3, n_cache_write=4, n_output=2),
    ),
    (
        {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 60}},
        Usage(n_input=10, n_cache_read=60, n_output=2),
    ),
    # Reasoning is part of the completion's tokens at OpenAI, and beside them at xAI, whose total says so.
    (
        {
            "prompt_tokens": 10,
            "completion_tokens": 9,
            "total_tokens": 19,
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
        Usage(n_input=10, n_output=9),
    ),
    (
        {
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "total_tokens": 19,
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
        Usage(n_input=10, n_output=9),
    ),
    (
        {
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "total_tokens": 19,
            "prompt_tokens_details": {"cached_tokens": 7},
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
        Usage(n_input=3, n_cache_read=7, n_output=9),
    ),
    # Gemini's thoughts are in the total alone, and so are tokens of a cache that a server counts apart.
    ({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 19}, Usage(n_input=10, n_output=9)),
    ({"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 19}, Usage(n_input=10, n_output=9)),
    ({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 11}, Usage(n_input=10, n_output=2)),
    (
        {
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "total_tokens": 72,
            "prompt_tokens_details": {"cached_tokens": 60},
        },
        Usage(n_input=10, n_cache_read=60, n_output=2),
    ),
]


@pytest.mark.parametrize(("counted", "usage"), USAGES)
def test_usage_is_what_the_server_counted_or_unknown(counted: Any, usage: Usage | None) -> None:
    outcome = ask(lambda _: completion({"content": "Tea."}, usage=counted))
    assert (outcome.kind, outcome.text, outcome.usage) == ("ok", "Tea.", usage)


@pytest.mark.parametrize("counted", [None, "x", {"input_tokens": None}, {"input_tokens": 5}, {"input_tokens": -5}])
def test_usage_of_anthropics_protocol_without_numbers_is_unknown(counted: Any) -> None:
    body = {
        "type": "message",
        "content": [{"type": "text", "text": "Tea."}],
        "stop_reason": "end_turn",
        "usage": counted,
    }
    outcome = ask(lambda _: web.json_response(body), model=ANTHROPIC)
    assert (outcome.kind, outcome.usage) == ("ok", None)


# What is of no model -------------------------------------------------------------------------------------------------
PAGES: list[tuple[Any, str]] = [
    (b"<html><head><title>Sign in</title><style>p {}</style></head><body>Hotel</body></html>", "Sign in Hotel"),
    (b"Service temporarily unavailable", "Service temporarily unavailable"),
    (b"", "nothing at all"),
    (b'{"error": "upstream connect error"}', "upstream connect error"),
    (b'{"error": {"message": "no healthy upstream"}}', "no healthy upstream"),
    (b'{"detail": "please log in"}', "please log in"),
    (b'{"object": "error", "message": "engine is dead"}', "engine is dead"),
    (b'{"status": "ok"}', "no chat completion"),
    (b"[]", "no chat completion"),
    (b'"maintenance"', "no chat completion"),
]


@pytest.mark.parametrize(("page", "words"), PAGES)
def test_a_page_with_status_200_is_told_repeated_and_costs_nothing(
    page: bytes, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Store(tmp_path / "s") as store:
        found, _ = ask_all(lambda _: web.Response(body=page), wish("a"), wish("b"), store=store)
        assert all(isinstance(error, NoReplyError) for error in found)
        assert words in str(found[0])
        assert store.unmetered() == []
        assert [row.kinds for row in store.ledger()] == [{"again": 2}]
    assert len([line for line in caplog.messages if words in line]) == (0 if "completion" in words else 1)


@BOTH
def test_an_error_in_a_200_of_either_protocol_means_what_its_type_says(model: ModelConfig) -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "busy", "code": 529}}
    assert isinstance(ask(lambda _: web.json_response(overloaded), model=model), RateLimitError)
    for wrong_key in (
        {"code": "401"},
        {},
        {"code": "invalid_api_key", "type": "invalid_request_error"},
        {"code": ["?"]},
    ):
        body = {"error": {"type": "authentication_error", "message": "?", **wrong_key}}
        with pytest.raises(ConfigError, match="key"):
            ask(lambda _, body=body: web.json_response(body), model=model)


def test_a_broken_reply_of_a_server_that_never_answered_costs_nothing_and_of_one_that_did_may(tmp_path: Path) -> None:
    def answer(seen: Seen) -> web.Response:
        return (
            said("Yes.") if seen.body["messages"][0]["content"] == "Write b." else web.Response(body=b'{"choices": [')
        )

    with Store(tmp_path / "s") as store:
        found, _ = ask_all(answer, wish("a"), wish("b"), wish("c"), store=store)
        assert isinstance(found[0], BrokenReplyError)
        assert store.ledger()[0].kinds == {"again": 1, "ok": 1, "timed_out": 1}
        assert [row.n for row in store.unmetered()] == [1]


def test_a_reply_that_broke_off_and_was_counted_costs_what_was_counted(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 7}
    with Store(tmp_path / "s") as store:
        (error,), _ = ask_all(lambda _: completion({"content": "Te"}, stop="error", usage=usage), store=store)
        assert isinstance(error, BrokenReplyError)
        assert store.ledger()[0].usage == Usage(n_input=100, n_output=7)
        assert store.unmetered() == []


# What the server does not take ---------------------------------------------------------------------------------------
REFUSALS = [
    "Unsupported value: 'temperature' does not support 0.3 with this model. Only the default (1) value is supported.",
    "Unsupported parameter: 'temperature' is not supported with this model.",
    "`temperature` is deprecated for this model.",
    "temperature: Extra inputs are not permitted",
    "`temperature` and `top_p` cannot both be specified for this model",
    "Unexpected keys in the request: {'temperature'}",
]


@pytest.mark.parametrize("words", REFUSALS)
def test_a_temperature_that_is_refused_is_left_out_from_then_on_told_once_and_recorded(
    words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelConfig(model="openai/tiny", temperature=0.3)

    def answer(seen: Seen) -> web.Response:
        return wrong(400, words) if "temperature" in seen.body else said("Yes.")

    with Store(tmp_path / "s") as store:
        found, seen = ask_all(answer, wish("a"), wish("b"), model=model, store=store)
    assert [outcome.kind for outcome in found if isinstance(outcome, Outcome)] == ["ok", "ok"]
    assert ["temperature" in one.body for one in seen] == [True, False, False]
    assert "takes no temperature" in found[0].note  # type: ignore[union-attr]
    assert len([line for line in caplog.messages if "takes no temperature" in line]) == 1
    with sqlite3.connect(tmp_path / "s") as db:
        assert db.execute("SELECT DISTINCT sampling FROM attempts").fetchall() == [("{}",)]


def test_sampling_parameters_of_the_settings_are_left_out_one_after_the_other() -> None:
    model = ModelConfig(model="openai/tiny", extra={"top_p": 0.9, "top_k": 5, "reasoning_effort": "low"})

    def answer(seen: Seen) -> web.Response:
        refused = next((name for name in ("top_k", "temperature", "top_p") if name in seen.body), None)
        return wrong(400, f"Unrecognized request argument supplied: {refused}") if refused else said("Yes.")

    (outcome,), seen = ask_all(answer, wish(), model=model)
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, len(seen)) == ("ok", 4)
    assert seen[-1].body["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    "words", ["temperature must be between 0 and 1", "the text about temperature is too long", "no such thing"]
)
def test_a_value_that_is_refused_is_no_parameter_that_is(words: str) -> None:
    (outcome,), seen = ask_all(lambda _: wrong(400, words))
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, len(seen)) == ("failed", 1)


def test_a_server_that_refuses_both_names_of_the_cap_is_asked_each_once() -> None:
    words = "max_tokens and max_completion_tokens are not supported"
    (outcome,), seen = ask_all(lambda _: wrong(400, words))
    assert isinstance(outcome, Outcome)
    assert outcome.kind == "failed"
    assert len(seen) <= 8


def test_a_cap_known_by_the_old_name_only_is_found_out_too() -> None:
    model = ModelConfig(model="openai/tiny")

    def answer(seen: Seen) -> web.Response:
        refused = "max_tokens" in seen.body
        return wrong(400, "Unsupported parameter: 'max_tokens'") if refused else said("Yes.")

    found, seen = ask_all(answer, wish("a"), wish("b"), model=model)
    assert [outcome.kind for outcome in found if isinstance(outcome, Outcome)] == ["ok", "ok"]
    assert len(seen) == 3


def breaks_down(seen: Seen) -> web.Response:
    return wrong(500, "failed to initialize samplers") if "response_format" in seen.body else said("{}")


def test_a_server_that_breaks_down_over_schemas_is_found_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    found, seen = ask_all(breaks_down, *(wish(f"t{n}", form=FORM) for n in range(8)))
    kinds = [found_one.kind if isinstance(found_one, Outcome) else "again" for found_one in found]
    # Two faults, a trial without at the third, and at the fourth it is learnt.
    assert kinds == ["again", "again", "ok", "ok", "ok", "ok", "ok", "ok"]
    assert len(seen) == 10
    assert "breaks down over response_format" in found[2].note  # type: ignore[union-attr]
    assert len([line for line in caplog.messages if "takes no response_format" in line]) == 1


def test_a_500_that_names_the_schema_is_understood_at_once() -> None:
    def answer(seen: Seen) -> web.Response:
        return wrong(500, "failed to parse grammar") if "response_format" in seen.body else said("{}")

    (outcome,), seen = ask_all(answer, wish(form=FORM))
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, len(seen)) == ("ok", 2)


def test_faults_of_a_server_that_knows_schemas_cost_no_schema() -> None:
    def answer(seen: Seen) -> web.Response:
        return wrong(500, "out of memory") if seen.number % 5 else said("{}")

    _, seen = ask_all(answer, *(wish(f"t{n}", form=FORM) for n in range(40)))
    assert all("response_format" in one.body for one in seen)


def test_a_server_that_is_down_for_a_while_is_not_thought_to_know_no_schemas() -> None:
    def answer(seen: Seen) -> web.Response:
        return wrong(500, "starting") if seen.number < 20 else said("{}")

    _, seen = ask_all(answer, *(wish(f"t{n}", form=FORM) for n in range(40)))
    assert all("response_format" in one.body for one in seen[24:])


LENGTHS = [
    "This model's maximum context length is 8192 tokens. However, you requested 20000 tokens",
    "prompt is too long: 208310 tokens > 200000 maximum",
    "input length and `max_tokens` exceed context limit: 190000 + 16384 > 200000",
    "max_tokens: 65536 > 8192, which is the maximum allowed number of output tokens for tiny",
    "max_tokens is too large: 65536. This model supports at most 16384 completion tokens",
    "'max_tokens' or 'max_completion_tokens' is too large: 65536. This model's maximum context length is 8192 tokens",
    "the request exceeds the available context size. try increasing the context size",
]


@BOTH
@pytest.mark.parametrize("words", LENGTHS)
def test_a_limit_of_lengths_names_the_setting_of_the_cap(words: str, model: ModelConfig) -> None:
    outcome = ask(lambda _: wrong(400, words), model=model, cap_setting="writing.document_tokens")
    assert outcome.kind == "failed"
    assert outcome.note.startswith("the cap of the reply, 4000, is the setting writing.document_tokens; 400: ")
    assert words in outcome.note


@BOTH
def test_the_setting_of_a_cap_stands_in_the_line_that_ends_a_run_however_much_the_server_says(
    model: ModelConfig, tmp_path: Path
) -> None:
    setting = "writing.document_tokens, raised because the reply was cut"
    outcome = ask(lambda _: wrong(400, f"{LENGTHS[4]}, {'whereas more ' * 40}"), model=model, cap_setting=setting)
    with Store(tmp_path / "calls.sqlite") as store:
        usable = UsableReplies(store, where=model.model)
        usable.count(wish(), ParsedReply(None, outcome), makes_row=True)
    assert usable.words().startswith(f"1 failed: the cap of the reply, 4000, is the setting {setting}; 400: max_tokens")


def test_a_request_that_is_too_large_is_told_with_its_size_which_is_the_prompts(tmp_path: Path) -> None:
    asked = [wish(f"t{n}", prefix="The spec. " * 1000) for n in range(3)]
    page = "<html>413 Request Entity Too Large</html>"
    with Store(tmp_path / "calls.sqlite") as store, pytest.raises(ConfigError) as caught:
        ask_all(lambda _: web.Response(status=413, text=page, content_type="text/html"), *asked, store=store)
    assert re.search(r"the request, most of it the prompt, has 10,\d\d\d bytes; 413: ", str(caught.value))
    assert "Check the prompt's size" in str(caught.value)


def test_a_status_that_wants_money_says_so_and_that_it_may_pass() -> None:
    with pytest.raises(ConfigError, match=r"wants to be paid first \(402: pay\).*credit.*goes on from here"):
        ask(lambda _: wrong(402, "pay"))


# Bodies --------------------------------------------------------------------------------------------------------------
def bodies(model: ModelConfig) -> list[dict[str, Any]]:
    turns = (Message(role="assistant", content="Bad."), Message(role="user", content="Again."))
    client: Any = provider_of(model.model).client(model, Access(base_url="http://127.0.0.1:9"))
    endpoint = provider_of(model.model).batch_builder()(client)
    asked = [wish(), wish(form=FORM), wish(prefix="The spec."), wish(prefix="The spec.", turns=turns, form=FORM)]
    return [json.loads(made.body(request)) for made in (client, endpoint) for request in asked]


def known(create: Any) -> set[str]:
    names = set(inspect.signature(create).parameters)
    return names - {"self", "extra_headers", "extra_query", "extra_body", "timeout"}


@pytest.mark.parametrize("temperature", [None, 0.0, 0.7, 1.0])
def test_every_field_that_anthropic_is_sent_is_one_of_its_sdks_own_of_that_version(temperature: float | None) -> None:
    from anthropic.resources.messages import AsyncMessages
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
    from anthropic.types.messages.batch_create_params import Request as BatchRequest

    extra = {"top_p": 0.9, "top_k": 5, "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    model = ModelConfig(model="anthropic/tiny", temperature=temperature, extra=extra)
    batched = get_type_hints(BatchRequest)["params"]
    assert batched is MessageCreateParamsNonStreaming
    for body in bodies(model):
        assert body.keys() <= known(AsyncMessages.create)
        assert body.keys() <= get_type_hints(batched).keys()
        assert not body.keys() & {"temperature", "top_p", "top_k"}
        assert body["output_config"]["effort"] == "low"


@pytest.mark.parametrize("temperature", [None, 0.7])
def test_every_field_that_openai_is_sent_is_one_of_its_sdks_own(temperature: float | None) -> None:
    from openai.resources.chat.completions import AsyncCompletions

    for body in bodies(ModelConfig(model="openai/tiny", temperature=temperature, extra={"reasoning_effort": "low"})):
        assert body.keys() <= known(AsyncCompletions.create)


def test_a_temperature_that_anthropic_has_no_place_for_is_told_once_and_recorded_as_not_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelConfig(model="anthropic/told", temperature=0.0, extra={"top_p": 0.5, "service_tier": "auto"})
    caplog.set_level(logging.WARNING)
    with Store(tmp_path / "s") as store:
        ask_all(lambda _: told("Yes."), model=model, store=store)
        ask_all(lambda _: told("Yes."), wish("b"), model=model, store=store)
    lines = [line for line in caplog.messages if "nothing of it is sent" in line]
    assert len(lines) == 1
    assert "no temperature, top_p for any model" in lines[0]
    with sqlite3.connect(tmp_path / "s") as db:
        assert db.execute("SELECT DISTINCT sampling FROM attempts").fetchall() == [('{"service_tier": "auto"}',)]


def test_the_temperature_that_the_api_has_by_itself_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    ask(lambda _: told("Yes."), model=ANTHROPIC)
    assert caplog.messages == []


@pytest.mark.parametrize("extra", [{"temprature": 1}, {"max_tokens": 5}, {"messages": []}])
def test_a_setting_that_anthropics_api_does_not_have_is_refused_in_one_line(extra: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(extra))):
        ask(lambda _: told("Yes."), model=ModelConfig(model="anthropic/tiny", extra=extra))


@pytest.mark.parametrize("extra", [{"model": "other"}, {"messages": []}, {"n": 2}])
def test_extra_fields_that_would_replace_what_is_asked_are_refused_in_one_line(extra: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"extra: {next(iter(extra))} can't be set there"):
        ask(lambda _: said("Yes."), model=ModelConfig(model="openai/tiny", extra=extra))


def test_one_answer_and_a_stream_may_be_asked_for_by_extra_fields() -> None:
    assert (
        ask(lambda _: said("Yes."), model=ModelConfig(model="openai/tiny", extra={"n": 1, "stream": True})).text
        == "Yes."
    )


# Money ---------------------------------------------------------------------------------------------------------------
COUNTS = st.integers(0, 300_000)


@st.composite
def counted_bodies(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A model, and a good body of its protocol with usage as the provider writes it."""
    n_new, n_read, n_write, n_output = (draw(COUNTS) for _ in range(4))
    if draw(st.booleans()):
        usage = {
            "input_tokens": n_new,
            "cache_read_input_tokens": n_read,
            "cache_creation_input_tokens": n_write,
            "output_tokens": n_output,
        }
        name = draw(st.sampled_from(["claude-opus-4-6", "claude-sonnet-4-5", "claude-haiku-4-5"]))
        content = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Tea."}]
        body = {"type": "message", "model": name, "content": content, "stop_reason": "end_turn", "usage": usage}
        return f"anthropic/{name}", body
    details = {"cached_tokens": n_read} if draw(st.booleans()) else None
    usage_of_chat = {
        "prompt_tokens": n_new + n_read,
        "completion_tokens": n_output,
        "total_tokens": n_new + n_read + n_output,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": draw(st.integers(0, n_output))},
    }
    name = draw(st.sampled_from(["gpt-5.4", "gpt-4.1", "gpt-4o-mini", "o3"]))
    choice = {"message": {"content": "Tea."}, "finish_reason": "stop"}
    return f"openai/{name}", {"model": name, "choices": [choice], "usage": usage_of_chat}


@settings(max_examples=60, deadline=None)
@given(drawn=counted_bodies())
def test_the_ledger_is_to_the_cent_what_the_price_library_makes_of_the_body_itself(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[str, dict[str, Any]]
) -> None:
    name, body = drawn
    provider, _, model = name.partition("/")
    seller = next(one for one in get_snapshot().providers if one.id == provider)
    _, counted = seller.extract_usage(body, api_flavor="chat" if provider == "openai" else "default")
    before = datetime.now(UTC)

    async def run(store: Store) -> None:
        async with answering(lambda _: web.json_response(body)) as small:
            asked = ModelConfig(model=name, temperature=None)
            client: Any = provider_of(name).client(asked, small.access())
            recorded = Recorded(client, store, asked, "author", PRICES)
            await recorded.ask(wish())
            await recorded.close()

    with Store(tmp_path_factory.mktemp("money") / "s") as store:
        asyncio.run(run(store))
        price = calc_price(counted, model, provider_id=provider, genai_request_timestamp=before)
        assert store.spent_usd() == pytest.approx(float(price.total_price), abs=1e-9)
