"""Web pages: boxes of turns become turns in tags, with their captions as reasons and the figure's caption as title.

What only helps to find one's way goes: tables of contents, badges, the roles over turns. Lines keep their numbers.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from html import unescape
from itertools import accumulate
from typing import NamedTuple

from midspec.spec._examples import label_alone
from midspec.spec._pasted import NEW_LINE, prose_of
from midspec.spec._tags import WRAPPERS, is_turn_tag

_TAG = re.compile(
    r"(?<!`)(?P<tick>`{1,2})(?!`)[^`\n]{1,300}(?P=tick)(?!`)"
    r"|<(?P<end>/?)(?P<name>div|section|article|aside|nav|ul|ol|span|figure|figcaption|pre|h[1-6])\b(?P<more>[^<>]*)>",
    re.IGNORECASE,
)
_ANY_TAG = re.compile(r"<[^<>]*>")
_INLINE_TAG = re.compile(r"</?(?:a|b|i|em|strong|code|span|sup|sub|mark|q)\b[^<>]*>", re.IGNORECASE)
_CLASS = re.compile(r"(?:class|role|id)\s*=\s*[\"']([^\"']*)[\"']", re.IGNORECASE)
_BOX = re.compile(r"<div\b[^<>]*class\s*=\s*[\"'](?:[^\"']{0,200}\s)?message\s[^\"']{0,200}[\"']", re.IGNORECASE)
_OF_PAGE = re.compile(r"<(?:div|section|aside|nav|span|ul|ol)\b", re.IGNORECASE)
_LINK = re.compile(r"<a\b(?P<more>[^<>]*)>(?P<words>[^<]*(?:<(?!/?a\b)[^<]*)*)</a\s*>", re.IGNORECASE)
_TO_PLACE = re.compile(r"href\s*=\s*[\"']#(?P<place>[^\"']*)", re.IGNORECASE)
_FENCE = re.compile(
    r"(?:^|(?P<tag><(?:p|div|li|pre|br)\b[^<>]*>))[ \t]*(?P<fence>`{3,}|~{3,})(?P<more>[^`\n<]*)(?P<end><?)",
    re.MULTILINE | re.IGNORECASE,
)
_CONTENTS = frozenset(["toc", "table-of-contents", "doc-toc", "contents", "tableofcontents"])
_TITLES = frozenset(["figure", "caption", "figcaption", "title", "example-title"])
_REASONS = frozenset(["comment", "commentary", "reason", "rationale", "explanation", "annotation"])
_MARKS = frozenset(["good", "bad", "ok"])
_ROLES = frozenset(["role", "role-name", "role-header", "author", "sender", "speaker"])
_OF_VERDICTS = ("role", "quality", "verdict", "rating", "grade", "label")
_TO_WHOM = re.compile(r"\w+ (to \S.*)")
_LONGEST_BADGE, _MAX_BADGE_WORDS = 60, 3
_STOPS = tuple(".!?。！？")
_ID = re.compile(r"\b(?:id|name)\s*=\s*[\"']([^\"']+)[\"']|\{[^{}\n]*#([\w:.-]+)", re.IGNORECASE)
_LONGEST_HEADING = 2000


class _Box(NamedTuple):
    """An open element: what it holds, where its tag begins, and where that ends."""

    name: str
    kind: str
    start: int
    inner: int


class _Turn:
    """A turn: where its tag stands, its role and mark, and the reasons that stand under it."""

    def __init__(self, start: int, end: int, role: str, mark: str) -> None:
        self.start, self.end, self.role, self.mark = start, end, role, mark
        self.whys: list[str] = []

    @property
    def tag(self) -> str:
        why = "; ".join(self.whys).replace('"', "&quot;")
        return " ".join(filter(None, (f"<{self.role}", self.mark, f'why="{why}"' if why else ""))) + ">"


def read_page(lines: list[str]) -> tuple[list[str], list[tuple[int, str, str]]]:
    """Return lines whose boxes of turns are turns in tags, and what went: the line, its kind and its words."""
    prose = prose_of(lines)
    if not any(_OF_PAGE.search(lines[at]) for at in prose):
        return lines, []
    has_turns = any(_BOX.search(lines[at]) for at in prose)
    page = _Page("\n".join(lines), set(range(len(lines))) if has_turns else set(prose), has_turns=has_turns)
    return page.read()


class _Page:
    """One pass over the tags of a page; what is put in place of parts of it is written down, and written at the end."""

    def __init__(self, text: str, lines: set[int], *, has_turns: bool) -> None:
        self.text, self.lines, self.has_turns = text, lines, has_turns
        self.ids: frozenset[str] | None = None  # of the page's places, once they are asked for
        self.starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
        self.edits: list[tuple[int, int, str]] = []
        self.gone: list[tuple[int, str, str]] = []
        self.opened: list[_Box] = []
        self.n_opened: dict[str, int] = {}
        self.turn: _Turn | None = None  # the last
        self.turns: list[_Turn] = []
        self.is_in_turn = False
        self.holder: _Box | None = None  # the outermost box whose words may go elsewhere
        self.title: _Box | None = None
        self.title_end = self.turn_end = self.spoken_at = 0
        self.is_new_talk = False
        self.to_whom = ""

    def read(self) -> tuple[list[str], list[tuple[int, str, str]]]:
        at = 0
        for match in _TAG.finditer(self.text):
            if match["tick"]:
                continue
            if not self.is_in_turn and self.holder is None and self._says(at, match.start()):
                self.spoken_at = match.start()
            at = match.end()
            if self._line_of(match.start()) not in self.lines or match["more"].endswith("/"):
                continue
            name = match["name"].lower()
            if not match["end"]:
                self._open(name, match)
            elif self.n_opened.get(name):
                while self.opened[-1].name != name:
                    self._pop(match.start(), match.start())
                self._pop(match.start(), match.end())
        self.edits += [(turn.start, turn.end, f"{NEW_LINE}{turn.tag}{NEW_LINE}") for turn in self.turns]
        out, at = list[str](), 0
        for start, end, words in sorted(self.edits):
            if start >= at:
                out += [self.text[at:start], words]
                at = end
        return ("".join(out) + self.text[at:]).split("\n"), self.gone

    def _line_of(self, at: int) -> int:
        return bisect_right(self.starts, at) - 1

    def _open(self, name: str, match: re.Match[str]) -> None:
        classes = {word for words in _CLASS.findall(match["more"].lower()) for word in re.findall(r"[\w-]+", words)}
        box = _Box(name, self._kind(name, classes, match.start()), match.start(), match.end())
        self.opened.append(box)
        self.n_opened[name] = self.n_opened.get(name, 0) + 1
        if box.kind == "turn":
            self._begin_turn(match, classes)
        elif box.kind == "talk":
            self.is_new_talk = True
        elif box.kind not in ("", "pre") and self.holder is None:
            self.holder = box

    def _kind(self, name: str, classes: set[str], start: int) -> str:
        """Return what a box is by its classes; within a turn nothing is looked at but code."""
        if name == "pre" or self.is_in_turn:
            return name if name == "pre" else ""
        if name == "div" and "message" in classes and any(is_turn_tag(f"<{word}>") for word in classes):
            return "turn"
        if classes & WRAPPERS:
            return "talk"
        if classes & _CONTENTS or name in ("ul", "ol"):
            return "contents"
        if (name == "div" and self._is_in_heading(start)) or any(
            word.endswith(("badge", "badges")) for word in classes
        ):
            return "badge"
        return self._kind_beside(name, classes) if self.has_turns else ""

    def _is_in_heading(self, start: int) -> bool:
        around = self.opened[-1] if self.opened else None
        if around is None or around.name[0] != "h":
            return False
        return self._says(around.inner, min(start, around.inner + _LONGEST_HEADING))

    def _kind_beside(self, name: str, classes: set[str]) -> str:
        """Return what a box beside a turn is."""
        if classes & _MARKS and any(word.startswith(_OF_VERDICTS) for word in classes):
            return "verdict"
        for kind, known in (("reason", _REASONS), ("role", _ROLES), ("title", _TITLES)):
            if (classes | {name}) & known:
                return kind
        return ""

    def _begin_turn(self, match: re.Match[str], classes: set[str]) -> None:
        words = re.findall(r"[\w-]+", match["more"].lower())
        role = next(word for word in words if word in classes and is_turn_tag(f"<{word}>"))
        mark = next((word for word in words if word in _MARKS), "")
        self.holder = None
        if (title := self.title) is not None and self.spoken_at <= self.title_end:
            words_of_title = self._words(title.inner, self.title_end)
            self._replace(title.start, self.title_end, f"{NEW_LINE * 2}**Example**: {words_of_title}{NEW_LINE * 2}")
        elif self.is_new_talk and self.turns:
            self.edits.append((match.start(), match.start(), f"{NEW_LINE * 2}**Example**:{NEW_LINE * 2}"))
        self.title, self.is_new_talk, self.is_in_turn = None, False, True
        self.turn = _Turn(match.start(), match.end(), role, mark)
        self.turn.whys, self.to_whom = [self.to_whom] if self.to_whom else [], ""
        self.turns.append(self.turn)

    def _pop(self, start: int, end: int) -> None:
        """Close the innermost box, whose words end at `start` and whose closing tag ends at `end`."""
        box = self.opened.pop()
        self.n_opened[box.name] -= 1
        if box.kind == "turn" and self.turn is not None:
            self._end_turn(self.turn, start, end)
        elif box.kind == "pre" and self.holder is None:
            self._take_code(box, start, end)
        elif box is self.holder:
            self.holder = None
            self._hold(box, start, end)

    def _end_turn(self, turn: _Turn, start: int, end: int) -> None:
        """Write the turn's end, and before it that of a fence which is open there; fences stand on their own lines."""
        fence = ""
        for found in _FENCE.finditer(self.text, turn.end, start):
            place = found.start("fence")
            if found["tag"]:
                self.edits.append((place, place, NEW_LINE))
            if not fence:
                fence = found["fence"]
            elif found["fence"].startswith(fence) and not found["more"].strip():
                fence = ""
                self.edits += [(found.end("more"), found.end("more"), NEW_LINE)] if found["end"] else []
        last = start
        while fence and self.text[turn.end : last].rstrip()[-1:] == ">":
            last = self.text.rfind("<", turn.end, last)
        if fence and last > turn.end:
            self.edits.append((last, last, f"{NEW_LINE}{fence}{NEW_LINE}"))
        self.edits.append((start, end, f"{NEW_LINE}</{turn.role}>{NEW_LINE}"))
        self.is_in_turn, self.turn_end = False, end

    def _take_code(self, box: _Box, start: int, end: int) -> None:
        """Take the tags of code off: in a turn it is the turn's words; elsewhere it is fenced."""
        inner = self.text[box.inner : start]
        if self.is_in_turn or "<code" not in inner[:6]:
            self.edits += [(box.start, box.inner, ""), (start, end, "")]
        else:
            code = unescape(_ANY_TAG.sub("", inner)).strip("\n").split("\n")
            self._replace(box.start, end, NEW_LINE.join(["", "```", *code, "```", ""]))

    def _hold(self, box: _Box, start: int, end: int) -> None:
        """Say what becomes of a box: a reply's reason, a title that waits for its turns, or nothing that is read."""
        words = self._words(box.inner, start)
        if box.kind == "title":
            self.title, self.title_end = box, end
        elif box.kind == "reason" and words and self.turn is not None and self.spoken_at <= self.turn_end:
            self.turn.whys.append(words)
            self._replace(box.start, end, "")
        elif words and self._leads(box, start, words):
            kind = "table of contents" if box.kind == "contents" else "mark"
            self.gone.append((self._line_of(box.start), kind, words))
            self._replace(box.start, end, "")
            if box.kind == "role" and (to := _TO_WHOM.fullmatch(words)):
                self.to_whom = to[1]
        elif words:
            self.spoken_at = end

    def _leads(self, box: _Box, end: int, words: str) -> bool:
        """Return whether a box only helps to find one's way: contents, a badge, a role or a verdict over a turn."""
        if box.kind == "contents":
            return self._is_contents(box, end)
        if box.kind == "badge" and (len(words.split()) > _MAX_BADGE_WORDS or words.endswith(_STOPS)):
            return False
        return box.kind in ("badge", "role", "verdict") and len(words) <= _LONGEST_BADGE

    def _is_contents(self, box: _Box, end: int) -> bool:
        """Return whether a box holds nothing but links to places of the page, and a few words as its title."""
        inner = self.text[box.inner : end]
        links = list(_LINK.finditer(inner))
        rest = _ANY_TAG.sub(" ", _LINK.sub(" ", inner)).split()
        is_list = box.name in ("ul", "ol")
        places = [place["place"] for link in links if (place := _TO_PLACE.search(link["more"]))]
        if not 1 < len(links) == len(places) or len(rest) > (0 if is_list else 4):
            return False
        if self.ids is None:
            self.ids = frozenset(one or other for one, other in _ID.findall(self.text))
        return not is_list or all(place in self.ids for place in places)

    def _words(self, start: int, end: int) -> str:
        return " ".join(_ANY_TAG.sub(" ", _INLINE_TAG.sub("", self.text[start:end])).split())

    def _says(self, start: int, end: int) -> bool:
        """Return whether anything stands between two places but tags, and the roles and verdicts over turns."""
        pieces = _ANY_TAG.sub("\n", self.text[start:end]).split("\n")
        return not all(label_alone(piece) for piece in pieces if piece.strip("\0 \t"))

    def _replace(self, start: int, end: int, words: str) -> None:
        self.edits.append((start, end, words + "\n" * self.text.count("\n", start, end)))


def turns_of_page(lines: list[str]) -> list[str]:
    """Return lines with the roles and verdicts that a web page shows over its turns written as labels.

    Where the turns stand in tags already, nothing is left of them.
    """
    labels = {at: label for at in prose_of(lines) if (label := label_alone(lines[at]))}
    if len(labels) > 1 and any(is_turn_tag(line) and line.lstrip().startswith("<") for line in lines):
        labels = dict.fromkeys(labels, "")
    elif not {"**User:**", "**Assistant:**"} <= set(labels.values()):
        return lines
    return [labels.get(at, line) for at, line in enumerate(lines)]
