"""What servers say of their limits, in the forms that providers use: a list written by hand from their documents."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.llm._limits import LimitReading, Refusal, read_limits, read_refusal, retry_after_s, seconds_of

NOW = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC

TIMES = [
    ("1", 1.0),
    ("0.5", 0.5),
    (" 20 ", 20.0),
    ("6m0s", 360.0),
    ("120ms", 0.12),
    ("7.66s", 7.66),
    ("2m59.56s", 179.56),
    ("1h2m", 3720.0),
    ("1d", 86400.0),
    ("1800000030", 30.0),
    ("1800000030.5", 30.5),
    ("1800000030500", 30.5),
    ("1799999999", 0.0),
    ("Fri, 15 Jan 2027 08:00:10 GMT", 10.0),
    ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
    ("2027-01-15T08:00:20Z", 20.0),
    ("2027-01-15T09:00:20+01:00", 20.0),
    ("1m30s", 90.0),
    ("1.5h", 5400.0),
    ("30 seconds", 30.0),
    ("5min", 300.0),
    ("PT1M30S", 90.0),
    ("5, 5", 5.0),
    ("30;w=60", 30.0),
    ("1800000030000000", 30.0),
    ("", None),
    ("soon", None),
    ("-3", None),
    ("nan", None),
    ("inf", None),
    ("5 apples", None),
]


@pytest.mark.parametrize(("value", "seconds"), TIMES)
def test_every_form_of_a_time_is_read(value: str, seconds: float | None) -> None:
    assert seconds_of(value, NOW) == (None if seconds is None else pytest.approx(seconds))


WAITS: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    ({"retry-after": "2"}, 2.0),
    ({"retry-after": "0"}, 0.0),
    ({"retry-after": "0.25"}, 0.25),
    ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
    ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
    ({"retry-after": "30s"}, 30.0),
    ({"retry-after": "1800000030"}, 30.0),
    ({"retry-after": "1800000030500"}, 30.5),
    ({"retry-after": "Fri, 15 Jan 2027 08:00:10 GMT"}, 10.0),
    ({"x-ms-retry-after-ms": "1500"}, 1.5),
    ({"x-ratelimit-reset-after": "7"}, 7.0),
    ({"retry-after": "later"}, None),
]


@pytest.mark.parametrize(("headers", "seconds"), WAITS)
def test_the_wait_that_is_asked_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


HEADERS: list[tuple[dict[str, str], list[LimitReading]]] = [
    ({"content-type": "application/json"}, []),
    (
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "49",
            "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:01Z",
            "anthropic-ratelimit-input-tokens-limit": "50000",
            "anthropic-ratelimit-input-tokens-remaining": "0",
            "anthropic-ratelimit-output-tokens-limit": "8000",
        },
        [
            LimitReading("requests", 50, 49, 1.0),
            LimitReading("input tokens", 50000, 0),
            LimitReading("output tokens", 8000),
        ],
    ),
    (
        {
            "X-RateLimit-Limit-Requests": "14400",
            "X-RateLimit-Remaining-Requests": "14370",
            "X-RateLimit-Reset-Requests": "2m59.56s",
            "x-ratelimit-limit-tokens": "18000",
            "x-ratelimit-remaining-tokens": "17997",
            "x-ratelimit-reset-tokens": "120ms",
        },
        [LimitReading("requests", 14400, 14370, 179.56), LimitReading("tokens", 18000, 17997, 0.12)],
    ),
    (
        {"x-ratelimit-limit-requests-day": "900", "x-ratelimit-remaining-tokens-minute": "12"},
        [LimitReading("requests", 900, window_s=86400), LimitReading("tokens", None, 12, window_s=60)],
    ),
    (
        {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800050000000"},
        [LimitReading("requests", 50, 0, 50000.0)],
    ),
    (
        {"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "2", "RateLimit-Reset": "5"},
        [LimitReading("requests", 100, 2, 5.0)],
    ),
    (
        {"RateLimit-Policy": "100;w=60", "RateLimit": "limit=100, remaining=50, reset=5"},
        [LimitReading("requests", 100, 50, 5.0, 60)],
    ),
    (
        {"RateLimit-Policy": '"burst";q=100;w=60,"day";q=1000;w=86400', "RateLimit": '"day";r=50;t=36000'},
        [LimitReading("requests", 100, window_s=60), LimitReading("requests", 1000, 50, 36000.0, 86400)],
    ),
    ({"RateLimit-Policy": '"c";q=8;qu="concurrent-requests"'}, [LimitReading("concurrency", 8)]),
    (
        {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "59"},
        [LimitReading("requests", 60, 59, window_s=60)],
    ),
    (
        {"ratelimitbysize-limit": "500000", "ratelimitbysize-remaining": "9", "ratelimitbysize-reset": "30"},
        [LimitReading("tokens", 500000, 9, 30.0)],
    ),
    (
        {"x-tokenlimit-limit": "60,000", "x-tokenlimit-remaining": "59,000"},
        [LimitReading("tokens", 60000, 59000)],
    ),
    (
        {"llm_provider-x-ratelimit-limit-tokens": "100", "x-ratelimit-limit-tokens-month": "1000"},
        [LimitReading("tokens", 100), LimitReading("tokens", 1000, window_s=30 * 86400)],
    ),
    ({"x-ratelimit-limit-requests": "many", "x-ratelimit-reset-requests": "some day"}, []),
]


@pytest.mark.parametrize(("headers", "readings"), HEADERS)
def test_limits_are_read_from_every_providers_headers(headers: dict[str, str], readings: list[LimitReading]) -> None:
    assert read_limits(headers, NOW) == readings


WORDS = [
    (
        "Rate limit reached on tokens per min (TPM): Limit 10,000, Used 9,000, Requested 2,000. Try again in 6s.",
        Refusal("tokens", 60, 10_000, 6.0, 2_000),
    ),
    (
        "Rate limit reached on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s.",
        Refusal("requests", 86400, 200, 432.0, 1),
    ),
    (
        "This request would exceed your organization's rate limit of 40,000 input tokens per minute.",
        Refusal("input tokens", 60, 40_000),
    ),
    ("... exceed the rate limit of 8,000 output tokens per minute", Refusal("output tokens", 60, 8_000)),
    ("Number of request tokens has exceeded your per-minute rate limit", Refusal("tokens", 60)),
    ("Number of requests has exceeded your per-minute rate limit", Refusal("requests", 60)),
    ("Number of concurrent connections has exceeded your rate limit", Refusal("concurrency")),
    ("Too many concurrent requests. Limit: 4 concurrent requests", Refusal("concurrency", None, 4)),
    (
        "request reached max organization concurrency: 3, please try again after 1 seconds",
        Refusal("concurrency", None, None, 1.0),
    ),
    ("Rate limit exceeded: free-models-per-day. Add credits", Refusal("requests", 86400)),
    ("Rate limit exceeded: free-models-per-min.", Refusal("requests", 60)),
    (
        "... exceeded the token rate limit of this tier. Please retry after 26 seconds.",
        Refusal("tokens", None, None, 26.0),
    ),
    (
        '{"quotaId": "GenerateContentInputTokensPerModelPerMinute-FreeTier", "retryDelay": "26s"}',
        Refusal("input tokens", 60, None, 26.0),
    ),
    ('{"error": {"message": "slow down", "type": "tokens"}}', Refusal("tokens")),
    ("Daily quota used up", Refusal(None, 86400)),
    ("You have reached the weekly limit of your plan", Refusal(None, 7 * 86400)),
    ("You have exceeded your monthly included credits.", Refusal(None, 30 * 86400)),
    (
        "... exceeded call rate limit of your tier. Please retry after 26 seconds.",
        Refusal("requests", None, None, 26.0),
    ),
    ("ThrottlingException: Too many tokens, please wait before trying again.", Refusal("tokens")),
    ("Max parallel request limit reached.", Refusal("concurrency")),
    ("Rate limit exceeded: limit_rpm/x.", Refusal("requests", 60)),
    ('{"error": "Model X is currently loading", "estimated_time": 20.5}', Refusal(None, None, None, 20.5)),
    ('{"retry_after_ms": 500}', Refusal(None, None, None, 0.5)),
    ("Rate limit of 150 per 86400s exceeded. Please wait 40 seconds", Refusal("requests", 86400, 150, 40.0)),
    ("Rate limit of 2 per 0s exceeded for UserConcurrentRequests.", Refusal("concurrency", None, 2)),
    (
        "... exceed the rate limit for your organization (0a-1b) of 8,000 output tokens per minute.",
        Refusal("output tokens", 60, 8_000),
    ),
    ("您的账户已达到速率限制", Refusal("requests")),
    ("TPM速率限制", Refusal("tokens")),
    ("Token limit of 1,000 per day exceeded", Refusal(None, 86400, 1_000)),
    ("5 requests/min", Refusal("requests")),
    ("See https://x.com/docs/requests/detail", Refusal()),
    ("当前并发数过高", Refusal("concurrency")),
    ("Allocated quota exceeded, please increase your quota limit.", Refusal("tokens")),
    ("A limit of 20 hours per 3 steps", Refusal(None, None, 20)),
    ("Please wait 2 minutes", Refusal(None, None, None, 120.0)),
    ("Overloaded", Refusal()),
    ("Too Many Requests", Refusal()),
    ("", Refusal()),
]


@pytest.mark.parametrize(("text", "refusal"), WORDS)
def test_the_words_of_a_refusal_name_its_limit(text: str, refusal: Refusal) -> None:
    assert read_refusal(text) == refusal


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after", "retry-after-ms", "ratelimit", "ratelimit-policy", "x-ratelimit-reset-tokens",
                "anthropic-ratelimit-requests-reset", "x-ratelimit-limit", "x-ratelimit-remaining",
            ]
        ),
        st.one_of(st.text(max_size=30), st.from_regex(r"[\d.:;=,\"TZ+ a-z-]{0,20}", fullmatch=True)),
    )
)  # fmt: skip
def test_no_header_is_an_error_and_no_time_is_below_nothing(headers: dict[str, str]) -> None:
    wait_s = retry_after_s(headers, NOW)
    assert wait_s is None or (math.isfinite(wait_s) and wait_s >= 0)
    for reading in read_limits(headers, NOW):
        for number in (reading.limit, reading.remaining, reading.reset_s, reading.window_s):
            assert number is None or (math.isfinite(number) and number >= 0)


@given(st.text(max_size=300))
def test_no_words_are_an_error(text: str) -> None:
    read_refusal(text)


def test_a_reset_that_only_the_body_tells_is_waited_for() -> None:
    def body(reset: float, more: str = "") -> str:
        told = f'"metadata":{{"headers":{{"X-RateLimit-Remaining":"0","X-RateLimit-Reset":"{int(reset)}"}}}}'
        return f'{{"error":{{"message":"Rate limit exceeded: free-models-per-min.",{told}}}{more}}}'

    soon_ms = (time.time() + 42) * 1000
    told = read_refusal(body(soon_ms))
    assert (told.kind, told.window_s) == ("requests", 60.0)
    assert told.wait_s == pytest.approx(42.0, abs=2.0)
    assert read_refusal(body(5)).wait_s is None
    assert read_refusal(body(soon_ms, ',"retry_after": 3')).wait_s == 3.0
