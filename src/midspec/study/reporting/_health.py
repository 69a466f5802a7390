"""Summarize a run's steps for a reader, and count rows that name what the evaluation holds out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import read_rows, row_lines
from midspec.core.records import Chat, Denials, Document, Item, Strict, ValueClaims
from midspec.curate import overlap
from midspec.report import LabelledValue, StageHealth, content_rows
from midspec.study._inputs import is_world, outside_path
from midspec.study._load import Study
from midspec.study.reporting._results import FinishedStep

_REPORT_KINDS = {"analysis", "report"}
# Of an evaluation task's summary; the report has sections of their own for these.
_TASK_KEYS = {"settings", "rates"}


class ReadContents(Strict):
    """What curation read in documents besides what they say."""

    denials: Denials | None = None
    claims: tuple[ValueClaims, ...] = ()


def stage_health(steps: Iterable[FinishedStep]) -> tuple[StageHealth, ...]:
    """Return one entry for each step, its seeds together: a value that differs between seeds is shown as a range."""
    groups: dict[str, list[FinishedStep]] = {}
    for step in steps:
        if step.kind not in _REPORT_KINDS:
            groups.setdefault(step.group, []).append(step)
    entries = []
    for group in groups.values():
        kind, hidden = group[0].kind, _TASK_KEYS if group[0].kind == "exam" else set()
        summaries = [
            dict(
                _flatten(
                    {
                        key: value
                        for key, value in {**step.record.summary, **_contents(step)}.items()
                        if key not in hidden
                    }
                )
            )
            for step in group
        ]
        labels = dict.fromkeys(label for summary in summaries for label in summary)
        rows = [
            LabelledValue(label=label, value=_range([each[label] for each in summaries if label in each]))
            for label in labels
        ]
        if len(group) > 1:
            rows.insert(0, LabelledValue(label="seeds", value=str(len(group))))
        entries.append(StageHealth(name=group[0].label or kind, kind=kind, rows=tuple(rows)))
    return tuple(entries)


def _contents(step: FinishedStep) -> dict[str, JsonValue]:
    """Return what curation read in documents, which stands beside its summary."""
    found = step.record.execution.extra.get("contents")
    if not isinstance(found, dict) or not found:
        return {}
    read = ReadContents.model_validate(found)
    return {row.label: row.values[0] for row in content_rows([read.denials], read.claims[:1] or [None], [])}


def _flatten(summary: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for key, value in summary.items():
        label = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{label}: ")
        elif isinstance(value, list):
            yield label, ", ".join(str(entry) for entry in value) or "none"
        else:
            yield label, value


def _range(values: list[JsonValue]) -> str:
    distinct = list(dict.fromkeys(_format(value) for value in values))
    if len(distinct) == 1:
        return distinct[0]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return "; ".join(distinct)
    return f"{_format(min(numbers))} to {_format(max(numbers))}"


def _format(value: JsonValue) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class HeldOutOverlap(NamedTuple):
    """How many rows of one step, all seeds together, name what the evaluation holds out."""

    name: str
    n_rows_hit: int
    n_rows: int

    @property
    def health(self) -> StageHealth:
        """Return the entry that the report shows."""
        kind, _, label = self.name.partition("/")
        rows = {"corpus": "documents", "given_corpus": "documents", "rewards": "prompts", "pairs": "pairs"}.get(
            kind, "chats"
        )
        value = LabelledValue(label=f"held-out names in {rows}", value=f"{self.n_rows_hit:,} of {self.n_rows:,}")
        return StageHealth(name=label, kind="contamination", rows=(value,))


def held_out_overlaps(steps: Iterable[FinishedStep], items: Mapping[int, Path]) -> tuple[HeldOutOverlap, ...]:
    """Count the rows of each corpus and set of chats that name held-out options or domains of the evaluation.

    Rows of one seed are compared with that seed's items; rows that all seeds share with all items.
    """
    held_out = {seed: list(read_rows(path, Item)) for seed, path in items.items()}
    all_items = list({item: None for rows in held_out.values() for item in rows})
    counts: dict[str, tuple[int, int]] = {}
    for step in steps:
        if step.kind in {"corpus", "given_corpus", "chats"}:
            if "documents.jsonl" in step.record.outputs:
                texts = [row.text for row in read_rows(step.folder / "documents.jsonl", Document)]
            else:
                name = next(name for name in ("chats.jsonl", "chats_cot.jsonl") if name in step.record.outputs)
                chats = read_rows(step.folder / name, Chat)
                texts = [row.text for row in chats]
            hits = overlap(texts, all_items if step.seed is None else held_out[step.seed])
            n_rows_hit, n_rows = counts.get(step.group, (0, 0))
            counts[step.group] = (n_rows_hit + hits.n_rows_hit, n_rows + hits.n_rows)
    return tuple(HeldOutOverlap(name, *rows) for name, rows in counts.items())


def outside_overlaps(study: Study, items: Mapping[int, Path]) -> tuple[HeldOutOverlap, ...]:
    """Count the same in files from outside that stages after fine-tuning are trained on: pairs, prompts, chats."""
    config = study.config
    files: dict[str, tuple[str, ...]] = {
        **{f"pairs/{name}": (entry.file,) for name, entry in config.pairs.items() if entry.file},
        **{f"rewards/{name}": entry.prompts for name, entry in config.rewards.items()},
        **{f"pressure/{name}": entry.rows for name, entry in config.pressure.items()},
    }
    held_out = list({item: None for path in items.values() for item in read_rows(path, Item)})
    found = []
    for name, references in files.items():
        # The world's own rows name everything in it; rows of chats are counted as such.
        paths = [
            outside_path(study.home, each) for each in references if each not in config.chats and not is_world(each)
        ]
        texts = [" ".join(_texts(json.loads(line))) for path in paths for line in row_lines(path)]
        if texts:
            hits = overlap(texts, held_out)
            found.append(HeldOutOverlap(name, hits.n_rows_hit, hits.n_rows))
    return tuple(found)


def _texts(value: JsonValue) -> Iterator[str]:
    """Yield every text in a row, whatever its keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
