"""From single reasons to clusters: near duplicates become one, a model sorts the rest in lots and merges these."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from pydantic import Field

from midspec.core.fingerprint import fingerprint
from midspec.core.near_duplicates import NearIndex, cosine_duplicates
from midspec.core.records import Reason, ReasonCluster, Reject, Side, Strict
from midspec.evals.judges import escape
from midspec.llm import UnreadableReplyError, parse_json_reply
from midspec.reasons._ask import Asker, why_not
from midspec.reasons._prompts import render, seeds
from midspec.reasons._types import ReasonsConfig

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


STAGE, MERGE_STAGE = "reasons.cluster", "reasons.merge"
_SIDES: tuple[Side, ...] = ("misaligned", "aligned", "neutral")
_NOT_A_WORD = re.compile(r"[^a-z0-9]+")
_SHOWN_REASONS = 400


class _Entry(Strict):
    name: str = Field(min_length=1)
    description: str
    side: Side
    members: tuple[int, ...] = Field(min_length=1)


class _Reply(Strict):
    clusters: tuple[_Entry, ...]


@dataclass(frozen=True)
class _Pile:
    """A cluster in the making: the reasons in it, by their ids."""

    name: str
    description: str
    side: Side
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Clustered:
    """What came of it.

    Attributes:
        clusters: misaligned, aligned, neutral; in each the largest first.
        rejects: reasons that are in no cluster, with why.
        n_distinct: reasons that were left when near duplicates had been put together.
        n_unmerged: how often clusters stayed apart because the reply that should merge them gave nothing.
    """

    clusters: tuple[ReasonCluster, ...]
    rejects: tuple[Reject, ...]
    n_distinct: int
    n_unmerged: int


async def cluster_reasons(
    reasons: Sequence[Reason], config: ReasonsConfig, asker: Asker, *, vectors: Vectors | None = None
) -> Clustered:
    """Sort reasons into named clusters; the shipped seeds are offered, and those marked `always` are always there.

    Args:
        reasons: of all arms.
        config: how many at once, and how near is one.
        asker: the judge who sorts.
        vectors: gives vectors of texts, where near duplicates are to be found by meaning too.

    Raises:
        MidspecError: what ends the run (the budget is used up, the key is refused).
    """
    near = await near_groups(
        [reason.text for reason in reasons], config.similarity, vectors=vectors, cosine=config.cosine
    )
    groups = [[reasons[at] for at in group] for group in near]
    piles, rejects = await _sorted_in_lots(groups, config.lot, asker)
    n_unmerged = 0
    if len(groups) > config.lot:
        piles, n_unmerged = await _merged(piles, config.lot, asker)
    return Clustered(_finished(piles), tuple(rejects), len(groups), n_unmerged)


async def _sorted_in_lots(
    groups: Sequence[Sequence[Reason]], size: int, asker: Asker
) -> tuple[list[_Pile], list[Reject]]:
    """Clusters of each lot, those with one name put together; and the reasons of lots that gave nothing."""
    lots = [groups[at : at + size] for at in range(0, len(groups), size)]
    known = "\n".join(f"- {seed.name} ({seed.side}): {seed.description}" for seed in seeds())
    prefix = render("propose", {"known": known})
    prompts = [render("reasons", {"reasons": _numbered(group[0].text for group in lot)}) for lot in lots]
    requests = [asker.request(STAGE, prefix, prompt, _Reply) for prompt in prompts]
    replies = await asker.each(requests, [_parse(len(lot)) for lot in lots], "lots of reasons sorted")
    piles: list[_Pile] = []
    rejects: list[Reject] = []
    for lot, reply in zip(lots, replies, strict=True):
        if reply.value is None:
            why = why_not(reply.outcome)
            rejects += [
                Reject(id=each.id, by="clusters", reason=why, text=each.text) for group in lot for each in group
            ]
            continue
        for entry in reply.value:
            members = tuple(reason.id for number in entry.members for reason in lot[number - 1])
            piles.append(_pile(entry, members))
    return _by_name(piles), rejects


async def _merged(piles: list[_Pile], size: int, asker: Asker) -> tuple[list[_Pile], int]:
    """Clusters of different lots that come to the same, merged until one request has seen all that are left."""
    n_failed = 0
    while True:
        piles = sorted(piles, key=lambda pile: (_SIDES.index(pile.side), pile.name.casefold()))
        lots = [piles[at : at + size] for at in range(0, len(piles), size)]
        prompts = [render("merge", {"clusters": _numbered(map(_line, lot))}) for lot in lots]
        requests = [asker.request(MERGE_STAGE, "", prompt, _Reply) for prompt in prompts]
        parsers = [_parse(len(lot), [pile.side for pile in lot]) for lot in lots]
        replies = await asker.each(requests, parsers, "lots of clusters merged")
        after: list[_Pile] = []
        for lot, reply in zip(lots, replies, strict=True):
            if reply.value is None:
                n_failed += 1
                after += lot
                continue
            for entry in reply.value:
                members = [lot[number - 1] for number in entry.members]
                # One that stands alone stays as it is, whatever the reply makes of its words.
                after.append(members[0] if len(members) == 1 else _pile(entry, _all_reasons(members)))
        after = _by_name(after)
        if len(lots) == 1 or len(after) >= len(piles):
            return after, n_failed
        piles = after


def _parse(n: int, sides: Sequence[Side] | None = None) -> Callable[[str], tuple[_Entry, ...]]:
    """Reads clusters of the numbers 1 to `n`: each number once, and with `sides` none merged across them."""

    def read(text: str) -> tuple[_Entry, ...]:
        entries = parse_json_reply(text, _Reply).clusters
        members = sorted(number for entry in entries for number in entry.members)
        if members != list(range(1, n + 1)):
            raise UnreadableReplyError(
                f"every number from 1 to {n} must be in exactly one cluster; in all there are {members}"
            )
        for entry in entries:
            if not any(char.isalnum() for char in entry.name):
                raise UnreadableReplyError("a cluster has no name")
            if sides is not None and {sides[number - 1] for number in entry.members} != {entry.side}:
                raise UnreadableReplyError(f"the cluster {entry.name!r} must have the one side that its members have")
        return entries

    return read


def _pile(entry: _Entry, members: tuple[str, ...]) -> _Pile:
    """What a seed is called is that seed, with its words and its side."""
    name = " ".join(entry.name.split())
    for seed in seeds():
        if seed.name.casefold() == name.casefold():
            return _Pile(seed.name, seed.description, seed.side, members)
    return _Pile(name, " ".join(entry.description.split()), entry.side, members)


def _by_name(piles: Iterable[_Pile]) -> list[_Pile]:
    """Clusters of one name and side are one."""
    found: dict[tuple[str, Side], list[_Pile]] = {}
    for pile in piles:
        found.setdefault((pile.name.casefold(), pile.side), []).append(pile)
    return [_Pile(same[0].name, same[0].description, same[0].side, _all_reasons(same)) for same in found.values()]


def _all_reasons(piles: Iterable[_Pile]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reason for pile in piles for reason in pile.reasons))


def _finished(piles: Sequence[_Pile]) -> tuple[ReasonCluster, ...]:
    """Clusters with ids and names of their own, in the order in which they are shown."""
    have = {pile.name for pile in piles}
    empty = [
        _Pile(seed.name, seed.description, seed.side, ()) for seed in seeds() if seed.always and seed.name not in have
    ]
    order = sorted([*piles, *empty], key=lambda pile: (_SIDES.index(pile.side), -len(pile.reasons), pile.name))
    ids: dict[str, ReasonCluster] = {}
    names: set[str] = set()
    for pile in order:
        # Two sides may have given one name; a table needs two.
        name = pile.name if pile.name.casefold() not in names else f"{pile.name} ({pile.side})"
        names.add(name.casefold())
        key = _id(name, ids)
        ids[key] = ReasonCluster(id=key, name=name, description=pile.description, side=pile.side, reasons=pile.reasons)
    return tuple(ids.values())


def _id(name: str, taken: Iterable[str]) -> str:
    """The seed's id; else the name in small letters and hyphens, with a bit of a hash where that is taken or empty."""
    for seed in seeds():
        if seed.name == name:
            return seed.id
    plain = _NOT_A_WORD.sub("-", name.casefold()).strip("-")
    reserved = {*taken, *(seed.id for seed in seeds())}
    return plain if plain and plain not in reserved else "-".join(filter(None, (plain, fingerprint(name)[:6])))


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"{number}. {escape(line[:_SHOWN_REASONS])}" for number, line in enumerate(lines, start=1))


def _line(pile: _Pile) -> str:
    return f"{pile.name} ({pile.side}): {pile.description}"
