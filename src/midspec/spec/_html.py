"""Takes HTML out of a line: headings, items, rows and paragraphs become those of Markdown."""

from __future__ import annotations

import re
from collections.abc import Set

from midspec.core.text import word_set
from midspec.spec._examples import mark_of
from midspec.spec._tags import BLOCK_TAGS, KNOWN_TAGS

_TAG = re.compile(r"`[^`\n]*`|<(?P<end>/?)(?P<name>[A-Za-z][\w.-]*)(?:\s[^<>\n]*|/)?>")
_BREAKS = frozenset(f"{BLOCK_TAGS} li dt dd tr summary".split()) - {"br", "img", "source", "input", "label"}
_HOLDERS = word_set("ul ol dl table li dt dd tr")
_ENDS = word_set("p div section article main header footer ul ol dl blockquote table figure details")
_IS_SENTENCE = re.compile(r"[.!?…。！？][\"'”’)\]*_]*$")
_OF_REPLY = "(?:example|sample|reply|response|card|box)"
_MARKED_CLASS = re.compile(
    rf"\bclass\s*=\s*[\"'](?:{_OF_REPLY}[\s-])?(?:(?P<bad>bad|incorrect|wrong|donts?|do-nots?)|good|correct)"
    rf"(?:[\s-]{_OF_REPLY})?[\"']",
    re.IGNORECASE,
)


_LABEL_ALONE = re.compile(r"(?:- )?\*\*(?:Bad|Good) reply:\*\* ")


class _Cut:
    """A line that is cut where a block begins or ends; parts that say nothing stay where a block ended."""

    def __init__(self) -> None:
        self.parts = [""]
        self.gaps: set[int] = set()
        self._n_open = 0
        self._summary: int | None = None

    def block(self, name: str, tag: str, *, is_end: bool) -> None:
        if name == "summary" and is_end and self._summary is not None:
            # `Why` over a text that folds is its label; a whole sentence is a sentence.
            words = self.parts[-1].strip()
            label = [f"**{words}:**", ""] if mark_of(words) else [""]
            self.parts[self._summary :] = self.parts[self._summary :] if _IS_SENTENCE.search(words) else label
        self._summary = len(self.parts) if name == "summary" and not is_end else None
        self.parts[-1] += ":" if name == "dt" and is_end and self.parts[-1][-1:].isalnum() else ""
        if is_end and _LABEL_ALONE.fullmatch(self.parts[-1]):
            self.parts[-1] = ""  # the label of an empty block is of nothing after it
        self.parts += ["- "] if name in ("li", "dt", "tr") and not is_end else [""]
        if marked := _MARKED_CLASS.search(tag):
            self.parts[-1] += f"**{'Bad' if marked['bad'] else 'Good'} reply:** "
        if name in _HOLDERS:
            self._n_open = max(0, self._n_open - 1 if is_end else self._n_open + 1)
        if is_end and not self._n_open and name in _ENDS:  # what follows is no part of it
            self.gaps.add(len(self.parts) - 1)
            self.parts.append("")

    def labelled(self) -> list[str]:
        """Return the parts, where the label of a class stands before the words that it is of, or nowhere."""
        out, label = list[str](), ""
        for part in self.parts:
            if label and not label.startswith("- ") and part.startswith("- ") and part.strip("- "):  # over a list
                out[-1], label = "**Don't:**" if "Bad" in label else "**Do:**", ""
            is_alone = _LABEL_ALONE.fullmatch(part) is not None
            words = f"{label}{part.lstrip('- ')}" if label and part.strip("- ") and not is_alone else part
            label = part if is_alone else "" if part.strip("- ") else label
            out.append("" if is_alone else words)
        return out


def without_tags(line: str, components: Set[str]) -> list[str]:
    """Return a line without HTML: headings, items and paragraphs become those of Markdown, on lines of their own."""
    cut, at = _Cut(), 0
    for match in _TAG.finditer(line):
        name = (match["name"] or "").lower()
        if name not in KNOWN_TAGS and match["name"] not in components:
            continue
        cut.parts[-1] += line[at : match.start()]
        at = match.end()
        if match["name"] in components:
            cut.parts.append("")
        elif name in ("h1", "h2", "h3", "h4", "h5", "h6"):
            cut.parts += [""] if match["end"] else ["", "#" * int(name[1]) + " "]
        elif name in _BREAKS:
            cut.block(name, match[0], is_end=bool(match["end"]))
        elif name in ("td", "th") and not match["end"]:
            cut.parts[-1] += "" if cut.parts[-1].strip() in ("", "-") else "; "
        elif name == "br":
            cut.parts[-1] = cut.parts[-1].rstrip() + " "
    cut.parts[-1] += line[at:]
    if at == 0:
        return [line]
    kept = [part.rstrip() for part in cut.labelled()]
    stay = {0, len(kept) - 1, *cut.gaps}
    return [part for index, part in enumerate(kept) if part.strip(" -#") or index in stay]
