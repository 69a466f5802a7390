"""`midspec spec`: what a Model Spec says, and what looks wrong in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from midspec.cli._options import SpecPath

if TYPE_CHECKING:
    from midspec.records import Spec

__all__ = ["spec"]

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
