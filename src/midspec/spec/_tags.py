"""Turns in tags (`<user>`, `<assistant> <!-- BAD -->`, `<bad_response>`), and blocks of code that are talk."""

from __future__ import annotations

import re
from html import unescape
from itertools import groupby

from midspec.spec._examples import Turn, is_example, read_lines, spread
from midspec.spec._label_words import MARK_OF, NOUNS, ROLE_OF, read_verdict

# Of HTML.
_INLINE_TAGS = "a b i u em strong span small big sup sub kbd mark font abbr cite q var samp code ins dfn time wbr tt"
BLOCK_TAGS = "p div section article main header footer aside nav center details ul ol dl blockquote table thead tbody"
BLOCK_TAGS += " tfoot caption figure figcaption picture source img hr br iframe video audio html head body input label"
KNOWN_TAGS = frozenset(f"{_INLINE_TAGS} {BLOCK_TAGS} h1 h2 h3 h4 h5 h6 li dt dd tr td th summary".split())
# Tags around turns that are none themselves.
WRAPPERS = frozenset(
    ["example", "examples", "comparison", "conversation", "dialogue", "dialog", "transcript", "turns", "messages"]
)
# A turn whose tag says in an attribute who speaks: `<message role="user">`.
TURNS = frozenset(["message", "msg", "turn", "utterance"])
_SPEAKERS = ("role", "from", "speaker", "author")
_TAG = re.compile(
    r"<!--(?P<comment>.{0,2000}?)-->|<(?P<end>/?)(?P<name>[A-Za-z][\w-]*)(?P<more>(?:\s[^<>]*)?)>", re.DOTALL
)
_ATTRIBUTE = re.compile(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_INNER_TAG_LINE = re.compile(
    r"^[ \t]*</?(?:settings|untrusted\w*|metadata|context|document|attachment)[^<>\n]*>[ \t]*\n?", re.M
)
# A question, and behind an empty line its answer, which has no label.
_ASKED = re.compile(
    r"\s*[*_]{0,3}(?:question|frage|pregunta|pergunta|domanda|вопрос|问题|質問|질문)[*_]{0,3}[ \t]*[:：][*_]{0,3}"
    r"[ \t]*(?P<question>[^\n]+[?？])[ \t]*\n[ \t]*\n(?P<answer>.*\S)\s*",
    re.IGNORECASE | re.DOTALL,
)
_GAP = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")
_DIFF = re.compile(r"[`~][ \t]*(?:diff|patch)\b", re.IGNORECASE)
# Prose, and no code: `RUN echo "Done."`, `Console.Write("Done.")`.
_SENTENCE = re.compile(
    r"(?![A-Z]{3,}\s)(?!.*(?:\w\(|\s:?==?\s|[;{}]\s*\Z))[\"“'«„]?[^\W\d_a-z]\S*(?:\s+\S+){2,}"
    r"(?<=[.!?…。！？])[\"”’»)*_]*",
    re.DOTALL,
)
_QUOTE = re.compile(r"^(?: {0,3}>[ \t]?)+")


def is_turn_tag(line: str) -> bool:
    """Return whether a line ends in the tag of a turn (`<assistant>`)."""
    found = re.search(r"<([A-Za-z][\w-]*)((?:\s[^<>]*)?)>\s*$", line)
    return found is not None and _role_of_tag(found[1], found[2]) is not None


def opens_turns(line: str) -> str:
    """Return the tag that a line begins with, if it is that of a turn or of an example, else an empty text."""
    found = re.match(r"[ \t]*<([A-Za-z][\w-]*)((?:\s[^<>]*)?)>", line)
    if found is None:
        return ""
    return found[1] if found[1].lower() in WRAPPERS or _role_of_tag(found[1], found[2]) is not None else ""


def wraps_alone(line: str) -> bool:
    """Return whether a line is nothing but the tag around an example or several, or its end."""
    found = re.fullmatch(r"[ \t]*</?([A-Za-z][\w-]*)(?:\s[^<>]*)?>[ \t]*", line) if "<" in line else None
    return found is not None and found[1].lower() in WRAPPERS


def _role_of_tag(name: str, more: str = "") -> tuple[str, str] | None:
    """Return role and mark of a tag: `<user>`, `<assistant>`, `<bad_response>`, `<good>`, `<message role="user">`."""
    if name.lower() in TURNS:
        said = {key.lower(): (double or single).lower() for key, double, single in _ATTRIBUTE.findall(more)}
        speaker = next((ROLE_OF[said[key]] for key in _SPEAKERS if said.get(key) in ROLE_OF), "")
        return (speaker, "") if speaker else None
    words = [word for word in re.split(r"[_-]", name.lower()) if word not in ("turn", "message", "msg")]
    marks = [MARK_OF[word] for word in words if word in MARK_OF]
    rest = [word for word in words if word not in MARK_OF]
    if len(marks) == 1 and all(word in NOUNS for word in rest):
        return "Assistant", marks[0]
    roles = {ROLE_OF.get(word, "") for word in rest}
    return (roles.pop(), "") if len(roles) == 1 and not marks and "" not in roles else None


def read_tags(text: str) -> list[Turn]:
    """Read turns in tags, in order; none where the text holds no user's or assistant's turn."""
    turns: list[Turn] = []
    name = body = last = ""
    start = beside = 0
    for match in _TAG.finditer(text):
        tag = (match["name"] or "").lower()
        if not name:
            turns += _beside(text[beside : match.start()], last)
            beside, last = match.end(), tag if not match["end"] and tag not in WRAPPERS else ""
        if not name and tag and not match["end"] and (role := _role_of_tag(tag, match["more"])):
            name, body, start = tag, "", match.end()
            turns.append(Turn(role[0], role[1], *_of_attributes(match["more"])))
            if turns[-1].body:
                turns[-1] = turns[-1]._replace(mark=turns[-1].body, body="")
        elif name and match["comment"] is not None:
            body += text[start : match.start()]
            start = match.end()
            if (verdict := read_verdict(match["comment"])) and not body.strip():
                turns[-1] = turns[-1]._replace(mark=verdict[0], why=verdict[1])
        elif name and tag == name and match["end"]:
            body += text[start : match.start()]
            turns[-1] = turns[-1]._replace(body=_GAP.sub("\n\n", _INNER_TAG_LINE.sub("", body)).strip())
            name, beside, last = "", match.end(), ""
    if name:
        turns[-1] = turns[-1]._replace(body=(body + text[start:]).strip())
    return turns if {turn.role for turn in turns} & {"User", "Assistant"} else []


def _beside(text: str, tag: str) -> list[Turn]:
    """Return what stands in an example outside its turns, as a note on it; `tag` is the one that it stands in."""
    words = " ".join(text.split())
    return [Turn("Note", "", re.sub(r"[_-]+", " ", tag), words)] if any(map(str.isalnum, words)) else []


def _of_attributes(text: str) -> tuple[str, str]:
    """Return what a tag's attributes say of a turn, and the mark that one of them gives."""
    said, mark = [], ""
    for name, double, single in _ATTRIBUTE.findall(text):
        value = double or single
        if name in ("comment", "note", "why", "reason"):
            said.append(unescape(value))
        elif value.lower() in MARK_OF:
            mark = MARK_OF[value.lower()]
        elif name in ("recipient", "to"):
            said.append(f"to {value}")
    for word in _ATTRIBUTE.sub(" ", text).lower().split():  # `<assistant bad>`, `<assistant quality=bad>`
        mark = MARK_OF.get(word.rpartition("=")[2].strip("/"), mark)
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
    if is_fenced and _DIFF.search(lines[0]):
        return _changed(inside)
    mark = _of_attributes(inside[0])[1] if inside and wraps_alone(inside[0]) else ""
    if turns := read_tags("\n".join(inside)):
        return spread(_marked([turn._replace(body=unescape(turn.body)) for turn in turns], mark))
    if len(inside) > 2 and wraps_alone(inside[0]) and wraps_alone(inside[-1]):
        inside = inside[1:-1]
    title, turns = read_lines(inside)
    turns = _marked(turns, mark)
    if is_fenced and len(turns) == 1 and (asked := _ASKED.fullmatch("\n".join(inside))):
        return [turns[0]._replace(body=asked["question"].strip()), Turn("Assistant", "", "", asked["answer"].strip())]
    return turns if title is None and is_example(turns, is_talk=True) else []


def _changed(lines: list[str]) -> list[Turn]:
    """Return the replies that a diff takes out and puts in their place; none where it is of code."""
    turns: list[Turn] = []
    for sign, run in groupby(filter(str.strip, lines), key=lambda line: line[0]):
        words = " ".join(line[1:].strip() for line in run)
        if sign not in "+-" or not _SENTENCE.fullmatch(words):
            return []
        turns.append(Turn("Assistant", "GOOD" if sign == "+" else "BAD", "", words))
    return turns if len({turn.mark for turn in turns}) > 1 else []


def _marked(turns: list[Turn], mark: str) -> list[Turn]:
    """Return turns whose replies have the mark of the tag around them (`<example type="bad">`) or one of their own."""
    return [turn._replace(mark=turn.mark or mark) if turn.role == "Assistant" else turn for turn in turns]
