"""What programs keep beside a text, without a mark that all readers know: heads, properties, tags, comments, sources.

Heads of MultiMarkdown and pandoc, of pages of Notion; properties of Logseq and Obsidian; comments of MyST, and of
Google's editor as it exports them; marks of sources that chat programs write.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from midspec.core.text import word_set
from midspec.spec._pasted import prose_of

_ABOUT_FILE = word_set(
    "title subtitle author authors date created updated modified edited published tags keywords revision copyright"
    " affiliation reviewers subject from to cc"
)
# These may be of the assistant too.
_KEYS = _ABOUT_FILE | word_set("status version language lang category categories license email owner owners")
_BESIDE_KEYS = word_set("last by time at on date")
_HEAD_LINE = re.compile(r":?(?P<key>[A-Za-z]+(?: [A-Za-z]+){0,2}):[ \t]+(?P<value>\S.*)")
# `Subject: always short.` is a rule for letters, and no field of one.
_RULE_VALUE = re.compile(
    r".*(?:[a-z]{3}(?<!inc)(?<!ltd)(?<!corp)[.!]|[。！]|\b(?:always|never|must|should|do not|don[’']t)\b.*)\Z",
    re.IGNORECASE,
)
_FEWEST_HEAD_LINES, _MAX_HEAD_LINES = 2, 12
_TITLE_BLOCK = 3  # lines of pandoc's
_HEADING = re.compile(r" {0,3}#[ \t]+\S")
_COMMENT = re.compile(r"%[ \t]+(?!of\b)\S")
_PROPERTY = re.compile(
    r"[ \t]*(?:[-*][ \t]+)?(?:id|collapsed|title|tags?|alias|aliases|type|status|owner|author|created|updated|date"
    r"|public|icon|template|heading|source|reviewed)::[ \t]+\S.*"
)
# `- # of emojis: one` is an item.
_HEADING_IN_ITEM = re.compile(r"\A-[ \t]+(?=#{1,6}[ \t]+[^\sa-z])")
# `@AGENTS.md`: what agents are told to read besides.
_IMPORT = re.compile(
    r"[ \t]*(?:@(?:~?/)?[\w.-]+(?:/[\w.-]+)*\.(?:mdx?|mdc|txt|rst|org|adoc|json|ya?ml|toml|html?|pdf)[ \t]*)+"
)
_TAGS = re.compile(r"#{1,6}[ \t]+tags?:[ \t]*(?:`[^`]+`[ \t,]*)+|(?:#[A-Za-z][\w/-]*[ \t,]*){2,}")
# A fence of MyST around a note, which is text and no code.
_NOTE_FENCE = re.compile(
    r"[ \t]*(?P<fence>`{3,})\{(?:note|tip|hint|important|warning|attention|caution|danger|seealso|admonition)\}[^`\n]*"
)
_FENCE = re.compile(r"[ \t>]*(?P<fence>`{3,}|~{3,})(?P<info>.*)")
_REMARK = re.compile(r"\\?\[(?P<label>[a-z]{1,2})\\?\](?![(:\[])[ \t]*(?P<words>\S.*)")
_MARK = re.compile(r"(?<=[^\s\[\]])\\?\[([a-z]{1,2})\\?\](?![(:\[])")
_SOURCES = re.compile(
    r"【\d+(?::\d+)?†[^【】\n]*】|:?(?:contentReference)?\[oaicite:\d+\](?:\{index=\d+\})?|\ue200[^\ue200\ue201\n]*\ue201"
    r"|\[cite_start\]|\[cite:[ \d,]+\]"
)
Gone = list[tuple[int, str, str]]


def without_editors_lines(lines: list[str]) -> tuple[list[str], Gone, str]:
    """Return lines without what programs keep beside a text, what went (line, kind, words), and the title of a head."""
    gone: Gone = []
    out = _unfenced(lines, gone)
    prose = prose_of(out)

    def leave_out(at: int, kind: str) -> None:
        gone.append((at, kind, out[at].strip()))
        out[at] = "\0"

    title = _head(out, prose, leave_out)
    before = ""
    for at in prose:
        line = out[at]
        if _COMMENT.match(line) and not before.strip("\0 \t"):
            leave_out(at, "comment")
        elif "::" in line and _PROPERTY.fullmatch(line):
            leave_out(at, "property")
        elif "@" in line and _IMPORT.fullmatch(line):
            leave_out(at, "file that is not read")
        elif line[:1] == "#" and _TAGS.fullmatch(line):
            leave_out(at, "tags")
        elif not line.isascii() or "cite" in line:
            gone += [(at, "mark of a source", found[0]) for found in _SOURCES.finditer(line)]
            out[at] = _SOURCES.sub("\0", line)
        out[at] = _HEADING_IN_ITEM.sub("", out[at], count=1)
        before = out[at]
    _remarks(out, prose, gone)
    return out, gone, title


def _unfenced(lines: list[str], gone: Gone) -> list[str]:
    """Return lines without the fences around notes, which are added to `gone`."""
    out, fence, opened = list(lines), "", -1
    for at, line in enumerate(lines):
        found = _FENCE.fullmatch(line) if "```" in line or "~~~" in line else None
        if found is None:
            continue
        if not fence:
            fence, opened = found["fence"], at if _NOTE_FENCE.fullmatch(line) else -1
        elif found["fence"].startswith(fence) and not found["info"].strip():
            if opened >= 0:
                gone += [(one, "mark of a note", lines[one].strip()) for one in (opened, at)]
                out[opened] = out[at] = ""
            fence = ""
    return out


def _head(lines: list[str], prose: list[int], leave_out: Callable[[int, str], None]) -> str:
    """Leave a head without a mark out: at the begin, or right under the first heading; return its title."""
    at = next((at for at in prose if lines[at].strip()), len(lines))
    if at < len(lines) and _HEADING.match(lines[at]):
        at = next((one for one in prose if one > at and lines[one].strip()), len(lines))
    head: list[int] = []
    while at < len(lines) and lines[at].strip() and len(head) <= _MAX_HEAD_LINES:
        head.append(at)
        at += 1
    if not head or not set(head) <= set(prose):
        return ""
    if head[0] == 0 and all(_COMMENT.match(lines[one]) for one in head[:_TITLE_BLOCK]):
        title = lines[0][1:].strip()
        for one in head[:_TITLE_BLOCK]:
            leave_out(one, "front matter")
        return title
    found = [_HEAD_LINE.fullmatch(lines[one].rstrip(" \t\\")) for one in head]
    keys = [line["key"].lower().split() if line is not None else [] for line in found]
    is_head = all(key and set(key) <= _KEYS | _BESIDE_KEYS and set(key) & _KEYS for key in keys)
    if not (_FEWEST_HEAD_LINES <= len(head) <= _MAX_HEAD_LINES and is_head and any(set(k) & _ABOUT_FILE for k in keys)):
        return ""
    if 2 * sum(line is not None and _RULE_VALUE.match(line["value"]) is not None for line in found) >= len(head):
        return ""
    for one in head:
        leave_out(one, "front matter")
    return next((line["value"].strip() for line in found if line is not None and line["key"].lower() == "title"), "")


def _remarks(lines: list[str], prose: list[int], gone: Gone) -> None:
    """Take the comments of Google's editor out, which stand at the end by letters, and their marks in the text."""
    at, found = len(prose) - 1, dict[str, int]()
    while at >= 0 and (not lines[prose[at]].strip("\0 \t") or _REMARK.fullmatch(lines[prose[at]])):
        if remark := _REMARK.fullmatch(lines[prose[at]]):
            found[remark["label"]] = prose[at]
        at -= 1
    if "a" not in found or not set(found) <= {
        mark[1] for one in prose[: at + 1] for mark in _MARK.finditer(lines[one])
    }:
        return
    for one in found.values():
        gone.append((one, "comment", lines[one].strip()))
        lines[one] = "\0"
    for one in prose[: at + 1]:
        if "[" in lines[one]:
            lines[one] = _MARK.sub(lambda mark: "\0" if mark[1] in found else mark[0], lines[one])
