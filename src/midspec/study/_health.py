"""What the records of a run say about the health of its steps, in words and numbers for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from midspec.artifact import read_rows
from midspec.curate import overlap
from midspec.records import Chat, Document, Item, Record
from midspec.report import Shown, StageHealth

__all__ = ["HeldOut", "health", "overlaps", "without_seed"]

_TOLD_ELSEWHERE = {"analysis", "report"}
# Of an exam; they have places of their own in the report.
_SHOWN_ELSEWHERE = {"settings", "rates"}


class HeldOut(NamedTuple):
    """How many rows of one step name what the evaluation holds out."""

    name: str
    n_hit: int
    n_rows: int
    shown: StageHealth


def without_seed(name: str) -> str:
    """A step's name for all seeds together."""
    head, mark, tail = name.rpartition("-s")
    if mark and tail.isdigit():
        return head
    kind, mark, tail = name.rpartition("/s")
    return kind if mark and tail.isdigit() else name


def health(records: Mapping[str, Record]) -> tuple[StageHealth, ...]:
    """One entry for each step, its seeds together: a figure that differs between seeds is shown as a range."""
    groups: dict[str, list[Record]] = {}
    for name, record in records.items():
        if name.partition("/")[0] not in _TOLD_ELSEWHERE:
            groups.setdefault(without_seed(name), []).append(record)
    return tuple(_entry(name, group) for name, group in groups.items())


def _entry(name: str, group: list[Record]) -> StageHealth:
    hidden = _SHOWN_ELSEWHERE if name.startswith("exam/") else set()
    facts = [
        dict(_flat({key: value for key, value in record.summary.items() if key not in hidden})) for record in group
    ]
    labels = dict.fromkeys(label for fact in facts for label in fact)
    rows = [Shown(label=label, value=_range([fact[label] for fact in facts if label in fact])) for label in labels]
    if len(group) > 1:
        rows.insert(0, Shown(label="seeds", value=str(len(group))))
    kind, _, label = name.partition("/")
    return StageHealth(name=label or kind, kind=kind, rows=tuple(rows))


def _flat(summary: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for key, value in summary.items():
        label = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from _flat(value, f"{label}: ")
        elif isinstance(value, list):
            yield label, ", ".join(str(entry) for entry in value) or "none"
        else:
            yield label, value


def _range(values: list[JsonValue]) -> str:
    distinct = list(dict.fromkeys(_shown(value) for value in values))
    if len(distinct) == 1:
        return distinct[0]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return "; ".join(distinct)
    return f"{_shown(min(numbers))} to {_shown(max(numbers))}"


def _shown(value: JsonValue) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def overlaps(
    folders: Mapping[str, Path], records: Mapping[str, Record], items: Mapping[int, Path]
) -> tuple[HeldOut, ...]:
    """For each corpus and each set of chats: how many rows name held-out options or domains of the evaluation.

    Rows that are one seed's own are held against that seed's items; shared rows against all items.
    """
    held_out = {seed: list(read_rows(path, Item)) for seed, path in items.items()}
    every = list({item: None for rows in held_out.values() for item in rows})
    counts: dict[str, tuple[int, int]] = {}
    for name, folder in folders.items():
        if name.startswith(("corpus/", "chats/")):
            seed = name.removeprefix(f"{without_seed(name)}-s")
            rows = held_out[int(seed)] if seed != name else every
            found = overlap(_texts(folder, records[name]), rows)
            n_hit, n_rows = counts.get(without_seed(name), (0, 0))
            counts[without_seed(name)] = (n_hit + found.n_rows_hit, n_rows + found.n_rows)
    return tuple(_held_out(name, n_hit, n_rows) for name, (n_hit, n_rows) in counts.items())


def _held_out(name: str, n_hit: int, n_rows: int) -> HeldOut:
    kind = "documents" if name.startswith("corpus/") else "chats"
    row = Shown(label=f"held-out names in {kind}", value=f"{n_hit:,} of {n_rows:,}")
    return HeldOut(name, n_hit, n_rows, StageHealth(name=name.partition("/")[2], kind="contamination", rows=(row,)))


def _texts(folder: Path, record: Record) -> Iterable[str]:
    if "documents.jsonl" in record.outputs:
        return [row.text for row in read_rows(folder / "documents.jsonl", Document)]
    name = next(name for name in ("chats.jsonl", "chats_cot.jsonl") if name in record.outputs)
    return ["\n".join(turn.content for turn in row.messages) for row in read_rows(folder / name, Chat)]
