"""Smaller pools inside a larger one: each the beginning of the same seeded order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from midspec.errors import ConfigError
from midspec.records import Chat

__all__ = ["nested_name", "subsample"]


def subsample(chats: Sequence[Chat], n: int) -> tuple[Chat, ...]:
    """The first `n` chats of a pool, in its order.

    A pool's rows are saved in an order drawn by its seed (opaque ones in rounds of one chat a preference), so its
    beginning is a random, balanced sample; a smaller one is contained in every larger one, and twins, which have the
    same order, give the same ids.

    Raises:
        ConfigError: the pool has fewer.
    """
    if not 1 <= n <= len(chats):
        raise ConfigError(f"{n} is not between 1 and the pool's {len(chats)}", where="n", mend="Write a larger pool")
    return tuple(chats[:n])


def nested_name(name: str, n: int) -> str:
    """The file of the first `n` rows of a pool's file: `chats_cot.jsonl`, 1,250 -> `chats_cot.1250.jsonl`."""
    path = PurePath(name)
    return f"{path.stem}.{n}{path.suffix}"
