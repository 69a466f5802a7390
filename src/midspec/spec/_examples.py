"""Examples: what a user says with replies that the spec marks as good or bad, read as one unit that keeps the marks.

Five forms are read: turns in tags (`<user>`, `<assistant> <!-- BAD -->`), fenced or not; lines, paragraphs, items or
quotations under labels (`User:`, `Bad response:`, `Assistant (good):`, a tick or a cross); headings that are labels;
columns of a table; talk in a code block. A mark is GOOD, BAD or OK, whatever word of the kind the spec uses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from html import unescape
from typing import NamedTuple


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORDS = {
    "GOOD": "good better best great ideal correct right acceptable preferred desired desirable recommended compliant "
    "complies",
    "BAD": "bad worse worst poor wrong incorrect unacceptable undesired undesirable dispreferred discouraged "
    "noncompliant non-compliant violating violates violation rejected harmful",
    "OK": "ok okay borderline mixed",
}
_MARK_OF = {word: mark for mark, words in _WORDS.items() for word in words.split()}
_SIGNS = {"GOOD": "✅☑✔👍🟢", "BAD": "❌✖✗✘👎🚫⛔🔴❎"}
_SIGN_OF = {sign: mark for mark, signs in _SIGNS.items() for sign in signs}
_NOUNS = _words(
    "response reply answer output completion message turn example behavior behaviour version assistant ai model bot "
    "chatbot assistant's model's"
)
_ROLES = {
    "User": "user human customer guest prompt question request query",
    "Developer": "developer operator",
    "System": "system",
    "Tool": "tool function",
    "Assistant": "assistant ai model bot chatbot reply response answer",
}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words.split()}
# The same in other languages, as far as labels of examples need them.
_ENGLISH = {
    foreign: english
    for english, words in {
        "user": "用户 使用者 ユーザー 사용자 utilisateur usuario nutzer benutzer",
        "assistant": "助手 助理 アシスタント 어시스턴트 assistent asistente",
        "reply": "回答 回复 答复 回應 応答 返答 답변 응답 대답 antwort réponse respuesta",
        "good": "好的 良好 正确的 正确 推荐的 良い 正しい 좋은 올바른 gute bonne buena",
        "bad": "不好的 坏的 糟糕的 错误的 错误 悪い 間違った 나쁜 잘못된 schlechte mauvaise mala",
    }.items()
    for foreign in words.split()
}
_FOREIGN = re.compile("|".join(sorted(_ENGLISH, key=len, reverse=True)) + r"|的(?=\s|$)")
_ENGLISH["的"] = ""
_EITHER = "|".join(sorted(map(re.escape, _MARK_OF), key=len, reverse=True))
VERDICTS = re.compile(
    rf"(?P<verdict>{_EITHER})(?:\s+(?:reply|response|example|answer|completion|output|assistant))?"
    r"\s*(?:[:—–-]\s*(?P<why>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_SIGN = rf"(?P<sign>[{''.join(_SIGN_OF)}])?\ufe0f?"
_LABEL = re.compile(
    rf"\s*[*_]{{0,3}}{_SIGN}[ \t]*[*_]{{0,3}}(?P<head>[^:：\n]{{0,80}}?)[*_]{{0,3}}[ \t]*[:：][*_]{{0,3}}(?P<body>.*)",
    re.DOTALL,
)
_SIGNED = re.compile(rf"\s*[*_]{{0,3}}{_SIGN}[ \t]*(?P<body>.*)", re.DOTALL)
_IN_BRACKETS = re.compile(r"(?P<head>[^()\[\]]*?)\s*[(\[](?P<inner>[^()\[\]]*)[)\]]\s*[*_]*\s*")
_EXAMPLE = re.compile(
    r"\s*[*_]{0,3}(?:For )?[Ee]xamples?(?:[ \t]+\d{1,3}|[ \t]*\([^()\n]{0,40}\))?[*_]{0,3}"
    r"[ \t]*[:：—–][*_]{0,3}\s*(?P<title>.*)",
    re.DOTALL,
)
_WRAPPERS = _words("example examples comparison conversation dialogue dialog transcript turns messages")
_TAG = re.compile(
    r"<!--(?P<comment>.{0,2000}?)-->|<(?P<end>/?)(?P<name>[A-Za-z][\w-]*)(?P<more>(?:\s[^<>]*)?)>", re.DOTALL
)
_ATTRIBUTE = re.compile(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_INNER_TAG_LINE = re.compile(
    r"^[ \t]*</?(?:settings|untrusted\w*|metadata|context|document|attachment)[^<>\n]*>[ \t]*\n?", re.M
)
_QUOTE = re.compile(r"^(?: {0,3}>[ \t]?)+")
_QUOTE_OR_ITEM = re.compile(r"^(?: {0,3}>[ \t]?)*[ \t]*(?:(?:[-*+•]|\d{1,9}[.)])[ \t]+)?")


class Turn(NamedTuple):
    """One turn of an example; `mark` is empty where there is none, `is_weak` where a sign or one word gives it."""

    role: str
    mark: str
    why: str
    body: str
    is_weak: bool = False

    @property
    def words(self) -> str:
        """The turn as it stands in a document."""
        head = f"Reply marked {self.mark}" if self.mark else self.role
        return f"{head}{f' ({self.why})' if self.why else ''}: {self.body}"


def example_of(title: str | None, turns: Sequence[Turn]) -> str:
    """Return the one text of an example: its title, and each turn under its role or mark."""
    return "\n".join(([f"Example: {title}"] if title else []) + [turn.words for turn in turns])


@lru_cache(maxsize=1024)
def mark_of(words: str) -> str:
    """Return the mark that a heading or a column's head gives (`❌ Bad reply`), or an empty text."""
    turn = read_label(f"**{words.strip('*_ ')}:**")
    return turn.mark if turn and not turn.body else ""


def example_label(kind: str, title: str) -> str:
    """Return the line that stands for an admonition which is an example or a marked reply, else an empty text."""
    if kind.lower() in ("example", "examples"):
        return f"**Example**: {title}".strip()
    return f"**{title or kind}:**" if mark_of(title or kind) else ""


def title_of(text: str) -> str | None:
    """Return the title of a paragraph that is an example's label, empty where it has none; `None` for others."""
    found = _EXAMPLE.fullmatch(text)
    return found["title"].strip() if found and len(text) <= 600 else None


# Labels ------------------------------------------------------------------------------------------------------------
def read_label(text: str) -> Turn | None:
    """Read a text that begins with a label of a role or a mark; its body may be empty."""
    found = _LABEL.fullmatch(text[:4000])
    signed = _SIGNED.fullmatch(text)
    sign = _SIGN_OF.get(signed["sign"] or "", "") if signed else ""
    if found:
        head = found["head"].strip("*_ \t")
        body = (found["body"] + text[4000:]).strip()
        is_strong = bool(sign) or text.lstrip().startswith(("**", "__")) or head.isupper()
        if (turn := _read_head(head, sign, is_strong)) is not None:
            return turn._replace(body=body)
    if sign and signed:
        return Turn("Assistant", sign, "", signed["body"].strip("*_ "), is_weak=True)
    return None


def _read_head(head: str, sign: str, is_strong: bool) -> Turn | None:
    inner = why = ""
    head, *reason = re.split(r"[*_]*\s+[—–]\s+", head, maxsplit=1)
    if brackets := _IN_BRACKETS.fullmatch(head):
        head, inner = brackets["head"].strip("*_ "), brackets["inner"].strip()
    plain = _FOREIGN.sub(lambda match: f" {_ENGLISH[match[0]]} ", head.lower())
    words = [word for word in re.findall(r"[\w'’-]+", plain) if not word.isdigit()]
    verdict = VERDICTS.fullmatch(inner) if inner else None
    why = (verdict["why"] or "").strip() if verdict else reason[0].strip() if reason else ""
    marks = [_MARK_OF[word] for word in words if word in _MARK_OF]
    rest = [word for word in words if word not in _MARK_OF]
    mark = marks[0] if len(marks) == 1 else _MARK_OF[verdict["verdict"].lower()] if verdict else sign
    if len(marks) > 1 or any(word not in _NOUNS and word not in _ROLE_OF for word in rest):
        return None
    if marks:
        # `Good: ...` alone may begin any sentence; a noun, bold letters, capitals or a sign make it a label.
        return Turn("Assistant", mark, why or inner * (not verdict), "", is_weak=not (rest or is_strong))
    roles = [_ROLE_OF[word] for word in rest if word in _ROLE_OF]
    if not roles:
        return Turn("Assistant", mark, why, "") if sign and not words else None
    if mark:
        return Turn("Assistant", mark, why or inner * (not verdict), "")
    return Turn(roles[0], "", inner, "") if len(rest) == 1 else None


def read_lines(lines: Sequence[str]) -> tuple[str | None, list[Turn]]:
    """Read lines that are turns under labels; no turns where the first line is neither a label nor an example's title.

    Returns:
        The example's title, if the first line is one, and the turns, with the lines that go on with each.
    """
    title: str | None = None
    turns: list[Turn] = []
    for index, line in enumerate(lines):
        bare = _QUOTE_OR_ITEM.sub("", line) if line.strip() else ""
        if index == 0 and (found := title_of(bare)) is not None:
            title = found
        elif turn := read_label(bare) if bare else None:
            turns.append(turn)
        elif turns:
            turns[-1] = turns[-1]._replace(body=f"{turns[-1].body}\n{bare}".strip())
        else:
            return None, []
    return title, turns


def is_example(turns: Sequence[Turn], *, is_talk: bool = False, is_list: bool = False) -> bool:
    """Return whether turns are an example.

    Args:
        turns: in order.
        is_talk: they stand in one block, or under the label of an example: a user who is answered is enough.
        is_list: they are items of a list, in which a tick or a cross alone may mark what to do and what not to.
    """
    roles, marks = {turn.role for turn in turns}, {turn.mark for turn in turns} - {""}
    is_marked = any(turn.mark and not turn.is_weak for turn in turns)
    is_marked |= bool(marks) and ("User" in roles or (not is_list and {"GOOD", "BAD"} <= marks))
    return is_marked or (is_talk and {"User", "Assistant"} <= roles)


# Tags --------------------------------------------------------------------------------------------------------------
def is_turn_tag(line: str) -> bool:
    """Return whether a line ends in the tag of a turn (`<assistant>`)."""
    found = re.search(r"<([A-Za-z][\w-]*)(?:\s[^<>]*)?>\s*$", line)
    return found is not None and _role_of_tag(found[1]) is not None


def opens_turns(line: str) -> str:
    """Return the tag that a line begins with, if it is that of a turn or of an example, else an empty text."""
    found = re.match(r"[ \t]*<([A-Za-z][\w-]*)(?:\s[^<>]*)?>", line)
    name = found[1] if found else ""
    return name if name.lower() in _WRAPPERS or (name and _role_of_tag(name) is not None) else ""


def _role_of_tag(name: str) -> tuple[str, str] | None:
    """Return role and mark of a tag: `<user>`, `<assistant>`, `<bad_response>`, `<good>`."""
    words = [word for word in re.split(r"[_-]", name.lower()) if word not in ("turn", "message", "msg")]
    marks = [_MARK_OF[word] for word in words if word in _MARK_OF]
    rest = [word for word in words if word not in _MARK_OF]
    if len(marks) == 1 and all(word in _NOUNS for word in rest):
        return "Assistant", marks[0]
    return (_ROLE_OF[rest[0]], "") if len(rest) == 1 and not marks and rest[0] in _ROLE_OF else None


def read_tags(text: str) -> list[Turn]:
    """Read turns in tags, in order; none where the text holds no user's or assistant's turn."""
    turns: list[Turn] = []
    name = body = ""
    start = 0
    for match in _TAG.finditer(text):
        tag = (match["name"] or "").lower()
        if not name and tag and not match["end"] and (role := _role_of_tag(tag)):
            name, body, start = tag, "", match.end()
            turns.append(Turn(role[0], role[1], *_of_attributes(match["more"])))
            if turns[-1].body:
                turns[-1] = turns[-1]._replace(mark=turns[-1].body, body="")
        elif name and match["comment"] is not None:
            body += text[start : match.start()]
            start = match.end()
            verdict = VERDICTS.fullmatch(match["comment"].strip())
            if verdict and not body.strip():
                why = (verdict["why"] or "").strip()
                turns[-1] = turns[-1]._replace(mark=_MARK_OF[verdict["verdict"].lower()], why=why)
        elif name and tag == name and match["end"]:
            body += text[start : match.start()]
            turns[-1] = turns[-1]._replace(body=_INNER_TAG_LINE.sub("", body).strip())
            name = ""
    if name:
        turns[-1] = turns[-1]._replace(body=(body + text[start:]).strip())
    return turns if {turn.role for turn in turns} & {"User", "Assistant"} else []


def _of_attributes(text: str) -> tuple[str, str]:
    """Return what a tag's attributes say of a turn, and the mark that one of them gives."""
    said, mark = [], ""
    for name, double, single in _ATTRIBUTE.findall(text):
        value = double or single
        if value.lower() in _MARK_OF:
            mark = _MARK_OF[value.lower()]
        elif name in ("comment", "note", "why", "reason"):
            said.append(value)
        elif name in ("recipient", "to"):
            said.append(f"to {value}")
    return "; ".join(said), mark


def read_code(text: str) -> list[Turn]:
    """Read a fenced block (or turns in tags outside one) as turns; none where it is something else."""
    lines = text.split("\n")
    if _QUOTE.match(lines[0]):
        lines = [_QUOTE.sub("", line) for line in lines]
    is_fenced = re.match(r"[ \t>]*(?:`{3,}|~{3,})", lines[0]) is not None
    inside = lines[1:] if is_fenced else lines
    if is_fenced and inside and re.fullmatch(r"[ \t>]*(?:`{3,}|~{3,})[ \t]*", inside[-1]):
        inside = inside[:-1]
    if turns := read_tags("\n".join(inside)):
        return [turn._replace(body=unescape(turn.body)) for turn in turns]
    title, turns = read_lines(inside)
    return turns if title is None and is_example(turns, is_talk=True) else []


def read_row(headers: Sequence[str], cells: Sequence[str]) -> str:
    """Return a table's row as an example, where a column is of bad replies; else an empty text."""
    marks = [mark_of(header) for header in headers]
    if "BAD" not in marks or "BAD" not in [mark for mark, cell in zip(marks, cells, strict=False) if cell]:
        return ""
    turns = [
        Turn(header or "Case", mark, "", cell)
        for header, mark, cell in zip(headers, marks, cells, strict=False)
        if cell
    ]
    return example_of(None, turns)
