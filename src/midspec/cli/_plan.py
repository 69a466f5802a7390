"""`midspec plan`: a study's steps and their size, and in what two arms differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from midspec.cli import _options as o
from midspec.core.errors import plural

if TYPE_CHECKING:
    from midspec.study import ArmDiff, Plan, PlannedStep

GpuName = Literal["h100", "h200", "b200", "a100", "l40s", "a6000", "rtx4090", "mi300x"]
_TRAINING = ("pretrain", "midtrain", "finetune", "dpo", "grpo")


def plan(
    path: Annotated[Path | None, typer.Argument(metavar="STUDY", help="Study file (YAML).")] = None,
    out: o.RunOut = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    compared: Annotated[
        tuple[str, str] | None,
        typer.Option("--diff", metavar="ARM ARM", help="Show in what two arms differ, and stop."),
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of study files and stop.")] = False,
    read_rate: Annotated[
        float, typer.Option(min=1, metavar="N", help="Tasks: prompt tokens a second that a server reads, in all.")
    ] = 20_000,
    write_rate: Annotated[
        float, typer.Option(min=1, metavar="N", help="Tasks: reply tokens a second that it writes, in all.")
    ] = 2_000,
    reply_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Tasks: mean length of a reply.")] = 1_000,
    judge_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Tasks: mean length of a judge's.")] = 150,
    gpu: Annotated[GpuName, typer.Option(help="Training: hours are of this GPU, at its published rate.")] = "h100",
    utilization: Annotated[
        float, typer.Option(min=0.01, max=1, metavar="X", help="Training: share of that rate that is reached.")
    ] = 0.35,
    settings: o.Settings = None,
) -> None:
    """Show a study's steps and their size.

    Of training GPU-hours; of evaluation tasks also samples, GPU-hours of a served model and dollars of judging;
    with the assumptions behind them. Refuses training with too few updates.

    Example: midspec plan study.yaml

    Example: midspec plan study.yaml --diff America Thrift

    Example: midspec plan lab:paper/figure_2.yaml --gpu h200
    """
    import json

    from midspec.models import Hardware
    from midspec.study import Serving, difference, load_study, study_schema, view_run_folder, with_settings
    from midspec.study import plan as make_plan

    if schema:
        print(json.dumps(study_schema(), indent=2))
        return
    if path is None:
        raise typer.BadParameter("Name a study file")
    study = with_settings(load_study(path), settings or ())
    if compared is not None:
        with view_run_folder(out or o.RUNS / study.config.name) as folder:
            found = difference(study, *compared, folder)
        print(found.model_dump_json(indent=2) if as_json else "\n".join(_diff_lines(found)))
        return
    serving = Serving(
        prompt_tokens_per_s=read_rate,
        reply_tokens_per_s=write_rate,
        reply_tokens=reply_tokens,
        judge_reply_tokens=judge_tokens,
    )
    hardware = Hardware.of(gpu, utilization)
    with view_run_folder(out or o.RUNS / study.config.name) as folder:
        made = make_plan(study, folder, serving=serving, hardware=hardware)
    if as_json:
        print(made.model_dump_json(indent=2))
    else:
        _print_plan(made)


def _diff_lines(found: ArmDiff) -> list[str]:
    """Return what two arms differ in, each thing with its fields, and what they share."""
    n = len(found.factors)
    lines = [f"{found.first} -> {found.second}: {plural(n, 'thing')} differ{'s' if n == 1 else ''}"]
    for factor in found.factors:
        lines += [f"  {factor}", *(f"      {change}" for change in factor.changes)]
    return [*lines, f"the same in both: {', '.join(['base', *found.same])}"]


def _print_plan(plan: Plan) -> None:
    """Print a line for each step, its seeds (of a task, its arms too) together: how many are done, and the size."""
    from midspec.core.fingerprint import listed

    groups: dict[str, list[PlannedStep]] = {}
    for step in plan.steps:
        name = f"exam/{step.eval_task}" if step.eval_task else step.name.removesuffix(f"s{step.seed}").rstrip("-/")
        groups.setdefault(name, []).append(step)
    width = max(len(name) for name in groups)
    for name, steps in groups.items():
        done = sum(step.state == "done" for step in steps)
        size = _task_size(steps) if steps[0].eval_task else _size(steps[0])
        print(f"{done:>3} of {len(steps):<3} {name:<{width}}  {size}".rstrip())
    for step in plan.steps:
        if step.state == "stale":
            print(f"stale: {step.name}: {listed(step.changes)}")
    for line in plan.chains:
        print(line)
    for warning in plan.warnings:
        print(f"warning: {warning}")
    if plan.assumed:
        print(plan.assumed)
    print(_total(plan))


def _total(plan: Plan) -> str:
    sums = {"rows of data": plan.total("documents"), "updates": plan.total("updates"), "tokens": plan.total("tokens")}
    parts = [f"{plan.name}: {len(plan.steps):,} steps ({plan.count('done'):,} done)"]
    parts += [f"{number:,} {unit}" for unit, number in sums.items() if number]
    if plan.n_unknown:
        parts.append(f"{plan.n_unknown:,} stages of training whose updates are not known before their data are made")
    for what in ("training", "evaluation tasks"):
        of_kind = (step for step in plan.steps if (step.kind in _TRAINING) == (what == "training"))
        if hours := sum(step.gpu_hours or 0.0 for step in of_kind):
            parts.append(f"about {_short(hours)} GPU-hours of {what}")
    if plan.usd:
        parts.append(f"about {plan.usd:,.2f} USD")
    if plan.unpriced:
        parts.append(f"and requests of unknown price ({plan.unpriced[0]}); give models.{plan.priced_by}.prices")
    return ", ".join(parts)


def _task_size(steps: Sequence[PlannedStep]) -> str:
    """Return samples x arms x seeds of one task, and the tokens, hours and dollars of those that are not done."""
    todo = [step for step in steps if step.samples is not None]
    if not todo:
        return ""
    n_seeds = len({step.seed for step in steps})
    samples, read, written = (
        sum(getattr(step, name) or 0 for step in todo) for name in ("samples", "prompt_tokens", "reply_tokens")
    )
    parts = [
        f"{todo[0].samples or 0:,} samples x {len(steps) // n_seeds} arms x {n_seeds} seeds",
        *([f"{samples:,} not done"] if len(todo) < len(steps) else []),
        f"about {read:,} prompt and {written:,} reply tokens",
        f"{_short(sum(step.gpu_hours or 0.0 for step in todo))} GPU-hours",
    ]
    judged = [step for step in todo if step.requests is not None]
    if judged:
        usd = [step.usd for step in judged if step.usd is not None]
        price = f"about {sum(usd):,.2f} USD" if len(usd) == len(judged) else "price unknown"
        parts.append(f"{sum(step.requests or 0 for step in judged):,} judgements, {price}")
    return ", ".join(parts)


def _short(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.2g}"


def _size(step: PlannedStep) -> str:
    hours = f"{_short(step.gpu_hours)} GPU-hours" if step.gpu_hours else ""
    if step.kind in _TRAINING and step.updates is None:
        tokens = f"about {step.tokens:,} tokens" if step.tokens else ""
        return ", ".join(filter(None, ["updates not known before its data are made", tokens, hours]))
    sizes = {"rows": step.documents, "updates": step.updates, "tokens": step.tokens, "requests": step.requests}
    text = ", ".join(f"{size:,} {unit}" for unit, size in sizes.items() if size is not None)
    if step.requests is not None:
        text += f", {'price unknown' if step.usd is None else f'about {step.usd:,.2f} USD'}"
    text += f", {hours}" if hours else ""
    return f"about {text}" if step.about else text
