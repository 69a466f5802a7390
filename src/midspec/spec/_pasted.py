"""What copying leaves in a text: page numbers, words broken over lines and bullets of a PDF or a word processor.
Texts in another markup language than Markdown are refused.

Lines keep their numbers: what goes leaves a zero character, which the reader of lines closes.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from midspec.core.errors import SpecError
from midspec.core.text import LFS_HINT, LFS_POINTER, LFS_WORDS
from midspec.spec._tags import is_turn_tag, wraps_alone

NEW_LINE = "\x05"
"""Ends a line that goes on in the same line of the file."""
_FENCE = re.compile(r"(?: {0,3}>[ \t]?)*[ \t]*(`{3,}|~{3,})")
_LIGATURES = {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"}
_CHARS = str.maketrans(
    {"\ufeff": None, "\u2028": NEW_LINE, "\u2029": NEW_LINE * 2, "\x0b": NEW_LINE, "\u00ad": None, **_LIGATURES}
)
_ANSI = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
_UNSEEN = re.compile(r"^([ \t>]*)[\u200b\u2060]+")
# Marks of Markdown as other keyboards type them: a space that does not break (Option and space on a Mac) or is as wide
# as a letter, full-width signs and digits, no space before Chinese and Japanese.
_WIDE = "\u00a0\u2000-\u200a\u202f\u3000"
_TYPED = re.compile(
    rf"(?P<indent>[ \t>{_WIDE}]*)(?:(?P<mark>#{{1,6}}|[-*+]|\d{{1,9}}[.)])(?P<gap>[ \t{_WIDE}]+)"
    rf"|(?P<wide>\uff03{{1,6}})[ \t{_WIDE}]*"
    rf"|(?P<number>[\uff10-\uff19]{{1,3}})[.)\uff0e\uff09](?![\d\uff10-\uff19])[ \t{_WIDE}]*"
    r"|(?P<tight>#{1,6})(?=[\u3040-\u30ff\u3400-\u9fff][^#]{0,40}$)(?!.*[.!?\u3002\uff01\uff1f]$))(?=\S)"
)
_STRUCK = re.compile(r"(?:[^\s\u0335\u0336][\u0335\u0336](?:[ \t]+[\u0335\u0336]?)?)+[.,;:!?]?")
_BULLET = re.compile(
    r"([ \t>]*)(?:[\uf0a7\uf0b7\u25aa\u25ab\u25cf\u25cb\u25a0\u25a1\u2605\u2606\u27a2\u27a4][ \t]*|\u30fb)(?=\S)"
)
_DASH = re.compile(r"([ \t]*)[\u2013\u2014][ \t]+(?=\S)")
_SMALL_O = re.compile(r"([ \t]*)o(?:\t|[ ]{2,}|[ ](?=[A-Z]))[ \t]*(?=\S)")
_LETTER = re.compile(r"([ \t>]*)(?P<begin>\(?)([a-zA-Z]|[ivx]{2,5})(?P<end>[.)])[ \t]+(?=\S)")
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv")
_BLOCK_ID = re.compile(r"(?<=\S)[ \t]+\^[A-Za-z0-9][A-Za-z0-9-]{2,40}[ \t]*$")
_TAG_AS_CODE = re.compile(r"[ \t]*`(</?[A-Za-z][\w-]*>)`[ \t]*")
_PAGE = re.compile(
    r"[ \t]*(?:page[ \t]+\d{1,4}(?:[ \t]*(?:of|/)[ \t]*\d{1,4})?|[-\u2013\u2014][ \t]*\d{1,4}[ \t]*[-\u2013\u2014]"
    r"|\d{1,4}[ \t]*/[ \t]*\d{1,4}|\d{1,4})[ \t]*",
    re.IGNORECASE,
)
_LEADER = re.compile(r"[^\n]{2,120}?(?:\.{4,}|(?:[ \t]\.){3,}|\u2026{2,})[ \t.\u2026]*\d{1,4}[ \t]*")
_CONTENTS = re.compile(r"[ \t]*(?:table of )?contents:?[ \t]*", re.IGNORECASE)
_BROKEN = re.compile(r"(?<![^\W\d_]-)\b([^\W\d_]{2,})-$")
_REST = re.compile(r"([ \t>]*)(([^\W\d_]+)\S*)[ \t]*")
_SUSPENDED = frozenset(["and", "or", "to", "und", "oder", "bis", "et", "ou", "y", "e"])
_OWN_HYPHEN = frozenset(
    [
        "self",
        "well",
        "non",
        "ex",
        "half",
        "cross",
        "long",
        "short",
        "high",
        "low",
        "real",
        "one",
        "two",
        "three",
        "first",
        "second",
    ]
)
_FEWEST_HEADS, _LONGEST_HEAD, _LONGEST_ENTRY = 3, 100, 300
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+\S")
# Lines of other languages; of the last two Markdown has the like, so that more than one is needed, and no heading.
_OTHERS = {
    "LaTeX": re.compile(r"[ \t]*\\(?:documentclass\b|begin\{(?:document|itemize|enumerate)\}|(?:sub)*section\*?\{)"),
    "reStructuredText": re.compile(
        r"[ \t]*\.\.[ \t]+(?:[\w:-]+::|_[^:]+:|\[[#*\w]+\][ \t]|\|[^|]+\|[ \t]|[A-Za-z]+ )"
        r"|[^`]*(?<![\w`]):(?:ref|doc|term|role|math|sub|sup|abbr|code|class|func|numref):`[^`]+`"
        r"|[^`_]*\w[ ]?\[(?:\d+|#\w*|\*)\]_(?!\w)"
    ),
    "Org": re.compile(
        r"#\+(?:title|author|date|options|startup|filetags|begin_\w+):?(?:[ \t]|$)|[ \t]*:PROPERTIES:[ \t]*$",
        re.IGNORECASE,
    ),
    "Textile or Jira's markup": re.compile(r"(?:h[1-6]|bq)\.[ \t]+\S|\{(?:panel|code|noformat):[^{}\n]*\}[ \t]*$"),
    "BBCode": re.compile(r".*\[/(?:list|b|i|u|h[1-6]|size|color|center)\]", re.IGNORECASE),
    "a MediaWiki page": re.compile(r"\{\|[ \t]*(?:class|style|border)|(={2,6})[ \t]*[^=\s].*[^=]\1[ \t]*$"),
    "AsciiDoc": re.compile(r"={1,5}[ \t]+\S.*[^=\s][ \t]*$"),
}
# Old parsers took `##Rules` for a heading; `#rules` may be a tag.
_TIGHT = re.compile(r" {0,3}(#{2,6})(?=[^\W_][^#\n]{0,79}$)(?!.*[.!?;,]$)")
_CHAPTERS = "編编篇편部章장節节절"
_CHAPTER = re.compile(
    r"[ \t\u3000]*(?:第[ ]?[\d\uff10-\uff19〇零一二三四五六七八九十百]{1,5}[ ]?(?P<kind>[編编篇部章節节])"
    r"|제[ ]?\d{1,3}[ ]?(?P<korean>[장절편]))"
    r"(?:[ \t\u3000:：]+[^。！？；.!?;]{1,40})?[ \t\u3000]*"
)
_ASCIIDOC_COMMENT = re.compile(r"//(?!/)[ \t]")
_ASCIIDOC_BLOCK = re.compile(
    r"\[(?:NOTE|TIP|WARNING|CAUTION|IMPORTANT|source,\w+|quote|example)\]\n(?:={4,}|-{2,}|_{4,})[ \t]*$"
)
_SEEN_ONCE = ("LaTeX", "reStructuredText", "Org")


# How files of word processors, old and new, and PDFs begin.
_OTHER_FILES = ("{\\rtf", "%PDF-", "PK\x03\x04", "\xd0\xcf\x11\xe0")
_PAGE_OF_XML = re.compile(r"<(?:!doctype )?html\b", re.IGNORECASE)


def refuse_other_file(text: str, where: str) -> None:
    """Raise where a file is no text, or XML, or a pointer that stands in its place.

    Args:
        text: of the file, or its beginning.
        where: what the error names.

    Raises:
        SpecError: it is.
    """
    if any(map(text.startswith, _OTHER_FILES)):
        hint = "Save it as Markdown or plain text in UTF-8"
        raise SpecError("is a file of a word processor, or a PDF", where=where, hint=hint)
    if text.startswith(LFS_POINTER):
        raise SpecError(f"is {LFS_WORDS}", where=where, hint=LFS_HINT)
    if text.lstrip().startswith("<?xml") and not _PAGE_OF_XML.search(text):
        raise SpecError("is XML, whose tags would be taken for words", where=where, hint="Write it as Markdown")


def refuse_conflict(lines: list[str], n_before: int, where: str) -> None:
    """Raise where a merge of two versions was left undecided: both would be taught.

    Args:
        lines: of the text.
        n_before: how many lines of the file stand before them.
        where: what the error names.

    Raises:
        SpecError: it was.
    """
    begins = next((at for at, line in enumerate(lines) if line.startswith("<<<<<<< ")), None)
    if begins is not None and any(line.startswith(">>>>>>> ") for line in lines[begins:]):
        what = f"holds two versions of one part, between the marks of a merge conflict (line {n_before + begins + 1})"
        raise SpecError(what, where=where, hint="Keep one of them, and take the marks out")


def refuse_other_markup(lines: list[str], n_before: int, where: str) -> None:
    """Raise where a text is written in another markup language, whose marks and comments would be taken for words.

    Args:
        lines: of the text.
        n_before: how many lines of the file stand before them.
        where: what the error names.

    Raises:
        SpecError: it is.
    """
    prose = prose_of(lines)
    has_headings = any(_HEADING.match(lines[at]) for at in prose)
    for name, pattern in _OTHERS.items():
        found = [at for at in prose if pattern.match(lines[at])]
        if name == "AsciiDoc":
            found += [at for at in prose if found and _ASCIIDOC_COMMENT.match(lines[at])]
            # A block's name and the line under it are two signs.
            named = [at for at in prose if lines[at][:1] == "["]
            found += 2 * [at for at in named if _ASCIIDOC_BLOCK.match("\n".join(lines[at : at + 2]))]
        # Numbered items of Textile look like headings.
        is_textile = name.startswith("Textile") and (len(found) > 1 or not has_headings)
        if found and (name in _SEEN_ONCE or is_textile or (len(found) > 1 and not has_headings)):
            what = f"looks like {name} (line {n_before + found[0] + 1}), and only Markdown and plain text are read"
            raise SpecError(what, where=where, hint="Convert it (`pandoc -t gfm`, say)")


def without_traces(lines: list[str]) -> tuple[list[str], list[tuple[int, str, str]]]:
    """Return lines without what copying left in them, and what went: the line, its kind and its words."""
    out, prose = list(lines), prose_of(lines)
    gone: list[tuple[int, str, str]] = []
    for at in prose:
        if not lines[at].isascii() or "\x0b" in lines[at] or "\x1b" in lines[at]:
            gone += [(at, "struck out", match[0]) for match in _STRUCK.finditer(lines[at])]
            plain = _ANSI.sub("", _STRUCK.sub("\0", lines[at]).translate(_CHARS))
            out[at] = _as_markdown(_UNSEEN.sub(r"\1", plain))
    for at in prose:
        if "^" in out[at] and (found := _BLOCK_ID.search(out[at])):  # Obsidian's name of a paragraph
            gone.append((at, "mark", found[0].strip()))
            out[at] = out[at][: found.start()]
    for at, kind in [*_pages(out, prose), *_contents(out, prose)]:
        gone.append((at, kind, lines[at].strip("\x0c \t")))
        out[at] = "\0"
    _headings(out, prose)
    _bullets(out, prose)
    _letters(out, prose)
    _broken_words(out, prose)
    _tags_as_code(out, prose)
    return out, gone


def _as_markdown(line: str) -> str:
    """Return a line whose first mark is Markdown's, whichever keyboard typed it."""
    typed = _TYPED.match(line)
    if typed is None or (typed["mark"] and (typed["indent"] + typed["gap"]).isascii()):
        return line
    number = typed["number"] and f"{int(typed['number'])}."
    mark = typed["mark"] or number or typed["tight"] or "#" * len(typed["wide"])
    return f"{re.sub(f'[{_WIDE}]', ' ', typed['indent'])}{mark} {line[typed.end() :]}"


def _tags_as_code(lines: list[str], prose: list[int]) -> None:
    """Write tags of turns that stand as code as tags, and take tags off that stand as code around parts of a prompt."""
    found = [(at, begin[1], begin.end()) for at in prose if (begin := _TAG_AS_CODE.match(lines[at]))]
    around = {name for at, name, end in found if name.startswith("</") and end == len(lines[at])}
    for at, name, end in found:
        if end == len(lines[at]) and (wraps_alone(name) or is_turn_tag(name.replace("/", "", 1))):
            lines[at] = name
        elif f"</{name.strip('</')}" in around:
            lines[at] = lines[at][end:] or "\0"


def prose_of(lines: list[str]) -> list[int]:
    """Return the lines that stand in no fenced block."""
    found, fence = list[int](), ""
    for at, line in enumerate(lines):
        mark = _FENCE.match(line)
        info = line[mark.end() :] if mark is not None else ""
        if mark is not None and not fence and not (mark[1][0] == "`" and "`" in info):
            fence = mark[1]
        elif not fence:
            found.append(at)
        elif mark is not None and mark[1].startswith(fence) and not info.strip():
            fence = ""
    return found


def _headings(lines: list[str], prose: list[int]) -> None:
    """Write `##Rules`, and lines that name a chapter in Chinese, Japanese or Korean, as headings of Markdown."""
    for at in prose:
        if tight := _TIGHT.match(lines[at]):
            lines[at] = f"{tight[1]} {lines[at][tight.end() :]}"
    chapters = [(at, found) for at in prose if not lines[at].isascii() and (found := _CHAPTER.fullmatch(lines[at]))]
    kinds = sorted({found["kind"] or found["korean"] for _, found in chapters}, key=_CHAPTERS.index)
    for at, found in chapters if len(chapters) > 1 else ():
        lines[at] = f"{'#' * (2 + kinds.index(found['kind'] or found['korean']))} {lines[at].strip()}"


def _pages(lines: list[str], prose: list[int]) -> list[tuple[int, str]]:
    """Find page numbers that stand alone, and what is repeated at the head of pages; join what a page's end divides."""
    begins = [at for at in prose if lines[at].startswith("\x0c")]
    for at in prose:
        lines[at] = lines[at].removeprefix("\x0c").replace("\x0c", NEW_LINE)

    def at_end(at: int) -> bool:
        return not any(lines[to].strip("\0 \t") for to in (at - 1, at + 1) if 0 <= to < len(lines))

    numbers = [at for at in prose if _PAGE.fullmatch(lines[at]) and at_end(at)]
    found = [(at, "page number") for at in numbers]
    kept = list[tuple[int, str]]()
    for at, kind in found:
        first, end = at, at + 1
        while first and not lines[first - 1].strip("\0 \t"):
            first -= 1
        while end < len(lines) and not lines[end].strip("\0 \t"):
            end += 1
        before = lines[first - 1].rstrip() if first else ""
        after = lines[end].lstrip() if end < len(lines) else ""
        goes_on = before[-1:].isalpha() and after[:1].islower()
        if goes_on:
            lines[first:at], lines[at + 1 : end] = ["\0"] * (at - first), ["\0"] * (end - at - 1)
        if goes_on or len(found) > 1 or "page" in lines[at].lower():
            kept.append((at, kind))
    heads = Counter(lines[at].strip() for at in begins if lines[at].strip())
    often = {head for head, n in heads.items() if n >= _FEWEST_HEADS - 1 and len(head) <= _LONGEST_HEAD}
    return kept + [(at, "head of a page") for at in prose if lines[at].strip() in often]


def _contents(lines: list[str], prose: list[int]) -> list[tuple[int, str]]:
    """Find a table of contents whose page numbers stand behind dots, and its title."""
    # A line of nothing but dots would take the expression a time that grows with the square of its length.
    entries = [at for at in prose if len(lines[at]) <= _LONGEST_ENTRY and _LEADER.fullmatch(lines[at])]
    if len(entries) > 1:
        before = next((at for at in reversed(prose) if at < entries[0] and lines[at].strip()), entries[0])
        entries += [before] if _CONTENTS.fullmatch(lines[before]) else []
        return [(at, "table of contents") for at in entries]
    return []


def _bullets(lines: list[str], prose: list[int]) -> None:
    """Write the bullets of word processors, and dashes that begin several lines, as Markdown's."""
    has_bullets = False
    for at in prose:
        if found := _BULLET.match(lines[at]):
            lines[at] = f"{found[1]}- {lines[at][found.end() :]}"
        has_bullets |= found is not None or lines[at].lstrip().startswith("\u2022")
    dashed = [at for at in prose if _DASH.match(lines[at])]
    for at in {at for pair in pairwise(dashed) if pair[1] - pair[0] == 1 for at in pair}:
        lines[at] = _DASH.sub(r"\1- ", lines[at], count=1)
    for at in prose if has_bullets else ():
        if found := _SMALL_O.match(lines[at]):
            lines[at] = f"{found[1]}  - {lines[at][found.end() :]}"


def _letters(lines: list[str], prose: list[int]) -> None:
    """Write lists by letters or Roman numerals, two items or more in order, as Markdown's; a heading ends all.

    Under a question they are answers to choose from, and stay. So do `(a)` and `A.` at a line's begin, where each is a
    sentence by itself, or a heading; indented, or `(a)` under a lead, they are parts of it.
    """
    found: list[list[int]] = []
    lists: dict[tuple[str, str], tuple[set[str], list[int]]] = {}
    before = ""
    for at in prose:
        if _HEADING.match(lines[at]):
            lists.clear()
        if item := _LETTER.match(lines[at]):
            indent, begin, label, end = item.groups()
            style = (indent, begin + end + ("A" if label.isupper() else "a"))
            expected, items = lists.get(style, (set[str](), list[int]()))
            if label not in expected:
                items = []
                is_led = style[1] == "()a" and before.endswith((":", "："))
                is_list = style[1] in (".a", ")a") or len(indent.lstrip(">")) > 1 or is_led
                if is_list and label in ("a", "A", "i") and not before.endswith("?"):
                    found.append(items)
            items.append(at)
            following = {chr(ord(label) + 1)} if len(label) == 1 else set[str]()
            following |= {_ROMAN[_ROMAN.index(label) + 1]} if label in _ROMAN[:-1] else set()
            lists[style] = following, items
        before = lines[at].rstrip(" \t*_") or before
    for at in (at for items in found if len(items) > 1 for at in items):
        lines[at] = _LETTER.sub(r"\1- ", lines[at], count=1)


def _broken_words(lines: list[str], prose: list[int]) -> None:
    """Join words that a hyphen breaks at the end of a line; a hyphen that is the word's own stays."""
    words: frozenset[str] | None = None
    for at, following in pairwise(prose):
        broken, rest = _BROKEN.search(lines[at]), _REST.match(lines[following])
        if broken is None or rest is None or following != at + 1:
            continue
        begin, end = broken[1].lower(), rest[3]
        if not end[0].islower() or end in _SUSPENDED:
            continue
        words = words or frozenset(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", "\n".join(lines).lower()))
        is_own = begin + end not in words and (begin in _OWN_HYPHEN or f"{begin}-{end}" in words)
        lines[at] = (lines[at] if is_own else lines[at][:-1]) + rest[2]
        left = lines[following][rest.end() :]
        lines[following] = rest[1] + left if left else "\0"
