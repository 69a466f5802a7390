"""What a server says of its limits: in headers, in the words of a refusal, and by `Retry-After`.

Sources: the headers of Anthropic (`anthropic-ratelimit-input-tokens-remaining`, with RFC 3339 times), of OpenAI and
those who copy it (`x-ratelimit-reset-requests: 6m0s`), of Cerebras (`x-ratelimit-limit-requests-day`), of OpenRouter
(`x-ratelimit-reset` as Unix milliseconds), of Mistral (`x-ratelimit-limit-req-minute`, `ratelimitbysize-limit` in
tokens), of Together (`x-tokenlimit-limit`), as LiteLLM hands them on (`llm_provider-x-...`), and the drafts
of draft-ietf-httpapi-ratelimit-headers (03, 07, 10).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from midspec.llm._types import Request, Usage

LimitKind = Literal["concurrency", "requests", "tokens", "input tokens", "output tokens"]

DAY_S = 86400.0
MINUTE_S = 60.0
_NAMES = re.compile(
    r"(?:anthropic-(?:priority-)?|(?:llm_provider-)?x-)?(?:ratelimit|(?P<by_size>ratelimitbysize|tokenlimit))"
    r"-(?P<unit>requests|tokens|input-tokens|output-tokens)?-?(?P<what>limit|remaining|reset)"
    r"(?:-(?P<unit_after>req(?:uests)?|tokens(?:-prompt|-generated)?|input-tokens|output-tokens))?"
    r"(?:-(?P<window>second|minute|hour|day|month))?"
)
_KINDS: dict[str, LimitKind] = {
    "requests": "requests",
    "req": "requests",
    "tokens": "tokens",
    "input-tokens": "input tokens",
    "tokens-prompt": "input tokens",
    "output-tokens": "output tokens",
    "tokens-generated": "output tokens",
}
_WINDOWS = {"second": 1.0, "minute": MINUTE_S, "hour": 3600.0, "day": DAY_S, "month": 30 * DAY_S}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:milliseconds?|ms|days?|d|hours?|h|minutes?|min|m|seconds?|secs?|s)\s*)+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|[dhms])")
_UNITS_S = {"d": DAY_S, "h": 3600.0, "m": MINUTE_S, "s": 1.0, "ms": 0.001, "milli": 0.001}
_ISO_DURATION = re.compile(r"P(?:(?P<d>\d+)D)?T?(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?")
_LONGEST_PAUSE_S = 2.0
# 2001 in seconds, milliseconds and microseconds: no server asks for a wait of thirty years.
_EPOCH_S, _EPOCH_MS, _EPOCH_US = 1e9, 1e12, 1e15
_POLICY = re.compile(r"(?:^|;)\s*(q|w|r|t|limit|remaining|reset|qu)\s*=\s*\"?([\w.-]+)\"?")

_WAIT_HEADERS = (
    *(("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1.0), ("x-retry-after", 1.0)),
    *(("x-ratelimit-retry-after", 1.0), ("x-ratelimit-reset-after", 1.0)),
)


@dataclass(frozen=True, slots=True)
class LimitReading:
    """One limit as a server tells it; what it does not tell is None.

    Attributes:
        kind: what is counted.
        limit: how much of it there is in a window.
        remaining: how much is left.
        reset_s: seconds until the window begins anew, or the bucket is full.
        window_s: the window's length.
    """

    kind: LimitKind
    limit: float | None = None
    remaining: float | None = None
    reset_s: float | None = None
    window_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the words of a refusal say: of which limit, how large it is and how long to wait. None where they don't."""

    kind: LimitKind | None = None
    window_s: float | None = None
    limit: float | None = None
    wait_s: float | None = None
    requested: float | None = None


def seconds_of(value: str, now: float | None = None) -> float | None:
    """Return how far away a time is that a header gives, in any of the forms in use; None for what is no time.

    Forms: seconds (`1`, `0.5`), durations (`6m0s`, `120ms`, `1.5h`, `30 seconds`, `PT30S`), a Unix time in seconds,
    milliseconds or microseconds, an HTTP date, an RFC 3339 time. Of a list (`5, 5`) the first counts.

    Args:
        value: of the header.
        now: the Unix time to count from; by default the present.
    """
    value = value.strip()
    now = time.time() if now is None else now
    try:
        number = float(value)
    except ValueError:
        if (duration_s := _duration_s(value.lower())) is not None:
            return duration_s
        head = value.split(";")[0].split(",")[0].strip()
        return seconds_of(head, now) if head != value and head[:1].isdigit() else _until_s(value, now)
    if not math.isfinite(number) or number < 0:
        return None
    if number >= _EPOCH_MS:
        return max(0.0, number / (1e6 if number >= _EPOCH_US else 1000) - now)
    return max(0.0, number - now) if number >= _EPOCH_S else number


def _duration_s(value: str) -> float | None:
    if _DURATION.fullmatch(value):
        return sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION_PART.findall(value))
    found = _ISO_DURATION.fullmatch(value.upper())
    if found is None or not any(found.groups()):
        return None
    return sum(float(number) * _UNITS_S[unit] for unit, number in found.groupdict().items() if number)


def _until_s(value: str, now: float) -> float | None:
    try:
        at = datetime.fromisoformat(value) if value[:4].isdigit() else parsedate_to_datetime(value)
        return max(0.0, at.timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def retry_after_s(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the wait that a server asks for in `retry-after-ms` or `Retry-After`; None where it asks for none.

    Args:
        headers: of the response.
        now: the Unix time to count from; by default the present.
    """
    for name, unit in _WAIT_HEADERS:
        value = headers.get(name)
        if value is None or (wait_s := seconds_of(value, now)) is None:
            continue
        is_number = re.fullmatch(r"\s*[\d.]+\s*", value) is not None and float(value) < _EPOCH_S
        return wait_s * unit if is_number else wait_s
    return None


def read_limits(headers: Mapping[str, str], now: float | None = None) -> list[LimitReading]:
    """Return what the headers of a response say of limits.

    Args:
        headers: of the response, whatever its status.
        now: the Unix time to count from; by default the present.
    """
    found: dict[tuple[LimitKind, float | None], dict[str, float]] = {}
    policies: dict[str, LimitReading] = {}
    for name, value in headers.items():
        if "limit" not in name and "limit" not in name.lower():
            continue
        name = name.lower()
        if name in ("ratelimit", "ratelimit-policy"):
            _read_policies(value, policies, now)
        elif match := _NAMES.fullmatch(name):
            unit = match["unit"] or match["unit_after"] or ("tokens" if match["by_size"] else "requests")
            kind = _KINDS[unit]
            what = match["what"]
            number = seconds_of(value, now) if what == "reset" else _number(value)
            if number is not None:
                found.setdefault((kind, _WINDOWS.get(match["window"] or "")), {})[what] = number
    readings = [
        LimitReading(kind, told.get("limit"), told.get("remaining"), told.get("reset"), window_s)
        for (kind, window_s), told in found.items()
    ]
    return readings + list(policies.values())


def _number(value: str) -> float | None:
    # `100, 100;w=60` begins with the limit that holds; `1,000` is one number.
    found = re.match(r"\s*(\d{1,3}(?:,\d{3})+(?![\d,])|\d+(?:\.\d+)?)", value)
    return float(found[1].replace(",", "")) if found else None


def _read_policies(value: str, policies: dict[str, LimitReading], now: float | None) -> None:
    """Read `"burst";q=100;w=60` and `"burst";r=50;t=30`, or `100;w=60` and `limit=100, remaining=50, reset=5`."""
    if re.match(r"\s*limit\s*=", value):
        value = value.replace(",", ";")
    for item in value.split(","):
        fields = dict(_POLICY.findall(";" + item))
        head = item.split(";")[0].strip().strip('"')
        name = "" if "=" in head or head.isdigit() else head
        if head.isdigit():
            fields["q"] = head
        numbers = {key: _number(text) for key, text in fields.items() if key != "qu"}
        old = policies.get(name) or LimitReading("concurrency" if "concurrent" in fields.get("qu", "") else "requests")
        reset_s = seconds_of(fields.get("t") or fields.get("reset") or "", now)
        policies[name] = replace(
            old,
            limit=numbers.get("q") or numbers.get("limit") or old.limit,
            remaining=_first(numbers.get("r"), numbers.get("remaining"), old.remaining),
            reset_s=_first(reset_s, old.reset_s),
            window_s=numbers.get("w") or old.window_s,
        )


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


# In order: the first that is found tells.
_WORDS: dict[LimitKind, str] = {
    "concurrency": r"concurren\w*|simultaneous|in parallel|parallel requests?|too many (?:open )?connections|并发",
    "input tokens": r"(?<!the )input[ _-]?tokens?|inputtokens|prompt tokens|\bitpm\b",
    "output tokens": r"(?<!input or )output[ _-]?tokens?|outputtokens|completion tokens|\botpm\b",
    "tokens": r"\"type\": ?\"tokens\"|(?<![a-z])tp[mdh](?![a-z])|tokens? (?:per|rate)|tokensper|per-\w+ token"
    r"|request tokens|too many tokens|allocated quota exceeded|token\S{0,6}速率限制",
    "requests": r"\"type\": ?\"requests\"|\brp[mdhs]\b|(?<!/)(?:requests?|calls) ?(?:per|/ ?[\dsmhd])|models-per"
    r"|(?:requests?|call) rate limit|number of requests|limit_rp[mdh]\b|rate limit of [\d,]+ per|请求频率|速率限制",
}
_LONGEST_TEXT = 20_000  # a gateway's page may be of any length
_PER = {"second": 1.0, "sec": 1.0, "minute": MINUTE_S, "min": MINUTE_S, "hour": 3600.0, "hourly": 3600.0, "day": DAY_S}
_PER |= {"daily": DAY_S, "week": 7 * DAY_S, "weekly": 7 * DAY_S, "month": 30 * DAY_S, "monthly": 30 * DAY_S}
_PER_WORDS = re.compile(
    r"per[ _-]?(second|sec|minute|min|hour|day|week|month)|(?:\b|_)(?:rp|tp|itp|otp)([mdhs])\b"
    r"|\b(hourly|daily|weekly|monthly)\b"
    r"|(?:limit\b.{0,30}?\b(?:for the|this) |\b(?:requests?|calls?|tokens?|messages?) ?/ ?)"
    r"(minute|hour|day|week|month)\b"
)
# Of plans that count by some hours: Zhipu's, Ollama's (a session has five).
_HOURS_WORDS = re.compile(
    r"\b(\d{1,2})[ -]?hours? (?:\w+ )?limit|\blimit (?:\w+ )?for (\d{1,2}) ?hour|(\d{1,2}) ?小时的?(?:\w\w)?上限"
)
_SECONDS_WORDS = re.compile(r"\bper (\d{1,6}) ?s(?:ec(?:ond)?s?)?\b")
_SESSION_WORDS, _SESSION_HOURS = "session usage limit", 5
_BY_LETTER = {"s": 1.0, "m": MINUTE_S, "h": 3600.0, "d": DAY_S}
_WAIT_WORDS = re.compile(
    r"(?:(?:try again|retry|wait|resets?)(?: \w+){0,3}? (?:in|after|for)|please wait) ~?"
    r"((?:\d+(?:\.\d+)?(?:ms|[dhms]))+(?![a-z])|\d{4}-\d\d-\d\dt[\d:.]+(?:z|[+-]\d\d:?\d\d)|\d+(?:\.\d+)?(?!\d|[-/]\d))"
    r"(?: ?(seconds?|milliseconds?|minutes?|hours?|days?))?"
    r"|\"retrydelay\": ?\"([\d.]+s)\""
    r"|\b(?:retry_after|retryafter|retry-after|estimated_time)(_ms)?\"?[:=] ?\"?(\d+(?:\.\d+)?)"
)
_RESET_WORDS = re.compile(r"\"x-ratelimit-reset\": ?\"?(\d{10,16})\b")  # OpenRouter's header, in its body alone
_LIMIT_WORDS = re.compile(
    r"\blimit[ :]+~?([\d,]+)|limit (?:for \w+ \w+ \([^()]*\) )?of ([\d,]+)|\b[rt]pm(?: rate limit)?: ?([\d,]+)"
)
_REQUESTED_WORDS = re.compile(r"requested:? ~?([\d,]+)")


def read_refusal(text: str) -> Refusal:
    """Return what the body of a refusal (429, 503, 529) says of the limit that it stands for.

    Args:
        text: the body, JSON or not.
    """
    text = text[:_LONGEST_TEXT].lower().replace('\\"', '"')
    kind = next((kind for kind, words in _WORDS.items() if re.search(words, text)), None)
    per = _PER_WORDS.search(text)
    window_s = None
    if per is not None:
        window_s = _BY_LETTER[per[2]] if per[2] else _PER[per[1] or per[3] or per[4]]
    elif hours := _HOURS_WORDS.search(text):
        window_s = 3600.0 * int(next(filter(None, hours.groups())))
    elif _SESSION_WORDS in text:
        window_s = 3600.0 * _SESSION_HOURS
    elif seconds := _SECONDS_WORDS.search(text):
        window_s = float(seconds[1]) or None
    if "perday" in text or "per day" in text or "per-day" in text:  # a minute's limit may be named beside it
        window_s = DAY_S if "perminute" not in text and "per minute" not in text else window_s
    wait = _WAIT_WORDS.search(text)
    wait_s = None
    if wait is not None:
        wait_s = seconds_of((wait[3] or wait[1] or wait[5]).upper())
        unit = "millisecond" if wait[4] else (wait[2] or "").rstrip("s")
        if wait_s is not None:
            wait_s *= {"millisecond": 0.001, "minute": MINUTE_S, "hour": 3600.0, "day": DAY_S}.get(unit, 1.0)
    if wait_s is None and (reset := _RESET_WORDS.search(text)):
        wait_s = seconds_of(reset[1])
    limit, requested = _LIMIT_WORDS.search(text), _REQUESTED_WORDS.search(text)
    return Refusal(
        kind=kind,
        window_s=window_s,
        limit=_counted(next(filter(None, limit.groups()))) if limit else None,
        wait_s=wait_s,
        requested=_counted(requested[1]) if requested else None,
    )


def _counted(digits: str) -> float | None:
    digits = digits.replace(",", "")
    return float(digits) if digits else None


class Sent:
    """One attempt: when it was sent, beside how many others, and how large it was thought to be."""

    __slots__ = ("at", "cycle", "is_probe", "is_refused", "level", "sizes", "totals")

    def __init__(self, at: float, level: int, sizes: dict[LimitKind, float]) -> None:
        self.at, self.level, self.sizes = at, level, sizes
        self.totals: dict[LimitKind, float] = {}
        self.is_refused = self.is_probe = False
        self.cycle: Any = None


class Sizes:
    """How many tokens a request takes, estimated before it is sent and corrected by what its answers took."""

    def __init__(self) -> None:
        self._chars_per_token = 4.0
        self._n_output: dict[tuple[str, int], float] = {}

    def estimate(self, request: Request) -> dict[LimitKind, float]:
        """Return what a request is thought to take of each kind."""
        n_chars = len(request.prefix) + len(request.prompt) + sum(len(turn.content) for turn in request.turns)
        n_input = n_chars / self._chars_per_token
        n_output = self._n_output.get((request.stage, request.max_tokens), request.max_tokens / 2)
        return {"requests": 1.0, "input tokens": n_input, "output tokens": n_output, "tokens": n_input + n_output}

    def learn(self, request: Request, sizes: dict[LimitKind, float], usage: Usage | None) -> None:
        """Take over what an answer took."""
        if usage is None:
            return
        n_input = usage.n_input + usage.n_cache_read + usage.n_cache_write
        if n_input > 0 and sizes["input tokens"] > 0:
            seen = self._chars_per_token * sizes["input tokens"] / n_input
            self._chars_per_token += 0.05 * (min(16.0, max(0.25, seen)) - self._chars_per_token)
        key = (request.stage, request.max_tokens)
        old = self._n_output.get(key, float(usage.n_output))
        self._n_output[key] = old + 0.1 * (usage.n_output - old)


class Quota:
    """One limit whose size and state the server's headers tell: so much of it is left, so fast it fills again."""

    def __init__(self, kind: LimitKind) -> None:
        self.kind = kind
        self.limit = math.inf
        self.rate = math.inf
        self.level = math.inf
        self.window_s = MINUTE_S
        self.reset_at = math.inf
        self._is_fixed = False
        self._first: tuple[float, float] | None = None  # when a time of reset was first told, and which
        self._at = 0.0
        self._closed_until = 0.0

    def opens_at(self, size: float, now: float) -> float:
        """Return when an attempt of this size may go."""
        if now < self._closed_until:
            return self._closed_until
        size = min(size, self.limit)
        self._fill(now)
        if self.level >= size:
            return now
        return self.reset_at if self._is_fixed else now + (size - self.level) / self.rate

    def _fill(self, now: float) -> None:
        if self._is_fixed:
            if now >= self.reset_at:
                self.level, self._is_fixed, self._first = self.limit, False, None
        else:
            self.level = min(self.limit, self.level + self.rate * (now - self._at))
        self._at = now

    def take(self, size: float) -> None:
        """Count what was sent, or came to less than it was thought to be (then `size` is below 0)."""
        self.level -= size

    def read(self, reading: LimitReading, sent: Sent, total: float, now: float) -> None:
        """Take over what a response says.

        Args:
            reading: of the response.
            sent: the attempt that it answers.
            total: what has been sent of this kind until now.
            now: on the loop's clock.
        """
        self._fill(now)
        if reading.reset_s is not None:
            reset_at = now + reading.reset_s
            self.reset_at = reset_at
            if self._first is None:
                self._first = (now, reset_at)
            elif now - self._first[0] >= 3.0:  # times are often told in whole seconds
                moved = (reset_at - self._first[1]) / (now - self._first[0])
                self._is_fixed, self._first = moved < 0.4, (now, reset_at)
        if reading.limit not in (None, 0.0, self.limit) or reading.window_s:
            self.limit = reading.limit or self.limit
            self.window_s = reading.window_s or (DAY_S if (reading.reset_s or 0.0) > 1.5 * MINUTE_S else MINUTE_S)
            self.rate = self.limit / self.window_s
        if reading.remaining is not None and self.limit < math.inf:
            # Counted when the request came, or when it was answered? The truth lies between.
            least = reading.remaining + self.rate * (now - sent.at) - (total - sent.totals[self.kind])
            low, high = sorted((least, reading.remaining))
            self.level = min(self.limit, max(low, min(high, self.level)))

    def refuse(self, size: float, wait_s: float | None, now: float) -> None:
        """Count that the server found it used up; what is asked for beyond what its own headers say is cut short."""
        self.level = min(self.level, 0.0)
        pause_s = min(size, self.limit) / self.rate if wait_s is None else min(wait_s, _LONGEST_PAUSE_S)
        self._closed_until = self.reset_at if self._is_fixed else now + pause_s
