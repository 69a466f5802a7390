"""Where arms were not asked, sampled or judged alike: field by field, for exams and for pairs to choose from.

Enter: settings and records of steps. Leave: `SettingDifference` rows and a sentence for each. A spec in context belongs to an
arm: arms are held against those of the same context in what it changes, the prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from midspec.core.records import Record
from midspec.report import SettingDifference
from midspec.study._config import StudyConfig
from midspec.study.reporting._task_runs import TaskResult

_OF_CONTEXT = ("prompt_hash", "config.system")
_WIDE = 60


def task_setting_differences(took: Sequence[TaskResult], config: StudyConfig) -> tuple[SettingDifference, ...]:
    """Settings and versions that differ between arms, each once for all seeds."""
    rows = {(each.seed, each.arm): {**_flat(each.settings), **_versions(each.record)} for each in took}
    return _differences(rows, config)


def preference_setting_differences(records: Mapping[str, Record], config: StudyConfig) -> tuple[SettingDifference, ...]:
    """The same for pairs to choose from; items may be a seed's own, so arms are compared seed by seed."""
    from midspec.study._graph import arm_eval

    rows: dict[tuple[int, str], dict[str, str]] = {}
    for arm in config.arms:
        for seed in config.seeds:
            record = records.get(arm_eval(arm, seed))
            if record is not None:
                asked = record.identity.config.get("preference")
                items = {"items": record.identity.inputs.get("items", "")}
                rows[seed, arm] = {**_flat({"config": asked}), **items, **_versions(record)}
    return _differences(rows, config)


def difference_sentences(what: str, differences: Iterable[SettingDifference]) -> Iterator[str]:
    """A sentence for each difference."""
    for one in differences:
        each = "; ".join(f"{who}: {value}" for who, value in one.values.items())
        yield f"{what}: the arms differ in {one.field} ({each})."


def _differences(
    rows: Mapping[tuple[int, str], Mapping[str, str]], config: StudyConfig
) -> tuple[SettingDifference, ...]:
    fields = dict.fromkeys(field for row in rows.values() for field in row)
    found = []
    for field in fields:
        values: dict[str, str] = {}
        for group in _comparable(field, rows, config):
            held = {arm: row.get(field, "not set") for arm, row in group.items()}
            if len(set(held.values())) > 1:
                values |= {arm: value for arm, value in held.items() if arm not in values}
        if values:
            found.append(SettingDifference(field=field, values=_gathered(values)))
    return tuple(found)


def _comparable(
    field: str, rows: Mapping[tuple[int, str], Mapping[str, str]], config: StudyConfig
) -> Iterator[dict[str, Mapping[str, str]]]:
    """Arms that must be alike in a field: those of one seed and, for prompts, of one context."""
    groups: dict[tuple[int, str], dict[str, Mapping[str, str]]] = {}
    for (seed, arm), row in rows.items():
        context = (config.arms[arm].context or "") if field in _OF_CONTEXT else ""
        groups.setdefault((seed, context), {})[arm] = row
    yield from groups.values()


def _gathered(values: Mapping[str, str]) -> dict[str, str]:
    """Arms with the same value as one entry; long values by their beginning."""
    by_value: dict[str, list[str]] = {}
    for arm, value in values.items():
        by_value.setdefault(value, []).append(arm)
    return {", ".join(arms): value if len(value) <= _WIDE else f"{value[:_WIDE]}…" for value, arms in by_value.items()}


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Nested settings as one level: `config.temperature`, `judging.0.sampling.seed`."""
    if isinstance(value, Mapping):
        parts: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        parts = enumerate(value)
    else:
        return {name: ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)}
    return {
        inner: text for key, part in parts for inner, text in _flat(part, f"{name}.{key}" if name else str(key)).items()
    }


def _versions(record: Record) -> dict[str, str]:
    found = {f"versions.{package}": version for package, version in record.versions.items()}
    return {**found, "commit": record.commit or "unknown"}
