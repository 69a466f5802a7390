"""The whole analysis in one folder: reasons, clusters, a page to look at them, labels, and what drove what."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import fmean

from pydantic import JsonValue

from midspec.core.artifact import Built, write_json, write_rows
from midspec.core.errors import DataError
from midspec.core.progress import ProgressCallback
from midspec.core.records import ArmScore, ReasonCluster, ReasonLabel, Reject
from midspec.evals.judges._grader import GraderConfig, shared_store
from midspec.llm import Access, StageEstimate, Store, embed, open_client
from midspec.reasons._ask import Asker
from midspec.reasons._cluster_page import CLUSTERS, PAGE, ClusterSet, check_reasons, write_page
from midspec.reasons._clusters import STAGE as CLUSTER_STAGE
from midspec.reasons._clusters import Clustered, cluster_reasons
from midspec.reasons._extract import STAGE as EXTRACT_STAGE
from midspec.reasons._extract import Extracted, extract
from midspec.reasons._label import STAGE as LABEL_STAGE
from midspec.reasons._label import combined, label
from midspec.reasons._overlap import Drove, merge_overlapping, together
from midspec.reasons._prompts import render, seeds, shown
from midspec.reasons._types import ReasonsConfig, Transcript, place_key

REASONS, REJECTS, LABELS = "reasons.jsonl", "rejects.jsonl", "labels.jsonl"
MERGED, DRIVERS = "merged.jsonl", "drivers.jsonl"
ANY = {"misaligned": "any-misaligned", "aligned": "any-aligned"}
"""Measures that are there beside the clusters: whether any reason of a side drove a transcript."""

_BATCH_WIDTH = 10_000
_NO_JUDGE = "no judge said anything"


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
    """Find out by its own words why each model did what it did.

    Writes reasons.jsonl and rejects.jsonl (what was dropped, with why), clusters.json and reasons.html (to look at them
    and edit them), and, if transcripts are judged, labels.jsonl (one row a transcript, cluster and judge), merged.jsonl
    (clusters after those that overlap were merged) and drivers.jsonl (one score a transcript and merged cluster: 1 it
    was driven by it, 0 it was not, or none with the reason). Whatever `store` has on record is not asked again.

    Args:
        transcripts: of all arms.
        config: the judges, and how.
        access: how they are reached, and what they may cost.
        store: the file of kept replies.
        folder: where the results go; it must exist.
        clusters: those that somebody has looked at; found by the first judge where not given.
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
        work = _Work(transcripts, config, access, opened, on_progress)
        asyncio.run(work.run(clusters))
        return work.write(folder)


class _Work:
    """One analysis on its way: what is known so far."""

    def __init__(
        self,
        transcripts: Sequence[Transcript],
        config: ReasonsConfig,
        access: Access,
        store: Store,
        on_progress: ProgressCallback,
    ) -> None:
        self._transcripts, self._config = transcripts, config
        self._access, self._store, self._tell = access, store, on_progress
        self._extracted: Extracted
        self._clustered: Clustered | None = None
        self._clusters: ClusterSet
        self._labels: list[ReasonLabel] = []

    async def run(self, clusters: ClusterSet | None) -> None:
        async with AsyncExitStack() as stack:
            askers = [await self._asker(judge, stack) for judge in self._config.judges]
            self._extracted = await extract(self._transcripts, askers[0])
            if clusters is None:
                by = self._config.embed
                vectors = partial(embed, model=by, access=self._access) if by else None
                found = await cluster_reasons(self._extracted.reasons, self._config, askers[0], vectors=vectors)
                self._clustered = found
                clusters = ClusterSet(made=tuple(each.id for each in found.clusters), clusters=found.clusters)
            check_reasons(clusters, {reason.id for reason in self._extracted.reasons}, CLUSTERS)
            self._clusters = clusters
            if self._config.classify:
                for asker in askers:
                    self._labels += await label(self._transcripts, clusters.clusters, self._config.at_once, asker)

    async def _asker(self, judge: GraderConfig, stack: AsyncExitStack) -> Asker:
        client = await stack.enter_async_context(open_client(judge.as_model(), self._access, self._store, role="judge"))
        # A batch is as large as what waits together.
        width = _BATCH_WIDTH if self._access.batch else self._access.concurrency
        return Asker(client, self._store, judge, width, self._config.max_tokens, self._tell)

    def write(self, folder: Path) -> Built:
        """All that was found, as files."""
        rejects = (*self._extracted.rejects, *(self._clustered.rejects if self._clustered else ()))
        write_rows(folder / REASONS, self._extracted.reasons)
        write_rows(folder / REJECTS, rejects)
        write_json(folder / CLUSTERS, self._clusters)
        write_page(folder / PAGE, self._clusters, self._extracted.reasons)
        outputs = [REASONS, REJECTS, CLUSTERS, PAGE]
        summary = {**self._found(rejects)}
        if self._config.classify:
            merged = merged_clusters(self._clusters.clusters, self._labels, self._config)
            write_rows(folder / LABELS, self._labels)
            write_rows(folder / MERGED, merged)
            write_rows(folder / DRIVERS, _drivers(self._transcripts, merged, self._labels))
            outputs += [LABELS, MERGED, DRIVERS]
            summary |= self._judged(merged)
        return Built(outputs=tuple(outputs), summary=summary, execution={"spent_usd": self._store.spent_usd()})

    def _found(self, rejects: Sequence[Reject]) -> dict[str, JsonValue]:
        dropped = Counter(reject.reason for reject in rejects if reject.by == "quote")
        unread = Counter(reject.reason for reject in rejects if reject.by == "judge")
        lost = Counter(reject.reason for reject in rejects if reject.by == "clusters")
        found: dict[str, JsonValue] = {
            "n_transcripts": len(self._transcripts),
            "n_read": self._extracted.n_read,
            "unread": dict(unread),
            "n_reasons": len(self._extracted.reasons),
            "dropped": dict(dropped),
            "n_clusters": len(self._clusters.clusters),
        }
        if self._clustered is not None:
            found |= {
                "n_distinct": self._clustered.n_distinct,
                "unclustered": dict(lost),
                "n_unmerged": self._clustered.n_unmerged,
            }
        return found

    def _judged(self, merged: Sequence[ReasonCluster]) -> dict[str, JsonValue]:
        unscored = Counter(f"{each.judge}: {each.unscored}" for each in self._labels if each.value is None)
        return {
            "n_merged_clusters": len(merged),
            "n_labels": len(self._labels),
            "n_labelled": sum(each.value is not None for each in self._labels),
            "unscored": dict(sorted(unscored.items())),
        }


def merged_clusters(
    clusters: Sequence[ReasonCluster], labels: Iterable[ReasonLabel], config: ReasonsConfig
) -> tuple[ReasonCluster, ...]:
    """The clusters after those that overlap were merged; one that was merged is named after all that went into it."""
    drove = _by_cluster(clusters, labels)
    known = {cluster.id: cluster for cluster in clusters}
    sides = {cluster.id: cluster.side for cluster in clusters}
    groups = merge_overlapping(drove, sides=sides, share=config.overlap, least_shared=config.least_shared)
    return tuple(_one([known[name] for name in group]) for group in groups)


def _one(group: Sequence[ReasonCluster]) -> ReasonCluster:
    first, *others = group
    if not others:
        return first
    return first.model_copy(
        update={
            "name": " / ".join(each.name for each in group),
            "description": " ".join(each.description for each in group if each.description),
            "reasons": tuple(reason for each in group for reason in each.reasons),
            "merged": (*first.merged, *chain.from_iterable((each.id, *each.merged) for each in others)),
        }
    )


def _place(row: ReasonLabel) -> str:
    return place_key(row.arm, row.seed, row.task, row.set, row.item)


def _by_cluster(clusters: Sequence[ReasonCluster], labels: Iterable[ReasonLabel]) -> dict[str, dict[str, bool | None]]:
    drove: dict[str, dict[str, bool | None]] = {cluster.id: {} for cluster in clusters}
    for each in combined(labels):
        drove[each.cluster][_place(each)] = each.value
    return drove


def _drivers(
    transcripts: Sequence[Transcript], merged: Sequence[ReasonCluster], labels: Sequence[ReasonLabel]
) -> list[ArmScore]:
    """One score for every transcript and merged cluster, and whether any reason of a side drove it."""
    found: dict[tuple[str, str], ReasonLabel] = {}
    for each in combined(labels):
        found[_place(each), each.cluster] = each
    rows: list[ArmScore] = []
    for transcript in transcripts:
        by_side: dict[str, list[ReasonLabel]] = {side: [] for side in ANY}
        for cluster in merged:
            parts = [found[key] for name in (cluster.id, *cluster.merged) if (key := (transcript.key, name)) in found]
            by_side.setdefault(cluster.side, []).extend(parts)
            rows.append(_score(transcript, cluster.id, parts))
        rows += [_score(transcript, measure, by_side[side]) for side, measure in ANY.items() if by_side[side]]
    return rows


def _score(transcript: Transcript, measure: str, parts: Sequence[ReasonLabel]) -> ArmScore:
    said: list[Drove] = [{"": each.value} for each in parts]
    value = together(said).get("")
    why = next((each.unscored for each in parts if each.value is None), _NO_JUDGE) if value is None else None
    number = None if value is None else float(value)
    return ArmScore.model_validate({**transcript.place, "measure": measure, "value": number, "unscored": why})


_LETTERS_A_TOKEN = 4
_REASONS_EACH = 3
_REASON_TOKENS, _EXTRACTED_TOKENS, _ANSWER_TOKENS = 25, 70, 35
# Some clusters are new, some seeds are empty.
_N_CLUSTERS = len(seeds())


def estimate_reasons(
    transcripts: Sequence[Transcript], config: ReasonsConfig, *, n_clusters: int = _N_CLUSTERS, is_first: bool = True
) -> list[StageEstimate]:
    """What one judge will ask: an estimate, by 4 letters a token and 3 reasons a transcript, no two of them one.

    Args:
        transcripts: of all arms.
        config: see `ReasonsConfig`.
        n_clusters: how many clusters transcripts are judged by.
        is_first: whether it is the judge who also lists and sorts reasons.
    """
    asked = [each for each in transcripts if each.words]
    if not asked:
        return []
    prompt = round(fmean(len(shown(each)) for each in asked) / _LETTERS_A_TOKEN)
    found = []
    if is_first:
        n_lots = math.ceil(len(asked) * _REASONS_EACH / config.lot)
        sorting = config.lot * _REASON_TOKENS
        found.append(_load(EXTRACT_STAGE, len(asked), _tokens("extract"), prompt, _REASONS_EACH * _EXTRACTED_TOKENS))
        found.append(_load(CLUSTER_STAGE, n_lots, _tokens("propose") + n_clusters * 40, sorting, sorting // 3))
    if config.classify:
        n_parts = math.ceil(n_clusters / config.at_once)
        each_part = math.ceil(n_clusters / n_parts)
        prefix = _tokens("classify") + each_part * 40
        found.append(_load(LABEL_STAGE, len(asked) * n_parts, prefix, prompt, each_part * _ANSWER_TOKENS))
    return found


def _tokens(name: str) -> int:
    slots = {"known": "", "reasons": ""}
    return len(render(name, slots)) // _LETTERS_A_TOKEN


def _load(stage: str, n_requests: int, prefix: int, prompt: int, output: int) -> StageEstimate:
    return StageEstimate(
        stage=stage, n_requests=n_requests, prefix_tokens=prefix, prompt_tokens=prompt, output_tokens=output
    )
