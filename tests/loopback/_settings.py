"""What the loopback provider is told to do: how fast, how much at once, what goes wrong how often."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from midspec.core.records import Strict

Fate = Literal[
    "ok",
    "500",  # a server error after half the latency
    "overloaded",  # 529 for Anthropic, 503 for OpenAI
    "429",  # too many requests, with Retry-After
    "invalid",  # 400: never taken, however often it is sent
    "error200",  # status 200 with an error for a body, as some gateways answer
    "reset",  # the connection breaks, before the reply or in the middle of it
    "hang",  # nothing ever comes
    "truncated",  # cut at the cap: stop reason length / max_tokens
    "refused",  # refusal by the provider's own field or stop reason
    "filtered",  # content_filter / blocked by policy
    "malformed",  # stop reason good, text broken: JSON without its end, tags not closed
    "ignored_form",  # the schema is skipped: prose where JSON was asked
    "empty",  # stop reason good, no text
    "no_credit",  # the account's credit is used up
    "no_model",  # 404
]


class Change(Strict):
    """Other limits from `at_s` seconds after the first request on; `None` leaves a limit as it was."""

    at_s: float
    max_in_flight: int | None = None
    requests_per_min: float | None = None
    tokens_per_min: float | None = None


class Settings(Strict):
    """All of it. A rate is the share of requests (0 to 1) that meet that fate; each is drawn anew for every attempt.

    Draws depend on `seed`, the hash of the messages and how often the server has seen them, never on time or order:
    the same requests get the same latencies and the same replies in every run.

    Attributes:
        seed: of all draws.
        median_list_s: median latency of requests with a schema and of verdicts.
        median_document_s: median latency of requests for documents and replies.
        sigma: of the log-normal latencies.
        max_in_flight: more than this at once are answered with 429 at once.
        requests_per_min: a bucket of requests; what does not fit is answered with 429 at once.
        tokens_per_min: a bucket of tokens: those of the prompt and the cap of the reply.
        burst_s: for how many seconds' worth the buckets have room, full at the start.
        changes: other limits later on.
        limit_headers: whether responses tell the limits in the provider's headers.
        retry_after_s: what the Retry-After header of a 429 says; `None` leaves it out.
        hang_s: when a hanging connection is closed after all.
        fates: the fates of the first requests, by arrival; the rates hold from there on.
        share_first: how often a verdict is its first alternative (keep, pass, yes, true).
        document_words: about how long a document is; other tags get about a tenth.
        cache: whether leading text that was seen before is reported as read from the cache.
        cache_least: tokens that a prefix must have to be cached (4 characters are a token).
        cache_step: the automatic cache of the OpenAI protocol counts in steps of so many tokens.
        batch_delay_s: how long a batch takes.
        batch_expired: share of a batch's entries that expire.
        batch_failed: with these words a batch of the OpenAI protocol ends, and none of it is answered.
        key: the key that requests must carry; `None` takes any.
        log_path: a file that gets a JSON line for every request that ended.
        log_texts: rows of the log carry the end of the prompt and the text of lists.
        n_kept: how many of the last bodies and headers are kept for `GET /_last`.
    """

    seed: int = 0
    median_list_s: float = Field(default=0.0, ge=0)
    median_document_s: float = Field(default=0.0, ge=0)
    sigma: float = Field(default=0.6, ge=0)
    max_in_flight: int | None = Field(default=None, ge=1)
    requests_per_min: float | None = Field(default=None, gt=0)
    tokens_per_min: float | None = Field(default=None, gt=0)
    burst_s: float = Field(default=1.0, gt=0)
    changes: tuple[Change, ...] = ()
    limit_headers: bool = False
    retry_after_s: float | None = Field(default=1.0, ge=0)
    hang_s: float = Field(default=3600.0, gt=0)
    fates: tuple[Fate, ...] = ()
    rate_500: float = Field(default=0.0, ge=0, le=1)
    rate_overloaded: float = Field(default=0.0, ge=0, le=1)
    rate_429: float = Field(default=0.0, ge=0, le=1)
    rate_invalid: float = Field(default=0.0, ge=0, le=1)
    rate_error200: float = Field(default=0.0, ge=0, le=1)
    rate_reset: float = Field(default=0.0, ge=0, le=1)
    rate_hang: float = Field(default=0.0, ge=0, le=1)
    rate_truncated: float = Field(default=0.0, ge=0, le=1)
    rate_refused: float = Field(default=0.0, ge=0, le=1)
    rate_filtered: float = Field(default=0.0, ge=0, le=1)
    rate_malformed: float = Field(default=0.0, ge=0, le=1)
    rate_ignored_form: float = Field(default=0.0, ge=0, le=1)
    rate_empty: float = Field(default=0.0, ge=0, le=1)
    share_first: float = Field(default=1.0, ge=0, le=1)
    document_words: int = Field(default=400, ge=1)
    cache: bool = True
    cache_least: int = Field(default=1024, ge=1)
    cache_step: int = Field(default=128, ge=1)
    batch_delay_s: float = Field(default=0.0, ge=0)
    batch_expired: float = Field(default=0.0, ge=0, le=1)
    batch_failed: str = ""
    key: str | None = None
    log_path: str | None = None
    log_texts: bool = False
    n_kept: int = Field(default=50, ge=0)

    @property
    def rates(self) -> tuple[tuple[Fate, float], ...]:
        """Every fate but `ok` with its rate."""
        return (
            ("500", self.rate_500),
            ("overloaded", self.rate_overloaded),
            ("429", self.rate_429),
            ("invalid", self.rate_invalid),
            ("error200", self.rate_error200),
            ("reset", self.rate_reset),
            ("hang", self.rate_hang),
            ("truncated", self.rate_truncated),
            ("refused", self.rate_refused),
            ("filtered", self.rate_filtered),
            ("malformed", self.rate_malformed),
            ("ignored_form", self.rate_ignored_form),
            ("empty", self.rate_empty),
        )
