"""What a language model gives: generated texts, log-probabilities of given ones, and why it gives none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from midspec.core.errors import PromptError

TOO_LONG = "the prompt does not fit the model's window"


class OptionScore(NamedTuple):
    """The log-probability of an option's text, summed over its `n_tokens` tokens; natural logarithm."""

    logprob: float
    n_tokens: int


class Generation(NamedTuple):
    """What a model wrote, why it stopped ("length": it was cut off), and its number of tokens."""

    text: str
    stop_reason: Literal["stop", "length"]
    n_tokens: int


class PromptTooLongError(PromptError):
    """Prompts that don't fit a model's window; `numbers` are their places in what was given."""

    def __init__(self, n_tokens: int, window: int, numbers: Sequence[int]) -> None:
        super().__init__(f"{TOO_LONG}: {n_tokens} tokens, and it has {window}")
        self.n_tokens, self.window, self.numbers = n_tokens, window, tuple(numbers)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.n_tokens, self.window, self.numbers)
