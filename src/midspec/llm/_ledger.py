"""What was asked and spent, by stage, against what was forecast."""

from __future__ import annotations

from pydantic import Field

from midspec.llm._types import Usage
from midspec.records import Strict

__all__ = ["LedgerRow", "Lost"]


class LedgerRow(Strict):
    """What one stage has asked of one model, and what came of it.

    Attributes:
        stage: the step of the method.
        duty: author or judge.
        model: as it is named in the configuration.
        n_asked: attempts that were sent and have an outcome.
        kinds: how many attempts ended in each way: the kinds of outcome, and `again` for those that were repeated.
        usage: tokens of all attempts whose usage is known.
        cost_usd: what the priced attempts cost together.
        n_unpriced: attempts that were billed at a price or for a usage that is unknown; they are not in `cost_usd`.
        seconds: time from sending to outcome, summed over attempts.
        n_lost: attempts without an outcome: in flight when a process was killed, or still in flight elsewhere.
    """

    stage: str
    duty: str
    model: str
    n_asked: int = 0
    kinds: dict[str, int] = Field(default_factory=dict)
    usage: Usage = Usage()
    cost_usd: float = 0.0
    n_unpriced: int = 0
    seconds: float = 0.0
    n_lost: int = 0


class Lost(Strict):
    """Attempts of one stage that may have been billed and of which no usage is known, with an estimate of it.

    These are requests in flight when a process was killed, and attempts that ran into their deadline. A prompt token
    is taken to be four characters; a reply as long as the stage's mean, or as its cap where there is no mean yet.
    """

    stage: str
    duty: str
    model: str
    n: int
    n_input: int
    n_output: int
