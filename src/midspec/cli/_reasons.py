"""`midspec reasons`: from transcripts to the reasons that drove them, by arm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midspec.cli import _options as o
from midspec.cli._output import Bar, print_forecast, print_record
from midspec.core.errors import ConfigError

if TYPE_CHECKING:
    from midspec.core.records import ReasonShare
    from midspec.reasons import ReasonsConfig


@o.command
def reasons(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Runs with exams, or folders of single evaluations (an arm each)."),
    ],
    grader: Annotated[
        list[str] | None,
        typer.Option(metavar="A", help="Who reads: anthropic/MODEL or openai/MODEL; several also vote on what drove."),
    ] = None,
    judge_temperature: o.Temperature = "0",
    out: o.Out = None,
    clusters: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Clusters that you edited on the page, saved from it.")
    ] = None,
    look: Annotated[
        bool, typer.Option("--look", help="Stop at the page of clusters, before transcripts are judged by them.")
    ] = False,
    spec: Annotated[Path | None, typer.Option(metavar="SPEC", help="Count how often its clauses are cited.")] = None,
    embed: o.Embed = None,
    about: o.SpecOptions = o.SpecOptions(),
    models: o.ModelOptions = o.ModelOptions(),
    dry_run: o.DryRun = False,
    redo: o.Redo = False,
) -> None:
    """Find out why models did what they did, by their own words.

    Makes reasons.jsonl, clusters.json, reasons.html (open it to edit names and merge clusters), labels.jsonl and
    table.json (which reasons drove how many transcripts of each arm) in --out. Replies are kept in OUT.calls.sqlite:
    the same command with --clusters and --redo asks only what the edited clusters change.

    Example: midspec reasons runs/mine --grader openai/gpt-4.1 --out reasons --budget 20
    """
    from midspec.reasons import ReasonsConfig
    from midspec.study import ReasonsStep, build_step, clause_texts, forecast_reasons

    asked = o.settings(
        ReasonsConfig,
        about.config,
        judges=_judges(grader, o.temperature_of(judge_temperature), about.config),
        classify=False if look else None,
        embed={"model": embed},
    )
    access = models.access()
    if dry_run:
        print_forecast(forecast_reasons(folders, asked, access))
        return
    folder = o.needed(out)
    clauses = clause_texts(spec, **about.names) if spec else None
    with Bar("reasons", "replies") as bar:
        step = ReasonsStep.of_folders(folders, asked, access, clusters=clusters, clauses=clauses)
        record, made = build_step(step, folder, redo=redo, on_progress=bar.on_progress)
    print_record(record, made, folder)
    print(f"to edit: {folder / 'reasons.html'}")
    if asked.classify:
        _print_table(folder / "table.json", asked)


def _judges(
    named: list[str] | None, temperature: float | None, config: Path | None
) -> list[dict[str, str | float | None]] | None:
    """The judges that options name; `None` leaves them to the file of settings."""
    if not named and config is None:
        raise ConfigError("there is none", where="--grader", hint="Name who reads: anthropic/MODEL or openai/MODEL")
    return [{"model": name, "temperature": temperature} for name in named] if named else None


def _print_table(path: Path, config: ReasonsConfig) -> None:
    """Shares by arm, a line a reason, and how far judges agree."""
    from midspec.core.records import Agreement, ReasonShare

    table = json.loads(path.read_text(encoding="utf-8"))
    shares = [ReasonShare.model_validate(row) for row in table["shares"]]
    print()
    for key in dict.fromkeys(row.cluster for row in shares):
        rows = [row for row in shares if row.cluster == key]
        print(f"{rows[0].side:<10}  {rows[0].name}: " + ", ".join(map(_share, rows)))
    if len(config.judges) > 1:
        for each in (Agreement.model_validate(row) for row in table["agreements"][:1]):
            shown = "none" if each.value is None else f"{each.value:.2f}"
            print(f"agreement of {each.n_judges} judges (Fleiss' kappa): {shown}")


def _share(row: ReasonShare) -> str:
    if row.value is None:
        return f"{row.arm} no score"
    ends = f" [{row.low:.0%}, {row.high:.0%}]" if row.low is not None and row.high is not None else ""
    return f"{row.arm} {row.value:.0%}{ends}"
