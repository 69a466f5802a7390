"""Edits put into a spec, and where each clause of the result comes from."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple

from midspec.core.errors import ConfigError, SpecError, did_you_mean
from midspec.core.records import Clause, Provenance, Section, Spec, SpecEdit
from midspec.spec import parse_spec, whole_text

REWRITTEN_KINDS = ("sentence", "item")
"""Clauses that are rewritten; rows of tables, code and examples stay as they are."""


class _Piece(NamedTuple):
    """A run of a section's text, and what it comes from: an edit, a clause that was kept, or nothing (list marks)."""

    text: str
    edit: SpecEdit | None = None
    clause_id: str = ""


def apply_edits(spec: Spec, edits: Sequence[SpecEdit]) -> tuple[str, tuple[Provenance, ...]]:
    """Put edits into a spec; return its text, and where each of its clauses comes from.

    Args:
        spec: the source.
        edits: of this source; what none of them replaces stays as it is.

    Raises:
        SpecError: the result is no spec.
    """
    by_section: dict[str, list[SpecEdit]] = {}
    for edit in edits:
        by_section.setdefault(edit.section_id, []).append(edit)
    pieces = [_pieces(section, by_section.get(section.id, ())) for section in spec.sections]
    sections = [
        section.model_copy(update={"text": "".join(piece.text for piece in found)})
        for section, found in zip(spec.sections, pieces, strict=True)
    ]
    text = whole_text(sections)
    return text, _provenance(spec, text, [piece for found in pieces for piece in found])


def chosen_edits(edits: Sequence[SpecEdit], wanted: Collection[str]) -> list[SpecEdit]:
    """Return the edits that are named by their own id or that of a clause which they replace; `all` is all of them.

    Raises:
        ConfigError: a name is none of theirs.
    """
    if "all" in wanted:
        return list(edits)
    known = {edit.id for edit in edits} | {clause for edit in edits for clause in edit.clause_ids}
    for name in wanted:
        if name not in known:
            hint = did_you_mean(name, [edit.id for edit in edits]) if len(edits) <= 20 else "Read the ids on the page"
            raise ConfigError(f"there is no edit {name!r}", where="--clauses", hint=hint)
    return [edit for edit in edits if edit.id in wanted or not set(edit.clause_ids).isdisjoint(wanted)]


def _pieces(section: Section, edits: Sequence[SpecEdit]) -> list[_Piece]:
    """Cut a section's text at its clauses, and put edits in their places."""
    whole = next((edit for edit in edits if len(edit.clause_ids) > 1), None)
    if whole is not None:
        return _pieces_around(section, whole)
    by_clause = {edit.clause_ids[0]: edit for edit in edits}
    found = _cut(_with_tables(section), section.clauses, by_clause)
    # Mark-up inside a clause hides it from the search; then the text is made of the clauses.
    if {piece.edit.id for piece in found if piece.edit} != {edit.id for edit in edits}:
        found = _cut(_listed(section.clauses), section.clauses, by_clause)
    return found


def _listed(clauses: Sequence[Clause]) -> str:
    return "\n\n".join(f"- {clause.text}" if clause.kind == "item" else clause.text for clause in clauses)


_LIST_MARK = re.compile(r"(?:\A|\n)[ \t]*(?:[-*+]|\d+[.)])[ \t]+\Z")


def _pieces_around(section: Section, edit: SpecEdit) -> list[_Piece]:
    """Put an edit of several clauses in the place of the first of them; the section's other clauses stay."""
    replaced = set(edit.clause_ids)
    if replaced.issuperset(clause.id for clause in section.clauses):
        return [_Piece(edit.after, edit)]
    found = _cut(_with_tables(section), section.clauses, {})
    if not replaced.issubset(piece.clause_id for piece in found):
        found = _cut(_listed(section.clauses), section.clauses, {})
    out: list[_Piece] = []
    is_put, skipped = False, ""  # the edit is in its place; white space around what was taken out since
    for gap, piece in zip(found[::2], [*found[1::2], _Piece("")], strict=True):
        before = skipped + gap.text
        if skipped:
            before = "\n\n" + before.lstrip() if "\n" in before else before
        if piece.clause_id not in replaced:
            out += [_Piece(before), piece]
            skipped = ""
            continue
        if mark := _LIST_MARK.search(before):
            before = f"{before[: mark.start()]}\n\n"
        if is_put and not before.strip():
            skipped = before or " "
            continue
        out += [_Piece(before), *([] if is_put else [_Piece(edit.after, edit)])]
        is_put, skipped = True, " "
    return out


def _cut(text: str, clauses: Sequence[Clause], by_clause: dict[str, SpecEdit]) -> list[_Piece]:
    found: list[_Piece] = []
    at = seek = n_rows = 0
    for clause in clauses:
        match = _pattern(clause.text).search(text, seek) if clause.kind != "row" else None
        if match is None and clause.kind in ("row", "example"):
            # Rows stay as they are; the words of a later clause may stand in their cells as well.
            if not n_rows and (table := _TABLE.search(text, seek)):
                seek, n_rows = table.end(), len(parse_spec(f"{table[0]}\n\nIt is so.").clauses) - 1
            n_rows = max(0, n_rows - 1)
        if match is None:
            continue
        start, end = match.span()
        found.append(_Piece(text[at:start]))
        edit = by_clause.get(clause.id)
        kept = _example_block(clause.text) if clause.kind == "example" else text[start:end]
        found.append(_Piece(edit.after if edit else kept, edit, clause.id))
        if edit and text[end : end + 1].strip() and not edit.after.endswith(text[end - 1]):
            # Some scripts put no space between sentences, and another full stop than theirs ends none there.
            found.append(_Piece(" "))
        at = seek = end
    return [*found, _Piece(text[at:])]


_TABLE = re.compile(
    r"^[^\n]*\|[^\n]*\n(?=[^\n]*\|)[ \t>]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$"
    r"(?:\n[^\n]*\|[^\n]*)*",
    re.MULTILINE,
)


def _pattern(words: str) -> re.Pattern[str]:
    """Compile a pattern for words, whatever white space stands between them."""
    return re.compile(r"\s+".join(map(re.escape, words.split())))


def _with_tables(section: Section) -> str:
    """Return a section's text with tables in the place of rows that stand in it as lines: these would be read as one
    paragraph.
    """
    text, at = section.text, 0
    runs: list[tuple[int, int, list[str]]] = []
    for clause in section.clauses:
        if (match := _pattern(clause.text).search(text, at)) is None:
            continue
        start, end = match.span()
        if clause.kind != "row":
            at = end
        elif text[start - 1 : start] in ("", "\n") and text[end : end + 1] in ("", "\n"):
            at = end
            if runs and text[runs[-1][1] : start] == "\n":
                runs[-1] = (runs[-1][0], end, [*runs[-1][2], clause.text])
            else:
                runs.append((start, end, [clause.text]))
    for start, end, rows in reversed(runs):
        tables = [_table_of(heads, list(group)) for heads, group in groupby(rows, _heads)]
        text = text[:start] + "\n\n".join(tables) + text[end:]
    return text


def _heads(row: str) -> list[str]:
    return [cell.partition(": ")[0] for cell in row.split("; ")]


def _table_of(heads: list[str], rows: Sequence[str]) -> str:
    """Return rows (`Head: cell; Head: cell`) as a table that is read as the same rows."""
    table = _markdown_table(heads, [[cell.partition(": ")[2] for cell in row.split("; ")] for row in rows])
    if [(clause.kind, clause.text) for clause in parse_spec(f"{table}\n\nIt is so.").clauses[:-1]] != [
        ("row", row) for row in rows
    ]:
        return _markdown_table([""], [[row] for row in rows])
    return table


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (heads, *rows)]
    return "\n".join((lines[0], "|" + "---|" * len(heads), *lines[1:]))


_ROLES = ("User", "Developer", "System", "Tool", "Assistant", "Example")
_CELL = re.compile(r"(?:Reply marked (?P<mark>[A-Z]+)|(?P<head>.*?)): (?P<cell>.*)")
_TURN = re.compile(r"^(?:Reply marked (?P<mark>[A-Z]+)(?: \((?P<why>.*?)\))?|(?P<role>[A-Z][a-z]+)): ", re.MULTILINE)


def _example_block(text: str) -> str:
    """Return an example in a form that is read as the same one: its title, and its turns in tags; or a table's row."""
    turns = list(_TURN.finditer(text))
    if not turns or turns[0].start() or any(turn["role"] and turn["role"] not in _ROLES for turn in turns):
        # Columns of a table may have any names, and tags have those of turns alone.
        cells = [cell for line in text.split("\n") if (cell := _CELL.fullmatch(line))]
        heads = [cell["head"] or f"{cell['mark'].capitalize()} reply" for cell in cells]
        return _markdown_table(heads, [[cell["cell"] for cell in cells]])
    if turns and turns[0].start() == 0 and turns[0]["role"] == "Example":
        title, turns = text[turns[0].end() :].split("\n")[0], turns[1:]
    else:
        title = ""
    lines = [f"**Example**: {title}", ""] if title else []
    lines.append("~~~xml")
    for turn, after in zip(turns, [*turns[1:], None], strict=True):
        body = escape(text[turn.end() : after.start() if after else len(text)].strip("\n"), quote=False)
        verdict = ": ".join(filter(None, (turn["mark"], turn["why"])))
        tag = (turn["role"] or "Assistant").lower()
        lines += [f"<{tag}>" + (f" <!-- {verdict} -->" if verdict else ""), body, f"</{tag}>"]
    return "\n".join((*lines, "~~~"))


def _provenance(spec: Spec, text: str, pieces: Sequence[_Piece]) -> tuple[Provenance, ...]:
    """Find for each clause of the written text the piece in which it begins."""
    spans: list[tuple[int, int, _Piece]] = []
    at = 0
    for piece in (piece for piece in pieces if piece.text.strip()):
        start = text.index(piece.text.strip("\n"), at)
        at = start + len(piece.text.strip("\n"))
        if piece.edit or piece.clause_id:
            spans.append((start, at, piece))
    try:
        written = parse_spec(text, name=spec.title)
    except SpecError as error:
        raise SpecError(f"what the edits make is no spec: {error.what}", where=spec.title, hint=error.hint) from error
    same = {clause.id for clause in spec.clauses}
    rows, at, first = [], 0, 0
    for clause in written.clauses:
        sources: tuple[str, ...] = (clause.id,) if clause.id in same else ()
        edit, pattern = None, _pattern(clause.text)
        for index in range(first, len(spans) if clause.kind != "row" else first):
            start, end, piece = spans[index]
            if match := pattern.search(text, max(start, at), end):
                at, first = match.end(), index
                edit = piece.edit
                sources = edit.clause_ids if edit else (piece.clause_id,)
                break
        about = {"edit": edit.id, "tool": edit.tool, "author": edit.author, "request": edit.request} if edit else {}
        rows.append(Provenance(clause_id=clause.id, text=clause.text, sources=sources, **about))
    return tuple(rows)
