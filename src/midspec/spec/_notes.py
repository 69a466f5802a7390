"""Footnotes as word processors, wikis and web pages write them, made into those of Markdown (`[^1]`, `[^1]: text`).

Signs (`¹`, `†`) and numbers in brackets are notes only where a line with the note begins with the same sign: elsewhere
they are powers, places in lists or references to rules.
"""

from __future__ import annotations

import re

from midspec.spec._pasted import prose_of

_SIGNS = "¹²³⁴⁵⁶⁷⁸⁹⁰†‡"
_AS_DIGITS = str.maketrans("¹²³⁴⁵⁶⁷⁸⁹⁰", "1234567890")
_BEHIND = r"(?:(?<=[.!?,;:)\]\"”’»…。！？])|(?<=[^\W\d_]{2}))"
_SIGN_LINE = re.compile(rf"[ \t]*(?:[-*][ \t]+)?(?P<label>[{_SIGNS}]+)[ \t]*(?P<text>[^\W\d_].*)")
_NUMBER_LINE = re.compile(r"[ \t]*\[(?P<label>\d{1,3})\][ \t]+(?P<text>[^\W_].*)")
_SIGN = re.compile(rf"{_BEHIND}[ \t]?(?P<label>[{_SIGNS}]+)(?![{_SIGNS}\w])")
_NUMBER = re.compile(rf"(?:{_BEHIND}|(?<=[.!?])[ \t])\[(?P<label>\d{{1,3}})\](?![(\[:])")
# `lies.[3]` without a note: a mark that copying a page left.
_LOST = re.compile(r"(`+[^`]*`+)|(?<=[^\s.][.!?])\[\d{1,3}\](?=\s|$)")
_TO_NOTE = r"\(#(?:_|user-content-)?(?:ftnt?|fn|footnote|sdfootnote|cite_note|endnote|(?P<is_loose>note))[\w:-]*\)"
# Of Word, Google's editor, pandoc and web pages: the mark links to the note, and the note back.
_LINKED = re.compile(r"\\?\[(?:\\?\[|\^)?(?P<label>\d{1,3}|[*†‡])(?:\\?\])?\\?\]" + _TO_NOTE)
_BACK = re.compile(
    r"\\?\[(?:\\?\[|\^)?(?P<label>\d{1,3}|[*†‡]|[↩↑⮌^⏎]\ufe0e?)(?:\\?\])?\\?\]"
    r"\(#(?:_|user-content-)?(?:(?:ftnt?|fn|footnote|endnote)[_-]?ref|sdfootnote\d*anc|cite_ref)[\w:-]*\)[ \t]*"
)
_ARROW = re.compile(r"(?<=\S)[ \t]*(?:↩|⏎|⮌)\ufe0e?[ \t]*$")
_TEX = re.compile(r"\\footnote\{([^{}\n]*)\}|<ref(?:[ \t][^<>\n/]*)?>([^<>\n]*)</ref>")
_EMPTY_REFS = re.compile(r"<ref(?:erences)?\b[^<>\n]*/>")


def with_plain_notes(lines: list[str]) -> list[str]:
    """Return lines whose footnotes are Markdown's."""
    out, prose = list(lines), prose_of(lines)
    linked = [at for at in prose if "](#" in out[at]]
    for at in linked:
        out[at] = _unlinked(out[at])
    labels = {out[at][2 : out[at].index("]")] for at in linked if out[at].startswith("[^")}
    for at in linked:
        out[at] = _LINKED.sub(
            lambda to: to[0] if to["is_loose"] and to["label"] not in labels else f"[^{to['label']}]", out[at]
        )
    for at in prose:
        if "\\footnote{" in out[at] or "<ref" in out[at]:
            out[at] = _EMPTY_REFS.sub("\0", _TEX.sub(lambda note: f"^[{note[1] or note[2]}]", out[at]))
        if not out[at].isascii():
            out[at] = _ARROW.sub("", out[at])
    _pair(out, prose, _SIGN_LINE, _SIGN)
    _pair(out, prose, _NUMBER_LINE, _NUMBER)
    for at in prose:
        if "[" in out[at]:
            out[at] = _LOST.sub(lambda found: found[1] or "\0", out[at])
    return out


def _unlinked(line: str) -> str:
    """Return a line whose link back from a note begins the note, or is none where it stands behind it."""
    back = _BACK.match(line.lstrip(" \t"))
    is_note = back is not None and back["label"][0] not in "↩↑⮌^⏎"
    rest = _BACK.sub("", line if back is None else line.lstrip(" \t")[back.end() :])
    return f"[^{back['label']}]: {rest}" if back is not None and is_note else rest


def _pair(lines: list[str], prose: list[int], note: re.Pattern[str], mark: re.Pattern[str]) -> None:
    """Write marks and notes that have one another as Markdown's; all of a label's marks stand before its note."""
    notes: dict[str, int] = {}
    for at in prose:
        if found := note.fullmatch(lines[at]):
            notes.setdefault(found["label"], at)
    marked = {
        found["label"]
        for at in prose
        for found in mark.finditer(lines[at])
        # Rules that name one another by their numbers are no notes.
        if found["label"] in notes and at < notes[found["label"]] and not note.fullmatch(lines[at])
    }

    def plain(found: re.Match[str]) -> str:
        label = found["label"]
        return f"[^{label.translate(_AS_DIGITS)}]" if label in marked else found[0]

    for at in prose if marked else ():
        written = note.fullmatch(lines[at])
        if written and written["label"] in marked and notes[written["label"]] == at:
            lines[at] = f"[^{written['label'].translate(_AS_DIGITS)}]: {mark.sub(plain, written['text'])}"
        else:
            lines[at] = mark.sub(plain, lines[at])
