"""`midspec step`, what a cluster's jobs run, and `midspec status`, what a run's folder says."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midspec.cli import _options as o

if TYPE_CHECKING:
    from midspec.study import RunStatus, StepNow

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]

_MAX_ERRORS = 10


def step(
    folder: Run,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Steps, as midspec plan lists them.")],
    most_restarts: Annotated[
        int, typer.Option(min=0, metavar="N", help="Put a Slurm job whose time is up back into the queue N times.")
    ] = 10,
    device: o.Device = "auto",
) -> None:
    """Make single steps of a run, whose inputs are done; a step that is done is passed over.

    The jobs of midspec run --executor slurm call this. The output of each step is in RUN/logs, by its name.

    Example: midspec step runs/first midtrain/america-s1
    """
    from midspec.study import ONE_THREAD, make_steps

    # Before anything brings a library that reads them.
    os.environ.update(ONE_THREAD)
    from midspec.models import check_device

    check_device(device)
    code = make_steps(
        folder, names, device=device, most_restarts=most_restarts, tell=lambda line: print(line, flush=True)
    )
    if code:
        raise typer.Exit(code)


def status(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run, or its URL.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print every step as JSON.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print it again every ten seconds until it is over.")
    ] = False,
) -> None:
    """Tell how far a run is: what is done, runs, waits or failed, where and for how long.

    Reads the run's folder, from any machine that sees it, and asks Slurm's queue where there is one. At a URL it
    tells what is done.

    Example: midspec status runs/first

    Example: midspec status s3://bucket/first
    """
    from midspec.core.artifact import without_secrets
    from midspec.study import run_status, view_run_folder

    while True:
        with view_run_folder(run) as folder:
            now = run_status(folder).model_copy(update={"folder": without_secrets(run)})
        print(now.model_dump_json(indent=2) if as_json else "\n".join(status_lines(now)), flush=True)
        if not follow or not now.count("running") + now.count("queued"):
            return
        time.sleep(10)
        print()


def status_lines(now: RunStatus) -> list[str]:
    """Return a line for each kind of step, then what runs, and what failed with the end of its log."""
    from midspec.study import STATES

    shown = [state for state in STATES if now.count(state)]
    counts = now.by_kind()
    width = max(len(kind) for kind in [*counts, "all"])
    lines = [f"{now.name}: {now.count('done')} of {len(now.steps)} steps are done ({now.folder})"]
    lines += [f"{'':<{width}}" + "".join(f"{state:>9}" for state in shown) + f"{'time':>11}"]
    for kind, states in counts.items():
        took = sum(step.seconds or 0.0 for step in now.steps if step.kind == kind)
        cells = "".join(f"{states[state] or '':>9}" for state in shown)
        lines.append(f"{kind:<{width}}{cells}{_time(took) if took else '':>11}".rstrip())
    totals = "".join(f"{now.count(state):>9}" for state in shown)
    lines.append(f"{'all':<{width}}{totals}{_time(sum(step.seconds or 0.0 for step in now.steps)):>11}")
    lines += [_running(step) for step in now.steps if step.state == "running"]
    waiting: dict[str, list[str]] = {}
    for step in now.steps:
        if step.state == "queued" and step.note:
            waiting.setdefault(step.note, []).append(step.job.partition("_")[0])
    for reason, jobs in waiting.items():
        lines.append(f"queued: {len(jobs)} steps in jobs {', '.join(dict.fromkeys(jobs))}: {reason}")
    bad = [step for step in now.steps if step.state in {"failed", "lost", "stopped"}]
    alike: dict[tuple[str, str], list[StepNow]] = {}
    for step in bad:
        alike.setdefault((step.state, step.error.removeprefix(f"{step.name}: ") or step.name), []).append(step)
    for first, *others in [*alike.values()][:_MAX_ERRORS]:
        job = f" (job {first.job})" if first.job else f" (on {first.host})"
        lines += [f"{first.state}: {first.name}{job}{f': {first.error}' if first.error else ''}"]
        lines += [f"    {line}" for line in first.log]
        lines += [f"    and so: {', '.join(step.name for step in others)}"] if others else []
    if len(alike) > _MAX_ERRORS:
        lines.append(f"and {sum(map(len, [*alike.values()][_MAX_ERRORS:]))} more")
    if now.queue == "no answer":
        lines.append("Slurm does not answer: what is queued is not known")
    return lines


def _running(step: StepNow) -> str:
    place = f"job {step.job} on {step.host}" if step.job else f"on {step.host}"
    progress = [f"{step.at} of {step.of}" if step.of else "", step.note]
    return ", ".join(filter(None, [f"running: {step.name}: {_time(step.seconds or 0)}", place, *progress]))


def _time(seconds: float) -> str:
    """Write seconds as people read them: 41 s, 3 min, 2 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
