"""What one item's questions brought: the raw material of every measure, as it is stored in the log."""

from __future__ import annotations

from midspec.records import Strict

__all__ = ["Asked", "Observed", "Pair", "Reply"]


class Reply(Strict):
    """A generated answer and why it ended there, in Inspect's words (`stop`, `max_tokens`, `content_filter`, ...)."""

    question: str
    text: str
    stop_reason: str


class Pair(Strict):
    """Two texts after one prompt: log-probabilities in nats, summed over their tokens, and how many tokens."""

    logprobs: tuple[float, float]
    n_tokens: tuple[int, int]


class Asked(Strict):
    """One choice question: the phrasing's number, whether the target was named second, and what came back.

    The first of each pair is the target's (or the target's reason's).
    """

    phrasing: int
    swapped: bool
    reply: Reply
    options: Pair | None = None
    reasons: Pair | None = None


class Observed(Strict):
    """Everything that was asked of one item; `no_logprobs` says why there are none, where there are none."""

    asked: tuple[Asked, ...]
    free: Reply | None = None
    why: Reply | None = None
    no_logprobs: str | None = None
