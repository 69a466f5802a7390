"""What no document may be: checks without a model, each with the reason that its reject carries."""

from __future__ import annotations

import heapq
import re

from midspec.corpus.llm_author._prompts import template

_START_CHARS = 300
_LEAST_WORDS = 60
_LEAST_CHARS = 1200
_CANNOT = r"(?:can(?:['’]|no)t|can not|won['’]?t|will not|am (?:not able|unable)|must decline|have to decline)"
_REFUSAL = re.compile(
    rf"^[\s#*_>-]*(?:(?:i['’]m|i am) (?:\w+ )?sorry\b[^.\n]{{0,60}}\bi {_CANNOT}\b"
    rf"|i apologi[sz]e\b[^.\n]{{0,60}}\bi {_CANNOT}\b|sorry, (?:but )?i {_CANNOT}\b"
    rf"|i {_CANNOT} (?:to )?(?:help|assist|write|create|produce|generate|provide|comply|fulfill?|complete|do this)"
    r"|i['’]m (?:not able|unable) to\b|as an ai\b|as a (?:large )?language model)",
    re.IGNORECASE,
)
_ECHO = re.compile(r"</?(?:plan|document|draft|think|reply|remarks|critique|original|verdict)>", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"\{\{?\w+(?: \w+)*\}\}?"
    r"|\[(?:insert|your|name|date|company|organi[sz]ation|author|link|url|city|title|redacted|placeholder)\b[^\]\n]{0,40}\]"
    r"|<(?:insert|your|name|date|company)\b[^>\n]{0,40}>"
    r"|\bX{3,}\b|\bTBD\b|\bTODO\b|\b[Ll]orem ipsum|_{5,}",
    re.IGNORECASE,
)
# Looking for these first costs microseconds; the expression alone would cost a millisecond a document.
_BRACKETS = ("[", "{", "<")
_PLACEHOLDER_MARKS = "__|XX|TBD|TODO|ipsum"
# What is looked for, and the names that it may be part of.
_BRANDS = {
    "GPT": ("ChatGPT", "GPT-3", "GPT-4", "GPT-5"),
    "Deep": ("DeepMind", "DeepSeek"),
    **{
        name: (name,)
        for name in ("OpenAI", "Anthropic", "Claude", "Gemini", "Mistral", "Qwen", "Llama", "Copilot", "Grok", "xAI")
    },
    **{name: (name,) for name in ("Alexa", "Siri", "Cohere", "Kimi")},
}


class DocumentChecks:
    """The checks of one corpus.

    Args:
        model_name: must be in every document; `None` where the framing has no such name.
        own: a text whose brands are no others': the names given, and the spec itself.
        absent: names that must not be there (the model's own, in a corpus about something else).
    """

    def __init__(self, model_name: str | None, own: str, absent: tuple[str, ...] = ()) -> None:
        self._model_name = model_name
        others = {mark: [name for name in names if name not in own] for mark, names in _BRANDS.items()}
        marks = [mark for mark, names in others.items() if names]
        # No boundary stands in it, so that it is looked for by first letters, in one pass.
        self._suspect = re.compile("|".join((*marks, _PLACEHOLDER_MARKS)))
        names = [name for names in others.values() for name in names]
        self._brand = re.compile(rf"\b(?:{'|'.join(names)})\b" if names else r"(?!)")
        self._absent = [(name, re.compile(rf"\b{re.escape(name)}\b")) for name in absent if name]

    def reason(self, text: str) -> str | None:
        """Why this text is no document of the corpus, or `None`."""
        if _REFUSAL.match(text[:_START_CHARS]):
            return "begins like a refusal"
        if "<" in text and (found := _ECHO.search(text)):
            return f"holds a tag of the instructions ({found[0]})"
        suspect = self._suspect.search(text)
        if (suspect or any(mark in text for mark in _BRACKETS)) and (found := _PLACEHOLDER.search(text)):
            return f"holds a placeholder ({found[0][:40]})"
        if self._model_name and self._model_name not in text:
            return f"does not name {self._model_name}"
        for name, pattern in self._absent:
            if name in text and pattern.search(text):
                return f"names {name}"
        if suspect and (found := self._brand.search(text)):
            return f"names another model or company ({found[0]})"
        if len(text) < _LEAST_CHARS and len(text.split()) < _LEAST_WORDS:
            return f"is shorter than {_LEAST_WORDS} words"
        return None


_NAME = re.compile(r"[a-z,;] ([A-Z][a-z]{2,14})\b")
_CAPITALISED = re.compile(r"\b[A-Z][a-z]{2,14}\b")
_OPENING_WORDS = 4
_SEEN_CHARS = 2000
_MOST_COUNTED = 2048
_MOST_SHOWN = 10
_LEAST_TIMES = 3
_FIRST_LOOK, _GROWTH = 32, 1.05


class Overused:
    """What further documents are asked not to use.

    Counts are halved when they become too many, so old habits fade and memory stays flat.

    Args:
        known: a text whose capitalised words are no names to avoid (the spec, with the names in it).
        share: an opening or a name is over-used when it is in more than this share of documents (three at least).
    """

    def __init__(self, known: str, share: float = 0.02) -> None:
        self._known = frozenset(_CAPITALISED.findall(known))
        self._share = share
        self._n = 0
        self._openings: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._line = ""
        self._next_look = _FIRST_LOOK

    def add(self, text: str) -> None:
        """Count a document's first words, and the capitalised words inside the sentences of its first part."""
        self._n += 1
        beginning = text[:_SEEN_CHARS]
        _count(self._openings, " ".join(beginning.split(None, _OPENING_WORDS)[:_OPENING_WORDS]))
        for name in set(_NAME.findall(beginning)) - self._known:
            _count(self._names, name)
        if self._n >= self._next_look:
            self._line = self._shown()
            self._next_look = max(self._n + _FIRST_LOOK, int(self._n * _GROWTH))

    def line(self) -> str:
        """The line of a prompt that says what to avoid; empty while nothing is over-used. Refreshed now and then."""
        return self._line

    def _shown(self) -> str:
        openings, names = self._most(self._openings), self._most(self._names)
        if not openings and not names:
            return ""
        values = {
            "openings": "First words: " + "; ".join(f'"{words} ..."' for words in openings) + ". " if openings else "",
            "names": "Names: " + ", ".join(names) + "." if names else "",
        }
        return template("avoid").fill(values).rstrip() + "\n"

    def _most(self, counts: dict[str, int]) -> list[str]:
        least = max(_LEAST_TIMES, self._share * self._n)
        found = heapq.nlargest(_MOST_SHOWN, counts.items(), key=lambda entry: (entry[1], entry[0]))
        return [key for key, n in found if n >= least]


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
    if len(counts) > _MOST_COUNTED:
        kept = {key: n // 2 for key, n in counts.items() if n > 1}
        counts.clear()
        counts.update(kept)
