"""Clusters that drive the same transcripts are one; pure.

Enter: for each cluster, the transcripts that it drove, did not drive, or has no label for. Leave: groups of clusters, a
partition; and what a group says of each transcript.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from midspec.core.records import Citations
from midspec.reasons._types import Transcript

Drove = Mapping[str, bool | None]


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
        whole = [together(drove[name] for name in sorted(group)) for group in groups]
        side = [(sides or {}).get(min(group), "") for group in groups]
        links = [
            (one, other)
            for one in range(len(groups))
            for other in range(one)
            if side[one] == side[other] and _overlaps(whole[one], whole[other], share, least_shared)
        ]
        if not links:
            break
        groups = [frozenset().union(*(groups[at] for at in part)) for part in _components(len(groups), links)]
    count = {name: sum(value is True for value in labels.values()) for name, labels in drove.items()}
    ordered = [tuple(sorted(group, key=lambda name: (-count[name], order[name]))) for group in groups]
    return tuple(sorted(ordered, key=lambda group: min(order[name] for name in group)))


def together(several: Iterable[Drove]) -> dict[str, bool | None]:
    """What clusters say as one: driven where any of them drove, not where none of them did, else without a label."""
    listed = list(several)
    found: dict[str, bool | None] = {}
    for transcript in dict.fromkeys(key for labels in listed for key in labels):
        values = [labels.get(transcript) for labels in listed]
        found[transcript] = True if any(values) else (None if None in values else False)
    return found


def _overlaps(one: Drove, other: Drove, share: float, least_shared: int) -> bool:
    both = either = 0
    for transcript, first in one.items():
        second = other.get(transcript)
        if first is not None and second is not None:
            both += first and second
            either += first or second
    return both >= least_shared and both > share * either


def _components(n: int, links: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The numbers below `n` in groups that links hold together."""
    parent = list(range(n))

    def root(at: int) -> int:
        while parent[at] != at:
            at = parent[at]
        return at

    for one, other in links:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    found: dict[int, list[int]] = {}
    for at in range(n):
        found.setdefault(root(at), []).append(at)
    return list(found.values())


_WORD = re.compile(r"\w+(?:['’]\w+)*")


def cited(text: str, clauses: Mapping[str, str], *, n_words: int = 8) -> tuple[frozenset[str], frozenset[str]]:
    """The clauses that a text names by id, and those whose words it repeats.

    An id counts where it stands as a word of its own, in the same case (`SP1`, and neither `SP10`, `SP1.2` nor `sp1`).
    Words count where `n_words` of the clause stand in a row; of a shorter clause, all of them, if it has at least half
    as many. Case and punctuation do not matter. Words that several clauses have count for each.

    Args:
        text: what was thought or said.
        clauses: id -> text.
        n_words: how long a run of words is no accident.
    """
    by_id = {name for name in clauses if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", text)}
    mine = _words(text)
    runs: dict[int, set[tuple[str, ...]]] = {}
    by_words = set()
    for name, clause in clauses.items():
        theirs = _words(clause)
        size = min(n_words, len(theirs))
        if 2 * size < n_words or not size:
            continue
        if size not in runs:
            runs[size] = set(_runs(mine, size))
        if not runs[size].isdisjoint(_runs(theirs, size)):
            by_words.add(name)
    return frozenset(by_id), frozenset(by_words)


def count_citations(
    transcripts: Sequence[Transcript], clauses: Mapping[str, str], *, n_words: int = 8
) -> tuple[Citations, ...]:
    """How many transcripts of each arm cite each clause; arms and clauses in the order in which they come.

    Args:
        transcripts: of all arms.
        clauses: id -> text. Ids that no model can know (hashes) are found by words only.
        n_words: see `cited`.
    """
    found: dict[str, list[tuple[frozenset[str], frozenset[str]]]] = {}
    for each in transcripts:
        parts = [cited(part, clauses, n_words=n_words) for part in each.words]
        whole = (frozenset().union(*(ids for ids, _ in parts)), frozenset().union(*(words for _, words in parts)))
        found.setdefault(each.arm, []).append(whole)
    return tuple(
        Citations(
            arm=arm,
            clause=name,
            n_transcripts=len(each),
            n_by_id=sum(name in ids for ids, _ in each),
            n_by_words=sum(name in words for _, words in each),
            n_cited=sum(name in ids or name in words for ids, words in each),
        )
        for arm, each in found.items()
        for name in clauses
    )


def _words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def _runs(words: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    return (tuple(words[at : at + size]) for at in range(len(words) - size + 1))
