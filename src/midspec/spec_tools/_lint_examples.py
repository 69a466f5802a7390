"""Faults of a spec's examples: a reply marked good that breaks a rule beside it, and bad replies without a good one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from midspec.core.records import Clause, LintFinding, Spec
from midspec.spec_tools._clause_words import ClauseWords

_REPLY = re.compile(
    r"^Reply marked (?P<mark>GOOD|BAD|OK)(?: \([^\n]*?\))?: (?P<body>.*?)(?=^(?:Reply marked|[A-Z][a-z]+:)|\Z)",
    re.M | re.S,
)
_QUOTES = re.compile(r"[\"“'‘]([^\"”'’\n]{2,60})[\"”'’]")
_EMOJI = "[\U0001f300-\U0001faff\u2600-\u27bf]"
# What a rule forbids by name, and what shows it in a reply.
_SHOWN_BY = (
    (r"exclamation (?:marks?|points?)", "!"),
    (r"emojis?", _EMOJI),
    (r"apologi[sz]\w*", r"\b(?:sorry|apologi[sz]e|apologies)\b"),
    (r"bullet(?:ed)?(?: points| lists?)?", r"(?m)^\s*[-*•] "),
)
_FORBIDS = re.compile(r"\b(?:never|not|avoids?|without|no)\b|n['’]t\b", re.IGNORECASE)
_REPLY_WORDS = frozenset(("repl", "answer", "respons"))


def example_faults(spec: Spec, clauses: Sequence[ClauseWords]) -> Iterator[LintFinding]:
    """Find examples that contradict a rule, and examples with bad replies alone."""
    for section in spec.sections:
        for clause in (each for each in section.clauses if each.kind == "example"):
            replies = [(match["mark"], match["body"].strip()) for match in _REPLY.finditer(clause.text)]
            marks = {mark for mark, _ in replies}
            path = " > ".join(filter(None, section.path))
            if "BAD" in marks and not marks & {"GOOD", "OK"}:
                what = "shows a bad reply and no good one: documents would repeat the bad one alone"
                yield LintFinding(kind="example", clause_id=clause.id, section=path, text=clause.text, what=what)
            for one in clauses:
                broken = next((why for mark, body in replies if mark == "GOOD" and (why := _breaks(one, body))), "")
                if broken:
                    yield _contradiction(clause, path, broken, one.clause)


def _contradiction(clause: Clause, path: str, broken: str, rule: Clause) -> LintFinding:
    what = f"a reply marked good breaks a rule: {broken}"
    return LintFinding(
        kind="example",
        clause_id=clause.id,
        section=path,
        text=clause.text,
        what=what,
        other_id=rule.id,
        other=rule.text,
    )


def _breaks(rule: ClauseWords, reply: str) -> str:
    """Return how a reply breaks a rule, as far as words tell, or an empty text."""
    if (forbids := _FORBIDS.search(rule.main)) and not rule.allows:
        after = rule.main[forbids.start() :]
        for said in _QUOTES.findall(after):
            if re.search(rf"\b{re.escape(said.strip(' .,!?'))}\b", reply, re.IGNORECASE):
                return f"it says {said!r}"
        for name, shown in _SHOWN_BY:
            if re.search(rf"\b{name}\b", after, re.IGNORECASE) and (found := re.search(shown, reply)):
                return f"it holds {found[0].strip()!r}"
    if rule.content & _REPLY_WORDS:
        for bound in rule.bounds:
            n = _number_of(bound.unit, reply)
            if n is not None and bound.is_upper and n > bound.number:
                return f"it has {n} {bound.unit}s, and {bound.number} are allowed"
    return ""


def _number_of(unit: str, reply: str) -> int | None:
    if unit == "sentenc":
        return len(re.findall(r"[.!?](?=\s|$)", reply))
    return len(reply.split()) if unit == "word" else None
