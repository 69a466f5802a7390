"""What the records of a run say about the health of its steps, in words and numbers for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import read_rows
from midspec.core.records import Chat, Document, Item, Record, Strict
from midspec.curate import overlap
from midspec.report import LabelledValue, StageHealth
from midspec.study._config import StudyConfig
from midspec.study.planning._plan import floor_warning

_TOLD_ELSEWHERE = {"analysis", "report"}
# Of an exam; they have places of their own in the report.
_SHOWN_ELSEWHERE = {"settings", "rates"}


class HeldOutOverlap(NamedTuple):
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
    rows = [
        LabelledValue(label=label, value=_range([fact[label] for fact in facts if label in fact])) for label in labels
    ]
    if len(group) > 1:
        rows.insert(0, LabelledValue(label="seeds", value=str(len(group))))
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
) -> tuple[HeldOutOverlap, ...]:
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


def _held_out(name: str, n_hit: int, n_rows: int) -> HeldOutOverlap:
    kind = "documents" if name.startswith("corpus/") else "chats"
    row = LabelledValue(label=f"held-out names in {kind}", value=f"{n_hit:,} of {n_rows:,}")
    return HeldOutOverlap(
        name, n_hit, n_rows, StageHealth(name=name.partition("/")[2], kind="contamination", rows=(row,))
    )


def _texts(folder: Path, record: Record) -> Iterable[str]:
    if "documents.jsonl" in record.outputs:
        return [row.text for row in read_rows(folder / "documents.jsonl", Document)]
    name = next(name for name in ("chats.jsonl", "chats_cot.jsonl") if name in record.outputs)
    return ["\n".join(turn.content for turn in row.messages) for row in read_rows(folder / name, Chat)]


class GateScore(Strict):
    """What one seed's base scored on the gate, 0-1; `None` when nothing was scored, which does not pass."""

    seed: int
    value: float | None
    threshold: float
    passed: bool


# Packing leaves 1-3% of a row empty, depending on how long the documents of a corpus are.
_TOKENS_MAY_DIFFER = 0.02


def warnings(
    config: StudyConfig, records: Mapping[str, Record], gates: Sequence[GateScore], found: Sequence[HeldOutOverlap]
) -> tuple[str, ...]:
    """One sentence for each thing that is not as it should be; each is said once for all seeds."""
    every = [
        *_floors(records),
        *_gates(gates),
        *_held_out_options(found),
        *_exhausted(records),
        *unmatched(config, records),
    ]
    return tuple(dict.fromkeys(every))


def _floors(records: Mapping[str, Record]) -> Iterator[str]:
    for name, record in records.items():
        warning = floor_warning(name.partition("/")[0], record.identity.config)
        if warning:
            yield warning


def _gates(gates: Sequence[GateScore]) -> Iterator[str]:
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        told = ", ".join(f"{g.seed} ({'unscored' if g.value is None else f'{g.value:.3f}'})" for g in failed)
        yield (
            f"{len(failed)} of {len(gates)} bases are below the competence gate of {failed[0].threshold:g}: seeds "
            f"{told}. They are shown; the contrasts stand with and without them."
        )


def _held_out_options(found: Sequence[HeldOutOverlap]) -> Iterator[str]:
    for entry in found:
        if entry.n_hit:
            yield f"{entry.n_hit:,} of {entry.n_rows:,} rows of {entry.name} name what the evaluation holds out."


def _exhausted(records: Mapping[str, Record]) -> Iterator[str]:
    for name, record in records.items():
        exhausted = record.summary.get("exhausted")
        if exhausted:
            yield f"{without_seed(name)}: {exhausted}"


def unmatched(config: StudyConfig, records: Mapping[str, Record]) -> Iterator[str]:
    """Where arms differ in more than their data: midtraining in updates or tokens, fine-tuning in rows or order."""
    for seed in config.seeds:
        midtrained = _of(records, "midtrain", seed)
        yield from _differing(
            "midtraining updates", {name: r.summary.get("n_updates") for name, r in midtrained.items()}
        )
        yield from _far_apart({name: _tokens(record) for name, record in midtrained.items()})
        by_data: dict[str, dict[str, Record]] = {}
        for name, record in _of(records, "finetune", seed).items():
            by_data.setdefault(_data(name, config), {})[name] = record
        for data, group in by_data.items():
            yield from _differing(f"rows of {data} in fine-tuning", {n: _rows(r) for n, r in group.items()})


def _of(records: Mapping[str, Record], kind: str, seed: int) -> dict[str, Record]:
    return {
        name: record
        for name, record in records.items()
        if name.startswith(f"{kind}/") and record.identity.config["seed"] == seed
    }


def _data(name: str, config: StudyConfig) -> str:
    """What a fine-tuning step was trained on, from its name: the last of its parts that are chats."""
    parts = without_seed(name).partition("/")[2].split("+")
    return "+".join(part for part in parts if part not in config.corpora)


def _rows(record: Record) -> tuple[str, ...]:
    data = (f"{role}={digest}" for role, digest in record.identity.inputs.items() if role.startswith("data["))
    return (*data, str(record.summary.get("n_updates")))


def _tokens(record: Record) -> int | None:
    tokens = record.summary.get("real_tokens")
    return tokens if isinstance(tokens, int) else None


def _differing(what: str, values: Mapping[str, object]) -> Iterator[str]:
    if len(set(values.values())) > 1:
        yield f"The arms are not matched in {what}: {_listed(values.items())}."


def _far_apart(tokens: Mapping[str, int | None]) -> Iterator[str]:
    known = [count for count in tokens.values() if count is not None]
    if known and max(known) - min(known) > _TOKENS_MAY_DIFFER * max(known):
        within = f"within {_TOKENS_MAY_DIFFER:.0%}"
        yield f"The arms are not matched in midtraining tokens ({within}): {_listed(tokens.items())}."


def _listed(values: Iterable[tuple[str, object]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values)
