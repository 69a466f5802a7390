"""Warnings at the head of a report: failed checks, and settings that differ between arms although they should not.

A spec in context belongs to an arm: in the prompts, which it changes, arms are compared with those of the same context.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from midspec.core.fingerprint import fingerprint
from midspec.core.records import Record
from midspec.report import GateResult, SettingDifference
from midspec.study._chains import floor_warning, stage_names, training_stages
from midspec.study._config import StudyConfig, trained_questions
from midspec.study._step import step_name
from midspec.study.reporting._health import HeldOutOverlap
from midspec.study.reporting._results import FinishedStep, TaskResult

# Packing leaves 1-3% of a row empty, depending on how long the documents of a corpus are.
_TOKENS_MAY_DIFFER = 0.02
_CONTEXT_FIELDS = ("prompt_hash", "config.system")
_MAX_VALUE_LETTERS = 60


def run_warnings(
    config: StudyConfig,
    steps: Mapping[str, FinishedStep],
    gates: Sequence[GateResult],
    overlaps: Iterable[HeldOutOverlap],
) -> tuple[str, ...]:
    """Return one sentence for each check that failed, each once for all seeds.

    Args:
        config: the study.
        steps: its finished steps, by name.
        gates: the competence of each seed's base.
        overlaps: rows that name what the evaluation holds out.
    """
    warnings = []
    for step in steps.values():
        recipe = step.record.identity.config.get("recipe")
        least = recipe.get("min_updates") if isinstance(recipe, dict) else None
        if isinstance(least, int):
            warnings.append(floor_warning(step.kind, least))
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        seeds = ", ".join(f"{g.seed} ({'unscored' if g.value is None else f'{g.value:.3f}'})" for g in failed)
        warnings.append(
            f"{len(failed)} of {len(gates)} bases are below the competence gate of {failed[0].threshold:g}: seeds "
            f"{seeds}. They are shown; the contrasts stand with and without them. Train bases longer, or take other "
            "seeds."
        )
    warnings += [
        f"{each.n_rows_hit:,} of {each.n_rows:,} rows of {each.name} name what the evaluation holds out. "
        "A study's `curate` takes them out."
        for each in overlaps
        if each.n_rows_hit
    ]
    for step in steps.values():
        for found in (step.record.summary.get("warnings"), step.record.execution.extra.get("warnings")):
            warnings += [f"{step.kind}: {text}." for text in (found if isinstance(found, list) else ())]
    ends = [(step.group, step.record.summary.get("exhausted")) for step in steps.values()]
    warnings += [f"{name}: {exhausted}" for name, exhausted in ends if exhausted]
    unmatched = (*unmatched_training(config, steps), *unmatched_chains(config, steps), *trained_questions(config))
    return tuple(dict.fromkeys([*filter(None, warnings), *unmatched]))


def unmatched_training(config: StudyConfig, steps: Mapping[str, FinishedStep]) -> Iterator[str]:
    """Say where arms differ in more than their data: midtraining in updates or tokens, fine-tuning in rows or order.

    What is the same in several seeds is said once, with the seeds.
    """
    seeds_of: dict[tuple[str, str], list[int]] = {}
    for seed in config.run_seeds:
        of_seed = [step for step in steps.values() if step.record.identity.config.get("seed") == seed]
        for what, values in compared_in_training(of_seed, config):
            if len(set(values.values())) > 1:
                seeds_of.setdefault((what, _listed(values)), []).append(seed)
    for (what, listed), seeds in seeds_of.items():
        numbers = ", ".join(map(str, seeds))
        yield _not_matched(what, f"{listed} ({'seed' if len(seeds) == 1 else 'seeds'} {numbers})")


def compared_in_training(
    of_seed: Sequence[FinishedStep], config: StudyConfig
) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield what the arms of one seed must have in common, with its value in each step."""
    first = {"+".join(arm.chain[0].midtrain) for arm in config.arms.values() if arm.chain}
    midtrained = {step.group: step.record for step in of_seed if step.kind == "midtrain" and step.label in first}
    yield "midtraining updates", {name: record.summary.get("n_updates") for name, record in midtrained.items()}
    tokens: dict[str, object] = {name: record.summary.get("real_tokens") for name, record in midtrained.items()}
    known = [count for count in tokens.values() if isinstance(count, int)]
    if known and max(known) - min(known) > _TOKENS_MAY_DIFFER * max(known):
        yield f"midtraining tokens (within {_TOKENS_MAY_DIFFER:.0%})", tokens
    chats_of = _chats_of(config)
    by_chats: dict[str, dict[str, object]] = {}
    for step in (step for step in of_seed if step.kind == "finetune"):
        inputs = step.record.identity.inputs.items()
        data = {role: digest for role, digest in inputs if role.startswith("data[")}
        rows = f"({step.record.summary.get('n_updates')} updates of rows {fingerprint(data)[:8]})"
        by_chats.setdefault(chats_of.get(step.label, step.label), {})[step.group] = rows
    for chats, group in by_chats.items():
        yield f"rows of {chats} in fine-tuning", group


def _chats_of(config: StudyConfig) -> dict[str, str]:
    """Return what of the label of each fine-tuning names its chats; a corpus before it may have the same name."""
    found = {}
    for arm in config.arms.values():
        before = ""
        for each in training_stages(arm, config.recipes):
            if each.stage.kind == "midtrain":
                before = f"{each.label}+"
            elif each.stage.kind == "finetune":
                found[each.label] = each.label.removeprefix(before)
    return found


def unmatched_chains(config: StudyConfig, steps: Mapping[str, FinishedStep]) -> Iterator[str]:
    """Say where arms, one of them with `stages`, were trained with other updates or rates in a stage of one name."""
    if not any(arm.stages for arm in config.arms.values()):
        return
    found: dict[tuple[str, str, int], dict[str, object]] = {}
    for name, arm in config.arms.items():
        for title, stage in zip(stage_names(arm.chain), training_stages(arm, config.recipes), strict=True):
            for seed in config.run_seeds:
                step = steps.get(step_name(stage.stage.kind, stage.label, seed))
                if step is not None:
                    recipe = step.record.identity.config.get("recipe")
                    rate = recipe.get("learning_rate") if isinstance(recipe, dict) else None
                    known = {"updates": step.record.summary.get("n_updates"), "learning rate": rate}
                    for what, value in known.items():
                        found.setdefault((title, what, seed), {})[name] = value
    for (title, what, _), values in found.items():
        yield from _differing(f"the {what} of {title}", values)


def _differing(what: str, values: Mapping[str, object]) -> Iterator[str]:
    if len(set(values.values())) > 1:
        yield _not_matched(what, _listed(values))


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _not_matched(what: str, listed: str) -> str:
    return (
        f"The arms are not matched in {what}: {listed}. Give them the same, or read their contrasts with that in mind."
    )


def task_setting_differences(results: Sequence[TaskResult], config: StudyConfig) -> tuple[SettingDifference, ...]:
    """Return settings and versions of a task that differ between arms, each once for all seeds."""
    rows = {(each.arm, each.seed): {**_flatten(each.settings), **_versions(each.step.record)} for each in results}
    return _setting_differences(rows, config)


def pair_setting_differences(
    pair_evals: Mapping[tuple[str, int], FinishedStep], config: StudyConfig
) -> tuple[SettingDifference, ...]:
    """Return the same for pairs to choose from; items may be a seed's own, so arms are compared seed by seed."""
    rows = {}
    for key, step in pair_evals.items():
        identity = step.record.identity
        items = {"items": identity.inputs.get("items", "")}
        settings = _flatten({"config": identity.config.get("preference")})
        # How answers are read is no part of the identity: a finished evaluation keeps its reading.
        reader = {"reader of answers": f"version {step.record.execution.extra.get('reader', 1)}"}
        rows[key] = {**settings, **items, **reader, **_versions(step.record)}
    return _setting_differences(rows, config)


def difference_sentences(what: str, differences: Iterable[SettingDifference]) -> Iterator[str]:
    """Yield a sentence for each difference."""
    for one in differences:
        values = "; ".join(f"{arms}: {value}" for arms, value in one.values.items())
        yield f"{what}: the arms differ in {one.field} ({values})."


def _setting_differences(
    rows: Mapping[tuple[str, int], Mapping[str, str]], config: StudyConfig
) -> tuple[SettingDifference, ...]:
    differences = []
    for field in dict.fromkeys(field for row in rows.values() for field in row):
        # Arms that must be alike in a field: those of one seed and, for prompts, of one context.
        groups: dict[tuple[int, str], dict[str, str]] = {}
        for (arm, seed), row in rows.items():
            context = (config.arms[arm].context or "") if field in _CONTEXT_FIELDS else ""
            groups.setdefault((seed, context), {})[arm] = row.get(field, "not set")
        differing: dict[str, str] = {}
        for group in groups.values():
            if len(set(group.values())) > 1:
                # The first group that an arm differs in decides, and keeps its place.
                differing |= {arm: value for arm, value in group.items() if arm not in differing}
        if differing:
            by_value: dict[str, list[str]] = {}
            for arm, value in differing.items():
                by_value.setdefault(value, []).append(arm)
            values = {
                ", ".join(arms): value if len(value) <= _MAX_VALUE_LETTERS else f"{value[:_MAX_VALUE_LETTERS]}…"
                for value, arms in by_value.items()
            }
            differences.append(SettingDifference(field=field, values=values))
    return tuple(differences)


def _flatten(value: Any, name: str = "") -> dict[str, str]:
    """Return nested settings as one level: `config.temperature`, `judging.0.sampling.seed`."""
    if isinstance(value, Mapping):
        parts: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        parts = enumerate(value)
    else:
        return {name: ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)}
    return {
        inner: text
        for key, part in parts
        for inner, text in _flatten(part, f"{name}.{key}" if name else str(key)).items()
    }


def _versions(record: Record) -> dict[str, str]:
    versions = {f"versions.{package}": version for package, version in record.versions.items()}
    return {**versions, "commit": record.commit or "unknown"}
