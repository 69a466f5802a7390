"""What a reader must know before any number: where the run is not what a careful reader would take it for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from midspec.records import Record
from midspec.study._config import StudyConfig
from midspec.study._gated import Gated
from midspec.study._health import HeldOut, without_seed
from midspec.study._plan import floor_warning

__all__ = ["unmatched", "warnings"]

# Packing leaves 1-3% of a row empty, depending on how long the documents of a corpus are.
_TOKENS_MAY_DIFFER = 0.02


def warnings(
    config: StudyConfig, records: Mapping[str, Record], gates: Sequence[Gated], found: Sequence[HeldOut]
) -> tuple[str, ...]:
    """One sentence for each thing that is not as it should be; each is said once for all seeds."""
    every = [*_floors(records), *_gates(gates), *_held_out(found), *_exhausted(records), *unmatched(config, records)]
    return tuple(dict.fromkeys(every))


def _floors(records: Mapping[str, Record]) -> Iterator[str]:
    for name, record in records.items():
        warning = floor_warning(name.partition("/")[0], record.identity.config)
        if warning:
            yield warning


def _gates(gates: Sequence[Gated]) -> Iterator[str]:
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        told = ", ".join(f"{g.seed} ({'unscored' if g.value is None else f'{g.value:.3f}'})" for g in failed)
        yield (
            f"{len(failed)} of {len(gates)} bases are below the competence gate of {failed[0].threshold:g}: seeds "
            f"{told}. They are shown; the contrasts stand with and without them."
        )


def _held_out(found: Sequence[HeldOut]) -> Iterator[str]:
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
