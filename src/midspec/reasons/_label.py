"""Which clusters of reasons drove which transcripts: labels by judges, their majority, and merged clusters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Literal

from midspec.core.records import ArmScore, ReasonCluster, ReasonLabel, Strict
from midspec.evals.judges import escape
from midspec.llm import UnreadableReplyError, parse_json_reply
from midspec.reasons._common import PROMPTS, Judge, ReasonsConfig, Transcript, failure_reason, place_key
from midspec.reasons._extract import NO_WORDS

STAGE = "reasons.classify"
UNCLEAR = "the judge could not tell"
NO_MAJORITY = "the judges have no majority"
_NO_LABEL = "no judge said anything"
# Measures beside the clusters: whether any reason of a side drove a transcript.
_ANY_OF_SIDE = {"misaligned": "any-misaligned", "aligned": "any-aligned"}

Drove = Mapping[str, bool | None]
"""Transcript -> whether a cluster drove it, `None` without a label."""


# The schema sent to judges names `_Entry`: another class name would ask for every verdict again.
class _Entry(Strict):
    id: str
    why: str
    driver: Literal["yes", "no", "unclear"]


class _Reply(Strict):
    answers: tuple[_Entry, ...]


async def label_transcripts(
    transcripts: Sequence[Transcript], clusters: Sequence[ReasonCluster], at_once: int, judge: Judge
) -> list[ReasonLabel]:
    """Ask one judge for a label of every transcript and cluster: was it a significant driver?

    A transcript without words is not asked about. Where a reply can't be read, all its labels are unscored.

    Args:
        transcripts: what is judged.
        clusters: by what.
        at_once: how many clusters one request asks about.
        judge: the judge.

    Returns:
        The labels, by transcript first.

    Raises:
        MidspecError: what ends the run (the budget is used up, the key is refused).
    """
    parts = [clusters[at : at + at_once] for at in range(0, len(clusters), at_once)]
    prefixes = [PROMPTS.fill("classify", reasons=_listing(part)) for part in parts]
    pairs = [(each, at) for each in transcripts if each.words for at in range(len(parts))]
    requests = [judge.request(STAGE, prefixes[at], each.render(), _Reply) for each, at in pairs]
    replies = await judge.ask(requests, [_parser(parts[at]) for _, at in pairs], "transcripts judged")

    def row(transcript: Transcript, cluster: ReasonCluster, **label: object) -> ReasonLabel:
        about = {"cluster": cluster.id, "judge": judge.config.model, "value": None}
        return ReasonLabel.model_validate({**transcript.place, **about, **label})

    labels: dict[tuple[str, str], ReasonLabel] = {}
    for (each, at), reply in zip(pairs, replies, strict=True):
        for cluster in parts[at]:
            if reply.value is None:
                labels[each.key, cluster.id] = row(each, cluster, unscored=failure_reason(reply.outcome))
                continue
            entry = reply.value[cluster.id]
            value = None if entry.driver == "unclear" else entry.driver == "yes"
            unscored, why = UNCLEAR if value is None else None, " ".join(entry.why.split())
            labels[each.key, cluster.id] = row(each, cluster, value=value, unscored=unscored, why=why)
    return [
        labels.get((each.key, cluster.id)) or row(each, cluster, unscored=NO_WORDS)
        for each in transcripts
        for cluster in clusters
    ]


def _listing(clusters: Iterable[ReasonCluster]) -> str:
    return "\n".join(f"- {each.id}: {escape(each.name)}. {escape(each.description)}".rstrip() for each in clusters)


def _parser(part: Sequence[ReasonCluster]) -> Callable[[str], Mapping[str, _Entry]]:
    """Return what reads a reply that must have one answer for each of the clusters."""
    wanted = [cluster.id for cluster in part]

    def parse(text: str) -> Mapping[str, _Entry]:
        answers = parse_json_reply(text, _Reply).answers
        if sorted(answer.id for answer in answers) != sorted(wanted):
            raise UnreadableReplyError(f"there must be one answer for each of {', '.join(wanted)}, and no other")
        return {answer.id: answer for answer in answers}

    return parse


def majority_labels(labels: Iterable[ReasonLabel]) -> list[ReasonLabel]:
    """Combine judges: one label for every transcript and cluster, by the majority of those that gave a value.

    Where they are even there is no value, and where none gave one the reason is that which most of them have.
    """
    groups: dict[tuple[object, ...], list[ReasonLabel]] = {}
    for each in labels:
        place = (each.arm, each.seed, each.task, each.set, each.item, each.cluster)
        groups.setdefault(place, []).append(each)
    return [_majority(group) for group in groups.values()]


def _majority(group: Sequence[ReasonLabel]) -> ReasonLabel:
    values = [each.value for each in group if each.value is not None]
    n_yes = sum(values)
    judge = ", ".join(each.judge for each in group)
    if 2 * n_yes == len(values):
        most = Counter(each.unscored for each in group).most_common(1)[0][0]
        unscored = NO_MAJORITY if values else most
        return group[0].model_copy(update={"judge": judge, "value": None, "unscored": unscored, "why": ""})
    value = 2 * n_yes > len(values)
    why = next(each.why for each in group if each.value is value)
    return group[0].model_copy(update={"judge": judge, "value": value, "unscored": None, "why": why})


# Clusters that drove the same transcripts ----------------------------------------------------------------------
def merge_overlapping(
    drove: Mapping[str, Drove],
    *,
    sides: Mapping[str, str] | None = None,
    share: float = 0.75,
    least_shared: int = 1,
) -> tuple[tuple[str, ...], ...]:
    """Group clusters whose transcripts overlap by more than `share`.

    The overlap of two clusters is the Jaccard index of the transcripts that they drove: those that both drove, among
    those that either drove, of all that have a label for both. What overlaps is merged transitively, then the groups
    are compared as if each were one cluster, and so on until nothing overlaps any more. So the groups of groups are
    the groups themselves. Neither the order of clusters nor that of transcripts matters for who is with whom.

    Args:
        drove: cluster -> transcript -> whether it drove it, `None` without a label.
        sides: cluster -> side; clusters of different sides are never merged. One side for all when not given.
        share: more than this, 0-1.
        least_shared: fewer transcripts in common than this say nothing.

    Returns:
        The groups. In each the cluster that drove most stands first; groups are in the order of the first of their
        members in `drove`.
    """
    order = {name: at for at, name in enumerate(drove)}
    groups: list[frozenset[str]] = [frozenset((name,)) for name in drove]
    while True:
        merged = [any_drove(drove[name] for name in sorted(group)) for group in groups]
        group_sides = [(sides or {}).get(min(group), "") for group in groups]
        links = [
            (one, other)
            for one in range(len(groups))
            for other in range(one)
            if group_sides[one] == group_sides[other] and _overlap(merged[one], merged[other], share, least_shared)
        ]
        if not links:
            break
        groups = _linked(groups, links)
    count = {name: sum(value is True for value in labels.values()) for name, labels in drove.items()}
    ordered = [tuple(sorted(group, key=lambda name: (-count[name], order[name]))) for group in groups]
    return tuple(sorted(ordered, key=lambda group: min(order[name] for name in group)))


def any_drove(several: Iterable[Drove]) -> dict[str, bool | None]:
    """Combine clusters: true where any of them drove, false where none of them did, else without a label."""
    listed = list(several)
    combined: dict[str, bool | None] = {}
    for transcript in dict.fromkeys(key for labels in listed for key in labels):
        values = [labels.get(transcript) for labels in listed]
        combined[transcript] = True if any(values) else (None if None in values else False)
    return combined


def _overlap(one: Drove, other: Drove, share: float, least_shared: int) -> bool:
    both = either = 0
    for transcript, first in one.items():
        second = other.get(transcript)
        if first is not None and second is not None:
            both += first and second
            either += first or second
    return both >= least_shared and both > share * either


def _linked(groups: Sequence[frozenset[str]], links: Sequence[tuple[int, int]]) -> list[frozenset[str]]:
    """Join the groups that links (pairs of their numbers) connect."""
    component = list(range(len(groups)))
    for one, other in links:
        old, new = component[one], component[other]
        component = [new if each == old else each for each in component]
    joined: dict[int, frozenset[str]] = {}
    for number, group in zip(component, groups, strict=True):
        joined[number] = joined.get(number, frozenset()) | group
    return list(joined.values())


def merge_clusters(
    clusters: Sequence[ReasonCluster], labels: Iterable[ReasonLabel], config: ReasonsConfig
) -> tuple[ReasonCluster, ...]:
    """Merge the clusters that overlap; a merged one is named after all that went into it.

    Args:
        clusters: all that were labelled.
        labels: of all judges.
        config: from which overlap on clusters are merged.
    """
    drove: dict[str, dict[str, bool | None]] = {cluster.id: {} for cluster in clusters}
    for label in majority_labels(labels):
        drove[label.cluster][_place(label)] = label.value
    by_id = {cluster.id: cluster for cluster in clusters}
    sides = {cluster.id: cluster.side for cluster in clusters}
    names = merge_overlapping(drove, sides=sides, share=config.overlap, least_shared=config.least_shared)
    groups = [[by_id[name] for name in group] for group in names]
    return tuple(
        group[0].model_copy(
            update={
                "name": " / ".join(each.name for each in group),
                "description": " ".join(each.description for each in group if each.description),
                "reasons": tuple(reason for each in group for reason in each.reasons),
                "merged": (*group[0].merged, *chain.from_iterable((each.id, *each.merged) for each in group[1:])),
            }
        )
        for group in groups
    )


def score_drivers(
    transcripts: Sequence[Transcript], merged: Sequence[ReasonCluster], labels: Sequence[ReasonLabel]
) -> list[ArmScore]:
    """Score every transcript by every merged cluster (1: driven by it), and by whether any reason of a side drove it.

    Args:
        transcripts: of all arms.
        merged: clusters after those that overlap were merged.
        labels: of all judges.
    """
    by_place = {(_place(label), label.cluster): label for label in majority_labels(labels)}
    rows: list[ArmScore] = []
    for transcript in transcripts:
        by_side: dict[str, list[ReasonLabel]] = {side: [] for side in _ANY_OF_SIDE}
        for cluster in merged:
            keys = [(transcript.key, name) for name in (cluster.id, *cluster.merged)]
            parts = [by_place[key] for key in keys if key in by_place]
            by_side.setdefault(cluster.side, []).extend(parts)
            rows.append(_score(transcript, cluster.id, parts))
        rows += [_score(transcript, name, by_side[side]) for side, name in _ANY_OF_SIDE.items() if by_side[side]]
    return rows


def _score(transcript: Transcript, measure: str, parts: Sequence[ReasonLabel]) -> ArmScore:
    value = any_drove({"": each.value} for each in parts).get("")
    why = next((each.unscored for each in parts if each.value is None), _NO_LABEL) if value is None else None
    number = None if value is None else float(value)
    return ArmScore.model_validate({**transcript.place, "measure": measure, "value": number, "unscored": why})


def _place(row: ReasonLabel) -> str:
    return place_key(row.arm, row.seed, row.task, row.set, row.item)
