"""The reports of finished runs: written once more, two compared, and many on one page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from midspec.core.artifact import RECORD, TAKEN_OVER, is_url, read_record, without_secrets
from midspec.core.errors import ConfigError, DataError, MissingError
from midspec.core.fingerprint import fingerprint
from midspec.study._graph import study_steps
from midspec.study._plan import states
from midspec.study.execution._executor import Listener
from midspec.study.execution._remote_run import RemoteRun, place_name, view_run_folder
from midspec.study.execution._run import is_older_analysis, open_run, run_study
from midspec.train import KEPT_PREFIX

if TYPE_CHECKING:
    from midspec.report import ReportData


def report_again(folder: Path, *, on_event: Listener = lambda _event: None, remote: RemoteRun | None = None) -> Path:
    """Write the report of a finished run once more; return the path of its page.

    Args:
        folder: of the run.
        on_event: called with each event.
        remote: the run in its store, whose working folder `folder` is.

    Raises:
        MissingError: there is no run in the folder, or it is not finished.
    """
    study = open_run(folder)
    steps = study_steps(study, folder)
    undone = [
        name
        for name, (state, _, changes) in states(steps, folder).items()
        if state != "done" and name != "report" and not is_older_analysis(name, changes)
    ]
    if undone:
        raise MissingError(
            f"{len(undone)} of {len(steps)} steps are not done ({undone[0]} first)",
            where=str(folder),
            hint="Run midspec run on the study first",
        )
    run_study(study, folder, redo=["report"], workers=1, go_on=False, on_event=on_event, remote=remote)
    return folder / "report" / "report.html"


def reports_against(folder: Path, other: Path, *, shown: tuple[str, str] | None = None) -> tuple[Path, tuple[str, ...]]:
    """Compare the reports of two finished runs, in the first one's folder; return the page and its sentences.

    Args:
        folder: of the first run.
        other: folder of the other one.
        shown: what people call the two, such as their URLs; the folders by default.

    Raises:
        MissingError: one of the two has no report.
        DataError: its data can't be read.
        ConfigError: both are one folder.
        FolderError: the folder can't be written.
    """
    from midspec.report import write_against

    shown = shown or (str(folder), str(other))
    if folder.resolve() == other.resolve() or shown[0] == shown[1]:
        raise ConfigError("names the same run", where="--against", hint="Name another run's folder")
    reports = [_report_of(run) for run in (folder, other)]
    names = (Path(shown[0]).resolve().name, Path(shown[1]).resolve().name)
    if names[0] == names[1]:
        names = shown
    place = folder / "against" / other.resolve().name
    inputs = (_outside_inputs(folder), _outside_inputs(other))
    built = write_against(reports[0], reports[1], place, names=names, inputs=inputs)
    says = built.summary["says"]
    assert isinstance(says, list)
    return place / built.outputs[0], tuple(map(str, says))


_MAX_LETTERS = 40  # of a hash, or of the name of a model on the hub


def _outside_inputs(run: Path) -> dict[str, str]:
    """Return the hashes of what the steps of a run took from outside it, by step and role, all seeds together.

    A study file names a spec or a file of data by its path, and does not tell one that was edited in place.
    """
    folders = sorted(path.parent for path in run.glob(f"steps/**/{RECORD}"))
    known = [(folder, record) for folder in folders if (record := read_record(folder)) is not None]
    # A copy of a file has the hash of the file, so what a step made itself tells nothing of where its input is from.
    made: dict[str, set[Path]] = {}
    for folder, record in known:  # parts as `StepOutput` and `TrainedModel` have parts of a result
        inner = {name.rpartition("/")[0] + "/" for name in record.outputs if "/" in name}
        parts = [{name: hash_ for name, hash_ in record.outputs.items() if name.startswith(each)} for each in inner]
        parts.append({name: hash_ for name, hash_ in record.outputs.items() if not name.startswith(KEPT_PREFIX)})
        for hash_ in (record.digest, *record.outputs.values(), *map(fingerprint, parts)):
            made.setdefault(hash_, set()).add(folder)
    found: dict[str, set[str]] = {}
    for folder, record in known:
        name = re.sub(r"-?s\d+$", "", folder.relative_to(run / "steps").as_posix()).rstrip("/")
        for role, digest in record.identity.inputs.items() if name != "report" else ():
            if made.get(digest, {folder}) == {folder}:
                found.setdefault(f"{name} ({role})", set()).add(digest)
    return {name: " ".join(sorted(digest[:_MAX_LETTERS] for digest in digests)) for name, digests in found.items()}


def _report_of(run: Path) -> ReportData:
    """Read the data of a run's report.

    Raises:
        MissingError: there is none.
        DataError: it can't be read.
    """
    from midspec.report import ReportData

    path = run / "report" / "report_data.json"
    if not path.is_file():
        raise MissingError("there is no report", where=str(run), hint="Run midspec run, or midspec report, first")
    try:
        return ReportData.model_validate_json(path.read_bytes())
    except ValueError as error:
        hint = "Write the report anew with midspec report"
        raise DataError("holds no report of this version", where=str(path), hint=hint) from error


def index_reports(runs: Sequence[str | Path], page: str | Path) -> list[str]:
    """Write one page of the answers of several finished runs; return them as lines.

    Args:
        runs: folders or URLs, in the order of the page.
        page: where to write it, on this machine.

    Raises:
        ConfigError: the page is a URL, or a run's URL can't keep a run.
        MissingError: one has no report.
        DataError: its data can't be read.
        FolderError: the page can't be written.
        MidspecError: whatever the store of a run refuses.
    """
    from midspec.report import IndexedReport, index_lines, write_index

    if is_url(str(page)):
        hint = "Name a file of this machine: runs may be at URLs, and the page is written here"
        raise ConfigError("is a URL", where=f"--index {without_secrets(str(page))}", hint=hint)
    reports = []
    for run in runs:
        url = without_secrets(str(run)).rstrip("/") if is_url(str(run)) else ""
        with view_run_folder(run, ["report/report_data.json"]) as folder:
            name = url.rpartition("/")[2] or folder.resolve().name
            shown: str | Path = f"{url}/report/report.html" if url else folder / "report" / "report.html"
            reports.append(IndexedReport(name, shown, _report_of(folder), *_cpu_of(folder, url)))
    write_index(reports, Path(page))
    return index_lines(reports)


def _cpu_of(run: Path, url: str = "") -> tuple[float | None, float]:
    """Return the seconds of CPU that a run's results took, wherever they were made, and those made in other runs."""
    here: list[float | None] = []
    shared = 0.0

    def is_own(folder: Path) -> bool:
        # The path may be relative, as `--out` was; of a run at a URL it is one of whatever machine made it.
        return folder.resolve().is_relative_to(run.resolve()) or (bool(url) and place_name(url) in folder.parts)

    for path in run.glob(f"steps/**/{RECORD}"):
        if (record := read_record(path.parent)) is not None:
            made = record.execution.extra.get(TAKEN_OVER)
            if isinstance(made, dict) and not is_own(Path(str(made["folder"]))):
                shared += float(str(made["cpu_s"] or 0))
            else:
                here.append(record.execution.cpu_s)
    known = [each for each in here if each is not None]
    return (sum(known) + shared if len(known) == len(here) else None), shared
