"""`midspec corpus` and `chats`: write rows from a spec, by the template author or by a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from midspec.cli import _options as o
from midspec.cli._output import make, print_forecast, print_pairs, print_spent, warn
from midspec.core.errors import ConfigError, SpecError

if TYPE_CHECKING:
    from midspec.core.records import Chat, Document, PlanRow, Spec
    from midspec.spec import SpecSettings


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

    Makes documents.jsonl, rejects.jsonl (with reasons), plan.jsonl and coverage.json in --out. A model's replies are
    stored beside it, in OUT.calls.sqlite: stopped, killed or with a larger size, the same command continues.

    Example: midspec corpus my-spec.md --model-name Nova --provider-name Acme --documents 1000 --out corpus
    """
    from midspec.corpus import CorpusConfig, load_templates, plan_corpus, write_documents
    from midspec.generation import TEMPLATE_AUTHOR
    from midspec.study import CorpusStep, forecast_corpus, preview_documents, spent_vs_forecast, store_beside

    sizes = {"--documents": documents, "--target-tokens": target_tokens, "--ideas": ideas}
    if len(given := [name for name, size in sizes.items() if size is not None]) > 1:
        raise ConfigError(f"{given[0]} and {given[1]} both give the size", where="corpus", hint="Keep one of them")
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
            counts = ((name, made.summary.get(name)) for name in ("liked", "disliked"))
            print_pairs([("chats", len(made.chats)), *counts, ("rejects", len(made.rejects))])
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


def read_checked(path: Path, config: SpecSettings) -> Callable[[], Spec]:
    """Read a spec, with a warning of each thing that looks wrong in it.

    Returns:
        A function that fills its placeholders with the config's names; raises SpecError where one has no value.
    """
    from midspec.spec import check_spec, fill_by
    from midspec.study import spec_at

    spec = named = spec_at(str(path), path.stem)
    if config.called or config.leave_out:
        with suppress(SpecError):  # what calls the function gets it
            named = fill_by(spec, config)
    for finding in check_spec(named, model_name=config.model_name):
        warn(str(finding))
    return lambda: fill_by(spec, config)


def _print_plan(plan: Sequence[PlanRow]) -> None:
    """Print how many documents of which types a corpus would have, over how many clauses."""
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
    """Print rows to be read, each under a line with its metadata."""
    from midspec.core.records import Chat

    for row in rows:
        about = row.metadata.model_dump(include={"doc_type", "style", "author", "clause_ids"}) if row.metadata else {}
        clauses = about.pop("clause_ids", ())
        print(f"--- {', '.join(map(str, filter(None, about.values())))}; clauses {' '.join(clauses) or 'none'}\n")
        if isinstance(row, Chat):
            print("\n\n".join(f"[{turn.role}] {turn.content}" for turn in row.messages) + "\n")
        else:
            print(f"{row.text}\n")
