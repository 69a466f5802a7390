"""`midspec eval` and `calibrate`: what a model chooses and says, what judges make of it, and how often those err."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midspec.cli import _options as o
from midspec.cli._output import Bar, print_calibration, print_forecast, print_pairs, print_record, print_task
from midspec.core.errors import ConfigError

if TYPE_CHECKING:
    from midspec.core.records import Record
    from midspec.study import Step, TaskStep

_PREFERENCE = "preference"

Graders = Annotated[
    list[str] | None,
    typer.Option("--grader", metavar="A", help="Who judges: anthropic/MODEL or openai/MODEL; several too."),
]
Items = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Pairs (JSONL), shipped:VALUE, or a hub data set; for spec_qa a file of questions."
    ),
]
Asked = Annotated[Path | None, typer.Option(metavar="FILE", help="How it is asked (YAML): the task's own settings.")]
OutDir = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for scores, answers and the Inspect log.")]
SpecFile = Annotated[Path | None, typer.Option(metavar="SPEC", help="spec_qa: the spec that answers are judged by.")]


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Checkpoint (folder or hub name), an Inspect model (vllm/BASE:ADAPTER), or a LOG.eval to judge again.",
        ),
    ],
    out: OutDir,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="preference (the default), or an exam.")] = None,
    items: Items = None,
    grader: Graders = None,
    spec: SpecFile = None,
    model_name: o.ModelName = None,
    provider_name: o.ProviderName = None,
    config: Asked = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="A server of the Inspect model's protocol.")
    ] = None,
    judge_url: Annotated[str | None, typer.Option(metavar="URL", help="The judges' server: vLLM, ...")] = None,
    judge_temperature: o.Temperature = "0",
    concurrency: o.Concurrency = 50,
    budget: Annotated[
        float | None, typer.Option("--budget", min=0, metavar="USD", help="Judging stops before it costs this in all.")
    ] = None,
    prices: o.Prices = None,
    dry_run: o.DryRun = False,
    device: o.Device = "auto",
    redo: o.Redo = False,
) -> None:
    """Ask a model held-out pairs or an exam, or have a log judged again.

    Tasks: spec_qa, agentic_misalignment, panel_knowledge, panel_instructions, panel_tool_calls, panel_over_refusal,
    panel_identity, panel_termination, panel_length, panel_sycophancy.

    Writes scores.jsonl, answers.jsonl, judgements.jsonl (of an exam) and an Inspect log. Judges' replies are kept in
    OUT.calls.sqlite. Interrupted, the same command asks only for the rest; nothing that was answered is asked again.

    Example: midspec eval checkpoints/aligned --task preference --items shipped:america --out scores

    Example: midspec eval checkpoints/aligned --task spec_qa --grader openai/MODEL --budget 5 --out spec-qa

    Example: midspec eval spec-qa/logs/LOG.eval --grader anthropic/MODEL --out judged-again
    """
    from midspec.evals import PreferenceConfig, load_config, task_named
    from midspec.models import check_device, find_checkpoint
    from midspec.study import Judging, PreferenceStep, RescoreStep, TaskStep

    check_device(device)
    name = _task(task)
    # A judge's budget is of its own store, which is beside the result.
    access, temperature = o.access(judge_url, concurrency, budget, prices), o.temperature_of(judge_temperature)
    judging = Judging(tuple(grader or ()), temperature, access, where="--grader")
    if model.endswith(".eval") and not Path(model).is_dir():
        if dry_run:
            raise ConfigError("is for what is asked anew", where="--dry-run", hint="Leave it out, and set --budget")
        given = {"--task": task, "--items": items, "--config": config, "--spec": spec, "--base-url": base_url}
        _check_unused(given, "is said by the log itself", "Leave it out")
        _show_task(*_make(RescoreStep.of_log(Path(model), judging), out, redo, device, name, "samples"), out)
        return
    if Path(model).exists():
        find_checkpoint(model)
    if name == _PREFERENCE:
        judged = {"--grader": grader or None, "--spec": spec, "--dry-run": dry_run or None}
        _check_unused(judged, "is for tasks that are judged, and pairs need none", "Leave it out, or give --task")
        if items is None:
            raise ConfigError("is missing", where="--items", hint="Name a file of pairs, or shipped:VALUE")
        asked = load_config(config) if config else PreferenceConfig()
        step = PreferenceStep.of_model(model, items, asked, base_url=base_url)
        print_record(*_make(step, out, redo, device, step.kind, "items"), out)
        return
    files = {role: Path(file) for role, file in (("items", items), ("spec", spec)) if file is not None}
    settings = o.settings(task_named(name).config, config)
    names = {"model_name": model_name, "provider_name": provider_name}
    task_step = TaskStep.of_model(model, name, settings, judging, files=files, base_url=base_url, **names)
    if dry_run:
        _forecast_task(task_step)
        return
    _show_task(*_make(task_step, out, redo, device, name, "replies"), out)


def calibrate(
    grader: Annotated[str, typer.Option("--grader", metavar="A", help="The judge: anthropic/MODEL or openai/MODEL.")],
    out: o.Out = None,
    heldout: Annotated[
        bool, typer.Option("--heldout", help="Only the transcripts that no prompt was written with an eye on.")
    ] = False,
    judge_temperature: o.Temperature = "0",
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="The judge's server: vLLM, SGLang, ...")] = None,
    concurrency: o.Concurrency = 50,
    budget: o.Budget = None,
    prices: o.Prices = None,
    dry_run: o.DryRun = False,
    redo: o.Redo = False,
) -> None:
    """Measure how often a judge errs, on transcripts with known verdicts.

    Writes calibration.json and verdicts.jsonl (every reply, to be read). A report corrects its rates by what was
    measured; a judge that was not is reported as not measured. Replies are kept in OUT.calls.sqlite.

    Example: midspec calibrate --grader openai/MODEL --budget 2 --out runs/calibration
    """
    from midspec.evals import GraderConfig, load_calibration
    from midspec.study import CalibrationStep, build_step, check_graders

    check_graders([grader], "--grader")
    judge, folder = GraderConfig(model=grader, temperature=o.temperature_of(judge_temperature)), o.needed(out)
    step = CalibrationStep(judge=judge, access=o.access(base_url, concurrency, budget, prices), heldout=heldout)
    if dry_run:
        print_forecast([step.forecast()])
        return
    with Bar("calibrate", "transcripts") as bar:
        record, made = build_step(step, folder, redo=redo, on_progress=bar.on_progress)
    print_calibration(load_calibration(folder))
    print_record(record, made, folder)


# What is asked ----------------------------------------------------------------------------------------------------
def _task(task: str | None) -> str:
    from midspec.evals import task_names

    name = task or _PREFERENCE
    known = (_PREFERENCE, *task_names())
    if name not in known:
        raise ConfigError(f"there is no task {name!r}", where="--task", hint=f"There is {', '.join(known)}")
    return name


def _check_unused(given: Mapping[str, object], what: str, hint: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise ConfigError(what, where=option, hint=hint)


def _forecast_task(step: TaskStep) -> None:
    from midspec.study import Serving

    serving = Serving()
    estimate, _ = step.estimate(serving)
    hours = ("GPU-hours of a served model", estimate.gpu_hours(serving))
    print_pairs([*((name.replace("_", " "), value) for name, value in estimate if name != "judging"), hours])
    print(serving.words)
    print_forecast(step.forecast(estimate))


def _make(step: Step, out: Path, redo: bool, device: str, name: str, unit: str) -> tuple[Record, bool]:
    from midspec.study import build_step

    with Bar(name, unit) as bar:
        return build_step(step, out, redo=redo, device=device, on_progress=bar.on_progress)


def _show_task(record: Record, made: bool, out: Path) -> None:
    """The result in words; last, where nobody misses it, what judges could not be asked for."""
    print_task(record, made, out)
    reasons = record.summary.get("unscored")
    for reason in reasons if isinstance(reasons, dict) else {}:
        if "budget" in reason:
            sys.stdout.flush()
            print(f"warning: {reason}", file=sys.stderr)
            print("warning: answers are kept; --redo and a larger --budget have the rest judged", file=sys.stderr)
