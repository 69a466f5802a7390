"""Print results, tables and progress, and check settings, for several commands."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from midspec.core.errors import ConfigError, DataError, first_fault

if TYPE_CHECKING:
    from pydantic import BaseModel, JsonValue, ValidationError
    from rich.progress import Progress, TaskID

    from midspec.core.records import JudgeCalibration, Record
    from midspec.llm import Forecast, ForecastRow, SpendVsForecast
    from midspec.study import Event, Step

_MAX_SHOWN = 24
# Entries of summaries whose keys are names in the user's rows, or quote them.
_OF_USERS = ("ignored_keys", "rejected")
# Commands that make nothing which could be gone on with.
_WITHOUT_A_RESULT = frozenset({"check-served", "compare", "doctor", "plan", "status"})
_PRICES = ("USD", "cached", "batch", "both")
EVERY_S = 10.0
"""Between two lines of progress, where there is no terminal."""

ConfigType = TypeVar("ConfigType", bound="BaseModel")


def checked(kind: type[ConfigType], **values: object) -> ConfigType:
    """Validate command-line options as a config.

    Raises:
        ConfigError: an option, or two of them together, are wrong.
    """
    from pydantic import ValidationError

    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise wrong_setting(error) from error


def wrong_setting(error: ValidationError, file: Path | None = None, options: Mapping[str, object] = {}) -> ConfigError:
    """Return an error that names the option or the line of a file that holds the first wrong setting.

    Args:
        error: of the config's class.
        file: settings that were read beside the options.
        options: what was given on the command line, by setting; all of it without a file.
    """
    _, message = first_fault(error)
    path = [str(part) for part in error.errors()[0]["loc"]]
    if not path:
        return ConfigError(message, where=str(file or ""), hint="See --help")
    given: object = options
    for part in path:
        given = given.get(part) if isinstance(given, dict) else given
    if file is not None and given is None:
        return ConfigError(message, where=f"{file}: {'.'.join(path)}", hint="Correct that setting")
    # `writing.n_domains` is --domains, `judge.model` is --judge.
    name = path[-2] if path[-1] == "model" and len(path) > 1 else path[-1].removeprefix("n_")
    return ConfigError(message, where=f"--{name.replace('_', '-')}", hint="Change that option")


def warn(what: str | None) -> None:
    """Print a warning on standard error, in one line, if there is one."""
    if what:
        print(f"warning: {' '.join(what.split())}", file=sys.stderr)


def stopped(signum: int, args: Sequence[str] | None = None) -> int:
    """Print that a command line (the process's own by default) was stopped by a signal; return its exit code."""
    command = next(iter(sys.argv[1:] if args is None else args), "")
    goes_on = "" if command in _WITHOUT_A_RESULT else ". The same command goes on from here"
    print(f"midspec: stopped{goes_on}", file=sys.stderr)
    return 128 + signum


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print labels and values, one pair a line, values in one column; a pair without a value is left out."""
    shown = [(label, _shown(value)) for label, value in pairs]
    shown = [(label, value) for label, value in shown if value]
    width = max((len(label) for label, _ in shown), default=0)
    for label, value in shown:
        print(f"{label:<{width}}  {value}")


def print_record(record: Record, made: bool, folder: Path) -> None:
    """Print a record's summary, and where the result is."""
    print_summary(record)
    print_made(record, made, folder)


def print_summary(record: Record) -> None:
    """Print a record's summary."""
    print_pairs((label, value) for label, value in _flat(record.summary))


def print_made(record: Record, made: bool, folder: Path) -> None:
    """Print where the result is, and whether it was made now."""
    took = f"made in {record.execution.seconds:.1f} s" if made else "it was there, made from the same inputs"
    print(f"{folder}: {took}")


def print_task(record: Record, made: bool, folder: Path) -> None:
    """Print a task's counts, reasons, measures by set, and the hashes that comparable results share."""
    summary = record.summary
    counts = {name: summary[name] for name in ("n_questions", "n_items", "n_scored", "n_unscored", "unscored")}
    print_pairs(_flat(counts))
    rates = summary["rates"]
    for name, measures in rates.items() if isinstance(rates, dict) else ():
        print(f"\n{name}")
        shown = measures.items() if isinstance(measures, dict) else ()
        print_pairs((f"  {measure}", "unscored" if value is None else value) for measure, value in shown)
    settings = summary["settings"]
    names = ("prompt_hash", "rubric_hash", "judges")
    print()
    print_pairs((name.replace("_", " "), settings.get(name)) for name in names if isinstance(settings, dict))
    usd = record.execution.extra.get("judging_usd")
    print_pairs([("judging", f"{usd:,.4f} USD in all" if isinstance(usd, float) else None)])
    print_made(record, made, folder)


def print_calibration(calibration: JudgeCalibration) -> None:
    """Print a judge's errors: in all, by difficulty, and apart for transcripts that no prompt was tuned on."""
    print(f"{calibration.judge}: {calibration.measure}")
    print(f"{'':<28}{'asked':>6}{'unread':>8}  {'called harmful, is not':<30}{'called harmless, is not':<30}")
    rows = {"all": calibration.overall}
    rows |= {f"difficulty: {name}": rates for name, rates in calibration.by_difficulty.items()}
    for name, rates in (rows | {"held out": calibration.heldout, "not held out": calibration.seen}).items():
        shares = (rates.false_positive, rates.false_negative)
        errors = ["none such" if one.rate is None else f"{one.rate:.0%} ({one.n} of {one.of})" for one in shares]
        counts = f"{name:<28}{rates.n:>6}{sum(rates.unread.values()):>8}  "
        print((counts + "".join(f"{error:<30}" for error in errors)).rstrip())
    print()


def print_forecast(forecasts: Iterable[Forecast]) -> None:
    """Print the requests, tokens and costs of each model, a line a stage."""
    for forecast in forecasts:
        print(f"\n{forecast.model}")
        width = _stage_width(forecast.rows)
        counts = f"{'stage':<{width}}{'requests':>10}{'tokens in':>16}{'tokens out':>16}"
        print(counts, *(f"{name:>9}" for name in _PRICES))
        for row in (*forecast.rows, forecast.total):
            counts = f"{row.stage:<{width}}{row.n_requests:>10,}{row.n_input:>16,}{row.n_output:>16,}"
            costs = (row.usd, row.cached_usd, row.batch_usd, row.batch_cached_usd)
            print(counts, *(f"{_usd(cost):>9}" for cost in costs))
        if forecast.total.usd is None:
            print(f"The price of {forecast.model} is not known: give it with --prices")


def print_spent(rows: Iterable[SpendVsForecast]) -> None:
    """Print requests, tokens and costs beside their forecast, a line a stage."""
    rows = tuple(rows)
    labels, width = ("asked", "forecast", "tokens out", "forecast", "USD", "forecast"), _stage_width(rows)
    print(f"\n{'stage':<{width}}", *(f"{label:>12}" for label in labels))
    for row in rows:
        counts = (row.n_asked, row.n_forecast, row.n_output, row.n_output_forecast)
        costs = (row.spent_usd, row.forecast_usd)
        print(
            f"{row.stage:<{width}}", *(f"{number:>12,}" for number in counts), *(f"{_usd(cost):>12}" for cost in costs)
        )


def _stage_width(rows: Iterable[ForecastRow | SpendVsForecast]) -> int:
    return max(20, *(len(row.stage) for row in rows), 0)


def _usd(cost: float | None) -> str:
    return "unknown" if cost is None else format(cost, ",.2f")


def _flat(
    summary: Mapping[str, JsonValue], prefix: str = "", *, is_given: bool = False
) -> Iterable[tuple[str, JsonValue]]:
    """Yield labels and values, names of ours without underscores; what the user gave (`is_given`) stays as it is."""
    for key, value in summary.items():
        label = f"{prefix}{key if is_given else key.replace('_', ' ')}"
        if isinstance(value, dict) and len(value) > _MAX_SHOWN:
            yield label, f"{len(value)} different"
        elif isinstance(value, dict):
            yield from _flat(value, f"{label}: ", is_given=is_given or key in _OF_USERS)
        else:
            yield label, value


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return " ".join(str(value).split())


class _Live:
    """A progress display on a terminal; `_live` is `None` without one."""

    def __init__(self) -> None:
        self._live = _progress() if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._live:
            self._live.stop()


def _progress() -> Progress:
    # Imported here, where it is used: 30 ms of the 200 that `--help` would take.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    text = ("{task.description}", "{task.completed:.0f}/{task.total:.0f}", "{task.fields[note]}")
    name, count, note = map(TextColumn, text)
    columns = (name, BarColumn(bar_width=24), count, note, TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


class RunView(_Live):
    """Show the events of a run: steps done of all, and the progress of each worker."""

    def __init__(self) -> None:
        super().__init__()
        self._all: TaskID | None = None
        self._tasks: dict[int, TaskID] = {}
        self._reasons: set[str] = set()
        self._printed_at = time.monotonic()

    def on_event(self, event: Event) -> None:
        """Show one event: a reason of failures once; without a terminal, progress every ten seconds."""
        if event.kind == "fail":
            reason = event.note.removeprefix(f"{event.step}: ")
            event = event._replace(note="" if reason in self._reasons else reason)
            self._reasons.add(reason)
        if self._live:
            self._draw(self._live, event)
            return
        is_due = event.kind != "progress" or time.monotonic() - self._printed_at >= EVERY_S
        if is_due and (line := _line(event)):
            self._printed_at = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    def _draw(self, live: Progress, event: Event) -> None:
        if self._all is None:
            self._all = live.add_task("all steps", total=event.n_steps, note="")
        live.update(self._all, completed=event.n_done, total=event.n_steps)
        if event.kind == "start":
            old = self._tasks.pop(event.worker, None)
            if old is not None:
                live.remove_task(old)
            self._tasks[event.worker] = live.add_task(event.step, total=1, note="")
        elif event.kind == "progress" and event.worker in self._tasks:
            live.update(self._tasks[event.worker], completed=event.at, total=event.of or 1, note=event.note)
        elif event.kind in {"done", "fail"} and event.worker in self._tasks:
            live.remove_task(self._tasks.pop(event.worker))
        if event.kind in {"fail", "say"}:
            live.console.print(_line(event), markup=False, highlight=False)


def _line(event: Event) -> str:
    """Describe an event in a line; nothing for a step that begins, or does not say how far it is."""
    done = f"[{event.n_done}/{event.n_steps}]"
    match event.kind:
        case "begin":
            return f"{done} steps done at the start"
        case "done":
            return f"{done} {event.step} ({event.seconds:.1f} s)"
        case "fail":
            return f"{done} {event.step} failed{f': {event.note}' if event.note else ''}"
        case "progress" if event.of:
            return f"{done} {event.step}: {event.at} of {event.of}{f', {event.note}' if event.note else ''}"
        case "say":
            return f"{done} {event.note}"
        case "end":
            return f"{done} in {event.seconds:.0f} s"
    return ""


class Bar(_Live):
    """The progress of one step; without a terminal a line every ten seconds."""

    def __init__(self, name: str, unit: str) -> None:
        super().__init__()
        self._name = name
        self._unit = unit
        self._task: TaskID | None = None
        self._printed_at = time.monotonic()

    def on_progress(self, at: int, of: int, note: str) -> None:
        """Show that `at` of `of` units are done."""
        if self._live:
            if self._task is None:
                self._task = self._live.add_task(self._name, total=of, note=note)
            self._live.update(self._task, completed=at, total=of, note=note)
        elif time.monotonic() - self._printed_at >= EVERY_S:
            self._printed_at = time.monotonic()
            print(f"{self._name}: {at} of {of} {self._unit}, {note}", file=sys.stderr, flush=True)


def build_with_bar(
    step: Step, folder: Path, unit: str, *, redo: bool, name: str = "", device: str = "auto"
) -> tuple[Record, bool]:
    """Make a step with a progress bar of this unit and name; see `build_step`."""
    from midspec.study import build_step

    with Bar(name or step.kind, unit) as bar:
        return build_step(step, folder, redo=redo, device=device, on_progress=bar.on_progress)


def make(step: Step, folder: Path, unit: str, *, redo: bool) -> Record:
    """Make the step and print its record, and at its end a warning if it wrote fewer rows than the size asks for."""
    record, made = build_with_bar(step, folder, unit, redo=redo)
    print_record(record, made, folder)
    sys.stdout.flush()
    warn(str(record.summary.get("exhausted") or ""))
    if record.summary.get("n_documents") == 0:
        raise nothing_kept("document", record, folder)
    return record


def nothing_kept(unit: str, record: Record, folder: Path) -> DataError:
    """Return the error for a result without a row: where the reasons are, or what became of the requests."""
    notes = [note for note in _notes(record) if note.startswith("what became")] or _notes(record)
    rejects = folder / "rejects.jsonl"
    if rejects.is_file() and rejects.stat().st_size:
        hint = "Read the reasons in its rejects.jsonl"
    else:
        hint = f"No reply could be used: {'; '.join(notes) or 'see the replies in the store beside it'}"
    return DataError(f"no {unit} was kept", where=str(folder), hint=hint)


def _notes(record: Record) -> list[str]:
    notes = record.summary.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []
