"""What tools for specs find and make: findings of the linter, edits with their origin, and differences by clause."""

from __future__ import annotations

from typing import Literal

from midspec.core.records._pipeline import Strict

LintKind = Literal[
    "vague",
    "conflict",
    "duplicate",
    "exception",
    "reference",
    "placeholder",
    "empty",
    "uncovered",
    "undefined",
    "negation",
    "compound",
    "example",
    "reason",
    "count",
    "unfinished",
    "ambiguous",
]


class LintFinding(Strict):
    """One fault of a spec.

    Attributes:
        kind: what it is a fault of.
        clause_id: the clause (or the section, where it has none) that it is in.
        section: where that stands, titles from the top down.
        text: the clause's text, or the heading.
        what: what was seen.
        other_id, other: the clause that it is at odds with, if it is.
    """

    kind: LintKind
    clause_id: str
    section: str
    text: str
    what: str
    other_id: str = ""
    other: str = ""


SpecTool = Literal["augment-reasons", "augment-subrules", "ablate", "generalize", "anti-spec"]


class SpecEdit(Strict):
    """One change to a spec that an author proposes; nothing is taken before somebody accepts it.

    Attributes:
        id: a hash of what it replaces and by what.
        section_id, section: where it stands.
        clause_ids: the source clauses that it replaces, one or a whole section's.
        before, after: the texts.
        tool: what was asked for.
        author: the model that wrote it.
        request: the task of the request in the store of replies.
        note: what a reader should know: trimmed, asked again.
    """

    id: str
    section_id: str
    section: str
    clause_ids: tuple[str, ...]
    before: str
    after: str
    tool: SpecTool
    author: str
    request: str
    note: str = ""


class Provenance(Strict):
    """Where one clause of a written spec comes from.

    Attributes:
        clause_id, text: of the written spec.
        sources: the ids of the source's clauses that it was made from; itself where it was kept.
        edit: the id of the edit that it is part of; empty where the clause was kept as it was.
        tool, author, request: as in the edit; empty for a kept clause.
    """

    clause_id: str
    text: str
    sources: tuple[str, ...]
    edit: str = ""
    tool: str = ""
    author: str = ""
    request: str = ""


DiffKind = Literal["kept", "changed", "added", "removed", "moved"]


class DiffWord(Strict):
    """A run of words of a changed clause: in both, only before, or only after."""

    kind: Literal["same", "out", "in"]
    text: str


class ClauseDiff(Strict):
    """What became of a clause from one spec to another.

    Attributes:
        kind: `moved` stands in another section, or in another order, with the same words.
        before_id, after_id: its ids; empty where it is not there.
        before_section, after_section: where it stands.
        words: of a changed clause, its words as runs; of the others one run.
    """

    kind: DiffKind
    before_id: str = ""
    after_id: str = ""
    before_section: str = ""
    after_section: str = ""
    words: tuple[DiffWord, ...]


class SpecReview(Strict):
    """A proposed spec to be looked at, edit by edit.

    Attributes:
        title: of the source.
        tool, author: what was asked of whom.
        n_tokens_before, n_tokens_after: of the source and of the proposal, estimated.
        n_tokens_wanted: that the proposal was to have; `None` where no length was asked for.
        edits: in the order of the source.
        words: of each edit, what changed word by word.
        not_written: places that the author gave nothing usable for, with the reason.
    """

    title: str
    tool: SpecTool
    author: str
    n_tokens_before: int
    n_tokens_after: int
    n_tokens_wanted: int | None
    edits: tuple[SpecEdit, ...]
    words: tuple[tuple[DiffWord, ...], ...]
    not_written: tuple[tuple[str, str], ...]
