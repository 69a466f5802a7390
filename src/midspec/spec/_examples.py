"""Examples: what a user says with replies that the spec marks as good or bad, read as one unit that keeps the marks.

Five forms are read: turns in tags (`<user>`, `<assistant> <!-- BAD -->`), fenced or not; lines, paragraphs, items or
quotations under labels (`User:`, `Bad response:`, `Assistant (good):`, a tick or a cross); headings that are labels;
columns of a table; talk in a code block. A mark is GOOD, BAD or OK, whatever word of the kind the spec uses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from midspec.core.text import word_set
from midspec.spec._label_words import (
    EITHER,
    MANY,
    MARK_OF,
    NOUNS,
    QUALITY_OF,
    REPLIES,
    ROLE_OF,
    SIGN_OF,
    in_english,
    read_verdict,
)

# Whole labels: the first say what a reply is; the others may begin a rule, and mark replies in pairs only.
_NOT_TO_SAY = (
    r"(?:what )?not to say|(?:do not|don['’]t|never|avoid) say(?:ing)?|instead of saying|counter-?example|anti-?pattern"
)
# `Not recommended:`, `Less ideal response:`.
_GOOD = "|".join(word for word, mark in (MARK_OF | QUALITY_OF).items() if mark == "GOOD")
_NOT_GOOD = rf"(?:not|non|less|least)[ -](?:(?:so|as|very|quite) )?(?:{_GOOD})"
_LABELS = (
    (_NOT_TO_SAY, "BAD", False),
    (rf"{_NOT_GOOD} (?:response|reply|answer|output|completion|example|version)", "BAD", False),
    (rf"{_NOT_GOOD}|not like this", "BAD", True),
    (r"what (?:to|you can) say|say (?:this|instead|this instead)", "GOOD", False),
    (r"do not|don['’]t|never|avoid|not this|instead of|rather than|wrong|fail|failed|no", "BAD", True),
    (r"do|say|prefer|(?:but |like )?this|right|pass|passed|chosen|yes", "GOOD", True),
)
_WHOLE_LABELS = [(re.compile(pattern), mark, is_weak) for pattern, mark, is_weak in _LABELS]
_ONE = r"(?:an? |the |una? |uno |une |eine[rs]? )?"
_BARE_EXAMPLE = re.compile(r"\s*examples?(?:\s+\d{1,3})?\s*")
_SAYS = word_set("says said asks asked writes wrote replies replied answers answered")
_BEFORE_LABEL = re.compile(
    rf"{_ONE}\s*examples?\s+(?:of|de|d['’]|di|für|von)\s+{_ONE}"
    r"|(?:an?|una?|une|eine[rs]?|uma?)\s+(?=\w+\s+(?:example|response|reply|answer)\b)"
)
# In brackets behind a label: what is shown there is not to be done.
_NOT_SO = re.compile(
    r"(?:do not|don['’]t|never|avoid|no hacer|nicht so|so nicht|à éviter|ne pas|evitar|da evitare|не надо|禁止|不要).*",
    re.DOTALL,
)
QUOTE_MARKS = "\"“„«»‘'「『"
_SIGN = rf"(?P<sign>[{''.join(SIGN_OF)}])?\ufe0f?"
_LABEL = re.compile(
    rf"\s*[*_]{{0,3}}{_SIGN}[ \t]*[*_]{{0,3}}(?P<head>[^:：\n]{{0,80}}?)[*_]{{0,3}}[ \t]*[:：][*_]{{0,3}}(?P<body>.*)",
    re.DOTALL,
)
_SIGN_AT_END = re.compile(rf"(?<=[.!?…。！？\"'”’)])[ \t]*([{''.join(SIGN_OF)}])\ufe0f?[ \t]*$")
_MARKED_BODY = re.compile(rf"[(\[]({EITHER})[)\]][ \t]*", re.IGNORECASE)
# `Noted. <- BAD, too dry`
_POINTED = re.compile(
    rf"(?<=\S)[ \t]*(?:<[-=]+|←|⬅)[ \t]*[*_]{{0,2}}(?P<verdict>{EITHER})\b[*_]{{0,2}}[ \t]*[,.:—–-]?[ \t]*"
    r"(?P<why>.*)\Z",
    re.IGNORECASE,
)
# `Instead of: "That is hard." → Use: "Oh, that's rough."`
_TURNED = re.compile(
    r"(?P<bad>[^→\n]+?)[ \t]*(?:→|->|=>|⇒)[ \t]*(?:(?:use|say|try|write|prefer)\b[ \t]*)?[:：]?[ \t]*"
    r"(?P<good>\S[^→\n]*)",
    re.IGNORECASE,
)
# Who answers a user: `Nova: Hello.` A label of a remark is nobody.
_NAME = r"[A-ZÀ-ÞА-Я][\w'’-]{1,20}"
_SPEAKER = re.compile(
    rf"[*_]{{0,3}}(?P<name>{_NAME}(?: {_NAME})?)[*_]{{0,3}}(?:[ \t]*\((?P<how>[^()\n]{{1,40}})\))?[*_]{{0,3}}"
    r"[ \t]*[:：][*_]{0,3}[ \t]*(?P<body>\S.*)",
    re.DOTALL,
)
_NOBODY = word_set(
    "note notes why because reason reasons rationale tip tips warning important explanation goal rule step context "
    "result outcome instead then here remember hint comment analysis summary task input expected correction fix "
    "principle problem issue lesson takeaway scene setting situation background nota achtung hinweis warum grund "
    "remarque pourquoi source sources reference references citation citations quelle quellen fuente fuentes fonte "
    "référence références postscript"
)
# Behind a reply: `Why this works: it asks.`
_REASON = re.compile(
    r"(?:(?:(?<=[.!?…。！？\"”»’)*_]\s)|^[ \t]{0,8})[*_]{0,3}why (?:this|it|that)\b[^:.?!\n]{0,40}"
    r"|^[ \t]{0,8}[*_]{0,3}(?:why|reason|rationale|explanation))[*_]{0,3}[:：][*_]{0,3}(?=\s*\S)",
    re.IGNORECASE | re.MULTILINE,
)
_GOES_ON = re.compile(r"[\"”»“]\s+[^\W\d_]")  # `"closed" on Sundays`
_SIGNS = "".join(SIGN_OF) + "\ufe0f \t"
_SIGNED = re.compile(rf"\s*[*_]{{0,3}}{_SIGN}[ \t]*(?P<body>.*)", re.DOTALL)
_IN_BRACKETS = re.compile(r"(?P<head>[^()（）\[\]]*?)\s*[(（\[](?P<inner>[^()（）\[\]]*)[)）\]]\s*[*_]*\s*")
_EXAMPLE = re.compile(
    r"\s*[*_]{0,3}(?:(?:For )?[Ee]xamples?|EXAMPLES?|Beispiele?|Exemples?|Ejemplos?|Exemplos?|Esempio?|Примеры?"
    r"|示例|例子|예시)"
    r"(?:[ \t]+\d{1,3}|[ \t]*\([^()\n]{0,40}\))?[*_]{0,3}"
    r"[ \t]*[:：—–][*_]{0,3}\s*(?P<title>.*)",
    re.DOTALL,
)
_QUOTE_OR_ITEM = re.compile(r"^(?: {0,3}>[ \t]?)*[ \t]*(?:(?:[-*+•]|\d{1,9}[.)])[ \t]+)?")


class Turn(NamedTuple):
    """One turn of an example; `mark` is empty where there is none, `is_weak` where a sign or one word gives it.

    With `is_many` its label is over several (`Bad replies:`), with `may_head_rules` it may be over rules (`Don't:`).
    `name` is the speaker's, where the label is one and no role.
    """

    role: str
    mark: str
    why: str
    body: str
    is_weak: bool = False
    is_many: bool = False
    may_head_rules: bool = False
    name: str = ""

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
    turn = read_label(f"**{words.strip('*_ :：')}:**")
    return turn.mark if turn and not turn.body and not turn.is_weak else ""


@lru_cache(maxsize=1024)
def mark_of_heading(words: str) -> str:
    """Return the mark that a heading gives what stands under it; behaviour is no reply, and may be ruled on there."""
    named = {MANY.get(word, word) for word in re.findall(r"[\w'’]+", words.lower())} & NOUNS
    return mark_of(words) if not named or named & REPLIES else ""


def label_alone(line: str) -> str:
    """Return the label that a line alone is as a web page shows turns (`User`, `✅ Compliant`), else an empty text."""
    bare = line.strip()
    if not bare or len(bare) > 40 or bare[-1] in ".:!?":
        return ""
    if bare in ("User", "Human", "Assistant", "Developer", "System", "Tool"):
        return f"**{'User' if bare == 'Human' else bare}:**"
    words = [word for word in re.findall(r"[\w'’-]+", bare.lower()) if word not in NOUNS]
    is_mark = len(words) == 1 and words[0] in MARK_OF and bare.lstrip("✅❌ ")[:1].isupper()
    return f"**{bare}:**" if is_mark else ""


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
@lru_cache(maxsize=2048)
def read_label(text: str) -> Turn | None:
    """Read a text that begins with a label of a role or a mark; its body may be empty."""
    found = _LABEL.fullmatch(text[:4000])
    signed = _SIGNED.fullmatch(text)
    sign = SIGN_OF.get(signed["sign"] or "", "") if signed else ""
    if found:
        head = found["head"].strip("*_ \t")
        body = (found["body"] + text[4000:]).strip()
        is_own = bool(body) and (body[0] not in QUOTE_MARKS or _GOES_ON.search(body) is not None)
        if head.lower() in ("yes", "no") and not sign and is_own:
            return None  # who answers, or rules, in own words
        is_strong = bool(sign) or text.lstrip().startswith(("**", "__")) or head.isupper()
        if (turn := _read_head(head, sign, is_strong)) is not None:
            if turn.role == "Assistant" and not turn.mark and (inner := _MARKED_BODY.match(body)):
                turn = turn._replace(mark=MARK_OF[inner[1].lower()])
                body = body[inner.end() :]
            if turn.role == "Assistant" and (pointed := _POINTED.search(body)):
                turn = turn._replace(
                    mark=MARK_OF[pointed["verdict"].lower()], why=turn.why or pointed["why"].strip(" .")
                )
                body = body[: pointed.start()]
            # `Good responses: cite sources.` is a rule; over a list, or before a quotation, the label is over replies.
            if not turn.is_many or not body or body[0] in "\"“‘'«「>":
                return turn._replace(body=body)
    if sign and signed:
        if whole := _whole_label(in_english(signed["body"].strip("*_ \t")), sign):
            return whole
        return Turn("Assistant", sign, "", signed["body"].strip("*_ "), is_weak=True)
    if ends := _SIGN_AT_END.search(text):
        return Turn("Assistant", SIGN_OF[ends[1]], "", text[: ends.start()].strip(), is_weak=True)
    return None


def _read_head(head: str, sign: str, is_strong: bool) -> Turn | None:
    inner = why = ""
    head, *reason = re.split(r"[*_]*\s+[—–]\s+", head, maxsplit=1)
    if brackets := _IN_BRACKETS.fullmatch(head):
        head, inner = brackets["head"].strip("*_ "), brackets["inner"].strip()
    plain = _BEFORE_LABEL.sub("", in_english(head))
    if not inner and (whole := _whole_label(plain.strip(), sign)):
        return whole._replace(why=reason[0].strip() if reason else "")
    words = [word for word in re.findall(r"[\w'’-]+", plain) if not word.isdigit() and word not in _SAYS]
    is_many = len(words) > 1 and words[-1] in MANY
    words[-1:] = [MANY[words[-1]]] if is_many else words[-1:]
    verdict = (read_verdict(inner) or read_verdict(in_english(inner))) if inner else None
    why = verdict[1] if verdict else reason[0].strip() if reason else ""
    if mark := _mark_of_reply(words, inner):
        return Turn("Assistant", mark, why or inner, "", is_many=is_many)
    if verdict and len(words) == 1 and re.fullmatch(r"\{?\w+\}?", head):
        words = ["assistant"]  # `Ada (bad): ...`
    if sign and len(words) == 1 and QUALITY_OF.get(words[0]) == sign:  # `✅ Safe: ...`
        return Turn("Assistant", sign, why, "")
    marks = [MARK_OF[word] for word in words if word in MARK_OF]
    rest = [word for word in words if word not in MARK_OF]
    mark = marks[0] if len(marks) == 1 else verdict[0] if verdict else sign
    if len(marks) > 1 or any(word not in NOUNS and word not in ROLE_OF for word in rest):
        return None
    if marks:
        # `Good: ...` alone may begin any sentence; a noun, bold letters, capitals or a sign make it a label.
        is_weak = not (rest or is_strong)
        return Turn("Assistant", mark, why or inner * (not verdict), "", is_weak=is_weak, is_many=is_many)
    roles = [ROLE_OF[word] for word in rest if word in ROLE_OF]
    rest = [word for word in rest if word != "example"] if roles else rest  # `Example user query:`
    if not roles:
        return Turn("Assistant", mark, why, "") if sign and not words else None
    if mark:
        return Turn("Assistant", mark, why or inner * (not verdict), "")
    return Turn(roles[0], "", inner, "") if len(set(roles)) == 1 and len(roles) == len(rest) else None


def _whole_label(words: str, sign: str) -> Turn | None:
    """Return the reply that a whole label (`don't say`) marks; one behind a sign says the same as the sign."""
    for pattern, mark, is_weak in _WHOLE_LABELS:
        if pattern.fullmatch(words) and sign in ("", mark):
            return Turn("Assistant", mark, "", "", is_weak=is_weak, may_head_rules=is_weak)
    return None


def _mark_of_reply(words: Sequence[str], inner: str) -> str:
    """Return the mark of a named reply with a quality (`Unsafe response`), or of one whose brackets forbid it."""
    if words and set(words) <= REPLIES and _NOT_SO.fullmatch(inner.lower()):
        return "BAD"
    return QUALITY_OF.get(words[0], "") if len(words) == 2 and words[1] in REPLIES else ""


def read_lines(lines: Sequence[str], before: Sequence[Turn] = ()) -> tuple[str | None, list[Turn]]:
    """Read lines that are turns under labels; no turns where the first line is neither a label nor an example's title.

    Args:
        lines: of a block.
        before: the turns before it, which somebody with a name may answer.

    Returns:
        The example's title, if the first line is one, and the turns, with the lines that go on with each.
    """
    title: str | None = None
    turns: list[Turn] = []
    for index, line in enumerate(lines):
        bare = _QUOTE_OR_ITEM.sub("", line) if line.strip() else ""
        if index == 0 and (found := title_of(bare)) is not None:
            title = found
        elif index == 0 and len(lines) > 1 and _BARE_EXAMPLE.fullmatch(in_english(bare.strip("*_ "))):
            title = ""
        elif turn := (read_label(bare) or _spoken(bare, turns or before)) if bare else None:
            turns += _turned(turn)
        elif turns:
            turns[-1] = turns[-1]._replace(body=f"{turns[-1].body}\n{bare}".strip())
        else:
            return None, []
    return title, [with_reason(turn) for turn in turns]


def _spoken(line: str, before: Sequence[Turn]) -> Turn | None:
    """Return the turn of somebody with a name who answers a user, or goes on; it may be the spec's own assistant's."""
    found = _SPEAKER.fullmatch(line) if before and before[-1].body else None
    if found is None or found["name"].lower() in _NOBODY:
        return None
    if before[-1].role != "User" and before[-1].name != found["name"]:
        return None
    return Turn("Assistant", "", found["how"] or "", found["body"], name=found["name"])


def is_named_talk(turns: Sequence[Turn]) -> bool:
    """Return whether somebody with a name speaks twice, which no list of who is who has."""
    names = [turn.name for turn in turns if turn.name]
    return len(names) > len(set(names))


def _turned(turn: Turn) -> list[Turn]:
    """Return the two replies of a line that says what stands in place of what."""
    found = _TURNED.fullmatch(turn.body) if turn.mark == "BAD" else None
    if found is None:
        return [turn]
    return [
        turn._replace(body=found["bad"].strip()),
        Turn("Assistant", "GOOD", "", found["good"].lstrip(_SIGNS).strip()),
    ]


def with_reason(turn: Turn) -> Turn:
    """Return a marked reply without the words behind it that say why it is good or bad: they are its reason."""
    found = _REASON.search(turn.body) if turn.mark else None
    if found is None or not turn.body[: found.start()].strip():
        return turn
    why = ""
    for line in filter(None, map(str.strip, turn.body[found.end() :].split("\n"))):
        between = "; " if why[-1:].isalnum() and line[:1].isupper() else " "
        why += f"{between if why else ''}{_QUOTE_OR_ITEM.sub('', line)}"
    why = ": ".join(filter(None, (turn.why, why.rstrip(". "))))
    return turn._replace(body=turn.body[: found.start()].strip(), why=why)


def spread(turns: Sequence[Turn]) -> list[Turn]:
    """Return turns, where a mark without a reply of its own, or over a talk, is that of the replies under it."""
    out: list[Turn] = []
    mark = why = ""
    for turn in turns:
        inner = read_lines(turn.body.split("\n"))[1] if turn.mark and "\n" in turn.body else []
        if {"User", "Assistant"} <= {one.role for one in inner}:
            out += spread([turn._replace(body=""), *inner])
            mark = ""
        elif turn.mark:
            mark, why = (turn.mark, turn.why) if not turn.body else ("", "")
            out += [turn] if turn.body else []
        elif mark and turn.role == "Assistant":
            out.append(turn._replace(mark=mark, why=turn.why or why))
        else:
            out.append(turn)
    return out


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


def is_quoted_talk(turns: Sequence[Turn]) -> bool:
    """Return whether a user and an assistant talk in quotation marks, which words about the two don't have."""
    return all(turn.body[:1] in QUOTE_MARKS and turn.body for turn in turns)


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
