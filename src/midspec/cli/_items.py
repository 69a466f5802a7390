"""`midspec pairs`, `questions` and `reasons`: items of evaluations by a model, and the reasons in answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midspec.cli import _options as o
from midspec.cli._generate import read_checked
from midspec.cli._output import build_with_bar, make, nothing_kept, print_forecast, print_record, print_spent
from midspec.cli._places import spec_at_path
from midspec.core.errors import ConfigError

if TYPE_CHECKING:
    from midspec.core.records import ReasonShare
    from midspec.llm import Forecast
    from midspec.reasons import ReasonsConfig
    from midspec.study import Step

ModelAuthor = Annotated[str, typer.Option("--author", metavar="A", help="Who writes: anthropic/MODEL or openai/MODEL.")]
_NO_TEMPLATES = "the template author arranges a spec's own sentences, and {} must not repeat them"


def pairs(
    value: Annotated[
        Path, typer.Argument(metavar="VALUE", help="The value, its train domain and its test domains (YAML).")
    ],
    author: ModelAuthor,
    judge: Annotated[
        str,
        typer.Option(metavar="A", help="Who rejects pairs that test something else; better not the author."),
    ],
    items: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many pairs, evenly over the test domains; 320.")
    ] = None,
    out: o.Out = None,
    config: o.Config = None,
    models: o.ModelOptions = o.ModelOptions(),
    judge_url: o.JudgeUrl = None,
    dry_run: o.DryRun = False,
    redo: o.Redo = False,
) -> None:
    """Have held-out pairs written that test a value.

    VALUE says value, about, train_domain, train_words, test_domains, value_words and opinion_domains. Makes
    items.jsonl (for eval --items) and rejects.jsonl (with reasons) in --out. Models' replies are stored beside it, in
    OUT.calls.sqlite: stopped, killed or with other settings, the same command continues.

    Example: midspec pairs quiet.yaml --author anthropic/MODEL --judge openai/MODEL --items 320 --out quiet-pairs
    """
    from midspec.eval_items import PairWritingConfig
    from midspec.evals.tasks.preference import read_value_set
    from midspec.study import ModelEndpoints, WritePairsStep, check_graders

    value_set = read_value_set(value)
    check_author(author, "a pair")
    check_graders([judge], "--judge")
    settings = o.settings(PairWritingConfig, config, author={"model": author}, judge={"model": judge}, n_items=items)
    endpoints = ModelEndpoints(models.access(), models.access(judge_url))
    step = WritePairsStep(value=value_set, config=settings, endpoints=endpoints)
    _write(step, step.forecast(), o.needed(out), "pair", dry_run=dry_run, redo=redo)


def questions(
    path: o.SpecPath,
    author: ModelAuthor,
    per_clause: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many questions about each clause; 2 by default.")
    ] = None,
    out: o.Out = None,
    about: o.SpecOptions = o.SpecOptions(),
    models: o.ModelOptions = o.ModelOptions(),
    dry_run: o.DryRun = False,
    redo: o.Redo = False,
) -> None:
    """Have open questions written about each clause of a spec.

    Makes questions.jsonl (for eval --task spec_qa --items), rejects.jsonl (with reasons) and coverage.json (how many
    each clause has) in --out. The model's replies are stored beside it, in OUT.calls.sqlite: stopped, killed or with
    other settings, the same command continues.

    Example: midspec questions my-spec.md --author anthropic/MODEL --model-name Nova --provider-name Acme --out asked
    """
    from midspec.study import File, QuestionsConfig, WriteQuestionsStep

    check_author(author, "a question")
    writing = {"per_clause": per_clause}
    settings = o.settings(QuestionsConfig, about.config, author={"model": author}, writing=writing, **about.names)
    read_checked(path, settings)
    step = WriteQuestionsStep(spec=File.at(path), config=settings, author=models.access())
    _write(step, [step.forecast()], o.needed(out), "question", dry_run=dry_run, redo=redo)


def check_author(author: str, what: str) -> None:
    """Refuse an author that is no model; `what` is what it would write."""
    from midspec.generation import TEMPLATE_AUTHOR
    from midspec.llm import check_model_name, model_name_forms

    if author in {"template", TEMPLATE_AUTHOR}:
        raise ConfigError(_NO_TEMPLATES.format(what), where="--author", hint=f"Name {model_name_forms()}")
    check_model_name(author, where="--author", role="author")


def _write(step: Step, forecasts: Sequence[Forecast], folder: Path, unit: str, *, dry_run: bool, redo: bool) -> None:
    """Have the items written and print their cost, or print its forecast."""
    from midspec.study import spent_vs_forecast, store_beside

    if dry_run:
        print_forecast(forecasts)
        return
    record = make(step, folder, f"{unit}s", redo=redo)
    if record.summary.get("n_items") == 0 or record.summary.get("n_questions") == 0:
        raise nothing_kept(unit, record, folder)
    print_spent(spent_vs_forecast(forecasts, store_beside(folder)))


def reasons(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Runs with evaluation tasks, or folders of single evaluations (an arm each)."
        ),
    ],
    grader: Annotated[
        list[str] | None,
        typer.Option(metavar="A", help="Who reads: anthropic/MODEL or openai/MODEL; several also vote on the drivers."),
    ] = None,
    judge_temperature: o.Temperature = "0",
    out: o.Out = None,
    clusters: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Clusters that you edited on the page, saved from it.")
    ] = None,
    look: Annotated[
        bool, typer.Option("--look", help="Stop at the page of clusters, before transcripts are judged by them.")
    ] = False,
    spec: Annotated[
        Path | None, typer.Option(metavar="SPEC", parser=spec_at_path, help="Count how often its clauses are cited.")
    ] = None,
    embed: o.Embed = None,
    about: o.SpecOptions = o.SpecOptions(),
    models: o.ModelOptions = o.ModelOptions(),
    dry_run: o.DryRun = False,
    redo: o.Redo = False,
) -> None:
    """Analyse the reasons that models give for their answers.

    Makes reasons.jsonl, clusters.json, reasons.html (open it to edit names and merge clusters), labels.jsonl and
    table.json (which reasons drove how many transcripts of each arm) in --out. Replies are stored in OUT.calls.sqlite:
    the same command with --clusters and --redo sends only the requests that the edited clusters change.

    Example: midspec reasons runs/mine --grader openai/gpt-4.1 --out reasons --budget 20
    """
    from midspec.reasons import ReasonsConfig
    from midspec.study import ReasonsStep, clause_texts, forecast_reasons

    if not grader and about.config is None:
        raise ConfigError("there is none", where="--grader", hint="Name who reads: anthropic/MODEL or openai/MODEL")
    temperature = o.temperature_of(judge_temperature)
    settings = o.settings(
        ReasonsConfig,
        about.config,
        # `None` leaves the judges to the file of settings.
        judges=[{"model": name, "temperature": temperature} for name in grader] if grader else None,
        classify=False if look else None,
        embed={"model": embed},
    )
    access = models.access()
    if dry_run:
        print_forecast(forecast_reasons(folders, settings, access))
        return
    folder = o.needed(out)
    clauses = clause_texts(spec, **about.names) if spec else None
    step = ReasonsStep.of_folders(folders, settings, access, clusters=clusters, clauses=clauses)
    print_record(*build_with_bar(step, folder, "replies", redo=redo), folder)
    print(f"to edit: {folder / 'reasons.html'}")
    if settings.classify:
        _print_table(folder / "table.json", settings)


def _print_table(path: Path, config: ReasonsConfig) -> None:
    """Print shares by arm, a line a reason, and the judges' agreement."""
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
