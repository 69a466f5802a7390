"""Clusters that drive the same transcripts are one; pure.

Enter: for each cluster, the transcripts that it drove, did not drive, or has no label for. Leave: groups of clusters, a
partition; and what a group says of each transcript.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Drove", "merge_overlapping", "together"]

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
