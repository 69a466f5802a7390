"""Lists and tables whose marks Markdown does not know, written as its own: circled numbers, arrows, rules in tags.

Items that stay sentences would lose the lead that denies them: `Ada never:` over `→ Share secrets.`
"""

from __future__ import annotations

import re
from itertools import groupby, pairwise

from midspec.spec._data_keys import lead_over
from midspec.spec._denials import denies_itself, lead_of_tag, title_of_tag
from midspec.spec._pasted import NEW_LINE, prose_of
from midspec.spec._tags import KNOWN_TAGS, opens_turns

_ARROWS = "→➔➜➝➞⇒▸▹►▶"
_PICTURES = "🔹🔸🔷🔶💠📌👉⭐✨🟦🟩🔘◆◇❖"
# A mark that begins several lines, by its kind; those that may begin a sentence need a lead before them.
_MARKS = re.compile(
    rf"(?P<circled>[①-⑳❶-❿➀-➓⓵-⓾㊀-㊉])[ \t、.]*|(?P<arrow>[{_ARROWS}]|->|=>)[ \t]+"
    r"|(?P<bar>\|)[ \t]+(?=[^|\n]*\Z)"  # line blocks of reStructuredText
    rf"|(?P<picture>[{_PICTURES}])\ufe0f?(?![{_PICTURES}])[ \t]*"
    r"|(?P<example>\(@\w*\))[ \t]+|(?P<number>[(（](?:\d{1,2}|[一二三四五六七八九十]{1,3})[)）])[ \t]*"
    r"|(?P<dotted>§?\d{1,2}\.\d{1,2}(?:\.\d{1,2})?\.?|§[ ]?\d{1,3}\.?)[ \t]+"
)
_DIGITS = re.compile(r"\d+")
_LED = frozenset(["number", "dotted"])
_WIDE_NUMBER = re.compile(r"[（(][一二三四五六七八九十]")
# `R1: ...`, `SP-02 — ...`: the label stays. `Q1:` and `A1:` are talk.
_LABELLED = re.compile(r"(?![QAU]\d)[A-Z]{1,4}-?\d{1,3}[ \t]*(?:[:：]|[—–-](?=[ \t]))[ \t]*\S")
_LEADS = (":", "：")
_TAGS = (
    "rule|principle|guideline|instruction|item|point|constraint|directive|value|tenet|clause|requirement|policy|norm"
)
_RULE = re.compile(rf"<(?P<tag>{_TAGS})\b(?P<more>[^<>]*)>(?P<words>[^<>\n]+)</(?P=tag)[ \t]*>", re.IGNORECASE)
_FIELD = re.compile(r"(?<![\w-])(\w{1,30})\s*=\s*[\"']([\w -]{1,30})[\"']")
# A line between items, of Llama Guard's policies, say.
_BARE_LEAD = re.compile(
    r"[*_]{0,2}(?=[A-Z])(?i:do(?: not|n[’']t)?|can(?:not| not|[’']t)?|(?:should|must|may)(?: not)?|shouldn[’']t|always"
    r"|never|avoid|(?:not )?allowed)[*_]{0,2}[ \t]*"
)
_AROUND = re.compile(rf"</?(?:{_TAGS}|policie)s?\b[^<>]*>", re.IGNORECASE)
# A tag that may deny the list in it, or the one sentence.
_OPENS = re.compile(r"[ \t]*<(?P<tag>[A-Za-z][\w-]*)>[ \t]*(?:(?P<words>[^<>\n]*\S)[ \t]*</(?P=tag)>[ \t]*)?")
# Forms of an answer, which stay as they are.
_FORMS = re.compile(r"think(?:ing)?|thoughts?|reasoning|scratchpad|analysis|output|result|command|tool", re.IGNORECASE)
_SENTENCE = re.compile(r"(?:\S+\s+){2,}\S*[.!?。！？][\"”’»)*_]*")
_ITEM = re.compile(r"[ \t]*(?:(?:[-*+•]|\d{1,3}[.)])[ \t]+\S|\|)")  # or a row of a table
_GRID = re.compile(r"[ \t]*\+(?:[-:]{2,}\+)+[ \t]*")
_GRID_HEAD = re.compile(r"[ \t]*\+(?:[=:]{2,}\+)+[ \t]*")
_ROW = re.compile(r"[ \t]*\|(?:[^|\n]*\|){2,}[ \t]*")
_OF_DELIMITERS = frozenset("|:-+ \t")
_FEWEST = 2


def with_plain_lists(lines: list[str]) -> list[str]:
    """Return lines whose lists and tables are Markdown's; their number stays."""
    out, prose = list(lines), prose_of(lines)
    for at in prose:
        if out[at].lstrip()[:1] == "<" and (
            rules := [rule for rule in _RULE.finditer(out[at]) if rule["words"].strip()]
        ):
            rest = _AROUND.sub("", _RULE.sub("", out[at]))
            texts = [rule["words"].strip() for rule in rules]
            fields = [{key.lower(): said for key, said in _FIELD.findall(rule["more"])} for rule in rules]
            leads = map(lead_over, fields, texts)
            items = [f"- {lead} {text}" if lead else f"- {text}" for lead, text in zip(leads, texts, strict=True)]
            out[at] = out[at] if rest.strip() else NEW_LINE.join(items)
    for at, following in pairwise(prose):
        if following == at + 1 and _BARE_LEAD.fullmatch(out[at]) and _ITEM.match(out[following]):
            out[at] = f"{NEW_LINE}{out[at].strip()}:{NEW_LINE}"
    _tables(out, prose)
    _items(out, prose)
    _leads_of_tags(out, [at for at in prose if out[at].strip("\0 \t")])
    return out


def _leads_of_tags(lines: list[str], filled: list[int]) -> None:
    """Write the lead that a tag is to the list in it where it denies (`<do_not>`), and those of tags behind such.

    Where an item stands right behind such a list it would be denied with it: then no tag leads.
    """
    leads: dict[int, str] = {}
    was_denied, is_form, is_behind, before, turn = False, False, False, "", ""
    for at, following in pairwise([*filled, filled[-1] if filled else 0]):
        tag, last, before = _OPENS.fullmatch(lines[at]), before, lines[at].rstrip("*_ ")
        is_form = last.endswith(_LEADS) or (is_form and last.lstrip().startswith("<"))
        is_end = before.lstrip().startswith("</")
        is_behind = is_end and (is_behind or lead_of_tag(before.strip("</> \t")) != "")
        if is_behind and _ITEM.match(lines[following]):
            return
        if not turn and (opened := opens_turns(before)) and f"</{opened}>" not in before:
            turn = f"</{opened}>"
        elif turn and turn in before:
            turn = ""
        if (
            turn
            or tag is None
            or tag["tag"].lower() in KNOWN_TAGS
            or _FORMS.fullmatch(tag["tag"])
            or opens_turns(before)
        ):
            continue
        lead = lead_of_tag(tag["tag"])
        if tag["words"]:  # under `Answer in this form:` it stays as it is
            if lead or (_SENTENCE.fullmatch(tag["words"]) and not is_form):
                lead = "" if not lead or denies_itself(tag["words"]) else f"{lead} "
                lines[at] = f"{NEW_LINE}{lead}{tag['words']}{NEW_LINE}"
        elif _ITEM.match(lines[following]) and (lead or was_denied):
            leads[at] = lead or f"{title_of_tag(tag['tag'])}:"
            was_denied = bool(lead)
    for at, lead in leads.items():
        lines[at] += f"{NEW_LINE}{lead}"


def _items(lines: list[str], prose: list[int]) -> None:
    """Write runs of lines that begin with one kind of mark as items."""
    filled = [at for at in prose if lines[at].strip("\0 \t")]
    before = ""
    for kind, run in groupby(filled, key=lambda at: _kind_of(lines[at])):
        run_of = list(run)
        last_line = lines[run_of[-1]]
        above = lines[run_of[0] - 1].rstrip("\0* _") if run_of[0] else ""
        if kind == "bar" and above and not above.endswith(_LEADS):
            kind = ""  # a table of one column, or choices (`answer = yes`, `| no`)
        if kind == "label":  # paragraphs with a label each stay paragraphs
            every = frozenset(run_of)
            run_of = [at for at in run_of if every & {at - 1, at + 1}]
        if kind in _LED:  # 1.1, 1.2, 2.1; `1.5 hours` over `2.5 hours` are amounts
            marks = (_MARKS.match(lines[at].lstrip()) for at in run_of)
            numbers = [list(map(int, _DIGITS.findall(mark[0]))) for mark in marks if mark]
            follows = (
                not now or now[-1] in (1, *(one + 1 for one in last[len(now) - 1 : len(now)]))
                for last, now in pairwise(numbers)
            )
            run_of = run_of if all(follows) else []
        if kind and len(run_of) >= _FEWEST and (kind not in _LED or before.rstrip("*_ ").endswith(_LEADS)):
            for at in run_of:
                indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
                words = lines[at].lstrip()
                mark = None if kind == "label" else _MARKS.match(words)
                lines[at] = f"{indent}- {words[mark.end() :] if mark else words}"
        before = last_line


def _kind_of(line: str) -> str:
    """Return the kind of mark that a line begins with, empty where it is none."""
    words = line.lstrip()
    if _LABELLED.match(words):
        return "label"
    found = _MARKS.match(words)
    if found is None or found.end() == len(words):
        return ""
    # `（一）` is written of lists alone.
    return "wide" if _WIDE_NUMBER.match(words) else str(found.lastgroup)


def _tables(lines: list[str], prose: list[int]) -> None:
    """Write grids of pandoc, and rows without a head, as tables of Markdown."""
    for at in prose:
        if _GRID_HEAD.fullmatch(lines[at]):
            lines[at] = "|" + "---|" * (lines[at].count("+") - 1)
        elif _GRID.fullmatch(lines[at]):
            lines[at] = "\0"
    below_heads = {at for at in prose if "|" in lines[at] and "-" in lines[at] and _OF_DELIMITERS.issuperset(lines[at])}
    for at in below_heads:
        lines[at] = lines[at].replace("+", "|")  # of Org and Emacs
    for is_row, run in groupby(prose, key=lambda at: at in below_heads or _ROW.fullmatch(lines[at]) is not None):
        rows = list(run)
        if is_row and len(rows) >= _FEWEST and below_heads.isdisjoint(rows):
            n_cells = lines[rows[0]].count("|") - 1
            head = NEW_LINE.join(("|" + " |" * n_cells, "|" + "---|" * n_cells))
            lines[rows[0]] = f"{head}{NEW_LINE}{lines[rows[0]]}"
