"""Which of two options an answer chooses, or that it chooses none.

A choice is what the speaker says of himself ("I'd go with X"), a comparison ("X over Y", "rather than Y, X"), a verdict
("X is the better choice"), or an answer that begins with a name. An option that is denied, weighed against the other,
named in a question or under a condition, or is other people's choice is none. Where sentences choose different options,
there is no choice, unless the speaker corrects himself. An answer that was cut off counts by its finished sentences.

Where nothing of this is said, an answer that names one option in full and the other not at all has chosen it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from midspec.evals.tasks.preference._mentions import FIRST, ITEM, SECOND, SIDES, mark

_M = f"[{SIDES}]"
_ENDS = re.compile(r"(?<=[.!?\u3002\uff01\uff1f\u2026\u0964])[\"')\]]*(?=\s|$|[^\x00-\x7f])|[;\uff1b]|\n+|(?<=\?)\s")
_ABBREVIATION = re.compile(r"(?:\b(?:[a-z]|dr|mr|mrs|ms|st|vs|etc|e\.g|i\.e|no|approx|jr|sr|prof|inc)\.)$")
# Between two names: they are named together, and neither is chosen.
_AND = re.compile(
    r"[\s,/&+)\"]*(?:\b(?:and|or|nor|vs\.?|versus|und|oder|et|ou|y|o|e)\b|[\u548c\u4e0e\u8ddf\u6216\u3084\u304b\u3068]|"
    r"\u8fd8\u662f|\uc640|\uacfc|\uc774\ub098|\ub098|\u0e2b\u0e23\u0e37\u0e2d|\u0e41\u0e25\u0e30)?"
    r"(?:[\s,/&+()\"]|\b(?:an?|the|even|also|then|le|la|der|die|das)\b)*"
)
_UP_TO_4 = r"(?:\s+[\w'-]+){0,4}\s*\"?\s*$"
# Before a name: it is what the other one is preferred to.
_REJECTED = re.compile(
    r"(?:\b(?:over|rather than|instead of|in place of|as opposed to|in preference to|than|beats?|trumps?|"
    r"loses to|and not|but not|statt|anstatt|anstelle|plut\w*t que?|au lieu de|en (?:lugar|vez) de|em vez de|do que|"
    r"invece di|piuttosto che|in plaats van)\b" + _UP_TO_4 + ")"
    r"|>\s*(?:the\s+)?$"
    r"|\b(?:\u0430 \u043d\u0435|\u0432\u043c\u0435\u0441\u0442\u043e|\u0447\u0435\u043c)\s*(?:the\s+)?$"
    r"|(?:\u800c\u4e0d\u662f|\u800c\u975e|\u800c\u4e0d\u9009|\u80dc\u8fc7|\u591a\u8fc7|\u6bd4\u8d77|\u6bd4|\u21d2|"
    r"\u0e21\u0e32\u0e01\u0e01\u0e27\u0e48\u0e32|\u0e41\u0e17\u0e19(?:\u0e17\u0e35\u0e48)?|\u0e44\u0e21\u0e48\u0e43\u0e0a\u0e48)"
    r"\W*$"
)
# "lieber X als Y", "más X que Y"
_THAN = re.compile(
    r"\b(?:lieber|besser|mehr|eher|mas|mejor|plus|mieux|piu|meglio|liever|beter|melhor|mais)\b[^.;]*"
    r"\b(?:als|que|che|dan)\b" + _UP_TO_4
)
# After a name, where particles stand behind it.
_REJECTED_AFTER = re.compile(
    r"^[\"\s]*(?:\u3088\u308a|\u3067\u306f\u306a\u304f|\u3058\u3083\u306a\u304f|\u306e\u4ee3\u308f\u308a|"
    r"\ubcf4\ub2e4|\s*\ub300\uc2e0|(?:\uc774|\uac00)?\s*\uc544\ub2c8)"
)
_LESS = re.compile(r"\b(?:less|worse|fewer|loses|weniger|schlechter|moins|menos|not as|n't as|inferior)\b")
_NEGATION = re.compile(
    r"(?:\b(?:not|never|cannot|nor|neither|avoid|against|dislike|hate|without|except|skip|reject|refuse|nicht|kein\w*|"
    r"pas|jamais|nunca|no(?![,.!:]))\b(?!\s+(?:only|just|mind))|n't\b(?!\s+(?:mind|resist|beat|wait|go wrong|say no)))"
    + _UP_TO_4
    + r"|(?:\u4e0d\u662f|\u4e0d\u9009|\u4e0d\u559c\u6b22|\u4e0d\u8981|\u4e0d\u60f3)\W*$"
)
_DENIED_AFTER = re.compile(
    r"^\"?\s*(?:is|are|was|were|would|will|does|do|did|has|have|sounds?|seems?|can|could)?\s*"
    r"(?:n't|not|never)\b(?!\s+only)|^\s+(?:bores?|(?:is|are|would be|seems?|sounds?) (?:too|worse|boring|out|"
    r"overrated|overpriced|ugly|terrible|awful|horrible|ridiculous|pointless|useless|wasteful)\b)"
)
_EQUAL = re.compile(rf"{_M}[^{SIDES}]*\b(?:no better|n't better|not better|equally|just as|as \w+ as)\b[^{SIDES}]*{_M}")
_CONCEDED = re.compile(
    r"\b(?:used to|would have|was (?:going to|leaning|tempted)|nothing against|"
    r"even if|even though|although|though|while|whereas|despite|in spite of|obwohl)\b[^,;]*$"
)
_PREFER = re.compile(r"\b(?:prefer|preferred|prefers|preferable|superior|pr\w*f\w*re|prefiero|prefiro)\b[^.]*$")
_TO = re.compile(
    rf"^[^{SIDES},;]{{0,30}}?\s(?:to|\u00e0|a)\s+(?:an?\s+|the\s+|la\s+|le\s+|\w+ing\s+(?:an?\s+|the\s+|in\s+)*)?\"?$"
)

_ADVERBS = r"(?:\s+[\w'-]+){0,3}?"
_VERBS = (
    r"(?:choose|chose|chosen|pick(?:ed)?|prefer(?:red)?|select(?:ed)?|opt(?:ed)? for|go(?:ing)? (?:with|for|to)|take|"
    r"favou?r|lean(?:ing)?(?: more)? towards?|recommend|suggest|vote(?: for)?|buy|wear|stay|have|want|like|love|enjoy|"
    r"drink|eat|watch|read|use|say|do|play|visit|drive|own|support|be for|get|order|keep|try|see|live|spend|believe|"
    r"am for|'m for|stick with|settle (?:on|for)|side with|nehme|w\w*hle|nehmen|bevorzuge|choisis|elijo)"
)
_OWN = re.compile(
    rf"(?:\b(?:i|we|ich|je|yo)(?:'d|'ll|'m|'ve)?\b|\b(?:let's|let me)\b){_ADVERBS}\s*\b{_VERBS}\b"
    r"|\b(?:my|the|our)(?:\s+[\w'-]+){0,3}?\s+(?:choice|pick|preference|favou?rite|vote|answer|recommendation|option|"
    r"verdict|decision|winner)\b(?:\s+[\w'-]+){0,3}?\s*(?:is|was|'s|would be|will be|goes to|has to be|must be|:|=)"
    r"|\b(?:final answer|answer|choice|preference|verdict|decision|winner|conclusion)\"?\s*(?:is|[:=])"
    r"|\b(?:i'm|i am) (?:for|in favou?r of|all for)\b|\bgive me\b|\bmake it\b"
    rf"|\bit's (?:definitely |certainly |clearly |just )?(?=(?:an?\s+|the\s+)?{_M})"
    rf"|\bit (?:would|will|must|has to|'d)(?: have to)? be\b|\b(?:so|therefore|hence):?\s+(?=(?:an?\s+|the\s+)?{_M})"
    r"|^\W*(?:so |then |definitely |just |please )*(?:choose|pick|go with|go for|take|opt for)\b"
    r"|(?:\u9009\u62e9?|\u66f4?\u559c\u6b22|\u503e\u5411\u4e8e|\u5b81\u613f|\u60f3\u8981|\u800c\u662f)"
    r"|(?:\u0e40\u0e25\u0e37\u0e2d\u0e01|\u0e0a\u0e2d\u0e1a)"
)
_BESTOWED = re.compile(
    r"^\"?\s*(?:\s+[\w'-]+){0,3}?\s*(?:"
    r"\b(?:it is|for me|wins?|any (?:day|time)|every time|all the way|please|hands down)\b"
    r"|\b(?:is|are|was|would be|will be|remains|sounds|seems|looks|feels|would|might be|has to be)"
    r"(?:\s+[\w'-]+){0,4}?\s+"
    r"(?:better|best|my|preferable|superior|winner|i'd|i would|i prefer|"
    r"more (?:appealing|attractive|enjoyable|practical|sensible|fun|interesting|comfortable|exciting|"
    r"satisfying|meaningful|important|valuable|suitable|desirable|my|to my)|what i|the one|the right|"
    r"the (?:\w+ )?choice|(?:good|great|obvious|clear|ideal|perfect|right|nicer|sensible|wise|safer|smarter) "
    r"(?:choice|option|pick|one))\b"
    r"|(?:\u3092\u9078|\u304c(?:\u3044\u3044|\u597d|\u826f)|\u306b(?:\u6cca|\u3057)|(?:\uc744|\ub97c|\uc774|\uac00)?\s*"
    r"(?:\uc120\ud0dd|\ub354|\uc88b)))"
)
_MIND = re.compile(r"\b(?:i|we|i'd|i'll|i'm|i've|me|my|let's|ich|je|yo)\b")
_OTHERS = re.compile(
    r"\b(?:people|others|some|many|most|"
    r"they (?:say|prefer|choose|would|think|like)|someone|everyone|everybody|users|fans|experts|critics|"
    r"you (?:can|could|might|may|prefer|want|like|choose|need)|one (?:can|could|might|may))\b"
)
_CONDITION = re.compile(
    r"(?<!even )\b(?:if|when|unless|whether|depend\w*|for (?:those|people|someone|anyone)|suppose)\b"
)
_CORRECTS = re.compile(
    r"\b(?:no,? wait|wait|actually|scratch that|on second thoughts?|correction|i mean|sorry)\b|^\W*no\b"
)
_LEAD = re.compile(
    r"^\W*(?:(?:well|hmm*|ok|okay|sure|honestly|definitely|personally|probably|certainly|absolutely|clearly|easily|"
    r"obviously|for me|of the two|of these(?: two)?|i think|i'd say|i guess|in my opinion|as for me|yes|no|oh|ah|so|"
    r"actually|wait|then|rather|maybe|perhaps|answer|option|choice|an?|the|some|my|das|der|die|le|la|ein|eine)\b[\s,:.!]*)*"
    rf"[\"'(\s]*({_M})"
)
_LEAD_GOES_ON = re.compile(
    r"^[\"')]*\s*(?:$|[.!?,:;(\u2014\u3002\uff0c]|because\b|since\b|as\b|for\b|without\b|definitely\b|any\b|every\b|"
    r"please\b|obviously\b|over\b|rather\b|instead\b|not\b|all\b|of course\b|wins?\b|it is\b|person\b)"
)
# "X, in this context, is ...": a sentence about X and no answer.
_IS_ABOUT = re.compile(r"^[\"')]*,[^,.;]{1,40},\s*(?:is|are|was|were|has|have)\b|^,? on the other hand\b")
_ARGUED = re.compile(
    rf"\b(?:i|we)(?:'d| would| must| do)?(?:\s+\w+)?\s+(?:argue|say|think|believe|feel|find)\b(?: that)?"
    rf"[^{SIDES},.]{{0,20}}({_M})\s+(?:is|are|offers?|provides?)\s+(?:[\w'-]+\s+){{0,3}}(?:more|better|the most)\b"
)
_MOST_WORDS = 12  # of an answer in which a shortened name alone is a choice


_State = Literal["stands", "rejected", "denied", "conceded", "listed"]


class _Mention(NamedTuple):
    """A mention: whose, where in its sentence, and what is said of it; "listed" is one named along with the other."""

    side: int
    at: int
    state: _State


class _Said(NamedTuple):
    """What a sentence comes to: the side it chooses, those it names without choosing, and whether it is a doubt."""

    chosen: int | None
    named: frozenset[int]
    denied: frozenset[int]
    is_open: bool
    corrects: bool
    is_item: bool


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
    sentences = list(_sentences(marked.text, is_cut=is_cut))
    said = [_read(sentence) for sentence, _ in sentences]
    choices = [each for each in said if each.chosen is not None]
    # A list weighs the options one by one; what stands outside of it is the choice.
    choices = [each for each in choices if not each.is_item] or choices
    sides = {each.chosen for each in choices}
    if len(sides) == 1:
        return sides.pop()
    if len(sides) > 1:
        last = choices[-1]
        return last.chosen if last.corrects else None
    if is_cut or any(each.is_open for each in said):
        return None
    named = frozenset().union(*(each.named for each in said))
    if len(named) != 1 or named & frozenset().union(*(each.denied for each in said)):
        return None
    [side] = named
    is_short = len(marked.text.split()) <= _MOST_WORDS
    return side if is_short or any(marked.text[at] == SIDES[side] for at in marked.whole) else None


def _sentences(text: str, *, is_cut: bool) -> Iterator[tuple[str, int]]:
    """Yield the sentences of a text and where each begins; of a text that was cut off only the finished ones."""
    start = 0
    for end in _ENDS.finditer(text):
        if _ABBREVIATION.search(text[start : end.start()]) and "\n" not in end[0]:
            continue
        if text[start : end.end()].strip():
            yield text[start : end.end()].strip(), start
        start = end.end()
    if not is_cut and text[start:].strip():
        yield text[start:].strip(), start


def _read(sentence: str) -> _Said:
    nothing = _Said(None, frozenset(), frozenset(), is_open=False, corrects=False, is_item=sentence.startswith(ITEM))
    if not re.search(_M, sentence) or sentence.endswith(("?", "\uff1f")):
        return nothing
    mentions = _mentions(sentence)
    standing = [each for each in mentions if each.state == "stands"]
    sides = {each.side for each in standing}
    denied = frozenset(each.side for each in mentions if each.state == "denied") - sides
    listed = any(each.state == "listed" for each in mentions)
    if _is_others(sentence):
        return nothing._replace(named=frozenset(each.side for each in mentions), is_open=True)
    found = _own_choice(sentence, standing)
    if found is None and not _CONDITION.search(sentence.partition(",")[0] if _MIND.search(sentence) else sentence):
        found = _by_words(sentence, mentions, standing)
    is_open = listed and found is None
    if found is None and _CONDITION.search(sentence) and standing:
        is_open = True
    named = frozenset(sides) if not listed else frozenset((0, 1))
    return nothing._replace(
        chosen=found,
        named=named,
        denied=denied,
        is_open=is_open,
        corrects=_CORRECTS.search(sentence) is not None,
    )


def _mentions(sentence: str) -> list[_Mention]:
    places = [match.start() for match in re.finditer(_M, sentence)]
    found: list[_Mention] = []
    for number, at in enumerate(places):
        side = SIDES.index(sentence[at])
        start = places[number - 1] + 1 if number else 0
        stop = places[number + 1] if number + 1 < len(places) else len(sentence)
        before, after = sentence[start:at], sentence[at + 1 : stop]
        last = found[-1] if found else None
        state: _State = "rejected" if last is not None and _THAN.search(sentence[:at]) else _state(before, after)
        if last is not None and last.side != side and _TO.search(before) and _PREFER.search(sentence[: last.at + 1]):
            state = "rejected"
        if last is not None and state == "rejected" and _LESS.search(sentence[max(0, last.at - 30) : at]):
            found[-1], state = last._replace(state="rejected"), "stands"
        found.append(_Mention(side, at, state))
    if _EQUAL.search(sentence):
        return [each._replace(state="listed") for each in found]
    return _without_lists(sentence, found)


def _state(before: str, after: str) -> _State:
    if _REJECTED.search(before) or _REJECTED_AFTER.search(after):
        return "rejected"
    if _NEGATION.search(before) or _DENIED_AFTER.search(after):
        return "denied"
    return "conceded" if _CONCEDED.search(before) else "stands"


def _without_lists(sentence: str, mentions: list[_Mention]) -> list[_Mention]:
    """Return mentions, of which none stands that is named in one breath with the other option."""
    for number in range(1, len(mentions)):
        one, other = mentions[number - 1 : number + 1]
        is_open = one.state in ("stands", "denied") and other.state == "stands"
        if one.side != other.side and is_open and _joins(sentence, one.at, other.at):
            mentions[number - 1 : number + 1] = [one._replace(state="listed"), other._replace(state="listed")]
    return mentions


def _joins(sentence: str, begin: int, end: int) -> bool:
    between = sentence[begin + 1 : end].strip(" \"'")
    if between in ("", ","):  # "X, Y is too dear" is no list of two
        return not between or not any(char.isalnum() for char in sentence[end + 1 :])
    return _AND.fullmatch(between) is not None


def _is_others(sentence: str) -> bool:
    """Return whether the last who is spoken of before the first name are others than the speaker."""
    before = re.split(_M, sentence, maxsplit=1)[0]
    others = [found.end() for found in _OTHERS.finditer(before)]
    own = [found.end() for found in _MIND.finditer(before)]
    if not others or others[-1] < max(own, default=0):
        return False
    return _MIND.search(sentence) is None


def _own_choice(sentence: str, standing: list[_Mention]) -> int | None:
    """Return what the speaker says to choose: the name behind each of his verbs, where they agree."""
    found: set[int] = set()
    for cue in _OWN.finditer(sentence):
        behind = [each for each in standing if each.at >= cue.end()]
        if not behind:
            continue
        between = sentence[cue.end() : behind[0].at]
        if re.search(rf"{_M}|[.;]|,\s*(?:but|while|although|though)\b|\bif\b|\bbetween\b", between):
            continue
        if re.search(r"\b(?:not|never|cannot|can|could|might|may|used to|was|were)\b|n't\b", cue[0]):
            continue
        head = sentence[: cue.start()]
        if re.search(r"\bif\s*$|\b(?:if|when) you\b[^,]*$", head):
            continue
        found.add(behind[0].side)
    return found.pop() if len(found) == 1 else None


def _by_words(sentence: str, mentions: list[_Mention], standing: list[_Mention]) -> int | None:
    """Return what a sentence without the speaker chooses: by comparison, denial, verdict, or as its first word."""
    sides = {each.side for each in standing}
    if len(sides) == 1 and any(each.side not in sides and each.state in ("rejected", "denied") for each in mentions):
        return sides.pop()
    lead, argued = _lead(sentence, standing), _ARGUED.search(sentence)
    if argued is not None and all(each.at >= argued.start(1) for each in standing):
        return SIDES.index(argued[1])
    given = {each.side for each in standing if _BESTOWED.search(re.split(_M, sentence[each.at + 1 :], maxsplit=1)[0])}
    found = given | ({lead} if lead is not None else set())
    return found.pop() if len(found) == 1 else None


def _lead(sentence: str, standing: list[_Mention]) -> int | None:
    """Return the option that a sentence begins with, where the sentence is not about it but an answer."""
    lead = _LEAD.match(sentence)
    if lead is None or not standing or standing[0].at != lead.start(1):
        return None
    rest = sentence[lead.end() :]
    if _IS_ABOUT.match(rest):
        return None
    return standing[0].side if _LEAD_GOES_ON.match(rest) else None
