"""Which preference is asked when: every combination once, and every stretch of the list balanced.

Only counts go in and only positions come out, so that the schedule cannot depend on what a spec says.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Ask", "schedule"]


class Ask(NamedTuple):
    """One question by positions: its frame, its ending, and what it is about.

    For a pair, `liked` and `disliked` are both given and `liked_first` is the order; for a question about one
    thing, exactly one of them is.
    """

    frame: int
    ending: int
    liked: int | None
    disliked: int | None
    liked_first: bool = True


class _Block(NamedTuple):
    """Asks that go through all things evenly: one frame, one ending; for pairs one way of matching them up."""

    frame: int
    ending: int
    shift: int | None = None
    parity: int = 0


def schedule(
    n_liked: int, n_disliked: int, n_pair: int, n_single: int, n_endings: int, rng: random.Random
) -> Iterator[Ask]:
    """Every distinct ask once: pairs in both orders, and each thing alone.

    The asks come in blocks in which each thing is asked about equally often (where as many are liked as disliked)
    and the two orders of pairs alternate, so that any first N asks are as balanced as N allows.

    Args:
        n_liked: how many things are liked.
        n_disliked: how many are disliked.
        n_pair: how many frames ask about two things.
        n_single: how many frames ask about one.
        n_endings: how many endings there are; 0 counts as one (empty) ending.
        rng: decides the order of the blocks.
    """
    matchings = math.gcd(n_liked, n_disliked) if n_liked and n_disliked else 0
    n_turns = max(1, n_endings)
    for turn in range(n_turns):
        pairs = [_Block(frame, (frame + s + turn) % n_turns, s) for frame in range(n_pair) for s in range(matchings)]
        rng.shuffle(pairs)
        # The second half asks the same pairs in the other order.
        blocks = [block._replace(parity=(at + half) % 2) for half in range(2) for at, block in enumerate(pairs)]
        for frame in range(n_single):
            blocks.insert(rng.randint(0, len(blocks)), _Block(frame, (frame + turn) % n_turns))
        for block in blocks:
            yield from (
                _single(block, n_liked, n_disliked, rng)
                if block.shift is None
                else _pairs(block, block.shift, n_liked, n_disliked)
            )


def _pairs(block: _Block, shift: int, n_liked: int, n_disliked: int) -> Iterator[Ask]:
    """Liked k with disliked k + shift, going round until the two meet again; every shift gives other pairs."""
    for k in range(math.lcm(n_liked, n_disliked)):
        liked_first = (k + block.parity) % 2 == 0
        yield Ask(block.frame, block.ending, k % n_liked, (k + shift) % n_disliked, liked_first)


def _single(block: _Block, n_liked: int, n_disliked: int, rng: random.Random) -> list[Ask]:
    asks = [Ask(block.frame, block.ending, at, None) for at in range(n_liked)]
    asks += [Ask(block.frame, block.ending, None, at) for at in range(n_disliked)]
    rng.shuffle(asks)
    return asks
