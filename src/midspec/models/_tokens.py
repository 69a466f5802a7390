"""Token ids with what is trained on, and which tokens begin inside a span of characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Tokens(NamedTuple):
    """Token ids, and for each whether it is trained on (`supervised`); both of the same length."""

    ids: list[int]
    supervised: list[bool]


class AnswerTokens(NamedTuple):
    """A prompt and an assistant's turn as token ids.

    Attributes:
        ids: of the prompt and the turn with its end.
        n_prompt: how many of them are the prompt's, as generating would be given it.
        content: which of them hold the message's content (from, to), without what the template writes around it.
    """

    ids: list[int]
    n_prompt: int
    content: tuple[int, int]


def row_of(tokens: AnswerTokens) -> Tokens:
    """Return a turn behind its prompt as a row in which the turn is trained on."""
    n_answer = len(tokens.ids) - tokens.n_prompt
    return Tokens(tokens.ids, [False] * tokens.n_prompt + [True] * n_answer)


def first_character(offset: tuple[int, int]) -> int:
    """Return where a token begins.

    Some tokenizers leave out white space from the characters of a token: one that is nothing but white space is
    then empty, and stands where it ended.
    """
    return offset[0] if offset[0] < offset[1] else offset[0] - 1


def inside(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Return for each token (its characters from, to) whether it begins inside one of the spans; both are in order."""
    is_inside, current = [], 0
    for offset in offsets:
        first = first_character(offset)
        while current < len(spans) and first >= spans[current][1]:
            current += 1
        is_inside.append(current < len(spans) and spans[current][0] <= first)
    return is_inside
