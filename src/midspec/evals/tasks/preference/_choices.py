"""Which of two options an answer chooses, or that it chooses none.

A choice is what the speaker says of himself ("I'd go with X"), a comparison ("X over Y", "rather than Y, X"), a verdict
("X is the better choice"), or an answer that begins with a name. An option that is denied, weighed against the other,
named in a question or under a condition, or is other people's choice is none. Where sentences choose different options,
there is no choice, unless the speaker corrects himself. An answer that was cut off counts by its finished sentences.

Where nothing of this is said, an answer that names one option in full and the other not at all has chosen it; not so
one that says it has no preference, that it depends, or that it is hard to say.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal, NamedTuple

from midspec.evals.tasks.preference import _phrases as say
from midspec.evals.tasks.preference._mentions import FIRST, ITEM, SECOND, SIDES, mark
from midspec.evals.tasks.preference._sentences import sentences_of
from midspec.evals.tasks.preference._undecided import (
    DRAWBACK,
    EACH_ITS_CASE,
    FACT,
    FOR_OTHERS,
    FORCED,
    IF_I_MUST,
    KIN,
    TURNS_TO,
    UNDECIDED,
    without_doubt,
)

_MAX_WORDS = 12  # of an answer in which a shortened name alone is a choice

_State = Literal["stands", "rejected", "denied", "conceded", "contrasted", "listed"]


class _Mention(NamedTuple):
    """A mention: whose, where in its sentence, and what is said of it.

    "listed" is one named along with the other; "contrasted" stands behind a while or whereas.
    """

    side: int
    at: int
    state: _State


class _Said(NamedTuple):
    """What a sentence comes to: the side it chooses, those it names without choosing, and whether it is a doubt.

    A choice's `weight` is 2 behind "if I had to pick", 0 of what is also liked or called a good choice, else 1.
    """

    chosen: int | None
    named: frozenset[int]
    denied: frozenset[int]
    is_open: bool
    corrects: bool
    is_item: bool
    weight: int = 1


def chosen(
    text: str,
    options: tuple[str, str],
    labels: tuple[str, str] | None = None,
    *,
    is_cut: bool = False,
    first_asked: int | None = None,
    shortened: bool = True,
) -> int | None:
    """Return the index of the option that `text` chooses; `None` where it chooses neither, or that is not clear.

    Args:
        text: an answer, without its reasoning.
        options: the two texts.
        labels: labels that stand for the options, in the very case they were given in.
        is_cut: the answer was cut off: its last sentence counts only where it is finished.
        first_asked: the index of the option that the question named first ("the former"); `None` if that is not known.
        shortened: whether some of an option's words may stand for it.
    """
    marked = mark(text, options, labels=labels, first_asked=first_asked, shortened=shortened)
    if FIRST not in marked.text and SECOND not in marked.text:
        return None
    sentences = list(sentences_of(marked.text, is_cut=is_cut))
    if is_cut and sentences and sentences[-1][0].endswith((":", "\uff1a")):
        sentences.pop()  # what it opens is not there
    is_undecided = any(UNDECIDED.search(sentence) for sentence, _ in sentences)
    said = [_read(sentence, is_undecided=is_undecided) for sentence, _ in sentences]
    choices = [each for each in said if each.chosen is not None]
    # A list weighs the options one by one; what stands outside of it is the choice.
    choices = [each for each in choices if not each.is_item] or choices
    if choices:
        entries = [each for each, (sentence, _) in zip(said, sentences, strict=True) if say.ENTRY.match(sentence)]
        # All are entries of a list, another of which may be the other option in other words.
        is_list = len(entries) > 1 and all(any(each is entry for entry in entries) for each in choices)
        # Of a list that was cut off, the other option may be the next entry.
        return None if is_list or (is_cut and all(each.is_item for each in choices)) else _agreed(choices, said)
    if is_cut or is_undecided or any(each.is_open for each in said):
        return None
    named = frozenset().union(*(each.named for each in said))
    if len(named) != 1 or named & frozenset().union(*(each.denied for each in said)):
        return None
    [side] = named
    is_short = len(marked.text.split()) <= _MAX_WORDS
    return side if is_short or any(marked.text[at] == SIDES[side] for at in marked.whole) else None


def _agreed(choices: list[_Said], said: list[_Said]) -> int | None:
    """Return the option that an answer's choices come to; of choices that disagree those of the most weight."""
    places = [at for at, each in enumerate(said) if any(each is one for one in choices)]
    between = said[places[-2] + 1 : places[-1]] if len(places) > 1 else []
    if choices[-1].corrects or (choices[-1].weight and any(each.corrects and not each.named for each in between)):
        return choices[-1].chosen
    most = max(each.weight for each in choices)
    sides = {each.chosen for each in choices if each.weight == most}
    if len(sides) > 1:
        return None
    [side] = sides
    after = said[places[-1] + 1 :]
    if any(each.corrects and each.named - {side} for each in after):
        return None  # he goes back on it, in words that are not read
    is_rival_named = any(named != side for each in said for named in each.named)
    return None if most == 0 and is_rival_named else side


def _read(sentence: str, *, is_undecided: bool) -> _Said:
    """Return what a sentence comes to; of an answer that is undecided somewhere, praise is no choice."""
    is_item = sentence.startswith(ITEM) or say.HEADING.match(sentence) is not None
    nothing = _Said(None, frozenset(), frozenset(), is_open=False, corrects=False, is_item=is_item)
    if not re.search(say.M, sentence):
        return nothing._replace(corrects=say.TAKES_BACK.search(sentence) is not None)
    if sentence.endswith(("?", "\uff1f")):
        turned = TURNS_TO.match(sentence)
        return nothing if turned is None else nothing._replace(named=frozenset((SIDES.index(turned[1]),)))
    sentence, is_doubted = without_doubt(sentence)
    if (forced := FORCED.match(sentence)) is not None:
        sentence = sentence[forced.end() :]
    mentions = _mentions(sentence)
    standing = [each for each in mentions if each.state == "stands"]
    sides = {each.side for each in standing}
    # "Long rides on X tire me, so X isn't for me": what is said of it last counts.
    last = mentions[-1]
    denied = frozenset(
        each.side for each in mentions if each.state == "denied" and (each is last or each.side not in sides)
    )
    listed = any(each.state == "listed" for each in mentions)
    if (
        _is_others(sentence)
        or EACH_ITS_CASE.search(sentence)
        or (FACT.match(sentence) and not say.MIND.search(sentence))
    ):
        return nothing._replace(named=frozenset(each.side for each in mentions), is_open=True)
    found, weight = _own_choice(sentence, standing)
    topic = say.CHOICE_AS_TOPIC.search(sentence) if found is None else None
    if topic is not None and not say.MIND.search(sentence[: topic.start()]):
        return nothing._replace(named=frozenset((0, 1)), is_open=True)
    if found is None and not say.CONDITION.search(
        sentence.partition(",")[0] if say.MIND.search(sentence) else sentence
    ):
        found, weight = _by_words(sentence, mentions, standing, is_undecided=is_undecided)
        weight = weight if forced is None else 2
    found = _corrected(sentence, standing, found)
    is_open = (listed or is_doubted) and found is None
    if found is None and standing:
        is_open |= any(words.search(sentence) for words in (say.CONDITION, say.DISCLAIMED, DRAWBACK))
    contrasted = frozenset(each.side for each in mentions if each.state == "contrasted")
    named = frozenset(sides) | contrasted if not listed else frozenset((0, 1))
    return nothing._replace(
        chosen=found,
        named=named,
        denied=denied,
        is_open=is_open,
        corrects=say.CORRECTS.search(sentence) is not None,
        weight=weight,
    )


def _mentions(sentence: str) -> list[_Mention]:
    places = [match.start() for match in re.finditer(say.M, sentence)]
    found: list[_Mention] = []
    for number, at in enumerate(places):
        side = SIDES.index(sentence[at])
        start = places[number - 1] + 1 if number else 0
        stop = places[number + 1] if number + 1 < len(places) else len(sentence)
        before, after = sentence[start:at], sentence[at + 1 : stop]
        last = found[-1] if found else None
        state: _State = "rejected" if last is not None and say.THAN.search(sentence[:at]) else _state(before, after)
        if (
            last is not None
            and last.side != side
            and say.TO.search(before)
            and say.PREFER.search(sentence[: last.at + 1])
        ):
            state = "rejected"
        is_less = last is not None and state == "rejected" and say.LESS.search(sentence[max(0, last.at - 30) : at])
        # "I'd choose X, which is less dear than Y" tells why X.
        if (
            last is not None
            and last.state == "stands"
            and (say.BECAUSE.search(before) or say.OWN.search(sentence[: last.at]))
        ):
            is_less = is_less if say.BECAUSE_IT.search(before) is None else None
        if (
            last is not None
            and is_less
            and not (say.DISLIKES.search(sentence[: last.at]) or say.CONCEDED.search(before))
        ):
            found[-1], state = last._replace(state="rejected"), "stands"
        if last is not None and last.side != side and say.NOT_UP_TO.search(before):
            found[-1], state = last._replace(state="rejected"), "stands"
        if last is not None and say.TRADED_FOR.search(before) and say.UNBEATEN.search(sentence[: last.at]):
            state = "rejected"
        if state == "contrasted" and any(each.side != side and each.state == "stands" for each in found):
            state = "stands"  # "X is quick, while Y is cheap" says as much of the one as of the other.
        found.append(_Mention(side, at, state))
    if len(found) > 1 and say.NOT_AS.search(sentence):
        return [found[0]._replace(state="rejected"), *(each._replace(state="stands") for each in found[1:])]
    if say.EQUAL.search(sentence) or (len(found) == 2 and say.COMPARED.search(sentence)):
        return [each._replace(state="listed") for each in found]
    return _without_lists(sentence, found)


def _state(before: str, after: str) -> _State:
    if say.UNBEATEN.search(before):
        return "stands"
    if say.REJECTED.search(before) or say.REJECTED_AFTER.search(after):
        return "rejected"
    if say.NEGATION.search(before) or say.DENIED_AFTER.search(after) or say.UNLIKE.search(before + after):
        return "denied"
    if say.BACK_THEN.search(after) or (say.HAD_CHOSEN.search(before) and say.ANOTHER_TIME.search(before + after)):
        return "conceded"
    if say.WHILE.search(before):
        return "contrasted"
    return "conceded" if say.CONCEDED.search(before) else "stands"


def _without_lists(sentence: str, mentions: list[_Mention]) -> list[_Mention]:
    """Return mentions, of which none stands that is named in one breath with the other option."""
    for number in range(1, len(mentions)):
        one, other = mentions[number - 1 : number + 1]
        is_open = one.state in ("stands", "denied") and other.state == "stands"
        is_open |= one.state == "rejected" and say.OR.fullmatch(sentence, one.at + 1, other.at) is not None
        if one.side != other.side and is_open and _joins(sentence, one.at, other.at):
            mentions[number - 1 : number + 1] = [one._replace(state="listed"), other._replace(state="listed")]
    return mentions


def _joins(sentence: str, begin: int, end: int) -> bool:
    between = re.sub(r"\([^()]*\)", "", sentence[begin + 1 : end]).strip(" \"'")
    # "X, Y is too dear" is no list of two; "the second: X" says two things.
    if between in ("", ",", ":", "(", "\u2014"):
        return not between or not any(char.isalnum() for char in sentence[end + 1 :])
    return say.AND.fullmatch(between) is not None


def _corrected(sentence: str, standing: list[_Mention], found: int | None) -> int | None:
    """Return the choice of a speaker who goes back on what he has just said, else `found`."""
    for one, other in pairwise(standing):
        between, after = sentence[one.at + 1 : other.at], sentence[other.at + 1 :]
        if one.side != other.side and say.GOES_BACK.search(between) and not any(map(str.isalnum, after)):
            found = other.side
        if one.side != other.side and say.CORRECTED.search(between):
            found = standing[-1].side
    return found


def _is_others(sentence: str) -> bool:
    """Return whether the last who is spoken of before the first name are others than the speaker."""
    if say.CONCLUDES.search(sentence):
        return False
    sentence = KIN.sub("someone", sentence)
    before = re.split(say.M, sentence, maxsplit=1)[0]
    others = [found.end() for found in say.OTHERS.finditer(before)]
    own = [found.end() for found in say.MIND.finditer(before)]
    if not others or others[-1] < max(own, default=0):
        return False
    return say.MIND.search(sentence) is None


def _own_choice(sentence: str, standing: list[_Mention]) -> tuple[int | None, int]:
    """Return what the speaker says to choose, the name behind each of his verbs where they agree, and its weight."""
    found: dict[int, str] = {}
    also: set[int] = set()
    for cue in say.OWN.finditer(sentence):
        behind = [each for each in standing if each.at >= cue.end()]
        if not behind or not _is_choice(sentence, cue, sentence[cue.end() : behind[0].at]):
            continue
        side = behind[0].side
        if say.ALSO.search(cue[0]) or say.ALSO_AFTER.search(sentence[behind[0].at + 1 :]):
            also.add(side)
        else:
            found[side] = found.get(side, "") + cue[0] + " "
    if not found:
        return (also.pop(), 0) if len(also) == 1 else (None, 1)
    # Of "I like X, but I also like Y" no preference can be told, of "I like X, but I prefer Y" it can.
    *liked, side = found
    is_preferred = say.PREFERS.search(found[side]) and not any(say.PREFERS.search(found[other]) for other in liked)
    if (liked or also - {side} or say.BUT_ALSO.search(sentence)) and not is_preferred:
        return None, 1
    return side, 2 if IF_I_MUST.search(sentence) else 1


def _is_choice(sentence: str, cue: re.Match[str], between: str) -> bool:
    """Return whether a verb of the speaker reaches the name behind it, and neither is denied nor under a condition."""
    if (
        re.search(rf"{say.M}|[.;]|,\s*(?:but|while|although|though)\b|\bif\b|\b(?:between|both)\b", between)
        or re.search(r"\b(?:not|never|cannot|can|could|might|may|used to|was|were)\b|n't\b", cue[0])
        or say.TELLS.search(between)
        or say.DISCLAIMED.search(cue[0])
        or say.UNREAL_AFTER.match(sentence, cue.end() + len(between) + 1)
        # Only what stands right before it is looked at: a sentence may have thousands.
        or any(found.end() == cue.start() for found in say.DISCLAIMED.finditer(sentence[: cue.end()], cue.start() - 80))
    ):
        return False
    return say.UNREAL.search(IF_I_MUST.sub("", sentence[: cue.start()])) is None


def _by_words(
    sentence: str, mentions: list[_Mention], standing: list[_Mention], *, is_undecided: bool
) -> tuple[int | None, int]:
    """Return what a sentence without the speaker chooses, by comparison, denial, verdict or as its first word."""
    sides = {each.side for each in standing}
    is_compared = any(each.side not in sides and each.state in ("rejected", "denied") for each in mentions)
    if len(sides) == 1 and is_compared and not DRAWBACK.search(sentence[standing[0].at :]):
        return sides.pop(), 1
    lead, argued = _lead(sentence, standing), say.ARGUED.search(sentence)
    if argued is not None and all(each.at >= argued.start(1) for each in standing):
        return SIDES.index(argued[1]), 1
    after = [(each.side, re.split(say.M, sentence[each.at + 1 :], maxsplit=1)[0]) for each in standing]
    if is_undecided:
        after = [(side, rest) for side, rest in after if not FOR_OTHERS.search(rest)]
    found = {side for side, rest in after if say.BESTOWED.search(rest)} | ({lead} if lead is not None else set())
    if found:
        return found.pop() if len(found) == 1 else None, 1
    if is_undecided:
        return None, 1
    for pattern, weight in ((say.QUALITY, 1), (say.GOOD, 0)):
        found = {side for side, rest in after if pattern.search(rest)}
        if len(found) == 1 and not any(side not in found and say.PRAISED.search(rest) for side, rest in after):
            return found.pop(), weight
    return None, 1


def _lead(sentence: str, standing: list[_Mention]) -> int | None:
    """Return the option that a sentence begins with, where the sentence is not about it but an answer."""
    lead = say.LEAD.match(sentence)
    if lead is None or not standing or standing[0].at != lead.start(1):
        return None
    rest = sentence[lead.end() :]
    if say.IS_ABOUT.match(rest) or say.RATED.match(rest) or say.EXCLAIMED.match(sentence):
        return None
    return standing[0].side if say.LEAD_GOES_ON.match(rest) else None
