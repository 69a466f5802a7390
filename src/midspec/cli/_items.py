"""`midspec pairs` and `questions`: what evaluations ask about a value or a spec of one's own, written by a model."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midspec.cli import _options as o
from midspec.cli._generate import read_checked, warn
from midspec.cli._output import Bar, print_forecast, print_record, print_spent
from midspec.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from midspec.core.records import Record

Author = Annotated[str, typer.Option("--author", metavar="A", help="Who writes: anthropic/MODEL or openai/MODEL.")]
_QUOTING = "the quoting author arranges a spec's own sentences, and {} must not repeat them"


def pairs(
    value: Annotated[
        Path, typer.Argument(metavar="VALUE", help="The value, where it is taught and where it is tested (YAML).")
    ],
    author: Author,
    judge: Annotated[
        str,
        typer.Option(metavar="A", help="Who drops what tests something else; better another model than the author."),
    ],
    items: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many pairs, evenly over the test domains; 320.")
    ] = None,
    out: o.Out = None,
    config: o.Config = None,
    base_url: o.BaseUrl = None,
    judge_url: o.JudgeUrl = None,
    concurrency: o.Concurrency = 50,
    budget: o.Budget = None,
    batch: o.Batch = False,
    prices: o.Prices = None,
    dry_run: o.DryRun = False,
    redo: o.Redo = False,
) -> None:
    """Have held-out pairs written that test a value.

    VALUE says value, about, train_domain, train_words, test_domains, value_words and opinion_domains. Makes
    items.jsonl (for eval --items) and rejects.jsonl (with reasons) in --out. What models answer is kept beside it, in
    OUT.calls.sqlite: stopped, killed or changed, the same command asks only for the rest.

    Example: midspec pairs quiet.yaml --author anthropic/MODEL --judge openai/MODEL --items 320 --out quiet-pairs
    """
    from midspec.eval_items import PairWritingConfig
    from midspec.evals.tasks.preference import read_value_set
    from midspec.study import check_graders, forecast_pairs, spent_vs_forecast, write_pairs

    row = read_value_set(value)
    _check_author(author, "a pair")
    check_graders([judge], "--judge")
    asked = o.settings(PairWritingConfig, config, author={"model": author}, judge={"model": judge}, n_items=items)
    access = o.access(base_url, concurrency, budget, prices, batch=batch)
    way = o.way(out, access, o.access(judge_url or base_url, concurrency, budget, prices, batch=batch))
    forecasts = forecast_pairs(row, asked, way)
    if dry_run:
        print_forecast(forecasts)
        return
    folder = o.needed(out)
    with Bar("pairs", "pairs") as bar:
        record, made = write_pairs(row, asked, way, folder, redo=redo, on_progress=bar.on_progress)
    _tell(record, made, folder, "pair")
    print_spent(spent_vs_forecast(forecasts, way))


def questions(
    path: o.SpecPath,
    author: Author,
    per_clause: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many questions about each clause; 2 by default.")
    ] = None,
    out: o.Out = None,
    model_name: o.ModelName = None,
    provider_name: o.ProviderName = None,
    config: o.Config = None,
    base_url: o.BaseUrl = None,
    concurrency: o.Concurrency = 50,
    budget: o.Budget = None,
    batch: o.Batch = False,
    prices: o.Prices = None,
    dry_run: o.DryRun = False,
    redo: o.Redo = False,
) -> None:
    """Have open questions written about each clause of a spec.

    Makes questions.jsonl (for eval --task spec_qa --items), rejects.jsonl (with reasons) and coverage.json (how many
    each clause has) in --out. What the model answers is kept beside it, in OUT.calls.sqlite: stopped, killed or
    changed, the same command asks only for the rest.

    Example: midspec questions my-spec.md --author anthropic/MODEL --model-name Nova --provider-name Acme --out asked
    """
    from midspec.study import QuestionsConfig, forecast_questions, spent_vs_forecast, write_questions_file

    _check_author(author, "a question")
    asked = o.settings(
        QuestionsConfig,
        config,
        author={"model": author},
        model_name=model_name,
        provider_name=provider_name,
        writing={"per_clause": per_clause},
    )
    read_checked(path, asked.model_name)
    way = o.way(out, o.access(base_url, concurrency, budget, prices, batch=batch))
    forecasts = forecast_questions(path, asked, way)
    if dry_run:
        print_forecast(forecasts)
        return
    folder = o.needed(out)
    with Bar("questions", "clauses") as bar:
        record, made = write_questions_file(path, asked, way, folder, redo=redo, on_progress=bar.on_progress)
    _tell(record, made, folder, "question")
    print_spent(spent_vs_forecast(forecasts, way))


def _check_author(author: str, what: str) -> None:
    if author == "quoting":
        hint = "Name anthropic/MODEL or openai/MODEL"
        raise ConfigError(_QUOTING.format(what), where="--author", hint=hint)
    if not re.match(r"(anthropic|openai)/.", author):
        hint = "There is anthropic/MODEL and openai/MODEL"
        raise ConfigError(f"there is no author {author!r}", where="--author", hint=hint)


def _tell(record: Record, made: bool, folder: Path, unit: str) -> None:
    """The record in words, and what is missing of what was asked for."""
    print_record(record, made, folder)
    sys.stdout.flush()
    warn(str(record.summary.get("exhausted") or ""))
    if record.summary.get("n_items") == 0 or record.summary.get("n_questions") == 0:
        raise DataError(f"not one {unit} was kept", where=str(folder), hint="Read the reasons in its rejects.jsonl")
