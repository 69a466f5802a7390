"""Clusters in a file, and on a page, that a person may edit; the file is read back strictly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from midspec.core.artifact import write_text
from midspec.core.errors import DataError, MissingError
from midspec.core.records import Reason, ReasonCluster, Strict

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
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"no file of clusters: {field}: {first['msg']}", where=str(path), hint=_HINT) from error
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
_MOST_SHOWN = 60


def write_page(path: Path, clusters: ClusterSet, reasons: Sequence[Reason]) -> None:
    """Write the page on which clusters can be edited; reasons and quotes are shown as plain text."""
    every = (*clusters.clusters, *clusters.dropped)
    known = {reason.id: reason for reason in reasons}
    wanted = [known[name] for each in every for name in each.reasons[:_MOST_SHOWN] if name in known]
    shown = {each.id: {"text": each.text, "quote": each.quote, "arm": each.arm} for each in wanted}
    arms = list(dict.fromkeys(reason.arm for reason in reasons))
    counts = {
        each.id: {arm: sum(known[name].arm == arm for name in each.reasons if name in known) for arm in arms}
        for each in every
    }
    data = {**clusters.model_dump(mode="json"), "shown": shown, "counts": counts, "most": _MOST_SHOWN}
    # Inside a script element nothing may look like its end, or like a comment.
    plain = json.dumps(data, ensure_ascii=False).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    template = (resources.files("midspec.reasons") / "_page.html").read_text(encoding="utf-8")
    before, after = template.split(_SLOT)
    write_text(path, before + plain + after)
