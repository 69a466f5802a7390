"""A page on which a person looks at clusters: names, descriptions and sides are edited, clusters merged and dropped.

It is one file that asks for nothing else. What was edited is saved as JSON, which `read_clusters` takes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from midspec.artifact import write_text
from midspec.evals.reasons._clusters_file import ClusterSet
from midspec.records import Reason

__all__ = ["PAGE", "write_page"]

PAGE = "reasons.html"
_SLOT = "{{data}}"
# So many reasons of a cluster are enough to see what it is; the others are counted.
_MOST_SHOWN = 60


def write_page(path: Path, clusters: ClusterSet, reasons: Sequence[Reason]) -> None:
    """Write the page. Reasons and quotes are shown as plain text, whatever they hold."""
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
    template = (resources.files("midspec.evals.reasons") / "_page.html").read_text(encoding="utf-8")
    before, after = template.split(_SLOT)
    write_text(path, before + plain + after)
