"""The words inside a block: marks of Markdown and HTML are taken away, and paragraphs are cut into sentences."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from midspec.core.text import word_set
from midspec.spec._tags import KNOWN_TAGS

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_HTML_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9]*)")
_SPECIAL = re.compile(r"[\[<&\\]|==\S|[\])*`]\{[#.:]")
_CODE_SPAN = re.compile(r"(?<![`\\])(`+)(?!`).{1,1000}?(?<!`)\1(?!`)", re.DOTALL)
_MARK = re.compile(r"(?<![ \t])[ \t]*\[\^([^\]\s\[]{1,100})\]")
_WIKI_LINK = re.compile(
    r"\[\[(?!\s*(?:your |the )?(?:ai|assistant|model|bot|provider|company|maker)\b)"
    r"(?:[^\[\]|\n]{1,200}\|)?([^\[\]|\n]{1,200})\]\](?!\()",
    re.IGNORECASE,
)
_EMBED = re.compile(r"!\[\[[^\[\]\n]{1,200}\]\]")
_CITATION = re.compile(r"(?<![ \t])[ \t]*\[-?@[^\[\]\n]{1,200}\]")
_SPAN_ATTRIBUTES = re.compile(r"(?:\[([^\[\]\n]{1,500})\]|(?<=[\])*`\x03]))\{[#.:][^{}\n]{1,200}\}")
_HIGHLIGHT = re.compile(r"(?<![=<>!\w])==(?=\S)([^=\n]{1,500})(?<=\S)==(?![=\w])")
_BRACKET = re.compile(r"(?<!\\)[\[\]]")
_LOOSE, _SIGNS = "\x04", re.compile("[\x02-\x04]")
_KEPT = re.compile("\x02(\\^?)(\\d+)\x03")


@dataclass(frozen=True)
class Inline:
    """Takes the marks inside texts away: links, references, pictures, footnotes' marks, tags, escapes, attributes.

    Emphasis and code stay as they are written. Links are found by markdown-it, which knows CommonMark's rules.

    Attributes:
        links: the addresses of reference links by their label, casefolded.
        anchors: the headings that ids belong to; `[?](#id)` becomes that heading.
    """

    links: Mapping[str, str] = field(default_factory=dict)
    anchors: Mapping[str, str] = field(default_factory=dict)

    def clean(self, text: str) -> str:
        """Return the text without marks."""
        return self.read(text)[0]

    def read(self, text: str) -> tuple[str, list[tuple[int, str]]]:
        """Return the text without marks, and the labels of its footnotes with the place of each."""
        if not _SPECIAL.search(text):
            return text, []
        kept: list[str] = []

        def keep(match: re.Match[str], sign: str = "", group: int = 0) -> str:
            kept.append(match[group])
            return f"\x02{sign}{len(kept) - 1}\x03"

        masked = _CODE_SPAN.sub(keep, _SIGNS.sub("", text))
        masked = _MARK.sub(lambda match: keep(match, "^", 1), masked)
        masked = _CITATION.sub("", _WIKI_LINK.sub(r"\1", _EMBED.sub("", masked)))
        masked = _HIGHLIGHT.sub(r"\1", _SPAN_ATTRIBUTES.sub(r"\1", masked))
        parts, notes, size, at = [], list[tuple[int, str]](), 0, 0
        plain = self._without_links(masked) if _SPECIAL.search(masked) else masked
        for match in _KEPT.finditer(plain):
            word = "" if match[1] else kept[int(match[2])]
            parts += [plain[at : match.start()], word]
            size += len(parts[-2]) + len(word)
            notes += [(size, kept[int(match[2])])] if match[1] else []
            at = match.end()
        whole = "".join(parts) + plain[at:]
        return whole.strip(), [(place - len(whole) + len(whole.lstrip()), label) for place, label in notes]

    def _without_links(self, text: str) -> str:
        parser, normalised = _parser()
        text = _without_loose_brackets(text)
        references = {normalised(label): {"href": to, "title": ""} for label, to in self.links.items()}
        token = parser.parseInline(text, {"references": references})[0]
        out: list[str] = []
        opened: list[tuple[str, int]] = []
        for child in token.children or ():
            if child.type == "link_open":
                opened.append((str(child.attrGet("href") or ""), len(out)))
            elif child.type == "link_close":
                to, first = opened.pop()
                words = "".join(out[first:]).strip()
                if words == "?" or (not words and to.startswith("#")):
                    out[first:] = [self._named(to)]
            elif child.type == "html_inline":
                found = _HTML_NAME.match(child.content)
                out.append("" if found and found[1].lower() in KNOWN_TAGS else child.content)
            elif child.type != "image":
                out.append(child.content)
        plain = "".join(out).replace(_LOOSE, "[")
        return plain if "\xa0" in text else plain.replace("\xa0", " ")

    def _named(self, address: str) -> str:
        """Return the words for a link without any: the heading that it goes to."""
        name = address.removeprefix("#")
        return self.anchors.get(name) or " ".join(re.split(r"[_-]+", name))


def _without_loose_brackets(text: str) -> str:
    """Mask opening brackets that nothing closes, which begin no link."""
    opened: list[int] = []
    for match in _BRACKET.finditer(text):
        if match[0] == "[":
            opened.append(match.start())
        elif opened:
            opened.pop()
    loose = set(opened)
    return "".join(_LOOSE if at in loose else char for at, char in enumerate(text)) if loose else text


@cache
def _parser() -> tuple[MarkdownIt, Callable[[str], str]]:
    from markdown_it import MarkdownIt
    from markdown_it.common.utils import normalizeReference

    parser = MarkdownIt("commonmark").disable(["emphasis", "backticks"])
    parser.validateLink = lambda url: bool(url) or True  # type: ignore[method-assign]
    return parser, normalizeReference


# Sentences ---------------------------------------------------------------------------------------------------------
_STOP = r"(?<![.!?…])(?P<stop>[.!?…]++)"
_WIDE_STOP = r"(?P<wide>[。！？｡।॥؟۔።]+[」』”’）】\"')\]*_]*\s*)"
_PROTECTED_BEFORE = (
    r"`[^`]{1,300}`|\([^()]{1,300}\)|“[^“”]{1,300}”|(?<![\w\"])\"[^\"]{1,300}\"(?!\w)"
    r"|「[^「」]{1,300}」|『[^『』]{1,300}』"
)


class _Marks(NamedTuple):
    """Where a sentence may end, and what it may not end within."""

    candidate: re.Pattern[str]
    protected: re.Pattern[str]


# An earlier version took no quotation marks of German, French and Russian for such, and cut at more places.
_BEFORE = _Marks(re.compile(rf"{_WIDE_STOP}|{_STOP}(?P<close>[\"'”’»)\]*_`]*+)\s+"), re.compile(_PROTECTED_BEFORE))
_NOW = _Marks(
    re.compile(rf"{_WIDE_STOP}|{_STOP}(?P<close>[\"'”’“‘»«›)\]*_`]*+(?:[ \xa0\u202f][»›][\"'”’)\]*_]*)?)\s+"),
    re.compile(
        rf"{_PROTECTED_BEFORE}|«[^«»]{{1,300}}»|(?<!\w)»[^\s«»][^«»]{{0,300}}«|‹[^‹›]{{1,300}}›"
        r"|„[^„“”]{1,300}[“”]|‚[^‚‘’]{1,300}[‘’]"
    ),
)
# Korean has no small letters: its words that go on after a quotation are named.
_GOES_ON = re.compile(r"[—–,;]|-\s|(?:또는|혹은|및|같은|대신|등|등의|등을|하고|라고|라는|이라고|이라는)(?=\s)")
_NO_SPACE = re.compile(r"\S")
# `If a guest asks "Is the pool open?" Ada gives the hours.`
_IF_QUOTED = re.compile(
    r"\W*(?:If|When|Whenever|Unless|Once|After|Wenn|Falls|Si|Quand|Cuando|Se|Quando|Если|Когда)\b[^,;:.!?]*[\"“«„]"
)
# In `rules 1 and 2.` the number is an object.
_NUMBER_WITHIN = re.compile(r"(?<!\d)(?<!\d\s)(?:[:,;(]\s?|(?<!\w)(?:and|or|und|oder|et|ou|y|e)\s)(\d{1,2})\Z")
_ENDS_QUOTE = re.compile(r"[\"'”’“‘»«›)\]`]")
_PAUSE_IN_LOWER = re.compile(r"(?:[—–]|-\s)\s*[^\W\d_]")
# A rule's number and name (`SP2: Sanctioned limits.`) are no sentence yet: they belong to the one after them.
_RULE_LABEL = re.compile(r"[*_]*[A-Z]{1,5}-?\d+(?:\.\d+)*[a-z]?[*_]*[.:)]?\s+\S+(?: \S+){0,3}\Z|[*_]*[A-Z]{1,5}-?\d+\Z")
# What numbers a paragraph (`1.`, `II.`, `Article 3.`) is none either.
_NUMBER_LABEL = re.compile(
    r"[*_]*(?:(?i:article|section|part|chapter|rule|principle|clause|step|tenet|guideline|point|norm)\s+|§\s*)?"
    r"(?:\d{1,4}|[IVXLC]{1,6}|[ivx]{1,5}|[A-Za-z])\Z"
)
# With a name in brackets (`1 (ethical).`), in other languages, and in brackets (`(3).`).
_LABEL_WORDS = (
    "article|section|part|chapter|rule|principle|clause|step|tenet|guideline|point|norm|law|value|commandment|artikel"
    "|regel|abschnitt|grundsatz|teil|kapitel|schritt|règle|principe|partie|chapitre|étape|artículo|regla|principio"
    "|parte|capítulo|paso|правило|принцип|статья|пункт|раздел|часть|глава|шаг|규칙|원칙"
)
_LABEL_NOW = re.compile(
    rf"[*_]*(?:(?i:{_LABEL_WORDS})\s+|§\s*)?"
    r"(?:(?:\d{1,4}(?:\.\d{1,3}){0,3}[a-z]?|[IVXLC]{1,6}|[ivx]{1,5}|[A-Za-z])[*_]*(?:\s*\([^()]{1,60}\))?"
    r"|[A-Z]{1,5}-?\d{1,4}[a-z]?|\((?:\d{1,4}[a-z]?|[ivx]{1,5}|[A-Za-z])\)|제\s?\d{1,4}\s?[조장절항])[*_]*\Z"
)
_WIDE_LABEL = re.compile(
    r"[*_]*第?[ ]?[\d〇一二三四五六七八九十百]{1,5}[ ]?(?:条|條|章|节|節|项|項|点|點|则|則|款)?[*_]*"
    r"(?:[（(][^（）()]{1,40}[)）])?[*_]*\Z"
)
_LAST_WORD = re.compile(r"[\w.&-]*\Z")


_NEVER_LAST = word_set(
    "mr mrs ms dr prof rev hon gov sen rep gen capt lt sgt st vs v cf viz e.g i.e eg ie approx resp incl esp"
)
_BEFORE_NUMBER = word_set("no nos fig figs sec secs art arts ch chap vol p pp par para eq ex")
_SELDOM_LAST = word_set("etc al u.s u.k u.n e.u a.m p.m ph.d inc ltd co corp jr sr dept est ed eds")
_STARTERS = word_set(
    "A An And As At But Each Every For He Her His How I If In It Its No Not Of On Or Our She So Some That The Their "
    "Then There These They This Those To We What When Where Which While Who Why With You Your"
)


def split_sentences(text: str) -> list[str]:
    """Cut one paragraph into sentences, trimmed, in order; together they hold every character that is no space."""
    return _split(text, _NOW)


def split_as_before(text: str) -> list[str]:
    """Cut a paragraph where an earlier version cut it, by which a text is known to be read otherwise now."""
    return _split(text, _BEFORE)


def _split(text: str, marks: _Marks) -> list[str]:
    spans = [(match.start(), match.end()) for match in marks.protected.finditer(text)]
    starts = [start for start, _ in spans]
    sentences, begin = [], 0
    for match in marks.candidate.finditer(text):
        index = bisect_right(starts, match.start()) - 1
        inside = index >= 0 and match.end() <= spans[index][1]
        if inside or not _ends(text, begin, match) or (marks is _NOW and _goes_on(text, begin, match)):
            continue
        sentences.append(text[begin : match.end()].strip())
        begin = match.end()
    sentences.append(text[begin:].strip())
    return [sentence for sentence in sentences if sentence]


def _ends(text: str, begin: int, match: re.Match[str]) -> bool:
    """Return whether the candidate stop ends the sentence that began at `begin`."""
    if match["wide"] is not None:
        return True
    follows = text[match.end() : match.end() + 24]
    if not follows or _NO_SPACE.search(text, begin, match.start()) is None:
        return bool(follows) and match.start() > begin and match["stop"] != "."
    if len(match["stop"]) == 1 and text[match.start() - 1].isspace():
        return True
    before = text[begin : min(match.start(), begin + 120)]
    if match["stop"] == "." and (_RULE_LABEL.match(before) or _NUMBER_LABEL.match(before)):
        return False
    if match["stop"] == "." and _abbreviates(text, begin, match, follows):
        return False
    # What begins in lower case may go on so.
    begins = next((char for char in text[begin : begin + 8] if char.isalpha()), "")
    return not follows[0].islower() or begins.islower()


def _goes_on(text: str, begin: int, match: re.Match[str]) -> bool:
    """Return whether what looks like an end is none: of a quotation, a pause (`just … good`), or a label."""
    follows, before = text[match.end() : match.end() + 24], text[begin : min(match.start(), begin + 120)]
    if match["wide"] is not None:
        return bool(follows) and match["wide"][0] == "。" and _WIDE_LABEL.match(before) is not None
    is_small = follows[:1].islower()
    if is_small and (match["stop"] in ("…", "...") or _ENDS_QUOTE.search(match["close"])) and before.strip():
        return True
    if _ENDS_QUOTE.search(match["close"]) and (_GOES_ON.match(follows) or _IF_QUOTED.match(before)):
        return True
    if match["stop"] == "." and _numbers_within(text, begin, match):
        return True
    # `*Great question!* — just help`: emphasis may quote, or be a name that a sentence follows.
    pause = _PAUSE_IN_LOWER.match(follows) if match["close"] else None
    if pause is not None and pause[0][-1].islower():
        return True
    return match["stop"] == "." and _LABEL_NOW.match(before) is not None


def _numbers_within(text: str, begin: int, match: re.Match[str]) -> bool:
    """Return whether the stop is that of a number within a sentence (`two parts: 1. the house and 2. the garden`)."""
    before = text[max(begin, match.start() - 400) : match.start()]
    found = _NUMBER_WITHIN.search(before[-12:])
    if found is None:
        return False
    number, rest = int(found[1]), text[match.end() : match.end() + 400]
    return re.search(rf"\s{number + 1}\. ?\S", rest) is not None or (
        number > 1 and re.search(rf"\s{number - 1}\. ?\S", before) is not None
    )


def _abbreviates(text: str, begin: int, match: re.Match[str], follows: str) -> bool:
    found = _LAST_WORD.search(text[max(begin, match.start() - 24) : match.start()])
    word = found[0] if found else ""
    lower = word.lower()
    if lower in _NEVER_LAST or (lower in _BEFORE_NUMBER and follows[0].isdigit()):
        return True
    if lower in _SELDOM_LAST:
        return follows.split()[0].rstrip(",") not in _STARTERS
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    return is_initial and follows[0].isupper() and follows.split()[0] not in _STARTERS


# Emphasis ----------------------------------------------------------------------------------------------------------
_RUN = re.compile(r"(?<!\*)\*{1,3}(?!\*)|(?<!_)_{1,3}(?!_)")


def with_whole_emphasis(sentences: Sequence[str]) -> list[str]:
    """Return the sentences of a paragraph, where emphasis over several of them is closed in each and opened again."""
    if len(sentences) < 2 or not any("*" in sentence or "_" in sentence for sentence in sentences):
        return list(sentences)
    spans = _emphasised(" ".join(sentences))
    out, end, opened, at = [], 0, "", 0
    active: list[tuple[int, int, str]] = []
    for sentence in sentences:
        end += len(sentence) + 1
        while at < len(spans) and spans[at][0] < end:
            active.append(spans[at])
            at += 1
        active = [span for span in active if span[1] >= end]
        marks = [mark for _, _, mark in active]
        out.append(f"{opened}{sentence}{''.join(reversed(marks))}")
        opened = "".join(marks)
    return out


def _emphasised(text: str) -> list[tuple[int, int, str]]:
    """Return the spans of emphasis outside code, by their begin: where each opens and closes, and its mark."""
    spans: list[tuple[int, int, str]] = []
    opened: dict[str, int] = {}  # of one mark the last that opened is the one that closes
    code = [match.span() for match in _CODE_SPAN.finditer(text)]
    starts = [start for start, _ in code]
    for match in _RUN.finditer(text):
        index = bisect_right(starts, match.start()) - 1
        if index >= 0 and match.start() < code[index][1]:
            continue
        before, after = text[match.start() - 1 : match.start()] or " ", text[match.end() : match.end() + 1] or " "
        in_word = match[0][0] == "_" and before.isalnum() and after.isalnum()
        left = len(match[0])
        while left and not before.isspace() and not in_word:
            fitting = [mark for mark in opened if mark[0] == match[0][0] and len(mark) <= left]
            if not fitting:
                break
            mark = max(fitting, key=lambda each: opened[each])
            spans.append((opened.pop(mark), match.start(), mark))
            left -= len(mark)
        # The star of `a price*, see below` opens nothing.
        is_mark = before.isalnum() and not after.isalnum()
        if left and not (after.isspace() or in_word or is_mark):
            sizes = (1, 2) if left == 3 else (left,)
            opened |= {match[0][0] * size: match.start() + n for n, size in enumerate(sizes)}
    return sorted(spans)
