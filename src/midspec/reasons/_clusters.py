"""From single reasons to clusters: near duplicates become one, a judge sorts the rest in parts and merges these."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import Field, ValidationError

from midspec.core.artifact import write_text
from midspec.core.errors import DataError, MissingError, first_fault
from midspec.core.fingerprint import fingerprint
from midspec.core.near_duplicates import NearIndex, cosine_duplicates
from midspec.core.records import Reason, ReasonCluster, Reject, Side, Strict
from midspec.evals.judges import escape
from midspec.llm import UnreadableReplyError, parse_json_reply
from midspec.reasons._common import PROMPTS, Judge, ReasonsConfig, failure_reason, seed_reasons

Embed = Callable[[Sequence[str]], Awaitable[list[list[float]]]]

STAGE, MERGE_STAGE = "reasons.cluster", "reasons.merge"
_SIDES: tuple[Side, ...] = ("misaligned", "aligned", "neutral")
_NOT_A_WORD = re.compile(r"[^a-z0-9]+")
_MAX_REASON_LETTERS = 400


# The schema sent to judges names `_Entry`: another class name would ask for every cluster again.
class _Entry(Strict):
    name: str = Field(min_length=1)
    description: str
    side: Side
    members: tuple[int, ...] = Field(min_length=1)


class _Reply(Strict):
    clusters: tuple[_Entry, ...]


@dataclass(frozen=True)
class _Draft:
    """A cluster in the making: the reasons in it, by their ids."""

    name: str
    description: str
    side: Side
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ClusteredReasons:
    """Clusters, and what is in none.

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
    reasons: Sequence[Reason], config: ReasonsConfig, judge: Judge, *, embed: Embed | None = None
) -> ClusteredReasons:
    """Sort reasons into named clusters; the shipped seeds are offered, and those marked `always` are always there.

    Args:
        reasons: of all arms.
        config: how many at once, and from which similarity on two are one.
        judge: who sorts.
        embed: gives vectors of texts, where near duplicates are to be found by meaning too.

    Raises:
        MidspecError: what ends the run (the budget is used up, the key is refused).
    """
    texts = [reason.text for reason in reasons]
    numbers = await near_groups(texts, config.similarity, embed=embed, cosine=config.cosine)
    groups = [[reasons[at] for at in group] for group in numbers]
    drafts, rejects = await _sort_parts(groups, config.lot, judge)
    n_unmerged = 0
    if len(groups) > config.lot:
        drafts, n_unmerged = await _merge_parts(drafts, config.lot, judge)
    return ClusteredReasons(_finished(drafts), tuple(rejects), len(groups), n_unmerged)


async def near_groups(
    texts: Sequence[str], similarity: float, *, embed: Embed | None = None, cosine: float = 0.92
) -> list[list[int]]:
    """Group texts that are one: their numbers, by first appearance, the first of each standing for all.

    Args:
        texts: short sentences.
        similarity: texts with at least this share of common character 5-grams are one.
        embed: gives vectors of texts; those that are close in angle are one as well.
        cosine: how close.
    """
    index = NearIndex(threshold=similarity, unit="characters")
    groups: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        groups.setdefault(index.find_or_add(str(number), text) or str(number), []).append(number)
    by_words = list(groups.values())
    if embed is None or not by_words:
        return by_words
    same = cosine_duplicates(await embed([texts[group[0]] for group in by_words]), cosine)
    merged = {at: list(group) for at, group in enumerate(by_words) if at not in same}
    for at, into in same.items():
        merged[into].extend(by_words[at])
    return list(merged.values())


async def _sort_parts(groups: Sequence[Sequence[Reason]], size: int, judge: Judge) -> tuple[list[_Draft], list[Reject]]:
    """Cluster each part; those of one name are put together. Also return the reasons of parts that gave nothing."""
    parts = [groups[at : at + size] for at in range(0, len(groups), size)]
    seeds = "\n".join(f"- {seed.name} ({seed.side}): {seed.description}" for seed in seed_reasons())
    prefix = PROMPTS.fill("propose", known=seeds)
    prompts = [PROMPTS.fill("reasons", reasons=_numbered(group[0].text for group in part)) for part in parts]
    requests = [judge.request(STAGE, prefix, prompt, _Reply) for prompt in prompts]
    replies = await judge.ask(requests, [_parser(len(part)) for part in parts], "lots of reasons sorted")
    drafts: list[_Draft] = []
    rejects: list[Reject] = []
    for part, reply in zip(parts, replies, strict=True):
        if reply.value is None:
            why = failure_reason(reply.outcome)
            lost = [reason for group in part for reason in group]
            rejects += [Reject(id=each.id, by="clusters", reason=why, text=each.text) for each in lost]
            continue
        for entry in reply.value:
            members = tuple(reason.id for number in entry.members for reason in part[number - 1])
            drafts.append(_draft(entry, members))
    return _join_by_name(drafts), rejects


async def _merge_parts(drafts: list[_Draft], size: int, judge: Judge) -> tuple[list[_Draft], int]:
    """Merge clusters of different parts that mean the same, until one request has seen all that are left.

    Also return how many replies gave nothing.
    """
    n_failed = 0
    while True:
        drafts = sorted(drafts, key=lambda draft: (_SIDES.index(draft.side), draft.name.casefold()))
        parts = [drafts[at : at + size] for at in range(0, len(drafts), size)]
        lines = [[f"{draft.name} ({draft.side}): {draft.description}" for draft in part] for part in parts]
        prompts = [PROMPTS.fill("merge", clusters=_numbered(part)) for part in lines]
        requests = [judge.request(MERGE_STAGE, "", prompt, _Reply) for prompt in prompts]
        parsers = [_parser(len(part), [draft.side for draft in part]) for part in parts]
        replies = await judge.ask(requests, parsers, "lots of clusters merged")
        merged: list[_Draft] = []
        for part, reply in zip(parts, replies, strict=True):
            if reply.value is None:
                n_failed += 1
                merged += part
                continue
            for entry in reply.value:
                members = [part[number - 1] for number in entry.members]
                # One that stands alone stays as it is, whatever the reply makes of its words.
                merged.append(members[0] if len(members) == 1 else _draft(entry, _all_reasons(members)))
        merged = _join_by_name(merged)
        if len(parts) == 1 or len(merged) >= len(drafts):
            return merged, n_failed
        drafts = merged


def _parser(n: int, sides: Sequence[Side] | None = None) -> Callable[[str], tuple[_Entry, ...]]:
    """Return what reads clusters of the numbers 1 to `n`: each once, and with `sides` none across them."""

    def parse(text: str) -> tuple[_Entry, ...]:
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

    return parse


def _draft(entry: _Entry, members: tuple[str, ...]) -> _Draft:
    """Make a draft; one with the name of a seed gets the seed's words and side."""
    name = " ".join(entry.name.split())
    for seed in seed_reasons():
        if seed.name.casefold() == name.casefold():
            return _Draft(seed.name, seed.description, seed.side, members)
    return _Draft(name, " ".join(entry.description.split()), entry.side, members)


def _join_by_name(drafts: Iterable[_Draft]) -> list[_Draft]:
    """Join clusters of one name and side."""
    groups: dict[tuple[str, Side], list[_Draft]] = {}
    for draft in drafts:
        groups.setdefault((draft.name.casefold(), draft.side), []).append(draft)
    return [_Draft(same[0].name, same[0].description, same[0].side, _all_reasons(same)) for same in groups.values()]


def _all_reasons(drafts: Iterable[_Draft]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reason for draft in drafts for reason in draft.reasons))


def _finished(drafts: Sequence[_Draft]) -> tuple[ReasonCluster, ...]:
    """Make clusters with ids and names of their own, in the order in which they are shown.

    The id is the seed's; else the name in small letters and hyphens, with a bit of a hash where that is taken or empty.
    """
    present = {draft.name for draft in drafts}
    seeds = {seed.name: seed for seed in seed_reasons()}
    absent = [seed for seed in seeds.values() if seed.always and seed.name not in present]
    empty = [_Draft(seed.name, seed.description, seed.side, ()) for seed in absent]
    order = sorted([*drafts, *empty], key=lambda draft: (_SIDES.index(draft.side), -len(draft.reasons), draft.name))
    reserved = {seed.id for seed in seeds.values()}
    clusters: dict[str, ReasonCluster] = {}
    names: set[str] = set()
    for draft in order:
        # Two sides may have given one name; a table needs two.
        name = draft.name if draft.name.casefold() not in names else f"{draft.name} ({draft.side})"
        names.add(name.casefold())
        if name in seeds:
            key = seeds[name].id
        else:
            key = _NOT_A_WORD.sub("-", name.casefold()).strip("-")
            if not key or key in reserved or key in clusters:
                key = "-".join(filter(None, (key, fingerprint(name)[:6])))
        clusters[key] = ReasonCluster(
            id=key, name=name, description=draft.description, side=draft.side, reasons=draft.reasons
        )
    return tuple(clusters.values())


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"{number}. {escape(line[:_MAX_REASON_LETTERS])}" for number, line in enumerate(lines, start=1))


CLUSTERS = "clusters.json"
_HINT = "Correct it, or save it from the page again"


class ClusterSet(Strict):
    """Clusters as they stand, and the ids of all that were made.

    Attributes:
        made: ids of the clusters as they were made.
        clusters: those that transcripts are judged by.
        dropped: those that a person took out.
    """

    made: tuple[str, ...]
    clusters: tuple[ReasonCluster, ...]
    dropped: tuple[ReasonCluster, ...] = ()


def read_clusters(path: Path) -> ClusterSet:
    """Read clusters that may have been edited, on the page or in the file itself.

    Every cluster that was made must still be there: kept, dropped, or merged into one of these.

    Raises:
        MissingError: there is no such file.
        DataError: it is not such a file, has an id that was not made, lacks one that was, has one twice, or has two
            clusters of one name.
    """
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), hint="Check the path")
    try:
        clusters = ClusterSet.model_validate_json(path.read_bytes())
    except ValidationError as error:
        what = f"no file of clusters: {': '.join(first_fault(error, 'the file'))}"
        raise DataError(what, where=str(path), hint=_HINT) from error
    if fault := _fault(clusters):
        raise DataError(fault, where=str(path), hint=_HINT)
    return clusters


def check_reasons(clusters: ClusterSet, known: Collection[str], where: str) -> None:
    """Refuse clusters with reasons that do not exist.

    Args:
        clusters: to check.
        known: ids of the reasons that exist; a set, or a mapping.
        where: the clusters' file, for the message.

    Raises:
        DataError: an id of a reason is not among `known`.
    """
    for cluster in (*clusters.clusters, *clusters.dropped):
        if unknown := [reason for reason in cluster.reasons if reason not in known]:
            what = f"the cluster {cluster.id!r} has {_first_few(unknown)}, and these transcripts have no such reason"
            raise DataError(what, where=where, hint="Use the file that was made from the same transcripts")


def _fault(found: ClusterSet) -> str | None:
    """Return what is wrong with edited clusters, or `None`."""
    every = (*found.clusters, *found.dropped)
    ids = Counter(name for cluster in every for name in (cluster.id, *cluster.merged))
    made = Counter(found.made)
    names = Counter(" ".join(cluster.name.split()).casefold() for cluster in found.clusters)
    reasons = Counter(reason for cluster in every for reason in cluster.reasons)
    faults = (
        ("clusters that were never made", [name for name in ids if name not in made]),
        ("clusters that are there twice", [name for name in ids | made if ids[name] > 1 or made[name] > 1]),
        ("clusters that are neither kept, nor dropped, nor merged", [name for name in made if name not in ids]),
        ("two clusters of one name", [name for name, n in names.items() if n > 1]),
        ("clusters without a name", [cluster.id for cluster in found.clusters if not cluster.name.strip()]),
        ("reasons in two clusters", [reason for reason, n in reasons.items() if n > 1]),
    )
    return next((f"it has {what}: {_first_few(which)}" for what, which in faults if which), None)


def _first_few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more


PAGE = "reasons.html"
_SLOT = "{{data}}"
# Reasons shown of each cluster; the page counts the others.
_MAX_SHOWN = 60


def write_page(path: Path, clusters: ClusterSet, reasons: Sequence[Reason]) -> None:
    """Write the page on which clusters can be edited; reasons and quotes are shown as plain text."""
    every = (*clusters.clusters, *clusters.dropped)
    known = {reason.id: reason for reason in reasons}
    wanted = [known[name] for each in every for name in each.reasons[:_MAX_SHOWN] if name in known]
    shown = {each.id: {"text": each.text, "quote": each.quote, "arm": each.arm} for each in wanted}
    arms = list(dict.fromkeys(reason.arm for reason in reasons))
    counts = {
        each.id: {arm: sum(known[name].arm == arm for name in each.reasons if name in known) for arm in arms}
        for each in every
    }
    data = {**clusters.model_dump(mode="json"), "shown": shown, "counts": counts, "most": _MAX_SHOWN}
    # Inside a script element nothing may look like its end, or like a comment.
    plain = json.dumps(data, ensure_ascii=False).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    template = (resources.files("midspec.reasons") / "_page.html").read_text(encoding="utf-8")
    before, after = template.split(_SLOT)
    write_text(path, before + plain + after)
