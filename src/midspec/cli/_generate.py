"""`midspec corpus` and `chats`: from a spec to rows, by the quoting author or by a model."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from midspec.cli import _options as o
from midspec.cli._options import SpecPath
from midspec.cli._output import Bar, print_forecast, print_pairs, print_record, print_spent
from midspec.core.errors import DataError

if TYPE_CHECKING:
    from midspec.chats import ChatConfig
    from midspec.core.records import Chat, Document, PlanRow, Spec
    from midspec.corpus import CorpusConfig
    from midspec.study import ModelEndpoints, Step


def corpus(
    path: o.SpecPath,
    out: o.Out = None,
    author: o.Author = None,
    mode: o.Mode = None,
    documents: o.Documents = None,
    target_tokens: o.TargetTokens = None,
    ideas: o.Ideas = None,
    doc_types: o.DocTypes = None,
    domains: o.Domains = None,
    subdomains: o.Subdomains = None,
    critique: o.Critique = False,
    model_name: o.ModelName = None,
    provider_name: o.ProviderName = None,
    frames: o.Frames = None,
    seed: o.Seed = None,
    config: o.Config = None,
    base_url: o.BaseUrl = None,
    concurrency: o.Concurrency = 50,
    budget: o.Budget = None,
    batch: o.Batch = False,
    prices: o.Prices = None,
    preview: o.Preview = None,
    dry_run: o.DryRun = False,
    redo: o.Redo = False,
) -> None:
    """Write a corpus of documents that discuss a spec.

    Makes documents.jsonl, rejects.jsonl (with reasons), plan.jsonl and coverage.json in --out. What a model answers
    is kept beside it, in OUT.calls.sqlite: stopped, killed or enlarged, the same command asks only for the rest.

    Example: midspec corpus my-spec.md --model-name Nova --provider-name Acme --documents 1000 --out corpus
    """
    from midspec.corpus import CorpusConfig
    from midspec.study import corpus_step, forecast_corpus, spent_vs_forecast

    asked = o.settings(
        CorpusConfig,
        config,
        author=author,
        mode=mode,
        n_documents=documents,
        target_tokens=target_tokens,
        ideas=ideas,
        doc_types=doc_types,
        writing={"n_domains": domains, "n_subdomains": subdomains, "critique": critique or None},
        model_name=model_name,
        provider_name=provider_name,
        frames=frames,
        seed=seed,
    )
    found = read_checked(path, asked.model_name)
    way = None
    if asked.author != "quoting":
        way = o.way(out, o.access(base_url, concurrency, budget, prices, batch=batch))
    if dry_run:
        _forecast_corpus(_filled(found, asked), asked, way)
    elif preview:
        _preview_corpus(_filled(found, asked), asked, way, preview)
    else:
        _make(corpus_step(path, asked, way), o.needed(out), "documents", redo=redo)
        if way is not None:
            print_spent(spent_vs_forecast(forecast_corpus(_filled(found, asked), asked, way), way))


def chats(
    path: o.SpecPath,
    out: o.Out = None,
    author: o.Author = None,
    style: o.Style = None,
    samples: o.Samples = None,
    judge: o.Judge = None,
    embed: o.Embed = None,
    model_name: o.ModelName = None,
    provider_name: o.ProviderName = None,
    frames: o.Frames = None,
    seed: o.Seed = None,
    config: o.Config = None,
    base_url: o.BaseUrl = None,
    judge_url: o.JudgeUrl = None,
    concurrency: o.Concurrency = 50,
    budget: o.Budget = None,
    batch: o.Batch = False,
    prices: o.Prices = None,
    preview: o.Preview = None,
    dry_run: o.DryRun = False,
    redo: o.Redo = False,
) -> None:
    """Write chats that show what a spec says.

    Makes chats.jsonl (opaque, identity), or the twins chats_cot.jsonl and chats_cot_stripped.jsonl, with and without
    reasoning (value, rule); and rejects.jsonl (with reasons) in --out. A model's chats need a --judge.

    Example: midspec chats my-spec.md --style opaque --model-name Nova --provider-name Acme --samples 320 --out chats
    """
    from midspec.chats import ChatConfig
    from midspec.study import chats_step, forecast_chats, spent_vs_forecast

    asked = o.settings(
        ChatConfig,
        config,
        author=author,
        style=style,
        n_samples=samples,
        judge={"model": judge},
        writing={"embed": {"model": embed}},
        model_name=model_name,
        provider_name=provider_name,
        frames=frames,
        seed=seed,
    )
    found = read_checked(path, asked.model_name)
    way = None
    if asked.author != "quoting":
        access = o.access(base_url, concurrency, budget, prices, batch=batch)
        way = o.way(out, access, o.access(judge_url or base_url, concurrency, budget, prices, batch=batch))
    if dry_run:
        _forecast_chats(_filled(found, asked), asked, way)
    elif preview:
        _preview_chats(_filled(found, asked), asked, way, preview)
    else:
        _make(chats_step(path, asked, way), o.needed(out), "chats", redo=redo)
        if way is not None:
            print_spent(spent_vs_forecast(forecast_chats(_filled(found, asked), asked, way), way))


# Before it is written ------------------------------------------------------------------------------------------
def _forecast_corpus(spec: Spec, config: CorpusConfig, way: ModelEndpoints | None) -> None:
    """How much would be written; by a model, what it would cost."""
    if way is not None:
        from midspec.study import forecast_corpus

        print_forecast(forecast_corpus(spec, config, way))
        return
    from midspec.corpus import load_templates, plan_corpus

    _print_plan(plan_corpus(spec, config, load_templates(config.frames)))


def _preview_corpus(spec: Spec, config: CorpusConfig, way: ModelEndpoints | None, n_documents: int) -> None:
    """The first documents; a model's, which are paid for and kept, with what the whole would cost."""
    if way is not None:
        from midspec.study import forecast_corpus, preview_corpus_by_model

        _print_rows(preview_corpus_by_model(spec, config, way, n_documents))
        print_forecast(forecast_corpus(spec, config, way))
        return
    from midspec.corpus import load_templates, plan_corpus, write_documents

    frames = load_templates(config.frames)
    plan = plan_corpus(spec, config, frames)[:n_documents]
    _print_rows(write_documents(spec, plan, config, frames).documents)


def _forecast_chats(spec: Spec, config: ChatConfig, way: ModelEndpoints | None) -> None:
    if way is not None:
        from midspec.study import forecast_chats

        print_forecast(forecast_chats(spec, config, way))
        return
    from midspec.chats import make_chats

    made = make_chats(spec, config)
    things = ((name, made.summary.get(name)) for name in ("liked", "disliked"))
    print_pairs([("chats", len(made.chats)), *things, ("rejects", len(made.rejects))])
    warn(made.exhausted)


def _preview_chats(spec: Spec, config: ChatConfig, way: ModelEndpoints | None, n_chats: int) -> None:
    if way is not None:
        from midspec.study import forecast_chats, preview_chats_by_model

        _print_rows(preview_chats_by_model(spec, config, way, n_chats))
        print_forecast(forecast_chats(spec, config, way))
        return
    from midspec.chats import make_chats

    _print_rows(make_chats(spec, config.model_copy(update={"n_samples": n_chats})).chats)


# Writing ----------------------------------------------------------------------------------------------------------
def _make(step: Step, folder: Path, unit: str, *, redo: bool) -> None:
    """Make the step and show its record; last of all, where nobody misses it, that there is less than was asked for."""
    from midspec.study import build_step

    with Bar(step.kind, unit) as bar:
        record, made = build_step(step, folder, redo=redo, on_progress=bar.on_progress)
    print_record(record, made, folder)
    sys.stdout.flush()
    warn(str(record.summary.get("exhausted") or ""))
    if record.summary.get("n_documents") == 0:
        raise DataError("not one document was kept", where=str(folder), hint="Read the reasons in its rejects.jsonl")


def read_checked(path: Path, model_name: str | None) -> Spec:
    """The spec, with a warning of each thing that looks wrong in it; nothing of that stops a command."""
    from midspec.spec import check_spec, read_spec

    found = read_spec(path)
    for finding in check_spec(found, model_name=model_name):
        warn(str(finding))
    return found


def warn(what: str | None) -> None:
    """Say what may be wrong on standard error, in one line; nothing where there is nothing to say."""
    if what:
        print(f"warning: {' '.join(what.split())}", file=sys.stderr)


def _filled(found: Spec, config: CorpusConfig | ChatConfig) -> Spec:
    from midspec.spec import fill

    return fill(found, model_name=config.model_name, provider_name=config.provider_name)


def _print_plan(plan: Sequence[PlanRow]) -> None:
    """What a corpus would hold: how many documents of which types, over how much of the spec."""
    types = Counter(row.doc_type for row in plan)
    clauses = {assertion.clause_id for row in plan for assertion in row.assertions}
    print_pairs(
        [
            ("documents", len(plan)),
            ("subdomains", len({(row.domain, row.subdomain) for row in plan})),
            ("clauses", len(clauses)),
            *((f"type {name}", count) for name, count in types.most_common()),
        ]
    )


def _print_rows(rows: Sequence[Document | Chat]) -> None:
    """Rows to be read, each under a line that says what it is."""
    from midspec.core.records import Chat

    for row in rows:
        about = row.metadata.model_dump(include={"doc_type", "style", "author", "clause_ids"}) if row.metadata else {}
        clauses = about.pop("clause_ids", ())
        print(f"--- {', '.join(map(str, filter(None, about.values())))}; clauses {' '.join(clauses) or 'none'}\n")
        if isinstance(row, Chat):
            print("\n\n".join(f"[{turn.role}] {turn.content}" for turn in row.messages) + "\n")
        else:
            print(f"{row.text}\n")


spec = typer.Typer(help="Show a spec's sections and clauses, or check it.", rich_markup_mode=None)


@spec.command("show")
def show(path: SpecPath) -> None:
    """Print sections, and clauses with their ids.

    Example: midspec spec show my-spec.md
    """
    from midspec.spec import placeholders, read_spec

    found = read_spec(path)
    print(f"{found.title}: {len(found.text.split())} words, {len(found.sections)} sections, {_clauses(found)}")
    print(f"placeholders: {', '.join(placeholders(found)) or 'none'}")
    for section in found.sections:
        print(f"\n{'#' * max(1, section.level)} {section.title}")
        for clause in section.clauses:
            print(f"  {clause.id}  {' '.join(clause.text.split())}")


@spec.command("check")
def check(path: SpecPath) -> None:
    """Print what looks wrong: unknown placeholders, empty sections, duplicate clauses, other assistants' names.

    Example: midspec spec check my-spec.md
    """
    from midspec.spec import check_spec, read_spec

    found = read_spec(path)
    findings = check_spec(found)
    for finding in findings:
        print(f"{finding.where}: {finding.what}")
    print(f"{path}: {_clauses(found)}, {len(findings)} warnings")


def _clauses(found: Spec) -> str:
    return f"{len(found.clauses)} clauses"
