"""The Anthropic side of the door, against servers on this machine."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from midspec.core.errors import ConfigError, MidspecError
from midspec.core.records import Message
from midspec.llm import Access, ModelConfig, Outcome, Request, Usage
from midspec.llm._errors import BrokenReplyError, RateLimitError, RetryableError
from midspec.llm.providers._anthropic import AnthropicClient

from .outside import ANTHROPIC, FORM, Answer, Seen, Small, answering, told, wish, wrong

KEY = "sk-ant-secret-0123456789"


def ask(answer: Answer, *requests: Request, model: ModelConfig = ANTHROPIC) -> tuple[list[Outcome], list[Seen]]:
    async def run() -> tuple[list[Outcome], Small]:
        async with answering(answer) as small:
            client = AnthropicClient(model, small.access())
            try:
                return [await client.ask(request) for request in requests or (wish(),)], small
            finally:
                await client.close()

    outcomes, small = asyncio.run(run())
    return outcomes, small.seen


@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        ("end_turn", "ok"),
        ("stop_sequence", "ok"),
        ("max_tokens", "truncated"),
        ("model_context_window_exceeded", "truncated"),
        ("refusal", "refused"),
        ("pause_turn", "unparsable"),
    ],
)
def test_the_stop_reason_decides_what_a_reply_is(stop: str, kind: str) -> None:
    (outcome,), _ = ask(lambda _: told("I can't help with that.", stop))
    assert (outcome.kind, outcome.stop_reason, outcome.model) == (kind, stop, "tiny-1")


def test_thinking_is_never_part_of_the_text() -> None:
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "x"}, {"type": "redacted_thinking", "data": "y"}]
    (outcome,), _ = ask(lambda _: told("Yes.", before=blocks))
    assert outcome.text == "Yes."


def test_the_four_counts_of_tokens_are_apart_and_add_up() -> None:
    (outcome,), _ = ask(lambda _: told("Yes."))
    assert outcome.usage == Usage(n_input=10, n_cache_read=60, n_cache_write=30, n_output=20)


def test_the_prefix_is_a_block_of_its_own_that_is_marked_to_be_kept() -> None:
    turns = (Message(role="assistant", content="Bad."), Message(role="user", content="Again."))
    _, (seen,) = ask(lambda _: told("Yes."), wish(prefix="The spec.\n", turns=turns))
    first, *rest = seen.body["messages"]
    assert first["content"] == [
        {"type": "text", "text": "The spec.\n", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Write t."},
    ]
    assert rest == [{"role": "assistant", "content": "Bad."}, {"role": "user", "content": "Again."}]
    assert "system" not in seen.body


def test_an_empty_prefix_is_no_block() -> None:
    _, (seen,) = ask(lambda _: told("Yes."))
    assert len(seen.body["messages"][0]["content"]) == 1


def test_a_schema_goes_out_without_what_the_provider_does_not_take_and_beside_its_other_settings() -> None:
    model = ModelConfig(model="anthropic/tiny", temperature=None, extra={"output_config": {"effort": "low"}})
    _, (seen,) = ask(lambda _: told("{}"), wish(form=FORM), model=model)
    assert seen.body["output_config"]["effort"] == "low"
    names = seen.body["output_config"]["format"]["schema"]["properties"]["names"]
    assert "minItems" not in names
    assert "maxLength" not in names["items"]
    assert "temperature" not in seen.body


def test_a_server_that_does_not_know_schemas_gets_none_from_then_on_and_it_is_noted_once() -> None:
    def answer(seen: Seen) -> Any:
        return wrong(400, "output_config: not permitted") if "output_config" in seen.body else told("{}")

    outcomes, seen = ask(answer, wish("a", form=FORM), wish("b", form=FORM))
    assert "takes no output_config" in outcomes[0].note
    assert outcomes[1].note == ""
    assert len(seen) == 3


def test_a_server_that_ignores_the_schema_is_noticed_once() -> None:
    outcomes, _ = ask(lambda _: told("Sure!"), wish("a", form=FORM), wish("b", form=FORM))
    assert ["ignored" in outcome.note for outcome in outcomes] == [True, False]


def test_a_cap_that_the_sdk_takes_for_too_long_without_streaming_is_sent() -> None:
    (outcome,), (seen,) = ask(lambda _: told("Yes."), wish(max_tokens=128_000))
    assert outcome.kind == "ok"
    assert seen.body["max_tokens"] == 128_000


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_server_will_never_take_is_failed(status: int) -> None:
    (outcome,), seen = ask(lambda _: wrong(status, "prompt is too long"))
    size, words = outcome.note.removesuffix(f"{status}: prompt is too long"), outcome.note[-len("prompt is too long") :]
    assert (outcome.kind, words, len(seen)) == ("failed", "prompt is too long", 1)
    assert bool(re.fullmatch(r"the request, most of it the prompt, has [\d,]+ bytes; ", size)) == (status == 413)


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_busy_server_may_be_asked_again(status: int) -> None:
    with pytest.raises(RateLimitError) as caught:
        ask(lambda _: wrong(status, "overloaded", Retry_After="3"))
    assert caught.value.wait_s == 3.0


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_server_error_may_be_repeated(status: int) -> None:
    with pytest.raises(RetryableError):
        ask(lambda _: wrong(status, "internal"))


def test_a_torn_reply_may_be_repeated() -> None:
    from aiohttp import web

    with pytest.raises(BrokenReplyError):
        ask(lambda _: web.json_response({"type": "message"}))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_closed_door_ends_the_run_in_one_line_without_the_key(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with pytest.raises(ConfigError) as caught:
        ask(lambda _: wrong(status, f"bad key {KEY}"))
    assert KEY not in str(caught.value)


def test_headers_tell_nothing_of_this_machine() -> None:
    _, (seen,) = ask(lambda _: told("Yes."))
    assert not [name for name in seen.headers if name.startswith("x-stainless")]
    assert "anthropic-version" in seen.headers


def test_an_empty_account_ends_the_run() -> None:
    with pytest.raises(MidspecError, match="no credit left"):
        ask(lambda _: wrong(400, "Your credit balance is too low to access the API."))


def test_a_missing_key_is_named_unless_the_server_is_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY"):
        AnthropicClient(ANTHROPIC, Access())
    _, (seen,) = ask(lambda _: told("Yes."))
    assert seen.headers["authorization"] == "Bearer none"


def test_no_log_line_holds_key_header_or_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_LOG", "debug")
    caplog.set_level(logging.DEBUG)
    ask(lambda _: told("The secret reply."), wish(prefix="The secret spec."))
    said_of_it = caplog.text + "".join(capfd.readouterr())
    assert "secret" not in said_of_it
    assert "authorization" not in said_of_it.lower()
