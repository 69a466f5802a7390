"""`midspec corpus`, `chats` and `spec`: write rows from a spec, by the template author or by a model."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from midspec.cli import _options as o
from midspec.cli._output import build_with_bar, print_forecast, print_pairs, print_record, print_spent, warn
from midspec.core.errors import DataError, SpecError, plural

if TYPE_CHECKING:
    from midspec.core.records import Chat, Document, PlanRow, Record, Spec
    from midspec.spec import SpecSettings
    from midspec.study import Step


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


_LEFT_OUT = frozenset(("front matter", "comment", "struck out", "link", "attributes", "mark of a note"))
_LEFT_OUT |= {"table of contents", "footnote without a mark", "picture or link", "questions", "abbreviation"}
_LEFT_OUT |= {"left out"}
_N_NAMES, _MAX_SHOWN = 5, 100
spec_commands = typer.Typer(
    help="Show, check and compare specs, and have variants of them written.", rich_markup_mode=None
)


def _named(spec: Spec, about: o.NameOptions) -> Spec:
    """Put names into a spec; without any it stays as it is written."""
    from midspec.spec import fill

    names = {name: value for name, value in about.names.items() if value}
    return fill(spec, **{"model_name": None, "provider_name": None} | names) if names else spec


def show(path: o.SpecPath, about: o.NameOptions = o.NameOptions()) -> None:
    """Print how each part of a spec is read: headings, clauses with their ids, examples, and what is left out.

    In front of each part are its lines in the file. With names and --leave-out it is shown as it would be written from.

    Example: midspec spec show my-spec.md
    """
    from midspec.spec import placeholders, read_spec_parts, titles_over, used_names

    spec, parts = read_spec_parts(path)
    named = _named(spec, about)
    counts = Counter(part.kind for part in parts)
    print(f"{spec.title}: {len(spec.text.split())} words, {len(spec.sections)} sections, {len(spec.clauses)} clauses")
    print(f"read as: {', '.join(f'{count} {kind}' for kind, count in counts.most_common())}")
    print(f"placeholders: {', '.join(placeholders(spec)) or 'none'}")
    print(f"names: {', '.join(f'{each.name} ({each.n_times})' for each in used_names(spec)[:_N_NAMES]) or 'none'}")
    # Parts stand in the order of the file, clauses in the order in which they are read: a footnote's are moved.
    lines: dict[str, list[tuple[int, int, str]]] = {}
    for part in parts:
        lines.setdefault(part.text, []).append((part.first, part.last, part.kind))
    was = {clause.id: clause.text for clause in spec.clauses}
    for section, over in zip(named.sections, titles_over(named.sections), strict=True):
        for level, title in [*over, (max(1, section.level), section.title)]:
            print(f"\n{'#' * level} {title}")
        for clause in section.clauses:
            found = lines.get(was[clause.id]) or [(0, 0, clause.kind)]
            first, last, kind = found.pop(0)
            where = "" if not first else str(first) if last == first else f"{first}-{last}"
            print(f"  {where:>9}  {kind:8}  {clause.id}  {' '.join(clause.text.split())}")
    kept = {clause.id for clause in named.clauses}
    gone = [(clause.text, "named to be left out") for clause in spec.clauses if clause.id not in kept]
    gone += [(f"{part.first or '?'}: {part.text}", part.kind) for part in parts if part.kind in _LEFT_OUT]
    if gone:
        print("\nleft out")
    for text, kind in gone:
        print(f"  {kind}: {' '.join(text.split())[:_MAX_SHOWN]}")


def check(path: o.SpecPath, about: o.NameOptions = o.NameOptions()) -> None:
    """Print what looks wrong: unknown placeholders, empty sections, duplicate clauses, names, what is no clause.

    Example: midspec spec check my-spec.md
    """
    from midspec.spec import Finding, check_spec, read_spec_parts

    spec, parts = read_spec_parts(path)
    named = _named(spec, about)
    unread = [part.text[:_MAX_SHOWN] for part in parts if part.kind == "left out"]
    findings = [Finding(where="the spec", what=f"no rule is made of {words}") for words in unread]
    findings += check_spec(named, model_name=about.model_name)
    for finding in findings:
        print(f"{finding.where}: {finding.what}")
    counts = (plural(len(named.clauses), "clause"), plural(len(findings), "warning"))
    print(f"{path}: {', '.join(counts)}")
