"""What in a spec will hurt a model that is midtrained on it, found without a model: a linter.

A document is written from a clause by somebody who has nothing else to go by: a vague word is filled in anyhow, a
reference leads nowhere, two clauses that contradict each other both become documents, and a placeholder that was never
filled is taught as it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import get_args

from midspec.core.records import Clause, LintFinding, LintKind, Section, Spec
from midspec.core.text import word_set
from midspec.spec import check_spec
from midspec.spec_tools._clause_words import ClauseWords, content_stems, read_words
from midspec.spec_tools._lint_pairs import pair_faults

_VAGUE = re.compile(
    r"\b(?:appropriate(?:ly)?|inappropriate(?:ly)?|as (?:needed|necessary|required)|(?:where|when|if)(?:ever)? possible"
    r"|(?:where|when|if) (?:needed|necessary|relevant|applicable)|as far as (?:possible|practicable)|and so on"
    r"|and the like"
    r"|in a timely (?:manner|fashion|way)|properly|(?:in)?adequate(?:ly)?|suitabl[ey]|sufficient(?:ly)?"
    r"|reasonabl[ey] (?:efforts?|time|steps|amounts?|measures)|to (?:some|a certain) (?:extent|degree)|best efforts"
    r"|excessive(?:ly)?|undu(?:e|ly)|user-friendly|high[- ]quality|from time to time)\b|\betc\b\.?",
    re.IGNORECASE,
)
_CRITERION = re.compile(
    r":\s|\b(?:that is|i\.e\.|e\.g\.|meaning|such as|for example|for instance|namely)", re.IGNORECASE
)
_UNFILLED = re.compile(
    r"\b(?:TODO|TBD|TBC|FIXME|XXX+)\b|(?i:lorem ipsum"
    r"|\[(?:insert|add|your|fill in|name of|placeholder)\b[^\]\n]{0,60}\]"
    r"|<(?:insert|add|your|fill in)\b[^>\n]{0,60}>)|_{4,}|\?{3,}"
)
_DOUBLE_NEGATIVES = re.compile(
    r"(?:\b(?:not|never|cannot)|n['’]t) (?:\w+ ){0,1}?(?:fail|fails|neglect|neglects|omit|omits|refuse|refuses|forget"
    r"|forgets) to\b|(?:\b(?:not|never|cannot)|n['’]t) not\b"
    r"|\bnot (?:un(?!til|less|der|ique|i[fvot]|animous|install|lock|pack|load|plug|subscrib|fold|cover|veil"
    r"|leash)\w{4,}|in(?:frequent|correct|accurate|significant|appropriate)\w*"
    r"|im(?:possible|proper|polite)\w*)\b",
    re.IGNORECASE,
)
# "If users must leave, ...": what is a duty there is not the assistant's.
# It ends where another duty is added: "must say what it knows and must never lie".
_ASIDE = re.compile(
    r"\b(?:if|when|where|unless|until|that|who|which|what)\b[^,.;]*?"
    r"(?=[,.;]|$|\s(?:and|but|or)\s+(?:\w+\s+){0,2}?(?:must|should|shall)\b)",
    re.IGNORECASE,
)
_DUTY = re.compile(r"\b(?:must|should|shall)\b", re.IGNORECASE)
_UNFINISHED = re.compile(
    r"\b(?:but|the|an?|because|when|if|that|which|unless)\s*$"
    # "What it is made of" and "whom it works with" are whole.
    r"|\A(?!.*\b(?:what|whom?|whose|which|how|where)\b).*?\b(?P<stranded>of|to|with|from|for)\s*$",
    re.IGNORECASE | re.DOTALL,
)
# An item of a running list may end so.
_UNFINISHED_SENTENCE = re.compile(r"(?:,|\b(?:and|or))\s*$", re.IGNORECASE)
_SENTENCE_ENDS, _PART_ENDS = (re.compile(rf"(?<=\w)\s*[{signs}](?!\w)|\n") for signs in (".;!?", ".;!?,"))
_COUNTED = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_COUNT = re.compile(
    rf"\b(?P<n>{'|'.join(_COUNTED)}|\d+) (?:\w+ )?(?:things|rules|ways|steps|reasons|principles|points|questions|kinds"
    r"|habits|values|parts|duties|limits|exceptions|tasks)\b[^.!?]*:\s*$",
    re.IGNORECASE,
)
# A list in which so many items say why, and so many items at least, has a gap where one doesn't.
_REASONED_SHARE, _MIN_ITEMS = 0.6, 3
_CLAUSE_CHECKS: tuple[tuple[LintKind, re.Pattern[str], str], ...] = (
    ("placeholder", _UNFILLED, "was never filled in: {}"),
    ("negation", _DOUBLE_NEGATIVES, "negates twice: {}"),
    ("unfinished", _UNFINISHED, "ends in the middle of a sentence: {}"),
)
LINT_KINDS: tuple[LintKind, ...] = get_args(LintKind)


def lint_spec(
    spec: Spec, *, leave_out: Collection[str] = (), n_questions: Mapping[str, int] | None = None
) -> tuple[LintFinding, ...]:
    """Find faults of a spec by its words alone, in the order of the text.

    Args:
        spec: the spec, filled or not.
        leave_out: kinds that are not looked for.
        n_questions: clause id -> questions about it; with it, clauses that no question asks about are found.
    """
    clauses = read_words(spec)
    found = [*_of_clauses(clauses), *_of_sections(spec, clauses), *_of_references(spec, clauses)]
    found += [*_undefined(spec, clauses), *_of_examples(spec, clauses)]
    found += [
        finding(fault.kind, fault.clause.clause, fault.clause.section, fault.what, fault.other)
        for fault in pair_faults(clauses)
    ]
    if n_questions is not None:
        found += [
            finding("uncovered", one.clause, one.section, "no question asks about it")
            for one in clauses
            if not n_questions.get(one.clause.id)
        ]
    order = {clause.id: at for at, clause in enumerate(spec.clauses)}
    order |= {section.id: order[section.clauses[0].id] for section in spec.sections if section.clauses}
    last = len(order)
    unique = {(each.kind, each.clause_id): each for each in reversed(found) if each.kind not in leave_out}
    return tuple(sorted(unique.values(), key=lambda each: (order.get(each.clause_id, last), each.kind)))


def finding(kind: LintKind, clause: Clause, section: Section, what: str, other: Clause | None = None) -> LintFinding:
    """Make a finding about a clause; `other` is the clause that it is at odds with."""
    return LintFinding(
        kind=kind,
        clause_id=clause.id,
        section=" > ".join(filter(None, section.path)),
        text=clause.text,
        what=what,
        other_id=other.id if other else "",
        other=other.text if other else "",
    )


def _of_clauses(clauses: Sequence[ClauseWords]) -> Iterator[LintFinding]:
    for one in clauses:
        text = re.sub(r"`[^`\n]*`", " ", one.clause.text)
        for kind, pattern, what in _CLAUSE_CHECKS:
            if match := pattern.search(text):
                seen = match.groupdict().get("stranded") or match[0]
                yield finding(kind, one.clause, one.section, what.format(seen.strip()))
        if one.clause.kind == "sentence" and (match := _UNFINISHED_SENTENCE.search(text)):
            yield finding(
                "unfinished", one.clause, one.section, f"ends in the middle of a sentence: {match[0].strip()}"
            )
        if twice := _said_twice(text):
            yield finding("duplicate", one.clause, one.section, f"says twice: {twice}")
        if (vague := _VAGUE.search(text)) and not _CRITERION.search(text[vague.end() :]):
            yield finding("vague", one.clause, one.section, f"gives no criterion for: {vague[0]}")
        if (duties := len(_DUTY.findall(_ASIDE.sub("", one.main)))) > 1:
            yield finding("compound", one.clause, one.section, f"holds {duties} duties: a clause each can be covered")


def _said_twice(text: str) -> str:
    """Return the first sentence that stands twice in a clause, or what stands twice between its commas, if any does."""
    for pattern, least in ((_SENTENCE_ENDS, 2), (_PART_ENDS, 4)):
        said = Counter(" ".join(part.casefold().split()) for part in pattern.split(text))
        for words, n in said.items():
            if n > 1 and len(words.split()) >= least:
                return words
    return ""


def _of_sections(spec: Spec, clauses: Sequence[ClauseWords]) -> Iterator[LintFinding]:
    for each in check_spec(spec):
        if each.what.startswith(("empty section", "unknown placeholder", "looks like a placeholder")):
            kind: LintKind = "empty" if each.what.startswith("empty") else "placeholder"
            # Sections may have one path: a heading twice, or none.
            titled = [s for s in spec.sections if (" > ".join(filter(None, s.path)) or "the spec") == each.where]
            section = next((s for s in titled if kind == "empty" and not s.clauses), titled[0])
            named = re.search(r"[{\[<$].*", each.what)
            clauses_there = (clause for s in titled for clause in s.clauses)
            holds = next((c for c in clauses_there if named and named[0].split(":")[0] in c.text), None)
            yield LintFinding(
                kind=kind,
                clause_id=holds.id if holds else section.id,
                section=each.where,
                text=holds.text if holds else section.title,
                what=each.what,
            )
    for section in spec.sections:
        items = [one for one in clauses if one.section is section and one.clause.kind == "item"]
        reasoned = [one for one in items if one.has_reason]
        if len(items) >= _MIN_ITEMS and _REASONED_SHARE <= len(reasoned) / len(items) < 1:
            what = f"gives no reason, as {len(reasoned)} of the {len(items)} items around it do"
            yield from (finding("reason", one.clause, section, what) for one in items if not one.has_reason)
        for at, clause in enumerate(section.clauses):
            if clause.kind == "sentence" and (match := _COUNT.search(clause.text)):
                listed = [*takewhile(lambda each: each.kind == "item", section.clauses[at + 1 :])]
                n_items = sum(each.depth == listed[0].depth for each in listed)
                said = int(match["n"]) if match["n"].isdigit() else 2 + _COUNTED.index(match["n"].lower())
                if n_items and n_items != said:
                    yield finding("count", clause, section, f"announces {said} and lists {n_items}")


_KINDS_OF_PART = r"(?:[Ss]ections?|[Cc]hapters?|[Rr]ules?|[Pp]rinciples?|[Cc]lauses?|[Aa]rticles?|[Aa]ppendix|[Aa]nnex)"
_NUMBERED = re.compile(rf"\b{_KINDS_OF_PART}\s+(?P<id>\d+(?:\.\d+)*|[A-Z]{{1,4}}-?\d+(?:\.\d+)*|[A-Z]\b|[IVX]+\b)")
# "Article 5 of the UN Charter" is a part of something else.
_OF_ANOTHER = re.compile(
    rf"\s+(?:of|in)\s+(?!(?:the\s+)?{_KINDS_OF_PART}\b)(?!(?:this|these|the|our)\s+(?:spec\w*|document|constitution|guide\w*|text|page|file|present)\b)"
    r"(?:the\s+)?(?:[A-Z]|[\"\u201c*_])"
)
_TITLED = re.compile(
    r"\bthe (?:section|chapter|part|rules?) (?:on|about|called|named) (?P<title>[^,.;:()]{3,60}?)"
    r"(?= (?:says?|describes?|explains?|lists?|sets?|gives?|tells?|above|below)\b|[,.;:()]|$)",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    r"\b(?i:see(?: also)?|described in|defined in|laid out in|listed in|set out in|explained in|under)\s+[\"“]"
    r"(?P<title>[^\"”\n]{2,60})[\"”]"
)
_OWN_ID = re.compile(r"(?P<prefix>[A-Z]{2,4})-?\d+(?:\.\d+)*")


def _of_references(spec: Spec, clauses: Sequence[ClauseWords]) -> Iterator[LintFinding]:
    """Find references to parts that the spec does not have."""
    titles = [section.title for section in spec.sections]
    stems = [content_stems(title) for title in titles]
    begins = "\n".join((*titles, *(section.text for section in spec.sections)))
    own = set(re.findall(r"(?m)^\W*([A-Z]{2,4}-?\d+(?:\.\d+)*)\b", begins))
    prefixes = {match["prefix"] for each in own if (match := _OWN_ID.fullmatch(each))}
    for one in clauses:
        for match in _NUMBERED.finditer(one.clause.text):
            number = re.escape(match["id"])
            if _OF_ANOTHER.match(one.clause.text, match.end()):
                continue
            if not re.search(rf"(?m)^[\W_]*(?:{_KINDS_OF_PART}\s+)?{number}(?:[.):]|\s|$)", begins):
                yield finding("reference", one.clause, one.section, f"the spec has no {match[0]}")
        for pattern in (_TITLED, _QUOTED):
            for match in pattern.finditer(one.clause.text):
                wanted = content_stems(match["title"])
                if wanted and not any(wanted <= title for title in stems):
                    yield finding("reference", one.clause, one.section, f"no heading is called {match['title']!r}")
        for match in _OWN_ID.finditer(one.clause.text):
            if match["prefix"] in prefixes and match[0] not in own:
                yield finding("reference", one.clause, one.section, f"the spec has no {match[0]}")


_LABELLED = re.compile(
    r"\b(?:Tier|Level|Class|Category|Grade|Phase|Priority|Type|Group|Zone) (?:\d+|[A-Z]|[IVX]+)\b"
    r"|(?<![.!?:] )(?<!^)\b(?:[A-Z][a-z]{1,30} ){1,4}(?:Protocol|Policy|List|Procedure|Register|Framework|Guidelines"
    r"|Charter|Board|Committee|Plan|Mode|Process)\b"
)
_ACRONYM = re.compile(r"(?<![\w'’.-])[A-Z]{3,5}(?![\w'’-])")
_KNOWN_ACRONYMS = word_set(
    "API URL HTTP HTML JSON YAML XML CSV PDF CPU GPU RAM SQL USA FAQ CEO GPS SMS USB DVD BBC LLM RGB UTC ASCII UTF "
    "NASA ISO BAD GOOD SOS VAT DNA PIN FBI CIA NSA WHO HIV AIDS NATO NHS MIT IBM PHP CSS HTTPS SSH TLS VPN IRS FDA GDPR"
    # Words that people write in capitals for stress, as RFC 2119 does.
    " MUST SHALL MAY NOT NEVER ONLY ALL ANY NONE AND BUT NOR CAN WON DO DON ISN ARE IS HAS THE YES NO EACH EVERY BOTH"
    " STOP NOTE FIRST THEN WHEN WHAT WHO WHY HOW IF YOU"
)


def _undefined(spec: Spec, clauses: Sequence[ClauseWords]) -> Iterator[LintFinding]:
    """Find terms with a label or in capitals that the spec explains nowhere; each is told once."""
    text = "\n".join((*(section.title for section in spec.sections), *(clause.text for clause in spec.clauses)))
    titles = "\n".join(section.title for section in spec.sections)
    seen: set[str] = set()
    for one in clauses:
        plain = _UNFILLED.sub(" ", one.clause.text)
        terms = [match[0] for match in _LABELLED.finditer(plain)]
        acronyms = (match[0] for match in _ACRONYM.finditer(plain))
        # A word in capitals for emphasis stands elsewhere without them.
        terms += [
            each
            for each in acronyms
            if each not in _KNOWN_ACRONYMS and not re.search(rf"\b(?:{each.lower()}|{each.title()})\b", text)
        ]
        for term in dict.fromkeys(terms):
            name = re.escape(term)
            explained = (
                rf"\({name}\)|\b{name}[\"”*_]* ?(?:\(|:|—|–|(?:is|are|means?|stands? for|covers?|includes?|holds)\b)"
            )
            if term not in seen and term not in titles and not re.search(explained, text):
                seen.add(term)
                yield finding("undefined", one.clause, one.section, f"is explained nowhere: {term}")


_REPLY = re.compile(
    r"^Reply marked (?P<mark>GOOD|BAD|OK)(?: \([^\n]*?\))?: (?P<body>.*?)(?=^(?:Reply marked|[A-Z][a-z]+:)|\Z)",
    re.M | re.S,
)
_QUOTES = re.compile(r"(?<!\w)[\"“'‘]([^\"”'’\n]{2,60})[\"”'’](?!\w)")
_AT_THE_START = re.compile(r"\b(?:opens?|begins?|starts?|opening|beginning)\b", re.IGNORECASE)
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


def _of_examples(spec: Spec, clauses: Sequence[ClauseWords]) -> Iterator[LintFinding]:
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
                    yield LintFinding(
                        kind="example",
                        clause_id=clause.id,
                        section=path,
                        text=clause.text,
                        what=f"a reply marked good breaks a rule: {broken}",
                        other_id=one.clause.id,
                        other=one.clause.text,
                    )


def _breaks(rule: ClauseWords, reply: str) -> str:
    """Return how a reply breaks a rule, as far as words tell, or an empty text."""
    if (forbids := _FORBIDS.search(rule.main)) and not rule.allows:
        after = rule.main[forbids.start() :]
        start = r"\A\W*" if _AT_THE_START.search(after) else r"\b"
        for said in filter(None, (each.strip(" .,!?…") for each in _QUOTES.findall(after))):
            if re.search(rf"{start}{re.escape(said)}\b", reply, re.IGNORECASE):
                return f"it says {said!r}"
        for name, shown in _SHOWN_BY:
            if re.search(rf"\b{name}\b", after, re.IGNORECASE) and (found := re.search(shown, reply, re.IGNORECASE)):
                return f"it holds {found[0].strip()!r}"
    if rule.content & _REPLY_WORDS:
        for bound in rule.bounds:
            counted = {"sentenc": len(re.findall(r"[.!?](?=\s|$)", reply)), "word": len(reply.split())}
            n = counted.get(bound.unit, 0)
            if bound.is_upper and n > bound.number:
                return f"it has {n} of what may be {bound.number}"
    return ""
