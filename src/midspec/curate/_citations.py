"""Rows that cite a numbered rule which their spec does not have."""

from __future__ import annotations

import re

from midspec.curate._rows import Row, said

__all__ = ["CitationFilter"]

_CITED = re.compile(
    r"\b(?:rule|clause|principle|policy|provision)s?\s+(?:no\.\s*|number\s+|#)?"
    r"((?:[A-Z]{1,3}-?)?\d+(?:\.\d+)*)(?![\d%]|\.\d|\s*(?:percent|years|months|weeks|days|hours|minutes))",
    re.IGNORECASE,
)
_AT_LINE_START = re.compile(r"(?m)^\W*((?:[A-Z]{1,3}-?)?\d+(?:\.\d+)*)[.):\s]")
_JSON_ID = re.compile(r"\"id\"\s*:\s*\"?([^\",\s}]+)")


class CitationFilter:
    """Rejects rows that cite a rule by a number that is not in the spec. Pure.

    A spec without numbers gives nothing to hold citations against; every row then passes. Sections are no rules: a
    document may well refer to its own.

    Args:
        spec_text: the spec; its numbers are those at the start of lines, in JSON ids, and those that it cites itself.
    """

    name = "citation"

    def __init__(self, spec_text: str) -> None:
        forms = (_CITED, _AT_LINE_START, _JSON_ID)
        self._known = frozenset(_plain(number) for form in forms for number in form.findall(spec_text))

    def reason(self, row: Row) -> str | None:
        """The first number cited that the spec does not have."""
        if not self._known:
            return None
        for found in _CITED.finditer(said(row)):
            if _plain(found[1]) not in self._known:
                return f"cites what the spec does not have: {' '.join(found[0].split())}"
        return None


def _plain(number: str) -> str:
    return number.casefold().replace("-", "")
