"""From a file to lines that can be cut into blocks: what is no text of the spec goes, with a word of what it was.

Front matter, comments, struck-out words, marks of editors, links' and footnotes' definitions, marks of admonitions,
attributes, HTML. A text without any of these comes out as it went in, line for line. Code is left alone, inside lines
(one line each) and in fences. One pass of one expression over the text, one over its lines, so that time is linear.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from midspec.spec._data import json_front_matter
from midspec.spec._editors import without_editors_lines
from midspec.spec._examples import example_label
from midspec.spec._hidden import Part, with_items_in_lines, without_first_comments, without_hidden
from midspec.spec._html import without_tags
from midspec.spec._lists import with_plain_lists
from midspec.spec._notes import with_plain_notes
from midspec.spec._page import read_page, turns_of_page
from midspec.spec._pasted import NEW_LINE, refuse_conflict, refuse_other_markup, without_traces
from midspec.spec._tags import KNOWN_TAGS, WRAPPERS, is_turn_tag, opens_turns

_ATTRIBUTE = r"(?:[#.][A-Za-z_][\w:.-]*|[A-Za-z][\w-]*=(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s{}\"']+))"
ATTRIBUTES = rf"\{{:?[ \t]*{_ATTRIBUTE}(?:[ \t]+{_ATTRIBUTE})*[ \t]*\}}"
_MARKED = re.compile(
    r"(?P<begin>[ \t>]*(?:[-*+][ \t]+)?)(?:[*_]*(?:assistant|ai|reply|response|answer)[*_]*:[*_]*)?(?P<before>[^\x06]*)"
    r"\x06(?P<mark>[^\x06]*)\x06(?P<after>.*)",
    re.IGNORECASE,
)
_NUMBER_MARK = re.compile(
    r"<sup\b[^<>]*>\s*(?:<a\b[^<>]*>)?\s*(?:\[?\d{1,3}\]?|[*†‡§]|\[\^?\d{1,3}\]\([^()\s]*\))\s*(?:</a>)?\s*</sup>",
    re.IGNORECASE,
)
_MODULE = re.compile(r"(?:import\s.+\sfrom\s+['\"][^'\"]+['\"]|export\s+(?:const|default)\b.*[;({=].*);?\s*$")
_GAP = re.compile(r"(?P<before>^[ \t]*|[ \t]*)\0(?:[ \t]*\0)*(?P<after>[ \t]*)(?P<next>[.,;:!?)]?)")
_BETWEEN = re.compile(r"[.!?](?:[ \t]*\0)+[^\W\d_]")  # two sentences, each in a branch of a template, say
_ONLY_MARKS = re.compile(r"[ \t>]*(?:[-*+]|\d{1,9}[.)])?[ \t]*(?:\[[ xX]\])?[ \t]*")
_FRONT_KEY = re.compile(r"[A-Za-z_][\w.-]*[ \t]*(?::(?=\s|$)|=)")
# A head whose opening line is missing begins with one of the keys that editors and site builders write.
_KNOWN_KEY = re.compile(
    r"(?:title|description|name|version|globs|alwaysApply|tags|date|author|authors|layout|model|slug|status|draft|lang"
    r"|language|category|categories|keywords|applyTo|license|tools|color|created|updated|id|permalink|weight|type):(?:\s|$)"
)
_TITLE = re.compile(r"""^title[ \t]*[:=][ \t]*["']?(.+?)["']?[ \t]*$""", re.MULTILINE | re.IGNORECASE)
_FENCE = re.compile(r"(?: {0,3}>[ \t]?)*[ \t]*(`{3,}|~{3,})[^`]*$")
_LINK = re.compile(
    r" {0,3}\[(?!\^)(?P<label>[^\[\]\n]{1,200})\]:[ \t]*(?P<to><[^<>\n]*>|\S*(?:[/#:]|\.\w)\S*)"
    r"(?:[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'|\([^()\n]*\)))?[ \t]*$"
)
_FOOTNOTE = re.compile(r"[ \t]*\[\^(?P<label>[^\]\s]{1,100})\]:[ \t]*(?P<text>.*)$")
_ABBREVIATION = re.compile(r"[ \t]*\*\[[^\[\]\n]{1,60}\]:[ \t]*\S.*$")
_INLINE_NOTE = re.compile(r"\^\[([^\[\]\n]{1,2000})\]")
_ADMONITION = re.compile(
    r"(?P<indent>[ \t]*)(?:!!!|\?\?\?\+?)[ \t]+(?P<kind>[A-Za-z][\w -]*?)(?:[ \t]+\"(?P<title>[^\"\n]*)\")?[ \t]*$"
)
_CONTAINER = re.compile(r"[ \t]*:{3,}[ \t]*(?:\{?[ \t]*\.?(?P<kind>[\w-]+)(?P<title>[^\n]*))?$")
_ALERT = re.compile(r"[ \t]*>[ \t>]*\[!(?P<kind>[A-Za-z-]+)\][+-]?[ \t]*(?P<title>[^\n]*)$")
_ATTRIBUTE_LINE = re.compile(rf"[ \t>]*(?:{ATTRIBUTES}|\{{:[^{{}}\n]*\}})[ \t]*$")
_HEADING = re.compile(r"(?P<head> {0,3}#{1,6}[ \t].*?)[ \t]*\{(?P<marks>[^{}\n]*)\}[ \t]*#*[ \t]*$")
_HEADING_LINK = re.compile(
    r"(?<=\S)[ \t]*(?:\[(?:[¶#§🔗]|\u200b)\]\(#[^()]*\)|¶|\[edit(?:[ \t]*\|[ \t]*edit source)?\](?!\())[ \t]*$"
)
_LAST_ATTRIBUTES = re.compile(r"[ \t]+\{:?[ \t]*[#.][A-Za-z_][^{}\n]*\}[ \t]*$")
_CONTENTS = re.compile(r"[ \t]*(?:\[TOC\]|\[\[_?TOC_?\]\]|\{\{\s*TOC\s*\}\}|\{:toc\}|\[_TOC_\])[ \t]*$", re.IGNORECASE)
_CONTENTS_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+\[[^\[\]\n]+\]\(#[^()\s]*\)[ \t]*$")
# A mark of a task, which a tick before a quotation is not, nor one in a list that has crosses too.
_CROSSED = re.compile(r"[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]+☒")
_NO_LIST = re.compile(r"(?![ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t])[^ \t\n]")
_TASK = re.compile(
    r"(?<![ \t>])([ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]+)(?:☐|☑(?!\ufe0f?[ \t]*[\"“„«「*]))\ufe0f?[ \t]+(?=\S)"
)
_JUMP = re.compile(r"[ \t]*(?:[↑^⬆]\ufe0f?[ \t]*)?\[[^\[\]\n]{1,60}\]\(#[^()\s]*\)[ \t]*$")
_DEFINITION = re.compile(r" {0,3}:[ \t]+(?P<text>\S.*)$")
_NO_TERM = re.compile(r"[ \t]*(?:#|[-*+>|:][ \t|]|\d{1,9}[.)][ \t]|$)|.*[.!?:|][ \t]*$")

_COMPONENT = re.compile(r"</([A-Z][a-z]+[A-Za-z]*)>|^[ \t]*</([A-Za-z][\w.-]*)>[ \t]*$")


@dataclass
class Source:
    """A spec's lines, each with its number in the file, and what was taken out of them.

    Attributes:
        lines: what is left.
        numbers: of each line, from 1.
        left_out: what is no text of the spec.
        links: the addresses of reference links by their label.
        footnotes: the text of each footnote by its label.
        note_lines: the first and the last line of each by its label.
        anchors: the heading that an id belongs to.
        title: of the front matter, or empty.
        notes: the numbers of lines that stand in an admonition.
    """

    lines: list[str]
    numbers: list[int]
    left_out: list[Part] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    footnotes: dict[str, str] = field(default_factory=dict)
    note_lines: dict[str, tuple[int, int]] = field(default_factory=dict)
    anchors: dict[str, str] = field(default_factory=dict)
    title: str = ""
    notes: set[int] = field(default_factory=set)


def read_source(text: str, where: str) -> Source:
    """Take out of a text what is no text of a spec.

    Raises:
        SpecError: it is in another markup language than Markdown; a comment begins and does not end; or a merge of two
            versions was left undecided.
    """
    lines = without_first_comments(text).split("\n")
    source = Source([], [])
    n_front = _front_matter(lines, source)
    refuse_conflict(lines[n_front:], n_front, where)
    refuse_other_markup(lines[n_front:], n_front, where)
    body = without_hidden("\n".join(lines[n_front:]), n_front, source.left_out, where)
    body = with_items_in_lines(body)
    page, gone = read_page(body.split("\n"))
    cleaned, traces = without_traces(page)
    cleaned, beside, title = without_editors_lines(cleaned)
    source.title = source.title or title
    source.left_out += [
        Part(n_front + 1 + at, n_front + 1 + at, kind, words) for at, kind, words in gone + traces + beside
    ]
    for number, line in enumerate(with_plain_lists(with_plain_notes(cleaned)), start=n_front + 1):
        kept = _close_gaps(line) if "\0" in line else line
        if kept is not None and "\x06" in kept and (marked := _MARKED.fullmatch(kept)):
            words = " ".join(filter(None, (marked["before"].strip(), marked["after"].strip())))
            kept = f"{marked['begin']}**{marked['mark']}:** {words}"
        for part in () if kept is None else kept.split(NEW_LINE):
            source.lines.append(part)
            source.numbers.append(number)
    _Lines(source).run()
    return source


def _front_matter(lines: list[str], source: Source) -> int:
    """Return how many lines of front matter there are: YAML or TOML between two rules, or an object of JSON."""
    if front := json_front_matter("\n".join(lines)):
        n = front.count("\n") + 1
        source.left_out.append(Part(1, n, "front matter", front.strip()))
        source.title = str(json.loads(front.strip()).get("title") or "")
        return n
    end = _end_of_front(lines, 0, source)
    return (_end_of_front(lines, end, source) or end) if end else 0


def _end_of_front(lines: list[str], begin: int, source: Source) -> int:
    """Return behind which line front matter ends that begins here, or 0; a second may begin with a blank line."""
    first = next((index for index in range(begin, len(lines)) if lines[index].strip()), 0)
    mark = lines[first].rstrip() if lines else ""
    body = first + 1
    if begin == 0 and _KNOWN_KEY.match(mark) and len(lines) > 1 and _FRONT_KEY.match(lines[first + 1]):
        mark, body = "---", first
    if begin:
        body = next((index for index in range(body, len(lines)) if lines[index].strip()), body)
    if mark not in ("---", "+++") or body >= len(lines) or not _FRONT_KEY.match(lines[body].lstrip("# ")):
        return 0
    is_sure = begin == 0 and body > first  # of others each key is a known one
    ends = ("+++",) if mark == "+++" else ("---", "...") if is_sure else ("---",)
    for index in range(body, len(lines)):
        line = lines[index]
        if line.rstrip() in ends:
            words = "\n".join(lines[body:index])
            source.left_out.append(Part(first + 1, index + 1, "front matter", words))
            source.title = found[1] if (found := _TITLE.search(words)) else source.title
            return index + 1
        inner = line[:1] in (" ", "\t", "-", "#", "[", "]", "}", "<", "") or _FRONT_KEY.match(line)
        is_known = _KNOWN_KEY.match(line) or line[:1] in (" ", "\t", "-", "#")
        if not inner or (not is_sure and not is_known):
            return 0
    return 0


def _close_gaps(line: str) -> str | None:
    """Close the gaps in a line; `None` where nothing but the marks of a list or quotation is left."""

    def close(match: re.Match[str]) -> str:
        if not (match["before"] or match["after"] or match["next"]) and _BETWEEN.match(line, match.start() - 1):
            return " "
        if not match["before"] or not match["after"] or match["next"]:
            before = match["before"] if match.start() == 0 else match["before"] * (not match["next"])
            return before + match["after"] * bool(match.start() and not match["before"]) + match["next"]
        return match["before"] if match.start() == 0 else " "

    closed = _GAP.sub(close, line)
    return None if _ONLY_MARKS.fullmatch(closed) else closed.rstrip()


def _crossed(lines: list[str]) -> list[bool]:
    """Return for each line whether it is of a list in which an item has a cross in a box."""
    out: list[bool] = []
    first = 0
    for at in range(len(lines) + 1):
        if at == len(lines) or _NO_LIST.match(lines[at]):
            out += [any(map(_CROSSED.match, lines[first:at]))] * (at - first)
            first = at
    return out


class _Lines:
    """One pass over the lines: definitions are taken out, marks of blocks and HTML become plain Markdown."""

    def __init__(self, source: Source) -> None:
        self.source, self.taken = source, list(zip(source.lines, source.numbers, strict=True))
        self.at, self.n_open = 0, 0
        self.indents: list[str] = []
        # Components of MDX, such as `<Note>`, and parts of a prompt between tags; turns in tags are none.
        closed = {one or other for line in source.lines if "</" in line for one, other in _COMPONENT.findall(line)}
        turns = {opens_turns(line).lower() for line in source.lines if "<" in line} | WRAPPERS
        closed = {name for name in closed if name.lower() not in turns and not is_turn_tag(f"<{name}>")}
        self.components = closed - KNOWN_TAGS
        self.crossed = _crossed(source.lines) if any("☒" in line for line in source.lines) else []
        self.out: list[tuple[str, int]] = []

    def run(self) -> None:
        fence = ""
        while self.at < len(self.taken):
            line, number = self.taken[self.at]
            line = self._dedented(line, number)
            self.at += 1
            if fence:
                self.out.append((line, number))
                fence = "" if re.fullmatch(rf"[ \t>]*{fence[0]}{{{len(fence)},}}[ \t]*", line) else fence
            elif opened := _FENCE.match(line):
                fence = opened[1]
                self.out.append((line, number))
            else:
                self._line(line, number)
        lines = [line for line, _ in self.out]
        self.source.lines, self.source.numbers = turns_of_page(lines), [number for _, number in self.out]

    def _dedented(self, line: str, number: int) -> str:
        """Take the indentation of the open admonitions off; a line that has less ends them."""
        for depth, indent in enumerate(self.indents):
            if not line.startswith((f"{indent}    ", f"{indent}\t")):
                if line.strip():
                    del self.indents[depth:]
                break
            line = indent + line[len(indent) + (1 if line[len(indent)] == "\t" else 4) :]
        if (self.indents or self.n_open) and line.strip():
            self.source.notes.add(number)
        return line

    def _without_task(self, line: str) -> str:
        is_kept = line.isascii() or (self.crossed and self.crossed[self.at - 1])
        return line if is_kept else _TASK.sub(r"\1", line, count=1)

    def _line(self, line: str, number: int) -> None:
        if self._defines(line, number) or self._marks(line, number) or self._is_contents(line, number):
            return
        line = self._without_task(line)
        if line.lstrip()[:1] == "#":
            line = _HEADING_LINK.sub("", line)
        if (head := _HEADING.match(line)) and _is_attributes(head["marks"]):
            title = head["head"].lstrip("# \t")
            for word in head["marks"].split():
                if word.startswith("#"):
                    self.source.anchors[word[1:]] = title
            line = head["head"]
        elif "{" in line:
            line = _LAST_ATTRIBUTES.sub("", line)
        if (definition := _DEFINITION.match(line)) and self._define_term(definition["text"], number):
            return
        if "^[" in line:
            line = _INLINE_NOTE.sub(self._note, line)
        if "<" in line:
            self.out += [(part, number) for part in without_tags(_NUMBER_MARK.sub("", line), self.components)]
        else:
            self.out.append((line, number))

    def _left_out(self, first: int, kind: str, text: str, last: int | None = None) -> bool:
        self.source.left_out.append(Part(first, last or first, kind, text.strip()))
        return True

    def _defines(self, line: str, number: int) -> bool:
        """Take a link's, an abbreviation's or a footnote's definition out."""
        if _ABBREVIATION.match(line):
            return self._left_out(number, "abbreviation", line)
        if link := _LINK.match(line):
            self.source.links.setdefault(" ".join(link["label"].split()).casefold(), link["to"].strip("<>"))
            return self._left_out(number, "link", line)
        if not (note := _FOOTNOTE.match(line)):
            return False
        texts = [note["text"]]
        while self.at < len(self.taken) and self._goes_on(texts[-1]):
            texts.append(self.taken[self.at][0].strip())
            self.at += 1
        text = re.sub(r"\n\s*\n", "\n\n", "\n".join(texts)).strip()
        self.source.footnotes.setdefault(note["label"], text)
        self.source.note_lines.setdefault(note["label"], (number, self.taken[self.at - 1][1]))
        return True

    def _goes_on(self, before: str) -> bool:
        """Return whether the next line is the footnote's: indented, behind a line of it, or blank before one."""
        line, *following = [line for line, _ in self.taken[self.at : self.at + 2]]
        if not line.strip():
            return bool(following) and following[0].startswith(("  ", "\t"))
        is_other = _FOOTNOTE.match(line) or re.match(r" {0,3}(?:#{1,6}[ \t]|[-*+>|][ \t])", line)
        return not is_other and (line.startswith(("  ", "\t")) or bool(before.strip()))

    def _note(self, match: re.Match[str]) -> str:
        label = f"inline-{len(self.source.footnotes)}"
        self.source.footnotes[label] = match[1]
        return f"[^{label}]"

    def _marks(self, line: str, number: int) -> bool:
        """Take the line that opens or closes an admonition out; a label of an example or of a reply stays as that."""
        if opened := _ADMONITION.match(line):
            self.indents.append(opened["indent"])
        elif opened := _CONTAINER.match(line):
            if opened["kind"] is None and not self.n_open:
                return False
            self.n_open += 1 if opened["kind"] else -1
        elif not (opened := _ALERT.match(line)):
            return bool(_ATTRIBUTE_LINE.match(line)) and self._left_out(number, "attributes", line)
        title = (opened["title"] or "").strip(' \t[]{}"')
        if label := example_label(opened["kind"] or "", title):
            self.out += [("", number), (label, number), ("", number)]
            return True
        self.out.append(("", number))
        return self._left_out(number, "mark of a note", line)

    def _is_contents(self, line: str, number: int) -> bool:
        following = self.taken[self.at][0] if self.at < len(self.taken) else ""
        is_alone = not following.strip() and not (self.out and self.out[-1][0].strip())
        if _MODULE.match(line):
            return self._left_out(number, "code of the page", line)
        if _CONTENTS.match(line) or _CONTENTS_ITEM.match(line) or (is_alone and _JUMP.match(line)):
            return self._left_out(number, "table of contents", line)
        return False

    def _define_term(self, text: str, number: int) -> bool:
        """Turn `: text` under a term into an item that begins with the term."""
        at = len(self.out) - 1
        if at > 0 and not self.out[at][0].strip():
            at -= 1
        term = self.out[at][0] if at >= 0 else ""
        known = re.match(r"- (?P<term>[^:\n]{1,80}): ", term) if number > 1 else None
        before = self.out[at - 1][0] if at > 0 else ""
        if known and term.startswith("- "):
            self.out.append((f"- {known['term']}: {text}", number))
            return True
        if (
            not term.strip()
            or len(term) > 80
            or _NO_TERM.match(term)
            or (before.strip() and not before.startswith("- "))
        ):
            return False
        self.out[at:] = [(f"- {term.strip()}: {text}", number)]
        return True


def _is_attributes(marks: str) -> bool:
    return bool(re.fullmatch(rf":?[ \t]*{_ATTRIBUTE}(?:[ \t]+{_ATTRIBUTE})*[ \t]*", marks))
