"""`midspec spec list`, `show`, `check` and `diff`: what a spec says, without a model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midspec.cli import _options as o
from midspec.cli._places import spec_at_path
from midspec.core.errors import plural

if TYPE_CHECKING:
    from midspec.core.records import Spec

_LEFT_OUT = frozenset(("front matter", "comment", "struck out", "link", "attributes", "mark of a note"))
_LEFT_OUT |= {"table of contents", "footnote without a mark", "picture or link", "questions", "abbreviation"}
_LEFT_OUT |= {"left out"}
_N_NAMES, _MAX_SHOWN = 5, 100
_SIGNS = {"kept": " ", "changed": "~", "added": "+", "removed": "-", "moved": ">"}
_MARKS = {"out": "[-{}-]", "in": "{{+{}+}}"}
spec_commands = typer.Typer(
    help="Show, check and compare specs, and have variants of them written.", rich_markup_mode=None
)


def list_() -> None:
    """List the specs that midspec ships; each is shipped:NAME wherever a spec's file is.

    Example: midspec spec list
    """
    from midspec.spec import read_spec, shipped_specs, spec_path

    names = shipped_specs()
    width = max(map(len, names))
    for name, about in names.items():
        spec = read_spec(spec_path(f"shipped:{name}"))
        print(f"{name:<{width}}  {len(spec.text.split()):>5} words  {about}")


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


def diff(
    before: o.SpecPath,
    after: Annotated[Path, typer.Argument(metavar="SPEC2", parser=spec_at_path, help="The later one.")],
    everything: Annotated[bool, typer.Option("--all", help="Print clauses that were kept as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two specs clause by clause: kept, changed (by words), added, removed, moved.

    Example: midspec spec diff shipped:america shipped:america-ablated
    """
    from midspec.spec import read_spec
    from midspec.spec_tools import diff_specs

    rows = diff_specs(read_spec(before), read_spec(after))
    if as_json:
        print(json.dumps([row.model_dump(mode="json") for row in rows], ensure_ascii=False, indent=1))
        return
    section = None
    for row in rows:
        if row.kind == "kept" and not everything:
            continue
        if (where := row.after_section or row.before_section) != section:
            section = where
            print(f"\n{section or '(no heading)'}")
        marks = _MARKS if row.kind == "changed" else {}
        runs = ((run.text[: -len(run.text.lstrip())], run.text.strip(), marks.get(run.kind, "{}")) for run in row.words)
        line = " ".join("".join(space + mark.format(words) for space, words, mark in runs).split())
        came = f" (from {row.before_section})" if row.kind == "moved" and row.before_section != where else ""
        print(f"  {_SIGNS[row.kind]} {row.after_id or row.before_id}  {line}{came}")
    counts = {kind: sum(row.kind == kind for row in rows) for kind in _SIGNS}
    print(f"\n{', '.join(f'{n} {kind}' for kind, n in counts.items() if n)}")
