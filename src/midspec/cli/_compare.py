"""`midspec compare`: what logs of any Inspect task show about the models that were asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from midspec.cli import _options as o
from midspec.core.errors import ConfigError

Logs = Annotated[
    list[str] | None,
    typer.Argument(metavar="LOG", help="Inspect logs (.eval, .json) or folders of them; NAME=LOG names its arm."),
]
Grouped = Annotated[
    Literal["model", "file", "tag"], typer.Option("--by", help="What an arm is; several logs of one are its runs.")
]
Baseline = Annotated[
    str | None, typer.Option(metavar="NAME", help="The arm to compare all others with; else every two are compared.")
]
Scorers = Annotated[
    list[str] | None, typer.Option("--scorer", metavar="NAME", help="NAME, or NAME/KEY of a dictionary. Repeatable.")
]
Cluster = Annotated[
    str | None, typer.Option(metavar="KEY", help="Samples with one value of this in their metadata belong together.")
]
SeedKey = Annotated[
    str | None,
    typer.Option(
        "--seed", metavar="KEY", help="Logs with one value of this in their metadata or arguments are a pair."
    ),
]
Reruns = Annotated[
    bool, typer.Option("--reruns", help="Several logs of an arm are one model asked again, not other training runs.")
]
Equivalence = Annotated[
    float | None,
    typer.Option(metavar="POINTS", help="Test whether differences are smaller than this (of a share: points)."),
]
Correction = Annotated[
    Literal["holm", "bh", "none"], typer.Option(help="Of p values, for all differences that are shown.")
]
Level = Annotated[float, typer.Option(metavar="SHARE", help="Of the intervals.")]
Unfinished = Annotated[bool, typer.Option("--unfinished", help="Take logs whose evaluation did not end well, too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")]


def compare(
    logs: Logs = None,
    out: o.Out = None,
    by: Grouped = "model",
    baseline: Baseline = None,
    scorer: Scorers = None,
    cluster: Cluster = None,
    seed: SeedKey = None,
    reruns: Reruns = False,
    equivalence: Equivalence = None,
    correction: Correction = "holm",
    level: Level = 0.95,
    unfinished: Unfinished = False,
    as_json: AsJson = False,
) -> None:
    """Compare models by their Inspect logs, of any task: paired differences with intervals, and what they can't show.

    Samples are paired by task and id; epochs are averaged, several logs of one arm are its runs. Says how many samples
    have no score, corrects p values for all differences shown, and gives the smallest difference that would be found.
    With --equivalence "no difference" gets a bound. A mixed model is fitted beside it as a check.

    With --out it writes comparison.html, comparison.json, estimates.csv (and .parquet), and hibayes.csv with
    hibayes.yaml, which HiBayES reads.

    Example: midspec compare logs --baseline openai/MODEL --equivalence 5 --out compared

    Example: midspec compare before=a.eval after=b.eval after=c.eval --cluster subject
    """
    for log in logs or ():
        given = Path(log)
        o.there(given if given.exists() else log.partition("=")[2] or given)
    from midspec.analysis import compare_logs
    from midspec.evals import read_logs
    from midspec.report import comparison_lines, write_log_comparison

    if reruns and seed is not None:
        raise ConfigError(
            "pairs of training runs are no reruns", where="--reruns", hint="Leave out --seed, or --reruns"
        )
    read = read_logs(logs or (), by=by, scorers=scorer or (), cluster=cluster, seed=seed, unfinished=unfinished)
    found = compare_logs(
        read,
        baseline=baseline,
        level=level,
        correction=correction,
        equivalence_points=equivalence,
        cluster_key=cluster,
        paired_runs=seed is not None,
        reruns=reruns,
    )
    if out is not None:
        write_log_comparison(found, read.scores, out)
    print(found.model_dump_json(indent=2) if as_json else "\n".join(comparison_lines(found)).strip())
    if out is not None and not as_json:
        print(Path(out) / "comparison.html")
