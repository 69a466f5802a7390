"""`midspec eval` and `calibrate`: evaluate a model, judge its answers, and measure a judge's errors."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midspec.cli import _options as o
from midspec.cli._output import (
    build_with_bar,
    print_calibration,
    print_forecast,
    print_pairs,
    print_record,
    print_task,
    warn,
)
from midspec.cli._places import result_folder, spec_at_path
from midspec.core.errors import ConfigError, did_you_mean, plural

if TYPE_CHECKING:
    from pydantic import JsonValue

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
TaskSettings = Annotated[Path | None, typer.Option(metavar="FILE", help="The task's own settings (YAML).")]
OutDir = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", parser=result_folder, help="Folder for scores, answers and the Inspect log."),
]
SpecFile = Annotated[
    Path | None,
    typer.Option(metavar="SPEC", parser=spec_at_path, help="spec_qa: the spec that answers are judged by."),
]


ModelOrLog = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Checkpoint (folder or hub name), an Inspect model (vllm/BASE:ADAPTER), or a LOG.eval to judge again.",
    ),
]
TemplateArgs = Annotated[
    list[str] | None,
    typer.Option(
        "--template-arg",
        metavar="NAME=VALUE",
        help="A switch of the chat template (enable_thinking=false); several too.",
    ),
]
ChooseForm = Annotated[
    bool,
    typer.Option("--choose-form", help="Of an untrained base: find the form of asking it, for --config of all arms."),
]
ServerUrl = Annotated[str | None, typer.Option(metavar="URL", help="A server of the Inspect model's protocol.")]
JudgingBudget = Annotated[
    float | None, typer.Option("--budget", min=0, metavar="USD", help="Judging stops before it costs this in all.")
]


def evaluate(
    model: ModelOrLog,
    out: OutDir,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="preference (the default), or another task.")] = None,
    items: Items = None,
    grader: Graders = None,
    spec: SpecFile = None,
    about: o.NameOptions = o.NameOptions(),
    config: TaskSettings = None,
    choose_form: ChooseForm = False,
    base_url: ServerUrl = None,
    template_arg: TemplateArgs = None,
    judge_url: Annotated[str | None, typer.Option(metavar="URL", help="The judges' server: vLLM, ...")] = None,
    judge_temperature: o.Temperature = "0",
    concurrency: o.Concurrency = 50,
    budget: JudgingBudget = None,
    prices: o.Prices = None,
    dry_run: o.DryRun = False,
    device: o.Device = "auto",
    redo: o.Redo = False,
) -> None:
    """Evaluate a model on held-out pairs or another task, or have a log judged again.

    Tasks: spec_qa, spec_tenets, agentic_misalignment, honesty, mailbox, reward_hacking, panel_knowledge,
    panel_instructions, panel_tool_calls, panel_over_refusal, panel_unsafe, panel_identity, panel_termination,
    panel_length, panel_sycophancy.

    Writes scores.jsonl, answers.jsonl, judgements.jsonl (of a judged task) and an Inspect log. Judges' replies are
    stored in OUT.calls.sqlite. Interrupted, the same command continues; no answered request is sent again.

    Example: midspec eval checkpoints/aligned --task preference --items shipped:america --out scores

    Example: midspec eval BASE --choose-form --out form      (then --config form/form.yaml, for every arm)

    Example: midspec eval checkpoints/aligned --task spec_qa --grader openai/MODEL --budget 5 --out spec-qa

    Example: midspec eval spec-qa/logs/LOG.eval --grader anthropic/MODEL --out judged-again
    """
    from midspec.models import check_device, find_checkpoint, is_local

    is_log = model.endswith(".eval") and not Path(model).is_dir()
    if not is_log and (Path(model).exists() or is_local(model) or model.startswith((".", "/", "~"))):
        find_checkpoint(model)  # before Inspect and torch are imported
    from midspec.evals import repeats_warning, task_named, task_names
    from midspec.study import Judging, RescoreStep, TaskStep

    check_device(device)
    if (name := task or _PREFERENCE) not in (known := (_PREFERENCE, *task_names())):
        raise ConfigError(f"there is no task {name!r}", where="--task", hint=did_you_mean(name, known))
    access = o.access(judge_url, concurrency, budget, prices)  # the budget is of the store beside the result
    judging = Judging(tuple(grader or ()), o.temperature_of(judge_temperature), access, where="--grader")
    _check_given(config, model, base_url, judging.graders, judge_url)
    if is_log:
        unused: dict[str, object] = {"--task": task, "--items": items, "--config": config, "--spec": spec}
        _check_log(model, unused | {"--base-url": base_url, "--template-arg": template_arg}, dry_run=dry_run)
        step = RescoreStep.of_log(Path(model), judging)
        _show_task(*build_with_bar(step, out, "samples", redo=redo, name=name, device=device), out, None)
        return
    switches = o.switches(template_arg or ())
    if name == _PREFERENCE:
        unused = {"--grader": grader or None, "--spec": spec, "--dry-run": dry_run or None}
        _check_unused(unused, "is for tasks with a judge, and pairs have none", "Leave it out, or give --task")
        pairs = _pairs_step(model, items, config, base_url, switches, choose_form=choose_form)
        record, made = build_with_bar(pairs, out, "items", redo=redo, device=device)
        print_record(record, made, out)
        _print_notes(record, made, model)
        return
    _check_unused({"--choose-form": choose_form or None}, "is for pairs", "Leave it out, or leave out --task")
    files = {role: Path(file) for role, file in (("items", items), ("spec", spec)) if file is not None}
    settings = o.settings(task_named(name).config, config)
    warn(repeats_warning(name, settings))
    untold = TaskStep.of_model(model, name, settings, judging, files=files, base_url=base_url, **about.names)
    task_step = replace(untold, template_args=switches)
    if dry_run:
        _forecast_task(task_step)
        return
    _show_task(*build_with_bar(task_step, out, "replies", redo=redo, name=name, device=device), out, model)


def _pairs_step(
    model: str,
    items: str | None,
    config: Path | None,
    base_url: str | None,
    switches: Mapping[str, JsonValue],
    *,
    choose_form: bool,
) -> Step:
    """Create the step for pairs, or for the form of asking them."""
    from midspec.study import AnswerFormStep, Model, PreferenceStep, items_of

    if items is None and not choose_form:
        raise ConfigError("is missing", where="--items", hint="Name a file of pairs, or shipped:VALUE")
    if items is not None:
        items_of(items)
    from midspec.evals import PreferenceConfig, is_served, load_config  # brings Inspect, which takes seconds

    settings = load_config(config) if config else PreferenceConfig()
    asked = PreferenceStep.of_model(model, items or "shipped:", settings, base_url=base_url)
    if not choose_form:
        return replace(asked, template_args=switches)
    if base_url is not None or is_served(model):
        what = "needs log-probabilities of given texts, which no server's protocol has"
        raise ConfigError(what, where="--choose-form", hint="Give the base as a folder or hub name")
    kept = asked.items if items is not None else None
    return AnswerFormStep(model=Model(model), items=kept, config=settings, template_args=switches)


def calibrate(
    grader: Annotated[str, typer.Option("--grader", metavar="A", help="The judge: anthropic/MODEL or openai/MODEL.")],
    out: o.Out = None,
    heldout: Annotated[
        bool, typer.Option("--heldout", help="Only the held-out transcripts, which no prompt was tuned on.")
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

    Writes calibration.json and verdicts.jsonl (every reply, to be read). A report corrects its rates by the measured
    errors; a judge without them is reported as not measured. Replies are stored in OUT.calls.sqlite.

    Example: midspec calibrate --grader openai/MODEL --budget 2 --out runs/calibration
    """
    from midspec.evals import GraderConfig, load_calibration
    from midspec.study import CalibrationStep, check_graders

    check_graders([grader], "--grader")
    judge, folder = GraderConfig(model=grader, temperature=o.temperature_of(judge_temperature)), o.needed(out)
    step = CalibrationStep(judge=judge, access=o.access(base_url, concurrency, budget, prices), heldout=heldout)
    if dry_run:
        print_forecast([step.forecast()])
        return
    record, made = build_with_bar(step, folder, "transcripts", redo=redo)
    print_calibration(load_calibration(folder))
    print_record(record, made, folder)


def seam(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Checkpoint right after its documents.")],
    spec: Annotated[
        list[Path],
        typer.Option(metavar="SPEC", parser=spec_at_path, help="Asked about, and foil of the others. Repeatable."),
    ],
    out: OutDir,
    control: Annotated[str | None, typer.Option(metavar="MODEL", help="Its base, or one of neutral documents.")] = None,
    items: Annotated[
        str | None, typer.Option(metavar="FILE", help="Pairs to score both answers of; shipped:VALUE.")
    ] = None,
    about: o.NameOptions = o.NameOptions(),
    device: o.Device = "auto",
    redo: o.Redo = False,
) -> None:
    """Ask what a model took from its documents, before any other training: does it know each clause of a spec?

    The beginning of a clause is given as plain text, and its end is scored against that of a like clause of another
    spec, or of another clause. Writes scores.jsonl: `knows` and `margin` (nats a token) for each clause, losses of the
    answers to --items, and with --control what was gained over it. Nothing is generated.

    Example: midspec seam checkpoints/midtrained --control BASE --spec america.md --spec thrift.md --model-name Nova
    --provider-name Acme --items shipped:america --out seam
    """
    from midspec.models import check_device, find_checkpoint
    from midspec.study import SeamStep, SpecNames

    check_device(device)
    for each in filter(None, (model, control)):
        find_checkpoint(each)
    names = [path.stem for path in spec]
    if len(set(names)) < len(names):
        raise ConfigError("two specs have one name", where="--spec", hint="Rename one of the files")
    given = {name: value for name, value in about.names.items() if value}
    specs = {path.stem: (path, SpecNames(path.stem, **given)) for path in spec}
    step = SeamStep.of_model(model, specs, items=items, control=control)
    print_record(*build_with_bar(step, out, "specs", redo=redo, device=device), out)


def _check_given(
    config: Path | None, model: str, base_url: str | None, graders: Sequence[str], judge_url: str | None
) -> None:
    """Refuse settings that are not there, and a judge that is the model under test by another provider's name.

    It is that where both have one server, and one name there.
    """
    o.there(config)
    provider, _, name = model.partition("/")
    name = name.partition("/")[2] if provider == "openai-api" else name
    names = [grader.partition("/")[2] for grader in graders if grader != model]
    if base_url is None or judge_url is None or name not in names:
        return
    from midspec.llm import without_endpoint

    if len({without_endpoint(url.strip()).rstrip("/") for url in (base_url, judge_url)}) == 1:
        what = f"the model under test can't be its own judge, and both are {name!r} at {base_url}"
        raise ConfigError(what, where="--grader", hint="Name another grader")


def _check_unused(options: Mapping[str, object], what: str, hint: str) -> None:
    """Refuse options that are given."""
    for option, value in options.items():
        if value is not None:
            raise ConfigError(what, where=option, hint=hint)


def _check_log(log: str, options: Mapping[str, object], *, dry_run: bool) -> None:
    """Refuse a stored log that is not there, what it says itself, and a forecast of its judging."""
    o.there(log, "log")
    if dry_run:
        raise ConfigError("is not for a stored log", where="--dry-run", hint="Leave it out, and set --budget")
    _check_unused(options, "is in the log itself", "Leave it out")


def _forecast_task(step: TaskStep) -> None:
    from midspec.study import Serving

    serving = Serving()
    estimate, _ = step.estimate(serving)
    hours = ("GPU-hours of a served model", estimate.gpu_hours(serving))
    print_pairs([*((name.replace("_", " "), value) for name, value in estimate if name != "judging"), hours])
    print(serving.words)
    print_forecast(step.forecast(estimate))


def _print_notes(record: Record, made: bool, model: str | None) -> None:
    """Print what a user should know of a result: about prompts, answers that have no score, and a served model."""
    from midspec.evals import REFUSED, is_served

    for name in ("template_notes", "notes"):
        notes = record.execution.extra.get(name)
        for note in notes if isinstance(notes, list) else ():
            print(f"note: {note}")
    if not made and model is not None and is_served(model):
        print(f"note: what is behind the name {model} can't be seen, and may have changed: --redo asks it again")
    told = [entry.get("warnings") for entry in (record.summary, record.execution.extra)]
    reasons = record.summary.get("unscored")
    refused = {
        reason: n for reason, n in (reasons.items() if isinstance(reasons, dict) else ()) if reason.startswith(REFUSED)
    }
    sys.stdout.flush()
    for warning in [text for texts in told if isinstance(texts, list) for text in texts]:
        warn(str(warning))
    if record.execution.extra.get("n_missing"):
        warn("what came is stored; the same command asks for what is missing")
    for reason, n in refused.items():
        warn(f"{plural(int(str(n)), 'score')} {'is' if n == 1 else 'are'} missing: {reason}")


def _show_task(record: Record, made: bool, out: Path, model: str | None) -> None:
    """Print the result, and at its end a warning of what the budget or a server's fault left out."""
    print_task(record, made, out)
    _print_notes(record, made, model)
    reasons = record.summary.get("unscored")
    for reason in reasons if isinstance(reasons, dict) else {}:
        if "budget" in reason:
            warn(reason)
            warn("answers are stored; --redo with a larger --budget has the rest judged")
