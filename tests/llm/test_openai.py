"""The OpenAI side of the door, against servers on this machine."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import openai
import pytest

from midspec.core.errors import ConfigError, MidspecError
from midspec.core.records import Message
from midspec.llm import Access, ModelConfig, Outcome, Request, Usage
from midspec.llm._errors import BrokenReplyError, NoReplyError, RateLimitError, RetryableError
from midspec.llm.providers._openai import OpenAIClient

from .outside import FORM, OPENAI, Answer, Seen, Small, answering, said, wish, wrong

KEY = "sk-secret-0123456789"
SENT = {"host", "connection", "accept-encoding", "content-length"}  # by what speaks HTTP below


def ask(answer: Answer, *requests: Request, model: ModelConfig = OPENAI) -> tuple[list[Outcome], list[Seen]]:
    async def run() -> tuple[list[Outcome], Small]:
        async with answering(answer) as small:
            client = OpenAIClient(model, small.access())
            try:
                return [await client.ask(request) for request in requests or (wish(),)], small
            finally:
                await client.close()

    outcomes, small = asyncio.run(run())
    return outcomes, small.seen


@pytest.mark.parametrize(
    ("stop", "kind"),
    [("stop", "ok"), ("length", "truncated"), ("content_filter", "filtered"), ("tool_calls", "unparsable")],
)
def test_the_stop_reason_decides_what_a_reply_is(stop: str, kind: str) -> None:
    (outcome,), _ = ask(lambda _: said("I can't help with that.", stop))
    assert (outcome.kind, outcome.stop_reason, outcome.model) == (kind, stop, "tiny-1")


def test_a_refusal_is_the_providers_field_and_not_the_look_of_the_text() -> None:
    (outcome,), _ = ask(lambda _: said(None, "stop", refusal="No."))
    assert (outcome.kind, outcome.note) == ("refused", "No.")


@pytest.mark.parametrize("text", ["", None, " \n"])
def test_an_empty_reply_with_a_good_stop_reason_is_no_reply(text: str | None) -> None:
    (outcome,), _ = ask(lambda _: said(text))
    assert (outcome.kind, outcome.note) == ("unparsable", "an empty reply")


def test_a_reply_without_a_stop_reason_is_not_taken_for_whole() -> None:
    (outcome,), _ = ask(lambda _: said("Half of", None))
    assert outcome.kind == "unparsable"


def test_reasoning_is_never_part_of_the_text() -> None:
    (outcome,), _ = ask(lambda _: said("Yes.", reasoning_content="Hm.", reasoning="Hm."))
    assert outcome.text == "Yes."


def test_the_four_counts_of_tokens_are_apart_and_add_up() -> None:
    (outcome,), _ = ask(lambda _: said("Yes."))
    assert outcome.usage == Usage(n_input=40, n_cache_read=60, n_cache_write=0, n_output=20)


def test_the_prefix_comes_first_in_one_user_message_and_turns_follow() -> None:
    turns = (Message(role="assistant", content="Bad \ud800"), Message(role="user", content="Again."))
    _, (seen,) = ask(lambda _: said("Yes."), wish(prefix='The "spec".', turns=turns))
    first, *rest = seen.body["messages"]
    assert first == {"role": "user", "content": 'The "spec".\n\nWrite t.'}
    assert [turn["content"] for turn in rest] == ["Bad \ud800", "Again."]
    assert seen.body["max_tokens"] == 4000
    assert seen.body["temperature"] == 1.0


def test_fields_of_the_providers_own_are_sent_as_they_are() -> None:
    model = ModelConfig(model="openai/org/tiny", temperature=None, extra={"reasoning_effort": "low"})
    _, (seen,) = ask(lambda _: said("Yes."), model=model)
    assert seen.body["model"] == "org/tiny"
    assert seen.body["reasoning_effort"] == "low"
    assert "temperature" not in seen.body


def test_a_schema_goes_out_in_strict_mode_without_what_strict_mode_refuses() -> None:
    _, (seen,) = ask(lambda _: said('{"names": ["a", "b", "c"]}'), wish(form=FORM))
    sent = seen.body["response_format"]["json_schema"]
    assert sent["strict"] is True
    assert sent["schema"]["properties"]["names"]["items"] == {"type": "string"}
    assert sent["schema"]["properties"]["names"]["minItems"] == 3


def test_a_server_that_does_not_know_schemas_gets_none_from_then_on_and_it_is_noted_once() -> None:
    def answer(seen: Seen) -> Any:
        return wrong(400, "unknown field response_format") if "response_format" in seen.body else said("{}")

    outcomes, seen = ask(answer, wish("a", form=FORM), wish("b", form=FORM))
    assert [outcome.kind for outcome in outcomes] == ["ok", "ok"]
    assert "takes no response_format" in outcomes[0].note
    assert outcomes[1].note == ""
    assert len(seen) == 3


def test_a_server_that_ignores_the_schema_is_noticed_once() -> None:
    outcomes, _ = ask(lambda _: said("Sure! Here you go."), wish("a", form=FORM), wish("b", form=FORM))
    assert [outcome.kind for outcome in outcomes] == ["ok", "ok"]
    assert "ignored response_format" in outcomes[0].note
    assert outcomes[1].note == ""


def test_a_cap_under_its_other_name_is_found_out() -> None:
    def answer(seen: Seen) -> Any:
        words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return said("Yes.") if "max_completion_tokens" in seen.body else wrong(400, words)

    outcomes, seen = ask(answer, wish("a"), wish("b"))
    assert [outcome.kind for outcome in outcomes] == ["ok", "ok"]
    assert len(seen) == 3


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_server_will_never_take_is_failed_with_its_words_cut(status: int) -> None:
    (outcome,), seen = ask(lambda _: wrong(status, "too long " * 100))
    assert (outcome.kind, outcome.stop_reason, len(seen)) == ("failed", str(status), 1)
    size, _, words = outcome.note.rpartition(f"{status}: ")
    assert ("bytes" in size) == (status == 413)
    assert 200 < len(words) < 320


def test_a_request_that_a_filter_stopped_is_filtered() -> None:
    (outcome,), _ = ask(lambda _: wrong(400, "Output blocked by content filtering policy"))
    assert outcome.kind == "filtered"


def test_a_prompt_that_a_router_flagged_is_filtered_and_ends_no_run() -> None:
    (outcome,), _ = ask(lambda _: wrong(403, "your input was flagged"))
    assert outcome.kind == "filtered"


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_closed_door_ends_the_run_in_one_line_without_the_key(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ConfigError) as caught:
        ask(lambda _: wrong(status, f"bad key {KEY}\nfor you"))
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "openai/tiny" in str(caught.value)


def test_an_address_that_is_no_api_is_named() -> None:
    with pytest.raises(ConfigError, match=r"the server at http://127.* knows no such model.*theirs at \.\.\./v1"):
        ask(lambda _: wrong(404, "page not found"))


def test_headers_tell_nothing_of_this_machine() -> None:
    _, (seen,) = ask(lambda _: said("Yes."))
    assert not [name for name in seen.headers if name.startswith("x-stainless")]


@pytest.mark.parametrize(
    "environment",
    [{}, {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-1"}, {"OPENAI_CUSTOM_HEADERS": "X-Team: red\nX-Room:2"}],
    ids=["plain", "organization and project", "custom headers"],
)
def test_a_request_has_the_headers_of_the_sdks_own(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"OPENAI_API_KEY": KEY, **environment}.items():
        monkeypatch.setenv(name, value)

    async def run() -> list[Seen]:
        async with answering(lambda _: said("Yes.")) as small:
            client, sdk = OpenAIClient(OPENAI, small.access()), openai.AsyncOpenAI(base_url=small.access().base_url)
            await client.ask(wish())
            await sdk.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "?"}])
            await client.close()
            await sdk.close()
            return small.seen

    ours, theirs = (
        {name: value for name, value in seen.headers.items() if not name.startswith("x-stainless") and name not in SENT}
        for seen in asyncio.run(run())
    )
    assert ours == theirs
    assert ours["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("from_environment", [None, "https://other.example/api"])
@pytest.mark.parametrize(
    "given",
    [
        None,
        "http://127.0.0.1:8000/v1",
        "https://Models.Example:443/v1/",
        "http://h/a/é",
        "http://h",
        "http://[::1]:8/v1",
    ],
)
def test_a_server_has_the_address_that_the_sdk_gives_it(
    given: str | None, from_environment: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    if from_environment:
        monkeypatch.setenv("OPENAI_BASE_URL", from_environment)
    assert OpenAIClient(OPENAI, Access(base_url=given)).url == str(openai.AsyncOpenAI(base_url=given).base_url)


def test_an_empty_account_ends_the_run_and_is_not_waited_for() -> None:
    with pytest.raises(MidspecError, match="no credit left"):
        ask(lambda _: wrong(429, "insufficient_quota: check your plan"))


@pytest.mark.parametrize(("value", "wait_s"), [("7", 7.0), ("0.5", 0.5), ("soon", None)])
def test_retry_after_is_read_in_seconds(value: str, wait_s: float | None) -> None:
    with pytest.raises(RateLimitError) as caught:
        ask(lambda _: wrong(429, "slow down", Retry_After=value))
    assert caught.value.wait_s == wait_s


def test_retry_after_is_read_as_a_date() -> None:
    from datetime import UTC, datetime, timedelta
    from email.utils import format_datetime

    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    with pytest.raises(RateLimitError) as caught:
        ask(lambda _: wrong(503, "slow down", Retry_After=date))
    assert caught.value.wait_s == pytest.approx(30, abs=3)


def test_an_error_in_the_body_of_a_200_is_an_error() -> None:
    from aiohttp import web

    with pytest.raises(RateLimitError):
        ask(lambda _: web.json_response({"error": {"code": 429, "message": "upstream"}}))
    with pytest.raises(RetryableError):
        ask(lambda _: web.json_response({"error": {"message": "upstream"}}))


def test_a_200_that_is_not_json_may_be_repeated() -> None:
    from aiohttp import web

    with pytest.raises(NoReplyError):
        ask(lambda _: web.Response(text="<html>"))
    with pytest.raises(NoReplyError):
        ask(lambda _: web.json_response(["what"]))
    with pytest.raises(BrokenReplyError):
        ask(lambda _: web.Response(text='{"choices": [{"mess'))


def test_a_refused_connection_may_be_repeated_and_was_not_billed() -> None:
    async def run() -> None:
        client = OpenAIClient(OPENAI, Access(base_url="http://127.0.0.1:9/v1"))
        try:
            await client.ask(wish())
        finally:
            await client.close()

    with pytest.raises(RetryableError) as caught:
        asyncio.run(run())
    assert not isinstance(caught.value, BrokenReplyError)


def test_a_broken_connection_may_be_repeated_and_may_have_been_billed() -> None:
    def answer(_: Seen) -> Any:
        raise asyncio.CancelledError  # the server breaks the connection

    with pytest.raises(BrokenReplyError):
        ask(answer)


def test_a_missing_key_is_named_unless_the_server_is_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        OpenAIClient(OPENAI, Access())
    _, (seen,) = ask(lambda _: said("Yes."))
    assert seen.headers["authorization"] == "Bearer none"


def test_no_log_line_holds_key_header_or_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_LOG", "debug")
    caplog.set_level(logging.DEBUG)
    logging.basicConfig(level=logging.DEBUG, force=False)
    ask(lambda seen: wrong(400, seen.body["messages"][0]["content"]), wish(prefix="The secret spec."))
    said_of_it = caplog.text + "".join(capfd.readouterr())
    assert "secret" not in said_of_it
    assert "authorization" not in said_of_it.lower()
