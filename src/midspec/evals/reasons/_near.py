"""Reasons that are one in nearly the same words, or by their vectors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from midspec.similar import NearIndex, cosine_duplicates

__all__ = ["Vectors", "near_groups"]

Vectors = Callable[[Sequence[str]], Awaitable[list[list[float]]]]


async def near_groups(
    texts: Sequence[str], similarity: float, *, vectors: Vectors | None = None, cosine: float = 0.92
) -> list[list[int]]:
    """Which of the texts are one: groups of their numbers, by first appearance, the first of each standing for all.

    Args:
        texts: short sentences.
        similarity: from which share of common runs of five characters on two are one.
        vectors: gives vectors of texts; those that are close in angle are one as well.
        cosine: how close.
    """
    index = NearIndex(threshold=similarity, unit="characters")
    groups: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        found = index.find_or_add(str(number), text)
        groups.setdefault(found or str(number), []).append(number)
    firsts = list(groups.values())
    if vectors is None or not firsts:
        return firsts
    same = cosine_duplicates(await vectors([texts[group[0]] for group in firsts]), cosine)
    kept = {at: list(group) for at, group in enumerate(firsts) if at not in same}
    for at, into in same.items():
        kept[into].extend(firsts[at])
    return list(kept.values())
