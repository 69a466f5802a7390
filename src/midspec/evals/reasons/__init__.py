"""Reasons: why a model did what it did, by its own words.

In: transcripts of arms (answers of an exam run) and judges behind `llm`. Out: single reasons with quotes that really
stand in the transcripts, clusters of them that a person can look at and edit on a page, and for every transcript and
cluster whether it was a significant driver; which clauses of a spec were cited.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midspec.evals.reasons._analyse import ANY, analyse_reasons, merged_clusters
    from midspec.evals.reasons._citations import cited, count_citations
    from midspec.evals.reasons._clusters import cluster_reasons
    from midspec.evals.reasons._clusters_file import ClusterSet, read_clusters
    from midspec.evals.reasons._extract import extract, occurs
    from midspec.evals.reasons._label import combined, label
    from midspec.evals.reasons._loads import reasons_loads
    from midspec.evals.reasons._overlap import merge_overlapping
    from midspec.evals.reasons._page import write_page
    from midspec.evals.reasons._prompt_files import Seed, prompts_hash, seeds
    from midspec.evals.reasons._types import ReasonsConfig, Transcript

__all__ = [
    "ANY",
    "ClusterSet",
    "ReasonsConfig",
    "Seed",
    "Transcript",
    "analyse_reasons",
    "cited",
    "cluster_reasons",
    "combined",
    "count_citations",
    "extract",
    "label",
    "merge_overlapping",
    "merged_clusters",
    "occurs",
    "prompts_hash",
    "read_clusters",
    "reasons_loads",
    "seeds",
    "write_page",
]

_MODULES = {
    "_analyse": ("ANY", "analyse_reasons", "merged_clusters"),
    "_citations": ("cited", "count_citations"),
    "_clusters": ("cluster_reasons",),
    "_clusters_file": ("ClusterSet", "read_clusters"),
    "_extract": ("extract", "occurs"),
    "_label": ("combined", "label"),
    "_loads": ("reasons_loads",),
    "_overlap": ("merge_overlapping",),
    "_page": ("write_page",),
    "_prompt_files": ("Seed", "prompts_hash", "seeds"),
    "_types": ("ReasonsConfig", "Transcript"),
}
_HOME_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
