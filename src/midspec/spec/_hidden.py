"""What of a file nobody is to read: comments, struck-out words, scripts, parts of a page that are not shown.

One pass of one expression over the text, so that time is linear. Code is left alone. HTML tables become Markdown's on
the way, since their cells may run over lines.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from midspec.core.errors import SpecError
from midspec.spec._examples import read_label
from midspec.spec._label_words import VERDICTS
from midspec.spec._names import NO_NAME
from midspec.spec._pasted import NEW_LINE
from midspec.spec._tags import is_turn_tag

_FENCED = (
    r"^(?: {0,3}>[ \t]?)*[ \t]*(?P<fence>(?P<tick>[`~])(?P=tick){2,})[^`\n]*"
    r"(?:\n(?s:.*?)(?:^[ \t]*(?:>[ \t]*)*(?P=fence)(?P=tick)*[ \t]*$|\Z)|\Z)"
)
_SPAN = r"(?<!`)(?P<span>`+)(?!`)[^\n]{1,1000}?(?<!`)(?P=span)(?!`)"
_HIDDEN = re.compile(
    rf"(?P<code>{_FENCED}|{_SPAN}|\\[<~{{%])"
    r"|<!---?>|<!--(?P<comment>(?s:.*?))(?:--!?>|(?P<open>\Z))"
    r"|(?P<token>(?:<\|" + NO_NAME + r"[\w ]{1,40}\|>(?:(?<=start\|>)(?:system|user|assistant|developer)\b)?)+)"
    r"|\{\{-?[ \t]*(?:/\*[^*]*(?:\*(?!/)[^*]*)*\*/|!--[^-]*(?:-(?!-)[^-]*)*--|![^{}\n]*|[<%][^{}\n]*[>%])[ \t]*-?\}\}"
    r"|\{/\*(?:[^{*]|\{(?!/\*)|\*(?!/\}))*\*/\}|\{#[ \t]+[^{}\n]*#\}|^%%" + NO_NAME + r"[^%]*(?:%(?!%)[^%]*)*%%"
    r"|(?<=[ \t])%%" + NO_NAME + r"[^%\n]+%%"
    r"|\{::comment\}[^{]*(?:\{(?!:)[^{]*)*\{:/(?:comment)?\}|^[ \t]*<\?(?:php|xml|=)(?:[^?<]|\?(?!>)|<(?!\?))*\?>"
    r"|\{%-?[ \t]*comment\b[^%\n]*%\}[^{]*(?:\{(?!%)[^{]*)*\{%-?[ \t]*endcomment[ \t]*-?%\}|\{%"
    + NO_NAME
    + r"[^%{}\n]*%\}"
    r"|\{\{~?(?:[#/^>][ \t]*[\w.@][^{}\n]*|[ \t]*else(?:[ \t]+if\b[^{}\n]*)?[ \t]*)~?\}\}"
    r"|\{>>(?:[^{<]|\{(?!>>)|<(?!<\}))*<<\}|\{--(?:[^{-]|\{(?!--)|-(?!-\}))*--\}"
    r"|\{==(?P<marked>[^{}=]*(?:=(?!=)[^{}=]*)*)==\}"
    r"|<table\b[^<>]*>(?P<table>[^<]*(?:<(?!/?table\b)[^<]*)*)</table[ \t]*>"
    r"|\{\+\+(?P<added>(?:[^{+]|\{(?!\+\+)|\+(?!\+\}))*)\+\+\}|\{~~[^~{}\n]*~>(?P<new>[^~{}\n]*)~~\}"
    r"|(?<!~)~~(?=[^\s~])(?:[^~\n]|\n(?!\s*\n)|~(?!~))+~~(?!~)|(?<![~\w/])~(?=[^\s~\d])[^~\n]{1,300}(?<=\S)~(?![~\w])"
    r"|<(?:!doctype|meta|link|base)\b[^<>\n]*>"
    r"|<(?P<gone>del|s|strike|script|style|svg|template|noscript|head|title|nav)\b[^<>\n]*>"
    r"[^<]*(?:<(?!/?(?P=gone)\b)[^<]*)*</(?P=gone)[ \t]*>"
    r"|<(?P<unseen>[a-z]\w*)\b[^<>\n]*?(?:[ \t]hidden(?=[ \t>=])|display:[ \t]*none|visibility:[ \t]*hidden"
    r"|line-through)[^<>\n]*>[^<]*(?:<(?!/?(?P=unseen)\b)[^<]*)*</(?P=unseen)[ \t]*>",
    re.MULTILINE | re.IGNORECASE,
)
_FIRST_COMMENTS = re.compile(r"\s*(?:<!--[^-]*(?:-(?!->)[^-]*)*-->\s*)+(?=---[ \t]*\n[A-Za-z_])")
_ROW = re.compile(r"<tr\b[^<>]*>([^<]*(?:<(?!/?tr\b)[^<]*)*)", re.IGNORECASE)
_BLOCKS_IN_CELL = re.compile(r"</?(?:p|div|ul|ol|li)\b[^<>]*>", re.IGNORECASE)
# An item of a page, up to what is a block of its own; in code it is none.
_ITEM = re.compile(
    rf"{_FENCED}|{_SPAN}"
    r"|<li\b(?P<more>[^<>]*)>(?P<words>[^<]*(?:<(?!/?(?:li|[uod]l|table|pre|h[1-6]|details)\b)[^<]*)*)",
    re.MULTILINE | re.IGNORECASE,
)
_MARKDOWN_LINE = re.compile(r"^[ \t]*(?:[-*+>#|]|\d{1,9}[.)][ \t]|`{3}|~{3})", re.MULTILINE)
_CELL = re.compile(r"<t[dh]\b[^<>]*>([^<]*(?:<(?!/?t[dhr]\b)[^<]*)*)", re.IGNORECASE)


class Part(NamedTuple):
    """How lines of a spec were read: from `first` to `last`, counted from 1, and their words."""

    first: int
    last: int
    kind: str
    text: str


def without_hidden(text: str, n_before: int, left_out: list[Part], where: str) -> str:
    """Put a zero character where a comment or struck-out words stood; their line ends stay.

    Args:
        text: the text.
        n_before: how many lines of the file stand before it.
        left_out: what is taken out is added to it.
        where: what an error names.

    Raises:
        SpecError: a comment begins and does not end, or stands in another.
    """
    n_lines, counted_to = n_before + 1, 0

    def hide(match: re.Match[str]) -> str:
        nonlocal n_lines, counted_to
        if match["code"] is not None:
            return match[0]
        n_lines += text.count("\n", counted_to, match.start())
        counted_to = match.start()
        if match["table"] is not None:
            return _as_rows(match["table"]) + "\n" * match[0].count("\n")
        if match["open"] is not None:
            hint = "Close it with -->, or put the mark in `code`"
            raise SpecError(f"a comment begins in line {n_lines} and has no end", where=where, hint=hint)
        if "<!--" in (match["comment"] or "") and "-->" in text[match.end() :].partition("<!--")[0]:
            # The inner mark ends the outer comment, whose rest would be read.
            raise SpecError(
                f"the comment in line {n_lines} holds another", where=where, hint="Take the inner <!-- and --> out"
            )
        if (comment := match["comment"]) is not None and VERDICTS.fullmatch(comment.strip()):
            line = text[max(0, match.start() - 2000) : match.start()].rpartition("\n")[2]
            after = text[match.end() : match.end() + 200].split("\n", 1)[0]
            if (marked := _marked(comment, line, after, is_long="\n" in match[0])) is not None:
                return marked or match[0].replace("\n", " ")
        last = n_lines + match[0].count("\n")
        kept = next((match[name] for name in ("added", "new", "marked") if match[name] is not None), "")
        is_mark = match["token"] is not None or match["added"] is not None or match["marked"] is not None
        kind = "comment" if comment is not None else "mark" if is_mark else "struck out"
        left_out.append(Part(n_lines, last, kind, match[0]))
        return kept or "\0" + "\n\0" * match[0].count("\n")

    return _HIDDEN.sub(hide, text)


def with_items_in_lines(text: str) -> str:
    """Return a text whose items of a page (`<li>`) stand in one line each, the last of their lines.

    One that holds blocks of Markdown stays, and so does a tag that a text only names.
    """

    def joined(match: re.Match[str]) -> str:
        words = match["words"]
        if words is None or not words.strip() or _MARKDOWN_LINE.search(words):
            return match[0]
        is_closed = match.string[match.end() : match.end() + 4].lower() == "</li"
        if not is_closed and re.search(r"\n[ \t]*\n", words.strip()):
            return match[0]
        more = " ".join(match["more"].split())
        line = " ".join(_BLOCKS_IN_CELL.sub(" ", words).split())
        return "\n" * match[0].count("\n") + f"<li{f' {more}' if more else ''}>{line}"

    return _ITEM.sub(joined, text) if "<li" in text.lower() else text


def without_first_comments(text: str) -> str:
    """Return a text whose front matter stands behind comments without these; line ends stay."""
    found = _FIRST_COMMENTS.match(text)
    return text if found is None else "\n" * found[0].count("\n") + text[found.end() :]


def _marked(comment: str, before: str, after: str, *, is_long: bool) -> str | None:
    """Return the label that a verdict in a comment is, empty where it stays as it is, `None` where it is only a remark.

    Args:
        comment: its words.
        before: what stands before it in its line.
        after: the same behind it.
        is_long: it runs over lines.
    """
    if is_turn_tag(before):
        return ""
    verdict = VERDICTS.fullmatch(comment.strip())
    if verdict is None or verdict["is_loose"]:  # `OK, moved here` is about the text, unless a reply's tag is before it
        return None
    # `OK (Anna, 3 May)`, `better [v2]` are an editor's, unless they stand behind a label.
    is_remark = verdict["inner"] is not None or (verdict["rule"] and "[#" not in comment)
    if is_remark and read_label(before.lstrip(" \t>-+")) is None:
        return None
    if is_long:
        return ""
    why = verdict["why"] or verdict["inner"] or (verdict["rule"] or "").replace("_", " ")
    label = f"{verdict['verdict'].upper()} reply{f' ({why.strip()})' if why else ''}"
    is_alone = not before.strip(" \t>-*+") and not after.strip()
    return f"**{label}:**" if is_alone else f"\x06{label}\x06"


def _as_rows(html: str) -> str:
    """Write an HTML table as one of Markdown, in one line of the file, so that lines keep their numbers."""
    lines: list[str] = []
    for row in _ROW.findall(html):
        cells = [" ".join(_BLOCKS_IN_CELL.sub(" ", cell).split()).replace("|", "\\|") for cell in _CELL.findall(row)]
        if not lines and not re.search(r"<th\b", row, re.IGNORECASE):
            lines += ["| " * len(cells) + "|", "|---" * len(cells) + "|"]
        lines.append(f"| {' | '.join(cells)} |")
        lines += ["|---" * len(cells) + "|"] if len(lines) == 1 else []
    return NEW_LINE.join(["", *lines, ""])
