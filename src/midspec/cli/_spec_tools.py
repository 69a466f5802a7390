"""`midspec spec augment`, `ablate`, `generalize`, `anti-spec`, `accept`, `lint`: variants of a spec, and its faults."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from midspec.cli import _options as o
from midspec.cli._items import ModelAuthor, check_author
from midspec.cli._output import build_with_bar, make, nothing_kept, print_forecast, print_spent, warn
from midspec.cli._places import spec_at_path
from midspec.core.errors import ConfigError, did_you_mean, plural

if TYPE_CHECKING:
    from midspec.core.records import LintFinding, Record, SpecTool
    from midspec.study import ReadSpecStep

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def augment(
    path: o.SpecPath,
    author: ModelAuthor,
    how: Annotated[
        Literal["reasons", "subrules"], typer.Option(help="reasons: why, for each rule; subrules: what, spelled out.")
    ] = "reasons",
    growth: Annotated[
        float | None, typer.Option(metavar="X", help="Tokens of the result: so many times the spec's; 3 by default.")
    ] = None,
    tokens: Annotated[int | None, typer.Option(min=1, metavar="N", help="Tokens of the result, instead.")] = None,
    match: Annotated[
        Path | None,
        typer.Option(metavar="SPEC", parser=spec_at_path, help="As many tokens as this one has, instead."),
    ] = None,
    options: o.VariantOptions = o.VariantOptions(),
) -> None:
    """Have reasons, or subrules, written for each rule of a spec, to a length that both can have.

    Makes spec.md (with every edit taken), edits.jsonl, provenance.jsonl (where each clause comes from), rejects.jsonl
    and review.html in --out; spec accept then takes the edits that you want. Both ways aim at the same length, so two
    runs give two specs that differ in kind alone. Replies are stored in OUT.calls.sqlite: the same command continues.

    Example: midspec spec augment my-rules.md --how reasons --author anthropic/MODEL --out reasons
    """
    lengths = {"--growth": growth, "--tokens": tokens, "--match": match}
    if len(given := [name for name, length in lengths.items() if length is not None]) > 1:
        raise ConfigError("two lengths are given", where=given[-1], hint=f"Leave out {' or '.join(given)}")
    if match is not None:
        from midspec.core.text import estimate_tokens
        from midspec.spec import read_spec

        tokens = estimate_tokens(read_spec(match).text)
    tool: SpecTool = "augment-reasons" if how == "reasons" else "augment-subrules"
    wanted: dict[str, object] = {"growth": growth, "n_tokens": tokens}
    _variant(path, author, tool, options, wanted)


def ablate(path: o.SpecPath, author: ModelAuthor, options: o.VariantOptions = o.VariantOptions()) -> None:
    """Have a spec written anew so that its value is mentioned, and no longer the reason for anything.

    Clause by clause, at its length. Makes the same files as spec augment.

    Example: midspec spec ablate my-spec.md --author anthropic/MODEL --out ablated
    """
    _variant(path, author, "ablate", options, {})


def generalize(path: o.SpecPath, author: ModelAuthor, options: o.VariantOptions = o.VariantOptions()) -> None:
    """Have general principles written in the place of a spec's specific guidance, section by section.

    Makes the same files as spec augment.

    Example: midspec spec generalize my-rules.md --author anthropic/MODEL --out general
    """
    _variant(path, author, "generalize", options, {})


def anti_spec(path: o.SpecPath, author: ModelAuthor, options: o.VariantOptions = o.VariantOptions()) -> None:
    """Have the opposite of a spec, or of some clauses, written: for controls and measured doses.

    Clause by clause, at its length. Makes the same files as spec augment.

    Example: midspec spec anti-spec my-spec.md --clauses Oversight --author anthropic/MODEL --out anti
    """
    _variant(path, author, "anti-spec", options, {})


def _variant(path: Path, author: str, tool: SpecTool, options: o.VariantOptions, wanted: dict[str, object]) -> None:
    """Have a variant written and print its cost, or print its forecast."""
    from midspec.study import File, SpecVariantConfig, SpecVariantStep, spent_vs_forecast, store_beside

    check_author(author, "a spec")
    rewriting = {"tool": tool, "clauses": _listed(options.clauses), **wanted}
    settings = o.settings(SpecVariantConfig, options.config, author={"model": author}, rewriting=rewriting)
    step = SpecVariantStep(spec=File.at(path), config=settings, author=options.models.access())
    forecast = step.forecast()
    if options.dry_run:
        print_forecast([forecast])
        return
    folder = o.needed(options.out)
    record = make(step, folder, "places", redo=options.redo)
    print(f"to review: {folder / 'review.html'}")
    print_spent(spent_vs_forecast([forecast], store_beside(folder)))
    if not record.summary["n_edits"] and record.summary["n_rejects"]:
        sys.stdout.flush()
        raise nothing_kept("edit", record, folder)


def _listed(options: Sequence[str] | None, where: str = "--clauses") -> tuple[str, ...] | None:
    """Return what options name, with commas or repeated; `None` where the option is not given.

    Raises:
        ConfigError: it is given and names nothing, as an empty variable of a shell does.
    """
    if options is None:
        return None
    names = tuple(name.strip() for option in options for name in option.split(",") if name.strip())
    if not names:
        raise ConfigError("names nothing", where=where, hint="Name one, or leave the option out")
    return names


def accept(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What augment, ablate, ... wrote.")],
    clauses: Annotated[
        list[str] | None,
        typer.Option("--clauses", metavar="IDS", help="Edits by id, or clauses that they replace; all for all."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The spec to write.")] = None,
    redo: Annotated[bool, typer.Option("--redo", help="Replace the file.")] = False,
) -> None:
    """Write a spec with the edits that you accept; all else stays as it was.

    Beside FILE, FILE.provenance.jsonl says of each clause where it comes from.

    Example: midspec spec accept reasons --clauses 1c2d3e4f,5a6b7c8d --out my-rules-2.md
    """
    from midspec.study import accept_edits

    wanted = _listed(clauses)
    if wanted is None or out is None:
        where = "--out" if wanted else "--clauses"
        raise ConfigError("is missing", where=where, hint="Name ids of the page or all, and the file to write")
    n, of = accept_edits(folder, wanted, out, redo=redo)
    print(f"{out}: {n} of {of} edits accepted")


def lint(
    path: o.SpecPath,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="KIND", help="A kind that is not looked for. Repeatable.")
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="questions.jsonl of midspec questions: clauses without one are found too."),
    ] = None,
    readers: Annotated[
        list[str] | None,
        typer.Option(
            "--models", metavar="A", help="Models that say what each clause asks for; two or more. Repeatable."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 1 if anything is found.")] = False,
    as_json: AsJson = False,
    out: o.Out = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="Settings of the reading (YAML), also of each model; options go first."
        ),
    ] = None,
    models: o.ModelOptions = o.ModelOptions(),
    dry_run: o.DryRun = False,
    redo: o.Redo = False,
) -> None:
    """Find what in a spec will hurt a model that is trained on it; without a key, by words alone.

    vague words, conflicting and repeated clauses, absolutes with an exception elsewhere, dangling references,
    placeholders, empty sections, undefined terms, double negations, two duties in one, examples that break a rule,
    missing reasons, wrong counts, unfinished sentences. With --models several models read each clause in situations
    (of --questions, or written by the first): where they differ it is ambiguous; replies are kept in --out.

    Example: midspec spec lint my-spec.md --strict
    """
    from midspec.spec import read_spec
    from midspec.spec_tools import LINT_KINDS, lint_spec
    from midspec.study import questions_by_clause, spent_vs_forecast, store_beside

    ignored = _listed(ignore, "--ignore") or ()
    if unknown := next((kind for kind in ignored if kind not in LINT_KINDS), None):
        raise ConfigError(f"there is no kind {unknown!r}", where="--ignore", hint=did_you_mean(unknown, LINT_KINDS))
    asked = {clause: len(texts) for clause, texts in questions_by_clause(questions).items()} if questions else None
    found = list(lint_spec(read_spec(path), leave_out=ignored, n_questions=asked))
    step = record = None
    if (readers or config) and "ambiguous" not in ignored:
        step = _reading_step(path, readers or (), questions, config, models)
        if dry_run:
            print_forecast(step.forecasts())
            return
        record, ambiguous = _ambiguous(step, o.needed(out), redo=redo)
        found += ambiguous
    if as_json:
        print(json.dumps([each.model_dump(mode="json") for each in found], ensure_ascii=False, indent=1))
    else:
        _print_findings(path, found)
        if step is not None:
            print_spent(spent_vs_forecast(step.forecasts(), store_beside(o.needed(out))))
    if record is not None and record.summary["n_rejects"] == record.summary["n_clauses"]:
        sys.stdout.flush()
        raise nothing_kept("comparison", record, o.needed(out))
    if strict and found:
        raise typer.Exit(1)


def _reading_step(
    path: Path, names: Sequence[str], questions: Path | None, config: Path | None, models: o.ModelOptions
) -> ReadSpecStep:
    """Return the step in which models read each clause.

    Args:
        path: the spec.
        names: the models; where there are none, those of `config`.
        questions: used as situations.
        config: settings of the reading.
        models: how they are reached.

    Raises:
        ConfigError: there are fewer than two models, or a setting is wrong.
    """
    from midspec.llm import check_model_name
    from midspec.study import File, ReadingsConfig, ReadSpecStep

    for name in names:
        check_model_name(name, where="--models", role="judge")
    one = ConfigError("one model can't differ from itself", where="--models", hint="Name two or more")
    if len(set(names)) == 1:
        raise one
    named = [{"model": name} for name in dict.fromkeys(names)] or None
    settings = o.settings(ReadingsConfig, config, models=named)
    if len({model.model for model in settings.models}) < len(settings.models):
        raise one
    asked = File.at(questions) if questions else None
    return ReadSpecStep(spec=File.at(path), config=settings, access=models.access(), questions=asked)


def _ambiguous(step: ReadSpecStep, folder: Path, *, redo: bool) -> tuple[Record, list[LintFinding]]:
    """Have models read each clause; return those that they read differently, and tell how many were not read."""
    from midspec.core.records import LintFinding

    record, _ = build_with_bar(step, folder, "clauses", redo=redo)
    if n := record.summary["n_rejects"]:
        of = record.summary["n_clauses"]
        warn(f"{n} of {of} clauses were not read or compared: {folder / 'rejects.jsonl'} says why")
    rows = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    return record, [LintFinding.model_validate(row) for row in rows]


def _print_findings(path: Path, found: Sequence[LintFinding]) -> None:
    """Print a finding in two lines, or three where it is between two clauses, with its place in the file."""
    from midspec.spec import read_spec_parts

    lines: dict[str, int] = {}
    for part in read_spec_parts(path)[1]:
        lines.setdefault(part.text, part.first)
    for each in found:
        line = lines.get(each.text) or ""
        print(f"{path}:{line}: {each.kind}: {each.what}")
        print(f"    {each.clause_id}  {_line(each.text)}")
        if each.other:
            print(f"    {each.other_id}  {_line(each.other)}")
    print(f"{path}: {plural(len(found), 'finding')}")


def _line(text: str, most: int = 140) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
