"""The whole analysis in one folder: reasons, clusters, a page to edit them, labels, and what drove what."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import Built, ProgressCallback, write_json, write_rows
from midspec.core.errors import DataError
from midspec.core.records import ReasonLabel
from midspec.core.text import estimate_tokens
from midspec.evals.judges import shared_store
from midspec.generation import estimate_stage
from midspec.llm import Access, StageEstimate, Store, embed, open_client
from midspec.reasons._clusters import (
    CLUSTERS,
    PAGE,
    ClusteredReasons,
    ClusterSet,
    check_reasons,
    cluster_reasons,
    write_page,
)
from midspec.reasons._clusters import STAGE as CLUSTER_STAGE
from midspec.reasons._common import PROMPTS, Judge, ReasonsConfig, Transcript, seed_reasons
from midspec.reasons._extract import STAGE as EXTRACT_STAGE
from midspec.reasons._extract import ExtractedReasons, extract_reasons
from midspec.reasons._label import STAGE as LABEL_STAGE
from midspec.reasons._label import label_transcripts, merge_clusters, score_drivers

REASONS, REJECTS, LABELS = "reasons.jsonl", "rejects.jsonl", "labels.jsonl"
MERGED, DRIVERS = "merged.jsonl", "drivers.jsonl"


def analyse_reasons(
    transcripts: Sequence[Transcript],
    config: ReasonsConfig,
    access: Access,
    store: Path,
    folder: Path,
    *,
    clusters: ClusterSet | None = None,
    on_progress: ProgressCallback = lambda _at, _of, _note: None,
) -> Built:
    """Find by its own words why each model did what it did.

    Writes reasons.jsonl and rejects.jsonl (what was dropped, with why), clusters.json and reasons.html (to edit them),
    and, if transcripts are judged, labels.jsonl (one row a transcript, cluster and judge), merged.jsonl (clusters after
    those that overlap were merged) and drivers.jsonl (one score a transcript and merged cluster: 1 driven by it, 0 not,
    or none with the reason). What `store` has on record is not asked again.

    Args:
        transcripts: of all arms.
        config: the judges, and how.
        access: how they are reached, and what they may cost.
        store: the file of replies.
        folder: where the results go; it must exist.
        clusters: those that a person has edited; made by the first judge where not given.
        on_progress: is told (done, of how many, what) after each reply.

    Raises:
        ConfigError: a judge can't be asked at all, or the budget is used up before the end.
        DataError: no transcripts, one of them twice, or clusters with reasons that these transcripts don't have.
    """
    if not transcripts:
        raise DataError("there are none", where="transcripts", hint="Name folders that hold answers.jsonl with rows")
    if len({each.key for each in transcripts}) < len(transcripts):
        raise DataError("one is there twice", where="transcripts", hint="Name each folder once, each arm differently")
    with shared_store(store) as opened:
        found = asyncio.run(_ask_judges(transcripts, config, access, opened, clusters, on_progress))
        spent_usd = opened.spent_usd()
        return _save(folder, transcripts, config, found, spent_usd)


class _Findings(NamedTuple):
    """All that judges said; `clustered` is `None` where clusters were given."""

    extracted: ExtractedReasons
    clustered: ClusteredReasons | None
    clusters: ClusterSet
    labels: list[ReasonLabel]


async def _ask_judges(
    transcripts: Sequence[Transcript],
    config: ReasonsConfig,
    access: Access,
    store: Store,
    clusters: ClusterSet | None,
    on_progress: ProgressCallback,
) -> _Findings:
    async with AsyncExitStack() as stack:
        judges = []
        for by in config.judges:
            client = await stack.enter_async_context(open_client(by.as_model(), access, store, role="judge"))
            judges.append(Judge(client, store, by, access.width, config.max_tokens, on_progress))
        extracted = await extract_reasons(transcripts, judges[0])
        clustered = None
        if clusters is None:
            vectors = partial(embed, model=config.embed, access=access) if config.embed else None
            clustered = await cluster_reasons(extracted.reasons, config, judges[0], embed=vectors)
            clusters = ClusterSet(made=tuple(each.id for each in clustered.clusters), clusters=clustered.clusters)
        check_reasons(clusters, {reason.id for reason in extracted.reasons}, CLUSTERS)
        labels: list[ReasonLabel] = []
        for judge in judges if config.classify else ():
            labels += await label_transcripts(transcripts, clusters.clusters, config.at_once, judge)
    return _Findings(extracted, clustered, clusters, labels)


def _save(
    folder: Path, transcripts: Sequence[Transcript], config: ReasonsConfig, found: _Findings, spent_usd: float
) -> Built:
    extracted, clustered, clusters, labels = found
    rejects = (*extracted.rejects, *(clustered.rejects if clustered else ()))
    write_rows(folder / REASONS, extracted.reasons)
    write_rows(folder / REJECTS, rejects)
    write_json(folder / CLUSTERS, clusters)
    write_page(folder / PAGE, clusters, extracted.reasons)
    outputs = [REASONS, REJECTS, CLUSTERS, PAGE]
    by = {name: Counter(reject.reason for reject in rejects if reject.by == name) for name in _REJECTED_BY}
    summary: dict[str, JsonValue] = {
        "n_transcripts": len(transcripts),
        "n_read": extracted.n_read,
        "unread": dict(by["judge"]),
        "n_reasons": len(extracted.reasons),
        "dropped": dict(by["quote"]),
        "n_clusters": len(clusters.clusters),
    }
    if clustered is not None:
        summary |= {"n_distinct": clustered.n_distinct, "unclustered": dict(by["clusters"])}
        summary["n_unmerged"] = clustered.n_unmerged
    if config.classify:
        merged = merge_clusters(clusters.clusters, labels, config)
        write_rows(folder / LABELS, labels)
        write_rows(folder / MERGED, merged)
        write_rows(folder / DRIVERS, score_drivers(transcripts, merged, labels))
        outputs += [LABELS, MERGED, DRIVERS]
        unscored = Counter(f"{each.judge}: {each.unscored}" for each in labels if each.value is None)
        summary |= {
            "n_merged_clusters": len(merged),
            "n_labels": len(labels),
            "n_labelled": sum(each.value is not None for each in labels),
            "unscored": dict(sorted(unscored.items())),
        }
    return Built(outputs=tuple(outputs), summary=summary, execution={"spent_usd": spent_usd})


_REJECTED_BY = ("judge", "quote", "clusters")
# For estimates: reasons a transcript, and tokens of a reason, of a reason with its quote, of a cluster, of a label.
_N_REASONS_EACH = 3
_REASON_TOKENS, _EXTRACTED_TOKENS, _CLUSTER_TOKENS, _LABEL_TOKENS = 25, 70, 40, 35
# Some clusters are new, some seeds are empty.
_N_CLUSTERS = len(seed_reasons())


def estimate_reasons(
    transcripts: Sequence[Transcript], config: ReasonsConfig, *, n_clusters: int = _N_CLUSTERS, is_first: bool = True
) -> list[StageEstimate]:
    """Estimate what one judge will be asked, with 3 reasons a transcript and no two of them one.

    Args:
        transcripts: of all arms.
        config: see `ReasonsConfig`.
        n_clusters: how many clusters transcripts are judged by.
        is_first: whether it is the judge who also lists and clusters reasons.
    """
    with_words = [each for each in transcripts if each.words]
    if not with_words:
        return []
    n_asked, prompt = len(with_words), fmean(estimate_tokens(each.render()) for each in with_words)
    prefixes = {
        "extract": estimate_tokens(PROMPTS.fill("extract")),
        "propose": estimate_tokens(PROMPTS.fill("propose", known="")) + n_clusters * _CLUSTER_TOKENS,
        "classify": estimate_tokens(PROMPTS.fill("classify", reasons="")),
    }
    stages = []
    if is_first:
        n_lots, sorting = math.ceil(n_asked * _N_REASONS_EACH / config.lot), config.lot * _REASON_TOKENS
        output = _N_REASONS_EACH * _EXTRACTED_TOKENS
        stages.append(estimate_stage(EXTRACT_STAGE, n_asked, output, prefix=prefixes["extract"], prompt=prompt))
        stages.append(estimate_stage(CLUSTER_STAGE, n_lots, sorting // 3, prefix=prefixes["propose"], prompt=sorting))
    if config.classify:
        n_parts = math.ceil(n_clusters / config.at_once)
        n_each = math.ceil(n_clusters / n_parts)
        prefix = prefixes["classify"] + n_each * _CLUSTER_TOKENS
        n_requests = n_asked * n_parts
        stages.append(estimate_stage(LABEL_STAGE, n_requests, n_each * _LABEL_TOKENS, prefix=prefix, prompt=prompt))
    return stages
