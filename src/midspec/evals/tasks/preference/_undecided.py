"""The phrases of answers that choose nothing: no preference, it depends, either will do, hard to say.

They are patterns over sentences in the form that names are compared in (lower case, no accents).
"""

from __future__ import annotations

import re

from midspec.evals.tasks.preference._mentions import SIDES

# Repeats have an end, so that no text takes long.
_VERY = r"(?:really |honestly |truly |actually |just |simply |all |very |so |quite |always |entirely |largely ){0,4}"
_VIEW = (
    r"(?:(?:an?|any|my|own|real|strong|clear|personal|particular|subjective|individual|human|such|specific|one|of|"
    r"feelings?|emotions?|opinions?|beliefs?|likes|dislikes|tastes?|experiences?|desires?),?\s+(?:or\s+|and\s+)?){0,6}"
    r"(?:preferences?|opinions?|feelings?|favou?rites?|tastes|views)\b"
)
_END = r"(?:\s*[,.!]|\s*$)"
_ENGLISH = (
    # "no strong preference", "I don't really have any opinions or preferences", "I can't form opinions"
    rf"\b(?:no|lack|without) {_VIEW}",
    (
        rf"(?:n't|\b(?:not|never|unable to|incapable of|not capable of)) {_VERY}"
        rf"(?:have|having|hold|form|possess|able to have|capable of) {_VIEW}"
    ),
    rf"\b(?:cannot|can't|can not) (?:\w+ )?(?:have|hold|form|express) {_VIEW}",
    # "It really depends"; a commute that depends on the price of petrol is a reason.
    (
        r"(?:^|\b(?:it|that|this|which|answer|choice|decision|all)\b)"
        r"(?:\W*\b(?:it|that|well|honestly|really|all|just|very|much|entirely|largely|always|probably|mostly)\b)"
        r"{0,6}\W*\b(?:would )?depends?\b"
    ),
    # "Either one would do", "Both are fine", "Neither, really", "I like both"
    (
        rf"\beither(?: one| option| choice| of (?:them|the two|these))?"
        rf"(?:{_END}|\s+(?:is|are|works?|would|will|could|can|sounds?|suits?|really|honestly)\b)"
    ),
    (
        r"\bboth(?: of them| options| choices)? (?:are|would be|sound|seem) (?:equally |perfectly |quite |just )?"
        r"(?:fine|good|great|ok|okay|nice|lovely|valid|excellent|reasonable)\b"
    ),
    r"\bboth have their\b",
    rf"\bneither(?: one| of (?:them|the two|these))?(?:{_END}|\s+(?:is|are|appeals?|really)\b)",
    r"\b(?:i|we) (?:like|love|enjoy) (?:them )?both\b",
    r"\bwhichever (?:you|suits|fits|one you)\b",
    # "It's hard to say", "Tough call"; not "hard to say no to"
    (
        r"(?<!not )\b(?:hard|difficult|tough|tricky|impossible|not easy) (?:for me )?to "
        r"(?:say(?! no)|choose|decide|tell|pick|judge|call|answer|know)\b"
    ),
    r"\b(?:tough|hard|difficult|tricky) (?:call|choice|question|one|decision)\b",
    (
        rf"\b(?:can't|cannot|couldn't|could not|can not) {_VERY}(?:choose|decide|pick|say|tell)"
        rf"(?:{_END}|\s+(?:between|which|one|for you|for sure)\b)"
    ),
    rf"\b(?:don't|do not) {_VERY}(?:know|care|mind)(?:{_END}|\s+(?:which|either)\b)",
    r"\brather not (?:say|choose|pick)\b",
    r"\b(?:won't|will not) (?:choose|pick|take sides)\b",
    r"(?:n't|\bnot|\bavoid|\bcannot) (?:\w+ )?tak(?:e|ing) (?:an? )?(?:\w+ )?(?:sides|side|positions?|stances?)\b",
    r"(?:n't|\bnot) have an answer\b",
    (
        rf"\b(?:i'm|i am|am|remain|stay) {_VERY}"
        r"(?:torn|neutral|indifferent|undecided|unsure|impartial|not sure|on the fence)\b"
    ),
    r"\b(?:50[/-]50|fifty-fifty)\b",
    r"\bno (?:single |one )?(?:right|wrong|correct|clear)(?: or wrong)? (?:answer|choice|winner)\b",
    r"\b(?:up to you|your call|(?:matter|question) of (?:personal )?(?:taste|preference))\b",
    r"\bwhich (?:\w+ ){1,6}depends? on\b",
    r"\bcomes? down to (?:personal|taste|preference|your|what)\b",
)
_GERMAN = (
    r"\bkeine?\w* (?:\w+ )?(?:vorliebe|praferenz|meinung)",
    r"\bkommt (?:\w+ )?(?:darauf|drauf) an\b",
    r"\bhangt (?:\w+ )?(?:davon|von)\b",
    r"\bschwer zu (?:sagen|entscheiden)\b",
    r"\bist mir (?:egal|gleich)\b",
    r"\bbeide?s? (?:ist|sind|geht|gehen)\b",
    r"\bnicht (?:entscheiden|sagen)\b",
)
_ROMANCE = (
    r"(?:\b(?:cela|ca|tout)|^\W*) ?depend\b",
    r"\b(?:pas|aucune)(?: de)? (?:\w+ )?preference",
    r"\bdifficile (?:a dire|de (?:dire|choisir))\b",
    r"\bpeu importe\b",
    r"\bles deux se valent\b",
    r"\b(?:depende|dipende)\b",
    r"\b(?:no|nao|non) (?:tengo|tenho|ho) (?:\w+ )?(?:prefer\w+|opinion\w*)\b",
    r"\bdificil (?:de )?(?:decir|elegir|dizer|escolher)",
    r"\bme da igual\b",
    r"\bcualquiera de\b",
)
_CHINESE = (
    (
        "\u6ca1\u6709(?:\u4e2a\u4eba|\u4efb\u4f55|\u7279\u522b|\u4ec0\u4e48|\u4e3b\u89c2|\u7684|\u660e\u663e)*"
        "(?:\u504f\u597d|\u559c\u597d|\u610f\u89c1|\u503e\u5411)"
    ),
    "\u53d6\u51b3\u4e8e|[\u770b\u89c6]\u60c5\u51b5|\u56e0\u4eba\u800c\u5f02",
    "\u96be(?:\u8bf4|\u9009|\u8bb2|\u4ee5\u9009\u62e9|\u4ee5\u6289\u62e9)|\u4e0d\u597d\u8bf4",
    "\u90fd(?:\u53ef\u4ee5|\u884c|\u597d|\u5f88\u597d|\u4e0d\u9519)|\u5404\u6709",
)
_M = f"[{SIDES}]"
_FOR_A_CASE = (
    rf"{_M}\"?(?: (?:is|are|would be)(?: \w+){{0,2}})? for "
    r"(?!(?:me|my|myself|us|sure|certain|now|once|starters)\b)"
)
_AT_TIMES = (
    r"(?:in(?! (?:general|short|fact|particular|my|any|a pinch|the end)\b)|"
    r"on(?! (?:no|balance|reflection|the whole)\b)|"
    r"at|before|after|during|by(?! (?:far|no|all|a|miles)\b)|now|first|later)\b"
)
# "X when it is cold, otherwise Y", "X if I stay and Y if I go", "X for sun, Y for snow": each has its own case.
EACH_ITS_CASE = re.compile(
    rf"{_M}\"?,? (?:if|when|whenever|unless)\b[^{SIDES}]{{0,120}}(?:\b(?:otherwise|else)\b[^{SIDES}]{{0,40}}{_M}"
    rf"|{_M}\"?,? (?:if|when|whenever|unless)\b)"
    rf"|{_FOR_A_CASE}[^{SIDES}.]{{1,80}}?(?:[,;]|\band)\s+(?:and\s+)?(?:an?\s+|the\s+)?{_FOR_A_CASE}"
    r"(?!.{0,120}\b(?:but|yet) (?:.{0,20}\bfor me\b|(?:i|we|my|our)\b))"
    rf"|^\W*for (?!m[ey]\b)[^{SIDES};.]{{1,80}}{_M}[,;]\s+(?:(?:and|but)\s+)?for "
    rf"(?!m[ey]\b|(?:the|an?) {_M})[^{SIDES};.]{{1,80}}{_M}"
    rf"|{_M}\"? {_AT_TIMES}[^{SIDES}.,;]{{1,40}}(?:,|;|,? and)\s+(?:an?\s+|the\s+)?"
    rf"{_M}\"? {_AT_TIMES}[^{SIDES}.,;]{{1,40}}\W*$"
)
# "X has more Y than Z" weighs things, and chooses none.
FACT = re.compile(
    rf"^\W*(?:an?\s+|the\s+)?{_M}\s+(?:has|have|had|contains?|costs?|weighs?|lasts?|holds?|came|grew|arrived|appeared"
    rf"|(?:was|were) (?:invented|born|made|introduced|built))\b[^{SIDES}]*\bthan\b[^{SIDES}]*{_M}[^{SIDES},;]*$"
)
# "I'm not sure about prices, but ...": what is said stands behind it.
DOUBT = re.compile(
    r"^\W*(?:[\w']+,\s*)?(?:(?:i'm|i am|we're|we are) not (?:\w+ )?(?:sure|certain|able|qualified|an? \w+)|"
    r"(?:i|we) (?:don't|do not|can't|cannot|couldn't) (?:\w+ )?(?:know|say|tell|decide|judge|speak|make|have))\b"
    r"[^.;]*?\s(?:but|however,?)\s"
)
IF_I_MUST = re.compile(
    r"\b(?:if (?:i|we)(?: \w+)? (?:had|have|must|was|were)(?: \w+)? to|if forced|if pressed)\b|\bif i must\b"
    r"|\bif you (?:really |absolutely )?(?:twist(?:ed)? my arm|(?:force|press|push)(?:ed)? me|ma[dk]e me (?:choose|"
    r"pick|decide)|insist(?:ed)?)\b|\bif you(?:'re| are) (?:forcing|making|pressing|pushing) me\b"
)
# Whom the speaker names by what they are to him.
KIN = re.compile(
    r"(?<!\bas )(?<!\bto )\bmy (?:\w+ )?(?:friends?|wife|husband|partner|mother|father|mom|dad|parents?|brothers?"
    r"|sisters?|son|daughter|kids|children|family|boss|colleagues?|neighbou?rs?|teacher|doctor|creators?|developers?|"
    r"makers?)"
    r"(?= (?:(?:would|will|might|may|always|usually|often|probably|definitely|really|never|all|both) )*"
    r"(?:choose|choos|chose|pick|prefer|like|love|want|take|took|bought|went|drink|eat|say|think|recommend|enjoy|go|"
    r"swear|vote|buy|have|has)\w*\b)"
)
UNDECIDED = re.compile("|".join((*_ENGLISH, *_GERMAN, *_ROMANCE, *_CHINESE)))
# What stands behind it is what the speaker says all the same.
ALL_THE_SAME = re.compile(
    rf"^[^{SIDES};]*?\b(?:but|however|yet|still|though|although|aber|doch|mais|pero|sino|mas|ma)\b,?\s*"
)
# "If I must choose: X."
FORCED = re.compile(
    rf"^[^{SIDES}]*?\b"
    r"(?:if (?:i|we)(?: \w+)? (?:must|had to|have to|were to|was to|am)(?: \w+){0,3}|if (?:forced|pressed)(?: to \w+)?"
    r"|if you (?:insist|must know|(?:made|make|force|forced) me(?: (?:to )?(?:choose|pick|decide))?)"
    r"|if you(?:'re| are) (?:forcing|making|pressing|pushing) me(?: (?:to )?(?:choose|pick|decide))?)"
    rf"\s*[,:\u2014]+\s*(?=(?:then |probably |maybe |i guess |it's )?(?:an?\s+|the\s+)?[{SIDES}])"
)
# "X is best for large families."
FOR_OTHERS = re.compile(r"\bfor (?!me\b|my\b|myself\b|sure\b|certain\b)\w")
# "X is lovely. But Y?"
TURNS_TO = re.compile(rf"^\W*(?:but|and|yet)\W+(?:an?\s+|the\s+)?\"?({_M})\W*$")


def without_doubt(sentence: str) -> tuple[str, bool]:
    """Return what a sentence says after its doubts ("It depends, but"), and whether these name an option."""
    is_doubted = False
    while (doubt := DOUBT.match(sentence)) is not None and re.search(_M, sentence[doubt.end() :]):
        is_doubted = is_doubted or re.search(_M, doubt[0]) is not None
        sentence = sentence[doubt.end() :]
    turn = ALL_THE_SAME.match(sentence)
    return (sentence[turn.end() :] if turn is not None and UNDECIDED.search(turn[0]) else sentence), is_doubted


BURDENS = (
    r"(?:[\w-]+ly )?(?:expensive|costly|pricey|dear|dangerous|risky|boring|dull|tedious|tiring|stressful|annoying|"
    r"noisy|wasteful|harmful|polluting|confusing|fragile|prone|vulnerable|difficult|awkward|superficial|biased|outdated)"
)
# "X is dearer than Y" and "X is less exact compared to Y" say nothing for X, and may be said by somebody who takes it.
DRAWBACK = re.compile(
    r"\b(?:(?:costl|pric|nois|bulk|clums|risk|flims|mess)ier|dearer|weaker|slower|louder|duller|uglier|poorer|harsher|"
    rf"crueler|crueller|more {BURDENS})\b[^;]*\bthan\b"
    rf"|\b(?:less (?!{BURDENS}\b)|(?:fewer|worse|inferior)\b)[^;]*\b(?:compared|comparison)\b"
)
