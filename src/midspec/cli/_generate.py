"""`midspec corpus`, `chats` and `spec`: from a spec to rows, by the template author or by a model."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

from midspec.cli import _options as o
from midspec.cli._output import Bar, print_forecast, print_pairs, print_record, print_spent
from midspec.core.errors import DataError

if TYPE_CHECKING:
    from midspec.core.records import Chat, Document, PlanRow, Record, Spec
    from midspec.study import Step


class HasNames(Protocol):
    """Settings that say who a spec is about."""

    @property
    def model_name(self) -> str | None:
        """The assistant's name."""
        ...

    @property
    def provider_name(self) -> str | None:
        """Its maker's name."""
        ...


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
    about: o.SpecOptions = o.SpecOptions(),
    rows: o.RowOptions = o.RowOptions(),
    models: o.ModelOptions = o.ModelOptions(),
) -> None:
    """Write a corpus of documents that discuss a spec.

    Makes documents.jsonl, rejects.jsonl (with reasons), plan.jsonl and coverage.json in --out. What a model answers
    is kept beside it, in OUT.calls.sqlite: stopped, killed or enlarged, the same command asks only for the rest.

    Example: midspec corpus my-spec.md --model-name Nova --provider-name Acme --documents 1000 --out corpus
    """
    from midspec.corpus import CorpusConfig, load_templates, plan_corpus, write_documents
    from midspec.generation import TEMPLATE_AUTHOR
    from midspec.study import CorpusStep, forecast_corpus, preview_documents, spent_vs_forecast, store_beside

    config = o.settings(
        CorpusConfig,
        about.config,
        author=author,
        mode=mode,
        n_documents=documents,
        target_tokens=target_tokens,
        ideas=ideas,
        doc_types=doc_types,
        writing={"n_domains": domains, "n_subdomains": subdomains, "critique": critique or None},
        **about.names,
        **rows.settings,
    )
    spec, access = read_checked(path, config), models.access()
    if config.author == TEMPLATE_AUTHOR:
        if not (rows.dry_run or rows.preview):
            make(CorpusStep.of_file(path, config), o.needed(out), "documents", redo=rows.redo)
            return
        templates = load_templates(config.frames)
        plan = plan_corpus(spec(), config, templates)
        if rows.dry_run:
            _print_plan(plan)
        else:
            _print_rows(write_documents(spec(), plan[: rows.preview], config, templates).documents)
        return
    folder = o.needed(out)
    if rows.preview and not rows.dry_run:
        _print_rows(preview_documents(spec(), config, access, store_beside(folder), rows.preview))
    elif not rows.dry_run:
        make(CorpusStep.of_file(path, config, access), folder, "documents", redo=rows.redo)
        print_spent(spent_vs_forecast([forecast_corpus(spec(), config, access)], store_beside(folder)))
        return
    print_forecast([forecast_corpus(spec(), config, access)])


def chats(
    path: o.SpecPath,
    out: o.Out = None,
    author: o.Author = None,
    style: o.Style = None,
    samples: o.Samples = None,
    judge: o.Judge = None,
    embed: o.Embed = None,
    about: o.SpecOptions = o.SpecOptions(),
    rows: o.RowOptions = o.RowOptions(),
    models: o.ModelOptions = o.ModelOptions(),
    judge_url: o.JudgeUrl = None,
) -> None:
    """Write chats that show what a spec says.

    Makes chats.jsonl (opaque, identity), or the twins chats_cot.jsonl and chats_cot_stripped.jsonl, with and without
    reasoning (value, rule); and rejects.jsonl (with reasons) in --out. A model's chats need a --judge.

    Example: midspec chats my-spec.md --style opaque --model-name Nova --provider-name Acme --samples 320 --out chats
    """
    from midspec.chats import ChatConfig, make_chats
    from midspec.generation import TEMPLATE_AUTHOR
    from midspec.study import ChatsStep, ModelEndpoints, forecast_chats, preview_chats, spent_vs_forecast, store_beside

    config = o.settings(
        ChatConfig,
        about.config,
        author=author,
        style=style,
        n_samples=samples,
        judge={"model": judge},
        writing={"embed": {"model": embed}},
        **about.names,
        **rows.settings,
    )
    spec = read_checked(path, config)
    if config.author == TEMPLATE_AUTHOR:
        if rows.dry_run:
            made = make_chats(spec(), config)
            things = ((name, made.summary.get(name)) for name in ("liked", "disliked"))
            print_pairs([("chats", len(made.chats)), *things, ("rejects", len(made.rejects))])
            warn(made.exhausted)
        elif rows.preview:
            _print_rows(make_chats(spec(), config.model_copy(update={"n_samples": rows.preview})).chats)
        else:
            make(ChatsStep.of_file(path, config), o.needed(out), "chats", redo=rows.redo)
        return
    folder, endpoints = o.needed(out), ModelEndpoints(models.access(), models.access(judge_url))
    if rows.preview and not rows.dry_run:
        _print_rows(preview_chats(spec(), config, endpoints, store_beside(folder), rows.preview))
    elif not rows.dry_run:
        make(ChatsStep.of_file(path, config, endpoints), folder, "chats", redo=rows.redo)
        print_spent(spent_vs_forecast(forecast_chats(spec(), config, endpoints), store_beside(folder)))
        return
    print_forecast(forecast_chats(spec(), config, endpoints))


# Writing ----------------------------------------------------------------------------------------------------------
def make(step: Step, folder: Path, unit: str, *, redo: bool) -> Record:
    """Make the step and show its record; last of all, where nobody misses it, that there is less than was asked for."""
    from midspec.study import build_step

    with Bar(step.kind, unit) as bar:
        record, made = build_step(step, folder, redo=redo, on_progress=bar.on_progress)
    print_record(record, made, folder)
    sys.stdout.flush()
    warn(str(record.summary.get("exhausted") or ""))
    if record.summary.get("n_documents") == 0:
        raise DataError("not one document was kept", where=str(folder), hint="Read the reasons in its rejects.jsonl")
    return record


def read_checked(path: Path, config: HasNames) -> Callable[[], Spec]:
    """Read a spec, with a warning of each thing that looks wrong in it; nothing of that stops a command.

    Returns:
        What fills its placeholders with the config's names, when it is called for; raises SpecError where it can't.
    """
    from midspec.spec import check_spec, fill
    from midspec.study import spec_at

    spec = spec_at(str(path), path.stem)
    for finding in check_spec(spec, model_name=config.model_name):
        warn(str(finding))
    return lambda: fill(spec, model_name=config.model_name, provider_name=config.provider_name)


def warn(what: str | None) -> None:
    """Say what may be wrong on standard error, in one line; nothing where there is nothing to say."""
    if what:
        print(f"warning: {' '.join(what.split())}", file=sys.stderr)


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
def show(path: o.SpecPath) -> None:
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
def check(path: o.SpecPath) -> None:
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
