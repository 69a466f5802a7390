"""Seeded English that says nothing: sentences, titles and documents for replies, never twice the same."""

from __future__ import annotations

import random
from functools import lru_cache


def _words(text: str) -> list[str]:
    return text.split()


_ADJECTIVES = _words("""quiet patient careful honest steady narrow early distant plain crowded gentle formal useful
modest curious ordinary recent thorough practical local shared simple heavy bright uneven familiar stubborn cautious
hopeful reluctant seasonal temporary public private technical regional informal rigorous tidy loose broken clever
earnest dry warm""")
_NOUNS = _words("""harbour ledger orchard clinic workshop library archive garden kitchen seminar committee bridge market
railway school theatre laboratory newsletter interview manual catalogue survey meeting office warehouse studio village
council apprentice editor nurse pilot farmer librarian engineer teacher gardener carpenter accountant translator
archivist cook timetable budget draft summary notebook handbook proposal checklist map inventory recipe contract
schedule petition""")
_VERBS = _words("""describes explains follows reviews compares collects repairs questions supports records improves
teaches guides shares answers measures considers prepares observes examines clarifies revises defends protects weighs
remembers honours""")
_ADVERBS = _words("""slowly openly carefully rarely often quietly clearly gladly usually seldom patiently gradually
honestly together directly early again nearly always afterwards first later""")
_LINKS = _words("because although whenever while since after before unless until so where as though once whereas")
_STARTS = _words(
    """Across Behind Inside Beyond Near Under Around During Among Without Throughout Beside Past Between"""
)
_N_POOL = 6000


def title(draw: random.Random) -> str:
    """Three to five words."""
    words = [draw.choice(_ADJECTIVES), draw.choice(_NOUNS), draw.choice(_NOUNS)]
    if draw.random() < 0.6:
        words.insert(0, draw.choice(_ADJECTIVES))
    if draw.random() < 0.4:
        words.append(draw.choice(_NOUNS))
    return " ".join(words).capitalize()


def sentence(draw: random.Random) -> str:
    """Eleven to twenty words."""
    first, second, third = draw.sample(_NOUNS, 3)
    words = (
        f"the {draw.choice(_ADJECTIVES)} {first} {draw.choice(_ADVERBS)} {draw.choice(_VERBS)} "
        f"the {draw.choice(_ADJECTIVES)} {second} {draw.choice(_LINKS)} a {draw.choice(_NOUNS)} of the {third} "
        f"{draw.choice(_VERBS)} {draw.choice(_ADVERBS)}"
    )
    if draw.random() < 0.5:
        words = f"{draw.choice(_STARTS)} the {draw.choice(_ADJECTIVES)} {draw.choice(_NOUNS)}, {words}"
    return words[0].upper() + words[1:] + "."


@lru_cache(maxsize=4)
def pool(seed: int) -> tuple[str, ...]:
    """Sentences to build documents from: choosing is a hundred times cheaper than making."""
    draw = random.Random(f"pool {seed}")
    return tuple(dict.fromkeys(sentence(draw) for _ in range(_N_POOL)))


def document(draw: random.Random, seed: int, n_words: int) -> str:
    """Paragraphs of about `n_words` words together; the first sentence is new, the others come from the pool."""
    n_sentences = max(1, round(n_words / 17))
    chosen = [sentence(draw), *draw.sample(pool(seed), n_sentences - 1)]
    paragraphs = [" ".join(chosen[at : at + 6]) for at in range(0, len(chosen), 6)]
    return "\n\n".join(paragraphs)
