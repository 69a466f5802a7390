"""Every cluster by every transcript: was it a significant driver? One judge may say, or several, who then vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from midspec.core.records import ReasonCluster, ReasonLabel, Strict
from midspec.evals.judges import escape
from midspec.llm import UnreadableReplyError, parse_json_reply
from midspec.reasons._ask import Asker, why_not
from midspec.reasons._extract import NO_WORDS
from midspec.reasons._prompts import render, shown
from midspec.reasons._types import Transcript

STAGE = "reasons.classify"
UNCLEAR = "the judge could not tell"
NO_MAJORITY = "the judges have no majority"


class _Entry(Strict):
    id: str
    why: str
    driver: Literal["yes", "no", "unclear"]


class _Reply(Strict):
    answers: tuple[_Entry, ...]


async def label(
    transcripts: Sequence[Transcript], clusters: Sequence[ReasonCluster], at_once: int, asker: Asker
) -> list[ReasonLabel]:
    """What one judge says: one label for every transcript and cluster, transcripts first.

    A transcript without words is not asked about. Where a reply can't be read, all its labels are unscored.

    Args:
        transcripts: what is judged.
        clusters: by what.
        at_once: how many clusters one request asks about.
        asker: the judge.

    Raises:
        MidspecError: what ends the run (the budget is used up, the key is refused).
    """
    parts = [clusters[at : at + at_once] for at in range(0, len(clusters), at_once)]
    asked = [(each, part) for each in transcripts if each.words for part in parts]
    prefixes = {id(part): render("classify", {"reasons": _listed(part)}) for part in parts}
    requests = [asker.request(STAGE, prefixes[id(part)], shown(each), _Reply) for each, part in asked]
    replies = await asker.each(requests, [_parse(part) for _, part in asked], "transcripts judged")
    found: dict[tuple[str, str], ReasonLabel] = {}
    for (each, part), reply in zip(asked, replies, strict=True):
        for cluster in part:
            if reply.value is None:
                row = _label(each, cluster, asker, why_not(reply.outcome))
            else:
                row = _answered(each, cluster, asker, reply.value[cluster.id])
            found[each.key, cluster.id] = row
    return [
        found.get((each.key, cluster.id)) or _label(each, cluster, asker, NO_WORDS)
        for each in transcripts
        for cluster in clusters
    ]


def combined(labels: Iterable[ReasonLabel]) -> list[ReasonLabel]:
    """One label for every transcript and cluster: what more than half of the judges say who say anything.

    Where they are even there is none, and where none says anything it is the reason that most of them have.
    """
    groups: dict[tuple[object, ...], list[ReasonLabel]] = {}
    for each in labels:
        place = (each.arm, each.seed, each.task, each.set, each.item, each.cluster)
        groups.setdefault(place, []).append(each)
    return [_one(group) for group in groups.values()]


def _one(group: Sequence[ReasonLabel]) -> ReasonLabel:
    said = [each.value for each in group if each.value is not None]
    n_yes = sum(said)
    judge = ", ".join(each.judge for each in group)
    if not said:
        why = Counter(each.unscored for each in group).most_common(1)[0][0]
        return group[0].model_copy(update={"judge": judge, "value": None, "unscored": why, "why": ""})
    if 2 * n_yes == len(said):
        return group[0].model_copy(update={"judge": judge, "value": None, "unscored": NO_MAJORITY, "why": ""})
    value = 2 * n_yes > len(said)
    why = next(each.why for each in group if each.value is value)
    return group[0].model_copy(update={"judge": judge, "value": value, "unscored": None, "why": why})


def _parse(part: Sequence[ReasonCluster]) -> Callable[[str], Mapping[str, _Entry]]:
    wanted = [cluster.id for cluster in part]

    def read(text: str) -> Mapping[str, _Entry]:
        answers = parse_json_reply(text, _Reply).answers
        if sorted(answer.id for answer in answers) != sorted(wanted):
            raise UnreadableReplyError(f"there must be one answer for each of {', '.join(wanted)}, and no other")
        return {answer.id: answer for answer in answers}

    return read


def _answered(transcript: Transcript, cluster: ReasonCluster, asker: Asker, entry: _Entry) -> ReasonLabel:
    found = _label(transcript, cluster, asker, UNCLEAR).model_copy(update={"why": " ".join(entry.why.split())})
    return (
        found
        if entry.driver == "unclear"
        else found.model_copy(update={"value": entry.driver == "yes", "unscored": None})
    )


def _label(transcript: Transcript, cluster: ReasonCluster, asker: Asker, unscored: str) -> ReasonLabel:
    about = {"cluster": cluster.id, "judge": asker.judge.model, "value": None, "unscored": unscored}
    return ReasonLabel.model_validate({**transcript.place, **about})


def _listed(clusters: Iterable[ReasonCluster]) -> str:
    return "\n".join(f"- {each.id}: {escape(each.name)}. {escape(each.description)}".rstrip() for each in clusters)
