"""What servers say of accounts, filters and fields, in the words and under the statuses of many; and redirects."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm import Outcome, Store, Usage, open_client
from midspec.llm._errors import (
    BrokenReplyError,
    CapFieldError,
    NoReplyError,
    RateLimitError,
    RetryableError,
    SamplingFieldError,
    SchemaUnsupportedError,
    ServerFaultError,
    read_error_status,
)
from midspec.llm._limits import Refusal, read_refusal
from midspec.llm._server_words import error_text

from .outside import OPENAI, Seen, answering, said, wish, wrong
from .test_openai import ask


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


def read(status: int, body: Any, *, has_schema: bool = False) -> Exception | Outcome:
    sent = ("model", "temperature", "max_completion_tokens")
    content = json.dumps(body).encode()  # other letters than ASCII's as escapes
    return read_error_status(status, {}, content, where="m", key="", has_schema=has_schema, sent=sent, url="u")


USED_UP: list[tuple[int, Any]] = [
    (429, error("余额不足或无可用资源包，请充值", code="1113")),
    (429, error("Insufficient balance or no resource package.", code="1113")),
    (500, {"type": "error", "error": {"type": "api_error", "message": "insufficient balance (1008)"}}),
    (429, error("Account x<y> is suspended, check your plan", type="exceeded_current_quota_error")),
    (403, error("Account x is not active, x exceeded current quota", type="exceeded_current_quota_error")),
    (
        400,
        error("You have reached your specified API usage limits. You will regain access on 2027-01-01 at 00:00 UTC."),
    ),
    (412, error("Account ada is suspended, possibly due to reaching the monthly spending limit", code="X")),
    (400, {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}),
    (400, error("Budget has been exceeded! Current cost: 14.2, Max budget: 10.0", type="budget_exceeded")),
    (400, error("ExceededBudget: End User=a over budget. Spend=0.8, Budget=0.1", type="auth_error")),
    (429, error("No deployments available - crossed budget: Exceeded budget for deployment m: 0.36 >= 1d")),
    (
        429,
        {
            "code": "exhausted",
            "error": "The team has used all available credits or reached its monthly spending limit.",
        },
    ),
    (429, error("Too much", code="SPEND_LIMIT_EXCEEDED")),
    (402, {"error": "You have depleted your monthly included credits."}),
    (402, error("This request requires more credits, or fewer max_tokens.", code=402)),
    (402, {"object": "error", "message": "Insufficient funds", "type": "payment_required"}),
    (403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "not enough balance"}),
    (403, error("Key limit exceeded (total limit).", code=403)),
    (403, {"code": "no permission", "error": "Your new team doesn't have any credits or licenses yet."}),
    (429, error("Your project has exceeded its monthly spending cap.")),
    (403, error("Spending limit was reached")),
    (403, error("Key limit exceeded (weekly limit). Manage it in the settings")),
    (429, error("Your credit balance is too low.")),
    (429, error("You exceeded your current quota", code="insufficient_quota")),
]


@pytest.mark.parametrize(("status", "body"), USED_UP)
def test_an_account_that_is_used_up_ends_the_run_and_is_not_waited_for(status: int, body: Any) -> None:
    found = read(status, body)
    assert isinstance(found, MidspecError)
    assert not isinstance(found, ConfigError)
    assert "credit" in found.what or "may be spent" in found.what
    assert "goes on from here" in str(found)


PASSING: list[tuple[int, Any]] = [
    # Google says "plan and billing" of a minute's limit, and routers of an upstream's account what passes.
    (429, [error("You exceeded your current quota, check your plan and billing details. Quota: requests per minute")]),
    (429, error("Rate limit reached for tier 1. Add credits to raise it.")),
    (429, error("Rate limit reached. The next tier requires more credits.")),
    (429, error("Too many requests: insufficient funds for a burst")),
    (429, error("Not enough credits in the token bucket; retry in 3s")),
    (429, error("This request requires more credits than your per-minute allowance; slow down.")),
    (429, error("Your team does not have any credits left for this minute.")),
    (429, error("60 requests/minute in your tier; a daily spend limit applies from tier 2.")),
    (429, error("You are near your spending limit; slow down. Rate limit exceeded, retry after 5 seconds")),
    (429, error("Rate budget has been exceeded, retry in 5s")),
    (500, error("CUDA out of memory: balance is insufficient on GPU 3")),
    (500, error("http2 flow control: out of credits")),
    (500, error("while rendering 'the account is suspended'")),
    (502, error("Provider returned error: insufficient balance")),
    (429, error("API key limit exceeded: 60 requests per minute")),
    (400, error("Too many tokens, please wait before trying again.")),
    (403, {"error": "RPM limit exceeded. Please complete identity verification."}),
    (403, {"message": "You have exceeded a secondary rate limit."}),
    (429, error("Allocated quota exceeded, please increase your quota limit.", code="insufficient_quota")),
]


@pytest.mark.parametrize(("status", "body"), PASSING)
def test_what_passes_is_waited_for(status: int, body: Any) -> None:
    assert isinstance(read(status, body), RateLimitError | ServerFaultError)


AWS = "An error occurred ({}) when calling the Converse operation: {}"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # Gateways to Bedrock give what it refuses one status.
        (500, {"detail": AWS.format("ThrottlingException", "Too many requests, please wait")}, RateLimitError),
        (500, {"detail": AWS.format("ExpiredTokenException", "The security token is expired")}, ConfigError),
        (400, {"detail": AWS.format("AccessDeniedException", "You don't have access to the model")}, ConfigError),
        (400, {"detail": AWS.format("ValidationException", "The model identifier is invalid.")}, ConfigError),
        (500, {"detail": AWS.format("InternalServerException", "Sorry.")}, ServerFaultError),
        (500, {"detail": AWS.format("ValidationException", "Input is too long for requested model.")}, Outcome),
        # Of one request, and not of the model or the account.
        (400, error("Unsupported parameter: 'temperature' is only supported in v1/responses"), SamplingFieldError),
        (400, error("This content is not available in your country."), Outcome),
        (400, error("Gemini API free tier is not available in your country."), ConfigError),
        (400, error("API key expired. Please renew the API key."), ConfigError),
        (500, error("litellm.RateLimitError: Limit 500, Used 500, Requested 1"), RateLimitError),
        (500, error("AccessDeniedException while a log was written"), ServerFaultError),
        (400, error("The request queue is full."), RateLimitError),
        (400, [error("User location is not supported for the API use.")], ConfigError),
        (400, error("Your organization must be verified to use the model"), ConfigError),
        (400, error("Organization has been restricted. Reach out to support."), ConfigError),
        (400, error("The requested model 'x' is not there for you.", code="model_not_supported"), ConfigError),
        (400, error("Unable to access x.", code="model_not_available"), ConfigError),
        (400, error("The model `x` has been decommissioned."), ConfigError),
        (400, {"code": 20012, "message": "Model does not exist."}, ConfigError),
        (400, error("The model is enabled only for api versions 2024-12-01 and later"), ConfigError),
        (400, error("Request is aborted by a higher priority request."), ServerFaultError),
        (400, {"detail": "Function id 'x': DEGRADED function cannot be invoked"}, ServerFaultError),
        (498, error("Flex tier capacity exceeded", code="capacity_exceeded"), RateLimitError),
        (400, error("The tool `f` has been removed from the request"), Outcome),
        (400, error("The request is not enough of a list"), Outcome),
        (400, error("Prompt is 9000 tokens: the context capacity exceeded"), Outcome),
        (400, error("The parameter foo of this model has been removed"), Outcome),
        (400, error("Input model not found in field `messages`"), Outcome),
        (400, error("model not found in the request body"), Outcome),
        (400, error("Model not found in your account"), ConfigError),
        (400, error("The tokenizer for the model not found"), Outcome),
        (400, error("x is gone", code="model_decommissioned"), ConfigError),
        (400, error("This model is only supported in v1/responses and not here."), ConfigError),
    ],
)
def test_what_gateways_say_under_one_status_is_told_apart(status: int, body: Any, kind: type[Exception]) -> None:
    assert type(read(status, body)) is kind


FILTERED: list[tuple[int, Any]] = [
    (403, {"code": "no permission", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}),
    (400, error("your prompt was flagged as potentially violating our usage policy", code="invalid_prompt")),
    (400, error("系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301")),
    (400, error("The request failed because the input text may contain sensitive information.", code="S")),
    (400, error("Failed", code="OutputTextSensitiveContentDetected")),
    (400, error("Content Exists Risk")),
    (403, error("Access to such content is restricted by our content policy.")),
    (422, error("input new_sensitive (1026)")),
    (400, error("litellm.ContentPolicyViolationError: rejected")),
    (446, error("The guardrail checks defined in the config failed.", type="hooks_failed")),
    (400, error("Blocked by the workspace's guardrail: pii")),
    (400, error("Filtered by the content management policy.", code="content_filter")),
]


@pytest.mark.parametrize(("status", "body"), FILTERED)
def test_a_filter_stops_its_request_and_no_other(status: int, body: Any) -> None:
    found = read(status, body)
    assert isinstance(found, Outcome)
    assert found.kind == "filtered"


UNFILTERED: list[tuple[int, Any, type[Exception] | None]] = [
    (404, error("No endpoints available matching your guardrail restrictions and data policy."), ConfigError),
    (403, error("You have no rights to this model."), ConfigError),
    (403, error("Your organization has been disabled for violating our usage policies."), ConfigError),
    (403, error("Your access was permanently revoked: violation of content policy"), ConfigError),
    (400, error("The request exceeded budget of 30 s"), None),
    (400, error("messages: the content is no list of blocks"), None),
    (400, error("The thinking budget has been exceeded"), None),
    (400, error("max_tokens must be over budget_tokens"), None),
]


@pytest.mark.parametrize(("status", "body", "kind"), UNFILTERED)
def test_what_only_sounds_like_a_filter_or_a_budget_is_none(
    status: int, body: Any, kind: type[Exception] | None
) -> None:
    found = read(status, body)
    assert isinstance(found, kind or Outcome)
    assert getattr(found, "kind", "failed") == "failed"


NO_ROUTE = error("No endpoints found that can handle the requested parameters.", code=404)
FORBIDDEN = {
    "type": "extra_forbidden",
    "loc": ["body", "max_completion_tokens"],
    "msg": "Extra inputs are not permitted",
}
BEHIND = json.dumps(error("Unsupported parameter: 'temperature' is not supported with this model."))
FIELDS: list[tuple[int, Any, type[Exception]]] = [
    (400, error("invalid temperature: only 1 is allowed for this model"), SamplingFieldError),
    (400, error("invalid temperature: only 0.6 is allowed for this model"), SamplingFieldError),
    (400, error("Provider returned error", metadata={"raw": BEHIND}), SamplingFieldError),
    (422, {"object": "error", "message": {"detail": [FORBIDDEN]}}, CapFieldError),
    (404, NO_ROUTE, SchemaUnsupportedError),
    (400, error("Json mode response is not supported when enable_thinking is true"), SchemaUnsupportedError),
    (400, error("The compiled grammar is too large"), SchemaUnsupportedError),
]


@pytest.mark.parametrize(("status", "body", "kind"), FIELDS)
def test_a_field_that_is_refused_is_found_in_many_words(status: int, body: Any, kind: type[Exception]) -> None:
    assert isinstance(read(status, body, has_schema=True), kind)


def test_a_router_that_finds_no_server_for_a_request_without_a_schema_ends_the_run() -> None:
    assert isinstance(read(404, NO_ROUTE), ConfigError)
    assert isinstance(read(404, error("no such page: schema"), has_schema=True), ConfigError)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("x", "the context of tokens, EMPTY, by x9, sk-0123456789ab"),
        ("token", "the context of tokens, EMPTY, by x9, sk-0123456789ab"),
        ("EMPTY", "the context of tokens, [key], by x9, sk-0123456789ab"),
        ("x9", "the context of tokens, EMPTY, by [key], sk-0123456789ab"),
        ("0123456789", "the context of tokens, EMPTY, by x9, sk-[key]ab"),
    ],
)
def test_a_key_is_never_told_and_a_word_that_stands_for_one_spoils_no_other_word(key: str, told: str) -> None:
    said = json.dumps(error("the context of tokens, EMPTY, by x9, sk-0123456789ab")).encode()
    assert error_text(said, key) == told


def test_what_the_server_behind_a_router_says_is_told() -> None:
    def answer(_: Seen) -> web.Response:
        raw = json.dumps({"type": "error", "error": {"message": "text blocks must be non-empty"}})
        return web.json_response(error("Provider returned error", code=400, metadata={"raw": raw}), status=400)

    (outcome,), _ = ask(answer)
    assert (outcome.kind, outcome.note) == ("failed", "400: text blocks must be non-empty")
    found = read(429, error("Provider returned error", metadata={"raw": "m is rate-limited upstream", "n": 1}))
    assert isinstance(found, RateLimitError)
    assert found.reason == "429: m is rate-limited upstream"
    for metadata in (None, "", [], {"raw": None}, {"raw": " "}, {"raw": {"a": 1}}):
        assert "Provider" in str(read(429, error("Provider returned error", metadata=metadata)))


LIMITS = [
    ("limited to 1000 API calls / month", 30 * 86400, None),
    ("limit: 60 requests/minute", 60, None),
    ("you've reached your hourly usage limit", 3600, None),
    ("you have reached your session usage limit", 5 * 3600, None),
    ("Usage limit reached for 5 hour. Your limit will reset at 2027-12-01 18:04:11", 5 * 3600, None),
    ("已达到 5 小时的使用上限", 5 * 3600, None),
    ("Your 5-hour limit is reached", 5 * 3600, None),
    ("Please try again in 2 days.", None, 2 * 86400),
    ("try again after 2020-12-01T00:00:00Z", None, 0.0),
    ("see https://example.org/usage/month", None, None),
    ("requests took 3 hours", None, None),
]


@pytest.mark.parametrize(("text", "window_s", "wait_s"), LIMITS)
def test_a_limit_of_hours_or_months_is_known(text: str, window_s: float | None, wait_s: float | None) -> None:
    told = read_refusal(text)
    assert (told.window_s, told.wait_s) == (window_s, wait_s)
    assert isinstance(told, Refusal)


def completion(stop: str | None, text: str | None = "", **choice: Any) -> web.Response:
    message = {"role": "assistant", "content": text}
    return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": stop, **choice}]})


def failing(response: web.Response) -> Exception:
    with pytest.raises((RetryableError, MidspecError)) as caught:
        ask(lambda _: response)
    return caught.value


UPSTREAM = {"code": 502, "message": "the upstream is gone"}


@pytest.mark.parametrize("text", ["", "Half a te"])
def test_a_choice_with_an_error_and_no_end_broke_off(text: str) -> None:
    assert isinstance(failing(completion(None, text, error=UPSTREAM)), BrokenReplyError)
    assert isinstance(failing(completion("network_error", text)), BrokenReplyError)


def test_a_filters_error_under_status_200_stops_its_request_and_no_other() -> None:
    (outcome,), _ = ask(lambda _: web.json_response(error("filtered", code="content_filter")))
    assert outcome.kind == "filtered"


def test_an_error_in_a_list_of_one_is_an_error_under_status_200_too() -> None:
    assert type(failing(web.json_response([error("Quota", code=429)]))) is RateLimitError


def test_a_choice_that_ended_is_whole_whatever_stands_beside_it() -> None:
    (outcome,), _ = ask(lambda _: completion("stop", "Tea.", error=UPSTREAM))
    assert (outcome.kind, outcome.text) == ("ok", "Tea.")


@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        ("content_filter: PROHIBITED_CONTENT", "filtered"),
        ("function_call_filter: MALFORMED_FUNCTION_CALL", "unparsable"),
        ("IMAGE_SAFETY", "filtered"),
        ("repetition_truncation", "truncated"),
        ("repetition", "truncated"),
    ],
)
def test_ends_of_more_servers_are_known(stop: str, kind: str) -> None:
    (outcome,), _ = ask(lambda _: completion(stop, ""))
    assert (outcome.kind, outcome.stop_reason) == (kind, stop)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (1002, RateLimitError, "too often"),
        (1004, ConfigError, "key"),
        (1008, MidspecError, "paid"),
        (1000, NoReplyError, "status 200 with an error"),
    ],
)
def test_a_number_that_stands_for_an_error_is_one(number: int, kind: type[Exception], words: str) -> None:
    body = {
        "choices": None,
        "usage": {"total_tokens": 0},
        "base_resp": {"status_code": number, "status_msg": "too often"},
    }
    found = failing(web.json_response(body))
    assert isinstance(found, kind)
    assert words in str(found)


def test_a_number_that_stands_for_a_reply_is_none_and_one_for_a_filter_is_filtered() -> None:
    more = {"base_resp": {"status_code": 0, "status_msg": ""}}
    choice = {"message": {"content": "Tea."}, "finish_reason": "stop"}
    (outcome,), _ = ask(lambda _: web.json_response({"choices": [choice], **more}))
    assert outcome.text == "Tea."
    body = {"choices": None, "base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"}}
    (outcome,), _ = ask(lambda _: web.json_response(body))
    assert outcome.kind == "filtered"


def test_cached_tokens_are_counted_where_moonshot_has_them() -> None:
    usage = {"prompt_tokens": 19, "completion_tokens": 21, "total_tokens": 40, "cached_tokens": 10}
    choice = {"index": 0, "message": {"content": "Tea."}, "finish_reason": "stop"}
    (outcome,), _ = ask(lambda _: web.json_response({"choices": [choice], "usage": usage}))
    assert outcome.usage == Usage(n_input=9, n_cache_read=10, n_output=21)
    chunk = {"choices": [{"delta": {"content": "Tea."}, "finish_reason": "stop", "usage": usage}]}
    (outcome,), _ = ask(lambda _: web.Response(body=b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"))
    assert outcome.usage == Usage(n_input=9, n_cache_read=10, n_output=21)


def test_an_account_that_is_used_up_ends_a_run_after_one_request(tmp_path: Path) -> None:
    def answer(seen: Seen) -> web.Response:
        return web.json_response(error("余额不足", code="1113"), status=429) if seen.number else said("Yes.")

    async def run() -> list[Seen]:
        async with answering(answer) as small:
            with Store(tmp_path / "s") as store:
                async with open_client(OPENAI, small.access(), store, role="author") as client:
                    await client.ask(wish("a"))
                    with pytest.raises(MidspecError, match="no credit left"):
                        await client.ask(wish("b"))
            return small.seen

    assert len(asyncio.run(run())) == 2


def to(path: str, status: int) -> web.Response:
    return web.Response(status=status, headers={"Location": path})


@pytest.mark.parametrize(("status", "then"), [(302, 200), (301, 200), (307, 401), (308, 404)])
def test_a_redirect_on_which_a_request_is_lost_is_told_with_where_it_leads(status: int, then: int) -> None:
    def answer(seen: Seen) -> web.Response:
        return (
            said("Yes.")
            if seen.path == "/other" and then == 200
            else to("/other", status)
            if seen.number == 0
            else wrong(then, "no")
        )

    with pytest.raises(ConfigError, match=r"redirects to http://127\.0\.0\.1:\d+/other.* as the base URL"):
        ask(answer)


def test_a_redirect_that_keeps_the_request_is_followed_and_a_later_one_ends_no_run() -> None:
    def answer(seen: Seen) -> web.Response:
        return said("Yes.") if seen.path == "/other" else to("/other", 307)

    outcomes, _ = ask(answer, wish("a"), wish("b"))
    assert [outcome.kind for outcome in outcomes] == ["ok", "ok"]

    def later(seen: Seen) -> web.Response:
        return to("/login", 302) if seen.number else said("Yes.")

    with pytest.raises(ConfigError, match="takes no such requests"):
        ask(later, wish("a"), wish("b"))
