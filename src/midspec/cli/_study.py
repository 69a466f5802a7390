"""`midspec demo`, `plan`, `run` and `report` for studies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from midspec.cli import _options as o
from midspec.cli._output import RunView

if TYPE_CHECKING:
    from midspec.study import ArmDiff, Plan, PlannedStep, Study

_DEMO = "nano.yaml"
_RUNS = Path("runs")
_TRAINING = ("pretrain", "midtrain", "finetune", "dpo", "grpo")

StudyPath = Annotated[
    Path, typer.Argument(metavar="STUDY", help="Study file (YAML), or lab:FILE for one that is shipped.")
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Run folder; by default runs/ and the study's name.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Steps side by side; by default one per core, and of those with a model one per GPU."
    ),
]


def demo(
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder; runs/nano by default.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N of the study's seeds.")
    ] = None,
    workers: Workers = None,
) -> None:
    """Run the nano study end to end: no key, no GPU, no download.

    Example: midspec demo --out runs/nano
    """
    from midspec.lab import data_path
    from midspec.study import first_seeds, load_study

    study = load_study(data_path(_DEMO))
    name = study.config.name if seeds is None else f"{study.config.name}-{seeds}-seeds"
    _run(first_seeds(study, seeds) if seeds else study, out or _RUNS / name, workers=workers)


def plan(
    path: Annotated[Path | None, typer.Argument(metavar="STUDY", help="Study file (YAML).")] = None,
    out: Out = None,
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
) -> None:
    """Show a study's steps and their size.

    For evaluation tasks also samples, GPU-hours of a served model and dollars of judging, with the assumptions behind
    them. Refuses training with too few updates.

    Example: midspec plan study.yaml

    Example: midspec plan study.yaml --diff America Thrift
    """
    import json

    from midspec.study import Serving, difference, load_study, study_schema
    from midspec.study import plan as make_plan

    if schema:
        print(json.dumps(study_schema(), indent=2))
        return
    if path is None:
        raise typer.BadParameter("Name a study file")
    study = load_study(path)
    if compared is not None:
        found = difference(study, *compared, out or _RUNS / study.config.name)
        print(found.model_dump_json(indent=2) if as_json else "\n".join(diff_lines(found)))
        return
    serving = Serving(
        prompt_tokens_per_s=read_rate,
        reply_tokens_per_s=write_rate,
        reply_tokens=reply_tokens,
        judge_reply_tokens=judge_tokens,
    )
    made = make_plan(study, out or _RUNS / study.config.name, serving=serving)
    if as_json:
        print(made.model_dump_json(indent=2))
    else:
        _print_plan(made)


def run(
    path: StudyPath,
    out: Out = None,
    executor: Annotated[
        Literal["local", "slurm", "skypilot"],
        typer.Option(help="Processes of this machine, jobs of a Slurm cluster, or a task file for SkyPilot."),
    ] = "local",
    only: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Do this step (or pattern) and what it needs.")
    ] = None,
    redo: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Make this step (or pattern) anew, and what follows.")
    ] = None,
    workers: Workers = None,
    device: o.Device = "auto",
    canary: Annotated[
        bool, typer.Option("--canary", help="Do one step of each kind first, and stop if one fails.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="slurm: submit all jobs and do not wait for them.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="slurm, skypilot: write what would be submitted, and stop.")
    ] = False,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Copy equal results from this other run (or folder of runs)."),
    ] = None,
) -> None:
    """Run a study.

    Interrupted, the same command continues where it stopped. With --executor slurm the jobs go on without it.

    Example: midspec run study.yaml --out runs/first

    Example: midspec run study.yaml --out /shared/first --executor slurm --canary
    Example: midspec run lab:nano_values.yaml --out runs/values --reuse runs/nano
    """
    from midspec.models import check_device
    from midspec.study import load_study, write_jobs

    check_device(device)
    study = load_study(path)
    folder = out or _RUNS / study.config.name
    if executor == "local" and (detach or dry_run):
        raise typer.BadParameter(f"{'--detach' if detach else '--dry-run'} is for --executor slurm")
    if dry_run or executor == "skypilot":
        first = write_jobs(study, folder, executor)
        print(f"written, and nothing submitted: {first}")
        return
    _run(
        study,
        folder,
        executor,
        only or (),
        redo or (),
        workers,
        device,
        canary=canary,
        reuse=reuse or (),
        follow=not detach,
    )


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="Run folder of a finished study; with --index, of several.")
    ],
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="DIR", help="Compare with this other run's report; writes no report anew."),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option("--index", metavar="PAGE", help="Write one page (HTML) of the answers of these runs."),
    ] = None,
) -> None:
    """Write a finished run's report again, compare it with another's, or index several.

    With --against: which estimates moved, whether intervals overlap and which settings differ, printed and written as
    against.html and against.csv into DIR/against/OTHER. With --index: what each study asked and found, with a CSV file
    of every comparison beside the page.

    Example: midspec report runs/nano

    Example: midspec report runs/nano --against runs/nano-before

    Example: midspec report runs/studies/values runs/studies/rules --index runs/studies/index.html
    """
    from midspec.study import index_reports, report_again, reports_against

    if index is not None:
        if against is not None:
            raise typer.BadParameter("--index and --against: give one of the two")
        for line in index_reports(folders, index):
            print(line)
        print(f"index: {index}")
        return
    if len(folders) > 1:
        raise typer.BadParameter("Name one run, or several with --index PAGE")
    folder = folders[0]
    if against is not None:
        page, sentences = reports_against(folder, against)
        for sentence in sentences:
            print(sentence)
        print(f"comparison: {page}")
        return
    with RunView() as view:
        page = report_again(folder, on_event=view.on_event)
    print(f"report: {page}")


def _run(
    study: Study,
    folder: Path,
    executor: Literal["local", "slurm"] = "local",
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    workers: int | None = None,
    device: str = "auto",
    *,
    reuse: Sequence[Path] = (),
    canary: bool = False,
    follow: bool = True,
) -> None:
    from midspec.study import greedy_repeats, run_study

    for warning in greedy_repeats(study.config):
        print(f"warning: {warning}", file=sys.stderr)
    with RunView() as view:
        records = run_study(
            study,
            folder,
            executor=executor,
            only=only,
            redo=redo,
            workers=workers,
            device=device,
            canary=canary,
            follow=follow,
            reuse=reuse,
            on_event=view.on_event,
        )
    if not follow:
        print(f"the jobs go on without this command; midspec status {folder} tells how far they are")
        return
    if "report" not in records:
        print(f"{len(records):,} steps are done in {folder}")
        return
    from midspec.report import ReportData, summary_lines

    data = ReportData.model_validate_json((folder / "report" / "report_data.json").read_bytes())
    for line in summary_lines(data):
        print(line)
    print(f"report: {folder / 'report' / 'report.html'}")


def diff_lines(found: ArmDiff) -> list[str]:
    """Return what two arms differ in, each thing with its fields, and what they share."""
    n = len(found.factors)
    lines = [f"{found.first} -> {found.second}: {n:,} thing{'' if n == 1 else 's'} differ{'s' if n == 1 else ''}"]
    for factor in found.factors:
        lines += [f"  {factor}", *(f"      {change}" for change in factor.changes)]
    return [*lines, f"the same in both: {', '.join(['base', *found.same])}"]


def _print_plan(plan: Plan) -> None:
    """Print a line for each step, its seeds (of a task, its arms too) together: how many are done, and the size."""
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
            print(f"stale: {step.name}: {'; '.join(step.changes)}")
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
    if hours := sum(step.gpu_hours or 0.0 for step in plan.steps):
        parts.append(f"about {_short(hours)} GPU-hours of evaluation tasks")
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
    if step.kind in _TRAINING and step.updates is None:
        return "updates not known before its data are made"
    sizes = {"rows": step.documents, "updates": step.updates, "tokens": step.tokens, "requests": step.requests}
    text = ", ".join(f"{size:,} {unit}" for unit, size in sizes.items() if size is not None)
    if step.requests is not None:
        text += f", {'price unknown' if step.usd is None else f'about {step.usd:,.2f} USD'}"
    return f"about {text}" if step.about else text
