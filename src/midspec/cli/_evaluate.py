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
    from midspec.study import ModelEndpoints, Step

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
    from midspec.models import check_device

    check_device(device)
    name = _task(task)
    # A judge's budget is of its own store, which is beside the result.
    way = o.way(out, o.access(judge_url, concurrency, budget, prices))
    temperature = o.temperature_of(judge_temperature)
    if _is_log(model):
        if dry_run:
            raise ConfigError("is for what is asked anew", where="--dry-run", hint="Leave it out, and set --budget")
        _check_log_only({"--task": task, "--items": items, "--config": config, "--spec": spec, "--base-url": base_url})
        _judge_log(Path(model), grader or [], way, temperature, out, redo)
        return
    _check_checkpoint(model)
    if name == _PREFERENCE:
        _check_pairs_only({"--grader": grader, "--spec": spec, "--dry-run": dry_run})
        _make(_pairs_step(model, items, config, device, base_url), out, redo, "items")
        return
    files = {role: Path(file) for role, file in (("items", items), ("spec", spec)) if file is not None}
    who = {"model_name": model_name, "provider_name": provider_name}
    step = _task_step(model, name, config, way, grader or [], temperature, files, who, device, base_url)
    if dry_run:
        _forecast_task(step, way)
        return
    _tell_task(*_make(step, out, redo, "replies", quiet=True), out)


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
    from midspec.study import check_graders, forecast_calibration, run_calibration

    check_graders([grader], "--grader")
    judge, folder = GraderConfig(model=grader, temperature=o.temperature_of(judge_temperature)), o.needed(out)
    way = o.way(folder, o.access(base_url, concurrency, budget, prices))
    if dry_run:
        print_forecast([forecast_calibration(judge, way, heldout=heldout)])
        return
    with Bar("calibrate", "transcripts") as bar:
        record, made = run_calibration(judge, way, folder, heldout=heldout, redo=redo, on_progress=bar.on_progress)
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


def _is_log(model: str) -> bool:
    return model.endswith(".eval") and not Path(model).is_dir()


def _check_checkpoint(model: str) -> None:
    from midspec.models import find_checkpoint

    if Path(model).exists():
        find_checkpoint(model)


def _check_log_only(given: Mapping[str, object]) -> None:
    for option, value in given.items():
        if value is not None:
            raise ConfigError("is said by the log itself", where=option, hint="Leave it out")


def _check_pairs_only(given: Mapping[str, object]) -> None:
    for option, value in given.items():
        if value:
            raise ConfigError("is for exams, and pairs need none", where=option, hint="Leave it out, or give --task")


def _pairs_step(model: str, items: str | None, config: Path | None, device: str, base_url: str | None) -> Step:
    from midspec.evals import PreferenceConfig, load_config
    from midspec.study import eval_step

    if items is None:
        raise ConfigError("is missing", where="--items", hint="Name a file of pairs, or shipped:VALUE")
    asked = load_config(config) if config else PreferenceConfig()
    return eval_step(model, items, asked, device=device, base_url=base_url)


def _task_step(
    model: str,
    name: str,
    config: Path | None,
    way: ModelEndpoints,
    graders: list[str],
    temperature: float | None,
    files: dict[str, Path],
    who: dict[str, str | None],
    device: str,
    base_url: str | None,
) -> Step:
    from midspec.evals import task_named
    from midspec.study import single_task_step

    return single_task_step(
        model,
        name,
        o.settings(task_named(name).config, config),
        way,
        graders=graders,
        temperature=temperature,
        files=files,
        who=who,
        device=device,
        base_url=base_url,
    )


def _forecast_task(step: Step, way: ModelEndpoints) -> None:
    from midspec.study import Serving, forecast_task

    serving = Serving()
    load, forecasts = forecast_task(step, way, serving)
    hours = ("GPU-hours of a served model", load.gpu_hours(serving))
    print_pairs([*((name.replace("_", " "), value) for name, value in load if name != "judging"), hours])
    print(serving.words)
    print_forecast(forecasts)


# Making -----------------------------------------------------------------------------------------------------------
def _make(step: Step, out: Path, redo: bool, unit: str, *, quiet: bool = False) -> tuple[Record, bool]:
    from midspec.study import build_step

    with Bar(str(step.config.get("exam", step.kind)), unit) as bar:
        record, made = build_step(step, out, redo=redo, on_progress=bar.on_progress)
    if not quiet:
        print_record(record, made, out)
    return record, made


def _judge_log(
    log: Path, graders: list[str], way: ModelEndpoints, temperature: float | None, out: Path, redo: bool
) -> None:
    from midspec.study import rescore_step

    step = rescore_step(log, graders, way, temperature=temperature)
    _tell_task(*_make(step, out, redo, "samples", quiet=True), out)


def _tell_task(record: Record, made: bool, out: Path) -> None:
    """The result in words; last, where nobody misses it, what judges could not be asked for."""
    print_task(record, made, out)
    reasons = record.summary.get("unscored")
    for reason in reasons if isinstance(reasons, dict) else {}:
        if "budget" in reason:
            sys.stdout.flush()
            print(f"warning: {reason}", file=sys.stderr)
            print("warning: answers are kept; --redo and a larger --budget have the rest judged", file=sys.stderr)
