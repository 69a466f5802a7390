"""Lists that a model is asked for until they are long enough, each time with what exists already."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

EntryType = TypeVar("EntryType")

_MAX_BARREN = 2
_EXTRA_ROUNDS = 6


@dataclass(frozen=True)
class ListRound:
    """One request of a list.

    Attributes:
        draw: how many requests of this list came before it.
        n_wanted: how many entries to ask for now.
        n_have: how many entries there are.
        names: the names of all that exists, in the order in which it came; the next reply is to repeat none.
    """

    draw: int
    n_wanted: int
    n_have: int
    names: tuple[str, ...]


def name_key(name: str) -> str:
    """Return what two names have in common that are the same but for case, spaces and punctuation."""
    return " ".join("".join(char if char.isalnum() else " " for char in name.casefold()).split())


async def sample_list(
    ask: Callable[[ListRound], Awaitable[Sequence[EntryType] | None]],
    n_wanted: int,
    *,
    name: Callable[[EntryType], str],
    taken: Sequence[str] = (),
    batch_size: int = 25,
) -> AsyncIterator[list[EntryType]]:
    """Ask for the entries of a list and give them as they come, until there are enough or nothing new comes any more.

    Two rounds in a row without anything new end it, and so do six rounds more than batches would fill the list.

    Args:
        ask: sends one request; gives the entries of its reply (none where it can't be used), or `None` where asking
            again makes no sense.
        n_wanted: how many entries are wanted.
        name: the name of an entry; an entry whose name exists already is left out.
        taken: names that exist already and do not count.
        batch_size: how many entries to ask for at once.
    """
    have = {name_key(one): one for one in taken}
    n_have, n_barren, n_taken = 0, 0, len(have)
    for draw in range(n_wanted // batch_size + _EXTRA_ROUNDS):
        if n_have >= n_wanted or n_barren >= _MAX_BARREN:
            return
        n_now = min(batch_size, n_wanted - n_have)
        entries = await ask(ListRound(draw, n_now, n_have, tuple(have.values())))
        fresh: list[EntryType] = []
        for entry in entries or ():
            if (key := name_key(name(entry))) not in have and n_have < n_wanted:
                have[key] = name(entry)
                n_have = len(have) - n_taken
                fresh.append(entry)
        n_barren = 0 if fresh else n_barren + 1
        if fresh:
            yield fresh
        if entries is None:
            return
