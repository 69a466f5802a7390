"""Where an answer mentions the two options of a pair: in full, shortened, by a label or by their order.

Names are compared in one form: no case, emphasis, mark-up or unseen signs, one kind of hyphen, apostrophe and quotation
mark, accents as they may be left out. What tells the options apart keeps its form: where two options differ by their
accents alone, accents count. A mention is replaced by one letter (`FIRST` or `SECOND`), so that what stands around it
can be read by patterns.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from midspec.core.text import word_set
from midspec.evals._status import UNSEEN, normalize
from midspec.evals.tasks.preference._signs import heed_numbers, heed_signs

FIRST, SECOND = "\ue000", "\ue001"
"""What stands for a mention of the first and of the second option."""

SIDES = FIRST + SECOND
ITEM = "\u2022"
"""What a line begins with that is an entry of a list, or a heading."""

_NOT_OURS = re.compile("[\ue000-\uf8ff]")
_STRUCK = re.compile(r"~~.+?~~|<(s|del|strike)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_WIDE_LETTERS = re.compile("[\uff21-\uff3a\uff41-\uff5a\u24b6-\u24e9]")
_AFTER_LABEL = (
    "or|and|over|rather|instead|because|since|is|was|has|would|will|seems|sounds|looks|feels|wins|than|to|more|better"
)
_NO_LABEL = "".join(rf"(?<!\b{word} )" for word in ("[Vv]itamin", "[Pp]lan", "[Gg]rade", "[Hh]epatitis", "[Aa]ppendix"))
_COMMAND = re.compile(r"\\(?:boxed|text\w*|mathbf|mathrm)\s*\{([^{}]*)\}")
_MARKUP = re.compile(r"</?(?:b|i|u|em|strong|mark|span|code|p|br|q|answer|response|choice|final)\b[^<>]{0,80}>", re.I)
_LINK = re.compile(r"\[([^\[\]]+)\]\([^()\s]*\)")
_EMPHASIS = re.compile(r"[*`]+|(?<![^\W_])_+|_+(?![^\W_])")
_LINE_MARKS = re.compile(
    r"^(?=\*\*[^*\n]+\*\*:?[ \t]*\n)|^[ \t]*"
    r"(?:#{1,6}[ \t]+|>[ \t]*|[-+*\u2022][ \t]+|\d{1,2}[.)][ \t]+|\(?[a-dA-D]\)[ \t]+)+",
    re.MULTILINE,
)
_DASH = re.compile(r"\s*\u2014+\s*|\s+\u2013\s+|\s+-+\s+|\s*-{2,}\s*")
_ARROW = re.compile(r"[ \t]{0,20}(?<![-=])[-=]{1,10}>[ \t]{0,20}|\s*[\u2192\u21d2\u27a1]\ufe0f?\s*")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_LONG_BLANK = re.compile(r"\s{12,}")
_QUOTES = re.compile("[\u201c-\u201f\u00ab\u00bb\u300c-\u300f\u3003\u2039\u203a\u301d-\u301f\u300a\u300b]")
_ACCENTS = re.compile("[\u0300-\u036f]")

_ARTICLE = re.compile(r"^(?:an?|the|ein(?:e[nmrs]?)?|der|die|das|den|une?|les?|la|los|las|el|il)\s+")


# Words that tell nothing about which thing is meant, and may stand between the words of a shortened name.
_FILLERS = word_set(
    "both either neither a an the of in on at to for with without by from and or as is are be it its one's my "
    "your our their his her this that these those i me you he she we they not no than over into up down out off "
    "about between all any some who whom whose which what where when while if but so do does has have had was "
    "were will would should can could may der die das ein eine einen einem einer des dem den und oder le la les "
    "un une de du et el los las y il "
)
_ARTICLES = frozenset(("a", "an", "the"))
# Words that are said of many things: alone they are a mention only behind an article, or before "one".
_COMMON = word_set(
    "new old used big small large little good better best bad long short high low more most less least fewer few "
    "many much every each first second last latest basic own other same great nice real right kind sort type set "
    "pair piece way time day year years thing things people place part made make makes kept keep keeps get go "
    "going take one two three four five ten use using only just even full single whole free common easy hard "
    "should could world being having doing view choose chosen pick prefer preferred select want wants like likes "
    "love loves enjoy say says buy opt recommend rather favour favor choice option because really very too so "
    "well think always never often mostly home house life work idea "
)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
# Scripts whose words are not set apart by spaces, or that hang endings on a name (Korean).
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
# No letter stands beside a whole word, unless it is of such a script: "\u6211\u9009SQLite\u3002".
_BEGINS, _STOPS = f"(?<![^\\W{_UNSPACED}])", f"(?![^\\W{_UNSPACED}])"
_UNSPACED_RUN = re.compile(f"[{_UNSPACED}]+")
_SHORT = 3  # letters, up to which a word may stand in others by chance
_PARTICLES = "的了のをはがにで와과은는이가을를"
_BEFORE_COMMON = re.compile(r"(?:^|\b(?:an?|the|choose|prefer|pick|go for|go with|say|take|das|die|der|le|la)\s)\s*$")
_AFTER_COMMON = re.compile(r"\s*(?:one|option|choice|version|alternative|kind)s?\b")
_FORMER = re.compile(r"\bthe former\b|\b(?:the )?(?:first|1st)(?: (?:one|option|choice|alternative|of the two)\b)")
_LATTER = re.compile(r"\bthe latter\b|\b(?:the )?(?:second|2nd)(?: (?:one|option|choice|alternative|of the two)\b)")
_NONE = rf"[^.!?\n{SIDES}]*"
_OF_TWO = rf"((?:\A|(?<=[.!?\n])){_NONE}([{SIDES}]){_NONE}(?!\2)([{SIDES}]){_NONE})\bthe {{}}\b"
_FORMER_OF, _LATTER_OF = re.compile(_OF_TWO.format("former")), re.compile(_OF_TWO.format("latter"))
_ALONE = r"\bthe {}(?=\s*(?:[.,:;!\"]|$))|\b(?:option|choice) (?:no\. ?)?{}\b"
_FORMER_ALONE = re.compile(_ALONE.format("first", "(?:1|one)"), re.MULTILINE)
_LATTER_ALONE = re.compile(_ALONE.format("second", "(?:2|two)"), re.MULTILINE)
_OTHER = re.compile(r"\bthe other(?: (?:one|option|choice)\b|(?=\s*(?:[.,;!]|$)))", re.MULTILINE)


# "No doubt" does not say no.
_NO_ANSWER = (
    r"(?! (?:doubt|preference|matter|idea|problem|question|longer|one|wonder|strong|particular|clear|real|personal"
    r"|opinion|feelings?|reason|need)\b)"
)
_DENIALS = frozenset(("no", "not", "nein", "non", "nao", "nie", "\u043d\u0435\u0442"))


class Names(NamedTuple):
    """How the two options may be called.

    Attributes:
        whole: a pattern for each option's whole name.
        short: for each option, a pattern for runs of its words; `None` where it has no words of its own.
        own: each option's words that the other one lacks.
        keeps_accents: whether accents tell the options apart.
        keeps_emphasis: the same of signs of emphasis.
    """

    whole: tuple[re.Pattern[str], re.Pattern[str]]
    short: tuple[re.Pattern[str] | None, re.Pattern[str] | None]
    own: tuple[frozenset[str], frozenset[str]]
    keeps_accents: bool
    keeps_emphasis: bool


class Marked(NamedTuple):
    """An answer whose mentions are letters, and the places (from 0) of those that are whole names."""

    text: str
    whole: frozenset[int]


def one_form(text: str, *, keeps_accents: bool = False, keeps_emphasis: bool = False) -> str:
    """Return a text in the form that names are compared in.

    Args:
        text: an answer or an option.
        keeps_accents: accents tell the options apart.
        keeps_emphasis: signs of emphasis tell them apart.
    """
    text = UNSEEN.sub("", _NOT_OURS.sub(" ", text))
    # A model that writes line ends to its limit would take the patterns below minutes.
    text = _LONG_BLANK.sub(lambda found: "\n\n" if "\n" in found[0] else " ", text)
    if not keeps_emphasis:
        text = _without_markup(text)
    text = _QUOTES.sub('"', normalize(_DASH.sub(" \u2014 ", _THOUSANDS.sub("", _ARROW.sub(": ", text)))))
    if not keeps_accents and not text.isascii():
        text = unicodedata.normalize("NFKC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text)))
    return text


def _without_markup(text: str) -> str:
    if "&" in text:
        text = html.unescape(text)
    text = _LINK.sub(r"\1", _MARKUP.sub("", _COMMAND.sub(r"\1", _STRUCK.sub(" ", text))))
    return _EMPHASIS.sub("", _LINE_MARKS.sub(f"{ITEM} ", text))


@lru_cache(maxsize=4096)
def names_of(options: tuple[str, str], *, shortened: bool = True) -> Names:
    """Return how two options may be called.

    Args:
        options: the two texts.
        shortened: whether some of an option's words may stand for it.
    """
    keeps_accents = keeps_emphasis = False
    forms = [one_form(option).strip() for option in options]
    if not all(forms) or forms[0] == forms[1]:
        keeps_accents = True
        forms = [one_form(option, keeps_accents=True).strip() for option in options]
    if not all(forms) or forms[0] == forms[1]:
        keeps_emphasis = True
        forms = [one_form(option, keeps_accents=True, keeps_emphasis=True).strip() for option in options]
    bare = [_ARTICLE.sub("", form) for form in forms]
    # An article stays where it is all that the options are told apart by.
    if not all(bare) or bare[0] == bare[1]:
        bare = forms
    words = [_own_words(bare[at], bare[1 - at]) if shortened else (frozenset[str](), frozenset[str]()) for at in (0, 1)]
    return Names(
        whole=(_whole(bare[0]), _whole(bare[1])),
        short=(_runs(*words[0]), _runs(*words[1])),
        own=(words[0][0], words[1][0]),
        keeps_accents=keeps_accents,
        keeps_emphasis=keeps_emphasis,
    )


def mark(
    text: str, options: tuple[str, str], *, labels: tuple[str, str] | None, first_asked: int | None, shortened: bool
) -> Marked:
    """Replace all mentions of two options in an answer by letters.

    Args:
        text: an answer, without its reasoning.
        options: the two texts.
        labels: that stand for the options, in the very case they were given in.
        first_asked: the index of the option that the question named first; `None` where it is not known.
        shortened: whether some of an option's words may stand for it.
    """
    names = names_of(options, shortened=shortened)
    if labels is not None:
        text = _mark_labels(text, labels, options)
    # The letters of labels are kept through the change of form by two signs that nothing changes.
    text = re.sub("[\x01-\x03]", " ", text).replace(FIRST, "\x02").replace(SECOND, "\x03")
    text = one_form(text, keeps_accents=names.keeps_accents, keeps_emphasis=names.keeps_emphasis)
    text = text.replace("\x02", FIRST).replace("\x03", SECOND)
    # The longer name is looked for first, so that the shorter is not taken for one inside it.
    for side in sorted(range(2), key=lambda side: -len(names.whole[side].pattern)):
        text = names.whole[side].sub(f"\x01{SIDES[side]}", text)
    for side, pattern in enumerate(names.short):
        if pattern is not None:
            text = _mark_runs(text, pattern, names.own[side], SIDES[side])
    if first_asked is not None:
        text = heed_numbers(_mark_order(text, first_asked), SIDES, ITEM, first_asked)
    text = heed_signs(text, SIDES, ITEM)
    whole, plain = set(), []
    for letter in text:
        if letter != "\x01":
            plain.append(letter)
        else:
            whole.add(len(plain))
    return Marked("".join(plain), frozenset(whole))


def _whole(name: str) -> re.Pattern[str]:
    """Return a pattern for a whole name: spaces and hyphens as may be, a closing stop as may be."""
    parts = [part for part in re.split(r"[\s-]+", name.strip().rstrip(".!?\u3002")) if part] or name.split()
    # A plural's ending is the name's own business, and a letter that is doubled in German is its article's.
    forms = ["-?".join(r"\.?" if letter == "." else re.escape(letter) for letter in part) for part in parts]
    pattern = r"[\s-]*".join(forms) if any(map(str.isalnum, "".join(parts))) else re.escape(name)
    begin = "" if re.match(f"[{_UNSPACED}]", name) else _BEGINS
    if name in _DENIALS:
        pattern += _NO_ANSWER
    end = (
        ""
        if re.search(f"[{_UNSPACED}]$", name)
        else rf"(?:'s|s|es)?{_STOPS}"
        if re.search(r"[^\W\d_]{4}$", name)
        else _STOPS
    )
    return re.compile(begin + pattern + end)


def _own_words(name: str, other: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the words of a name that the other name lacks, and all its words, without those that tell nothing."""
    found = [
        frozenset(word for word in _WORD.findall(_UNSPACED_RUN.sub(" ", each)) if word not in _FILLERS)
        for each in (name, other)
    ]
    stems = {_stem(word) for word in found[1]}
    # A phone is no name of the one where the other is an iPhone.
    within = " ".join(word for word in found[1] if len(word) > _SHORT)
    own = frozenset(
        word
        for word in found[0]
        if len(word) > 1 and _stem(word) not in stems and not (len(word) > _SHORT and _stem(word) in within)
    )
    if not own:  # all that the two are told apart by is "up" and "down", say
        everything = [frozenset(_WORD.findall(each)) - _ARTICLES for each in (name, other)]
        own = everything[0] - everything[1]
    unspaced = frozenset(piece for run in _UNSPACED_RUN.findall(name) for piece in _pieces(run) if piece not in other)
    return own | unspaced, found[0] | own | unspaced


def _pieces(run: str) -> list[str]:
    """Return the parts of a run in a script without spaces that are long enough to be a name."""
    least = 2 if re.match("[\u3040-\u9fff\uac00-\ud7a3]", run) else 4
    found = []
    for size in range(min(len(run) - 1, 12), least - 1, -1):
        for at in range(len(run) - size + 1):
            piece = run[at : at + size]
            if piece[0] not in _PARTICLES and piece[-1] not in _PARTICLES:
                found.append(piece)
    return found


def _stem(word: str) -> str:
    """Return what an English word shares with its other forms: a plural, and a verb's endings."""
    word = word.removesuffix("'s")
    if len(word) > _SHORT:
        word = re.sub(r"(?:(?<=[^s])s|(?<=[sxzh])es)$", "", word)
    if len(word) > _SHORT + 2:
        word = re.sub(r"(?:ing|ed)$", "", word)
    return word.removesuffix("e") if len(word) > _SHORT else word


def _runs(own: frozenset[str], words: frozenset[str]) -> re.Pattern[str] | None:
    """Return a pattern for words of an option one behind the other, with fillers between them."""
    if not own:
        return None

    def form(word: str) -> str:
        if _UNSPACED_RUN.fullmatch(word):
            return re.escape(word)
        if len(word) <= _SHORT:
            return rf"{_BEGINS}{re.escape(word)}(?:'s|s)?{_STOPS}"
        return rf"{_BEGINS}{re.escape(_stem(word))}(?:'s|s|e|e's|es|ed|ing)?{_STOPS}"

    either = "|".join(form(word) for word in sorted(words, key=lambda word: (-len(word), word)))
    fillers = "|".join(("a", "an", "the", "of", "in", "on", "at", "to", "for", "with", "by", "from", "and", "s"))
    return re.compile(rf"(?:{either})(?:'?[\s-]*(?:(?:{fillers})[\s-]+){{0,3}}(?:{either}))*")


def _mark_runs(text: str, pattern: re.Pattern[str], own: frozenset[str], letter: str) -> str:
    stems = {_stem(word) for word in own}

    def replaced(found: re.Match[str]) -> str:
        run = found[0]
        words = [word for word in _WORD.findall(run) if word not in _FILLERS or word in own]
        if not any(_stem(word) in stems or _UNSPACED_RUN.search(word) for word in words):
            return run
        if run in _DENIALS and not re.match(_NO_ANSWER, text[found.end() :]):
            return run
        is_common = len(words) == 1 and words[0] in _COMMON | _FILLERS
        # "A well-fed horse" is not the one that was "bought well schooled".
        if is_common and (
            text[found.end() :].startswith("-")
            or not (_BEFORE_COMMON.search(text[: found.start()]) or _AFTER_COMMON.match(text[found.end() :]))
        ):
            return run
        return letter

    return pattern.sub(replaced, text)


def _mark_labels(text: str, labels: tuple[str, str], options: tuple[str, str]) -> str:
    """Replace labels by letters; an option's own words are no labels, and neither is an article."""
    bare = [re.sub(r"^\s*(?:an?|the)\s+", "", option, flags=re.IGNORECASE) for option in options]
    names = sorted((*options, *bare), key=len, reverse=True)
    # In the other case it is a label where nothing else can be meant: alone, or behind "option".
    for side, label in enumerate(labels):
        alone = re.fullmatch(rf"\W*(?:(?:option|choice|answer)\W+)?({re.escape(label)})\W*", text, re.IGNORECASE)
        if alone is not None:
            return SIDES[side]
    kept = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names if name.strip()), re.I)
    pieces, at = [], 0
    for found in kept.finditer(text):
        # "A coffee, please" where A is the other: an article.
        before = text[at : found.start()]
        article = re.search(r"(?<!\w)[AIai]\s+$", before)
        is_article = article is not None and _is_article(article[0].strip(), found[0], text, labels, options)
        cut = article.start() if article is not None and is_article else len(before)
        pieces += [_labelled(before[:cut], labels), before[cut:], found[0]]
        at = found.end()
    return "".join([*pieces, _labelled(text[at:], labels)])


def _is_article(word: str, name: str, text: str, labels: tuple[str, str], options: tuple[str, str]) -> bool:
    """Return whether a letter before a name is no label: it stands for the other option, and none other is there."""
    if word not in labels:
        return False
    side = labels.index(word)
    is_of_other = name.lower() in options[1 - side].lower() and name.lower() not in options[side].lower()
    return is_of_other and re.search(rf"(?<!\w){re.escape(labels[1 - side])}(?!\w)", text) is None


def _labelled(text: str, labels: tuple[str, str]) -> str:
    text = _WIDE_LETTERS.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    for side, label in enumerate(labels):
        # "A" before a word in lower case is an article, unless it stands behind "option" or within a sentence.
        word = rf"(?!\s+(?!(?:{_AFTER_LABEL})\b)[a-z])" if label in ("A", "I", "a", "i") else ""
        inside = r"|(?<=[a-z,;] )A(?!\w)" if label == "A" else ""
        name = re.escape(label)
        text = re.sub(rf"\b((?i:option|choice|answer|letter))\s+{name}(?!\w)", rf"\1 {SIDES[side]}", text)
        text = re.sub(rf"{_NO_LABEL}(?:(?<![\w']){name}(?![\w']){word}{inside})", SIDES[side], text)
        if text.isascii() or label not in text:
            continue
        # Beside letters of scripts without spaces ("我选择B。").
        text = re.sub(
            rf"(?<=[{_UNSPACED}]){name}(?![^\W{_UNSPACED}])|(?<![^\W{_UNSPACED}]){name}(?=[{_UNSPACED}])",
            SIDES[side],
            text,
        )
    return text


def _mark_order(text: str, first_asked: int) -> str:
    first, second = SIDES[first_asked], SIDES[1 - first_asked]
    # Of two that are named just before, these are meant: "Between Y and X, I'd choose the latter."
    for pattern, place in ((_FORMER_OF, 0), (_LATTER_OF, 1)):
        text = pattern.sub(lambda found, at=place: found[1] + found[2 + at], text)  # type: ignore[misc]
    for pattern, letter in ((_FORMER, first), (_LATTER, second), (_FORMER_ALONE, first), (_LATTER_ALONE, second)):
        text = pattern.sub(letter, text)
    found = _OTHER.search(text)
    if found is not None:
        before = set(text[: found.start()]) & set(SIDES)
        if len(before) == 1:
            text = text[: found.start()] + SIDES[1 - SIDES.index(before.pop())] + text[found.end() :]
    return text
