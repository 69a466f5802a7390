"""`midspec spec`, `corpus` and `chats`: from a spec to rows."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from midspec.cli._show import checked, print_pairs, print_record, require_author
from midspec.errors import ConfigError

if TYPE_CHECKING:
    from midspec.records import Chat, Document, PlanRow, Record, Spec

__all__ = ["chats", "corpus", "spec"]

spec = typer.Typer(help="Show a spec's sections and clauses, or check it.", rich_markup_mode=None)

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="Model Spec: Markdown or plain text in UTF-8.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for the result.")]
Author = Annotated[
    str, typer.Option(metavar="A", help="Who writes: quoting (no model; arranges the spec's own sentences).")
]
ModelName = Annotated[str | None, typer.Option(metavar="NAME", help="Fills {model_name}.")]
ProviderName = Annotated[str | None, typer.Option(metavar="NAME", help="Fills {provider_name}.")]
Frames = Annotated[str, typer.Option(metavar="FILE", help="Shipped frames (english), or a YAML file.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Decides every draw.")]
Preview = Annotated[int | None, typer.Option(min=1, metavar="N", help="Print N rows and write nothing.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be written, and write nothing.")]
Redo = Annotated[bool, typer.Option("--redo", help="Replace a result that was made from other inputs.")]


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


def corpus(
    path: SpecPath,
    out: Out = None,
    author: Author = "quoting",
    mode: Annotated[Literal["prose", "rules"], typer.Option(help="rules: the spec is numbered rules.")] = "prose",
    documents: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many documents; 1,000 where no size is given.")
    ] = None,
    target_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="About how many tokens, instead.")
    ] = None,
    ideas: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Documents of each type in each subdomain, instead.")
    ] = None,
    doc_types: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many document types; all by default.")
    ] = None,
    model_name: ModelName = None,
    provider_name: ProviderName = None,
    frames: Frames = "english",
    seed: Seed = 0,
    preview: Preview = None,
    dry_run: DryRun = False,
    redo: Redo = False,
) -> None:
    """Write a corpus of documents that discuss a spec.

    Makes documents.jsonl, rejects.jsonl (with reasons), plan.jsonl and coverage.json in --out.

    Example: midspec corpus my-spec.md --model-name Nova --provider-name Acme --documents 1000 --out corpus
    """
    require_author(author)
    from midspec.corpus import CorpusConfig, load_frames, plan_corpus, write_documents
    from midspec.study import build_alone, corpus_step

    config = checked(
        CorpusConfig,
        mode=mode,
        n_documents=documents,
        target_tokens=target_tokens,
        ideas=ideas,
        doc_types=doc_types,
        model_name=model_name,
        provider_name=provider_name,
        frames=frames,
        seed=seed,
    )
    found = _read(path, model_name)
    if preview or dry_run:
        filled, loaded = _filled(found, model_name, provider_name), load_frames(frames)
        plan = plan_corpus(filled, config, loaded)
        if dry_run:
            _print_plan(plan)
        else:
            _print_rows(write_documents(filled, plan[:preview], config, loaded).documents)
        return
    _print_made(*build_alone(corpus_step(path, config), _needed(out), redo=redo), _needed(out))


def chats(
    path: SpecPath,
    out: Out = None,
    author: Author = "quoting",
    style: Annotated[
        Literal["value", "rule", "opaque"],
        typer.Option(help="value: the spec's reasons; rule: citing it; opaque: no reason."),
    ] = "value",
    samples: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many chats; every distinct one where not given.")
    ] = None,
    model_name: ModelName = None,
    provider_name: ProviderName = None,
    frames: Frames = "english",
    seed: Seed = 0,
    preview: Preview = None,
    dry_run: DryRun = False,
    redo: Redo = False,
) -> None:
    """Write chats that show what a spec says.

    Makes chats.jsonl (opaque), or the twins chats_cot.jsonl and chats_cot_stripped.jsonl, with and without reasoning
    (value, rule); and rejects.jsonl (with reasons) in --out.

    Example: midspec chats my-spec.md --style opaque --model-name Nova --provider-name Acme --samples 320 --out chats
    """
    require_author(author)
    from midspec.chats import ChatConfig, make_chats
    from midspec.study import build_alone, chats_step

    config = checked(
        ChatConfig,
        style=style,
        n_samples=preview or samples,
        model_name=model_name,
        provider_name=provider_name,
        frames=frames,
        seed=seed,
    )
    found = _read(path, model_name)
    if preview or dry_run:
        made = make_chats(_filled(found, model_name, provider_name), config)
        if dry_run:
            things = ((name, made.summary.get(name)) for name in ("liked", "disliked"))
            print_pairs([("chats", len(made.chats)), *things, ("rejects", len(made.rejects))])
            _warn(made.exhausted)
        else:
            _print_rows(made.chats)
        return
    _print_made(*build_alone(chats_step(path, config), _needed(out), redo=redo), _needed(out))


def _read(path: Path, model_name: str | None) -> Spec:
    """The spec, with a warning of each thing that looks wrong in it; nothing of that stops a command."""
    from midspec.spec import check_spec, read_spec

    found = read_spec(path)
    for finding in check_spec(found, model_name=model_name):
        _warn(str(finding))
    return found


def _warn(what: str | None) -> None:
    if what:
        print(f"warning: {' '.join(what.split())}", file=sys.stderr)


def _filled(found: Spec, model_name: str | None, provider_name: str | None) -> Spec:
    from midspec.spec import fill

    return fill(found, model_name=model_name, provider_name=provider_name)


def _print_made(record: Record, made: bool, folder: Path) -> None:
    """The record, and last of all, where nobody misses it, that there is less than was asked for."""
    print_record(record, made, folder)
    exhausted = record.summary.get("exhausted")
    if exhausted:
        sys.stdout.flush()
        _warn(str(exhausted))


def _needed(out: Path | None) -> Path:
    if out is None:
        raise ConfigError("is missing", where="--out", mend="Name the folder for the result")
    return out


def _clauses(found: Spec) -> str:
    return f"{len(found.clauses)} clauses"


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
    for row in rows:
        print(row.model_dump_json(indent=2))
