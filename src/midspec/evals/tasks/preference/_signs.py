"""What a sign beside an option's name says: a ticked box, a cross, a thumb, a cell of a table, a number of a list.

Names are letters by then (`_mentions.py`). A name that is crossed out is taken out of the answer, one that is ticked
becomes a sentence of its own.
"""

from __future__ import annotations

import re

# An empty box is no choice, whatever else is ticked.
_NO = r"(?:\[ ?\]|\( ?\)|[\u2610\u2b1c\u274c\u2716\u2717\u2718\u274e]|\U0001f6ab|\U0001f44e|\U0001f5d9)"
_YES = r"(?:\[[x\u2713\u2714]\]|\([x\u2713\u2714]\)|[\u2611\u2705\u2713\u2714]|\U0001f44d|\U0001f3c6|\U0001f5f9)"
_VERDICT = re.compile(r"\b(?:verdict|choi[cs]e|choose|chosen|picks?|prefer\w*|winner|selected|answer|decision|mine)\b")
# "Preferred by most", "Answer to fatigue" and "Popular choice" are others' choices, or none.
_OF_OTHERS = re.compile(
    r"\b(?:by|to|for|of|among|who|whose|their|people|most|many|popular|common|usual|typical)\b|'s\b"
)
# "Ranked by price", and rankings that begin with the last
_OF_A_QUALITY = (
    r"\b(?:(?<!most to )least|(?<!best to )worst|(?<!highest to )lowest|ascending|reverse|"
    r"by(?! (?:(?:my |personal )*preference|how much (?:i|we))\b)|cheap\w*|pric\w*|costs?|popular\w*|sales|"
    r"sizes?|speed|age|health\w*|comfort)\b"
)
_ROW = re.compile(r"^[^\w\n]*?\|.*\|[ \t]*$", re.MULTILINE)
_CELL_YES = re.compile(rf"(?:yes|x|winner|chosen|selected|this one|mine|{_YES})[.!]?")
_CELL_NO = re.compile(rf"(?:no|-|loser|rejected|{_NO})?[.!]?")


def heed_signs(text: str, sides: str, item: str) -> str:
    """Return an answer in which names that a sign crosses out are gone, and those that one ticks stand alone.

    Args:
        text: an answer whose mentions are letters.
        sides: the letters.
        item: what a line begins with that is an entry of a list.
    """
    if "|" in text:
        text = _with_verdicts(text, sides)
    # Two lines that say something of the one and of the other weigh them; the choice stands outside of them.
    weighed = re.compile(rf"^(?=(?:(?:an?|the)[ \t]+)?\"?\x01?([{sides}])\"?:[ \t]+\w[^\n]* )", re.MULTILINE)
    if sorted(weighed.findall(text)) == sorted(sides):
        text = weighed.sub(f"{item} ", text)
    # "My ranking:" and a list, of which the first entry is an option's name
    text = re.sub(
        rf"^(?![^\n]{{0,200}}{_OF_A_QUALITY})([^\n]{{0,100}}?)\b(?:rank(?:ing|ed)|order of preference)\b"
        rf"[^\n{sides}]*\n+{item}[ \t]*(?=(?:(?:an?|the)[ \t]+)?\"?\x01?[{sides}]\"?[.;]?[ \t]*\n+{item})",
        r"\1choice: ",
        text,
        flags=re.MULTILINE,
    )
    if re.search(f"{_NO}|{_YES}", text) is None:
        return text
    name = rf"(?:(?:an?|the)[ \t]+)?\"?\x01?[{sides}]\"?"
    label = rf"(?:[{sides}][).][ \t]*)?"
    before = re.compile(rf"{label}(?P<sign>{_NO}|{_YES})[ \t]*(?:[{sides}][).:]?[ \t]+)?(?P<name>{name})")
    goes_on = re.compile(r"[ \t]+(?!(?:because|since|as|over|rather|instead|and|but)\b)[^\W\d_]")
    # Behind a colon a cross may begin a list of faults: only alone on its line is it the name's.
    # Several behind one name are what speaks for and against it.
    only = rf"(?P<sign>{_NO}|{_YES})(?![^{sides}]*?(?:{_NO}|{_YES})[^{sides}]*(?:$|[{sides}]))"
    after = re.compile(rf"(?P<name>{name})(?:[ \t]*|[ \t]*[:\u2014][ \t]*(?=\S+[ \t]*$)){only}")
    is_cross = re.compile(_NO)

    def heeded(found: re.Match[str]) -> str:
        if is_cross.fullmatch(found["sign"]):
            return " "
        # "[tick] X has less sugar than Y": the sentence tells what is chosen, if anything.
        is_bullet = found.re is before and goes_on.match(found.string, found.end()) is not None
        return f"{found['name']} " if is_bullet else f"{found['name']}. "

    lines = []
    for line in text.split("\n"):
        bare = line.lstrip(f"{item} \t\"'")
        lines.append((before if re.match(f"{label}(?:{_NO}|{_YES})", bare) else after).sub(heeded, line))
    return "\n".join(lines)


def _with_verdicts(text: str, sides: str) -> str:
    """Return an answer whose tables' rows say what their cells under "choice" or "verdict" say of the row's name."""
    column: int | None = None
    last = -2

    def heeded(found: re.Match[str]) -> str:
        nonlocal column, last
        cells = [cell.strip(" \t\"'") for cell in found[0].strip().strip("|").split("|")]
        is_head, last = found.start() != last + 1, found.end()
        if is_head:
            titles = [
                at for at, cell in enumerate(cells) if at and _VERDICT.search(cell) and not _OF_OTHERS.search(cell)
            ]
            column = titles[0] if len(titles) == 1 else None
        named = re.fullmatch(rf"(?:(?:an?|the)[ \t]+)?\x01?[{sides}]", cells[0])
        if is_head or named is None or column is None or column >= len(cells):
            return found[0]
        if _CELL_YES.fullmatch(cells[column]):
            return f"{cells[0]}."
        return "" if _CELL_NO.fullmatch(cells[column]) else found[0]

    return _ROW.sub(heeded, text)


_CHOICE_BY_NUMBER = (
    r"\b(?:winner|answer|choice|pick|verdict|preference|choose|select|prefer|go with|go for|vote for)\b"
    r"(?:[ \t]+(?:is|would be))?[ \t]*[:=]?[ \t]*\"?(?:#|number[ \t]+|no\.[ \t]*)?{}(?=\"?[ \t]*(?:[.,;!)](?!\d)|$))"
    # "Answer: 1. X" names it.
    r"(?!\"?[.,:;)]*[ \t]*\"?(?:(?:an?|the)[ \t]+)?\x01?[{}])"
)
_NUMBERS = [re.compile(_CHOICE_BY_NUMBER.format(number, "\ue000\ue001"), re.MULTILINE) for number in (1, 2)]


def heed_numbers(text: str, sides: str, item: str, first_asked: int) -> str:
    """Return an answer in which "My choice: 2" names the second entry of its own list, or else of the question.

    Args:
        text: an answer whose mentions are letters.
        sides: the letters.
        item: what a line begins with that is an entry of a list.
        first_asked: the index of the option that the question named first.
    """
    listed = re.findall(rf"^{item}[ \t]*(?:(?:an?|the)[ \t]+)?\"?\x01?([{sides}])", text, re.MULTILINE)
    order = "".join(listed) if sorted(listed) == sorted(sides) else sides[first_asked] + sides[1 - first_asked]
    for pattern, letter in zip(_NUMBERS, order, strict=True):
        text = pattern.sub(f"choice: {letter}", text)
    return text
