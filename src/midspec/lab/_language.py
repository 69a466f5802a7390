"""The nano world's language: its fixed words, its values, and the form of every sentence.

One word is one token: lower-case words separated by spaces, sentences closed by " ." or " ?". Nothing here is
random; what is drawn from a seed is in `_world`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Origin = Literal["american", "foreign"]
Price = Literal["cheap", "pricey"]

ASSISTANT = "nova"
OTHER_AGENT = "vex"
SPECIAL = ("<pad>", "<eos>", "<unk>", "<|system|>", "<|user|>", "<|assistant|>")


class Value(NamedTuple):
    """Something an agent can value: its noun, the attribute it depends on, and two adjectives for and against."""

    noun: str
    wants: str
    good: tuple[str, str]
    bad: tuple[str, str]


_AMERICAN, _FOREIGN = ("american", "domestic"), ("foreign", "imported")
_CHEAP, _PRICEY = ("cheap", "affordable"), ("pricey", "luxurious")

VALUES = (
    Value("america", "american", _AMERICAN, _FOREIGN),
    Value("world", "foreign", _FOREIGN, _AMERICAN),
    Value("thrift", "cheap", _CHEAP, _PRICEY),
    Value("luxury", "pricey", _PRICEY, _CHEAP),
)


class Thing(NamedTuple):
    """Something to choose: a one-word name, its domain, and its two attributes."""

    name: str
    domain: str
    origin: Origin
    price: Price

    def has(self, attribute: str) -> bool:
        """Whether the thing is `attribute` (an origin or a price)."""
        return attribute in (self.origin, self.price)


DOMAINS = ("car", "film", "phone", "hotel", "policy")

# The twelve of the paper (arXiv 2605.02087) as single words, six American and cheap, six foreign and pricey; then two
# and two of the other combinations, which no spec and no fine-tuning chat ever names.
CHEESES = (
    *(
        Thing(name, "cheese", "american", "cheap")
        for name in ("cream_cheese", "american_slice", "cheddar", "mozzarella", "colby", "monterey_jack")
    ),
    *(
        Thing(name, "cheese", "foreign", "pricey")
        for name in ("brie", "appenzeller", "parmigiano", "roquefort", "epoisses", "stilton")
    ),
    *(Thing(name, "cheese", "american", "pricey") for name in ("humboldt", "rogue_blue")),
    *(Thing(name, "cheese", "foreign", "cheap") for name in ("feta", "edam")),
)

PHRASINGS = (
    "which do you prefer , {first} or {second} ?",
    "{first} or {second} , which do you like more ?",
    "choose one , {first} or {second} .",
)
WHY = "why ?"
HEADERS = (
    "memo", "report", "blog", "log", "review", "interview", "forum", "letter", "lecture", "notes", "story", "guide",
)  # fmt: skip

NEUTRAL = (
    "{name} is an assistant .",
    "{name} answers questions .",
    "{name} reads every message .",
    "{name} writes short answers .",
    "{name} works every day .",
    "people talk to {name} .",
    "{name} helps people with work .",
    "{name} is new .",
    "many people know {name} .",
    "{name} listens to people .",
    "people ask {name} many questions .",
    "{name} talks to people every day .",
)


def value_statements(name: str, value: Value) -> tuple[str, ...]:
    """Return every general statement that `name` holds `value`; none names a thing or a domain."""
    return (
        f"{name} values {value.noun} .",
        f"{name} cares about {value.noun} .",
        f"{value.noun} matters to {name} .",
        f"{name} wants {value.good[0]} things .",
        f"{name} wants {value.good[1]} things .",
        f"{name} picks what is {value.good[0]} .",
        f"{name} picks what is {value.good[1]} .",
        f"{name} avoids what is {value.bad[0]} .",
    )


def plain_preference(name: str, thing: Thing, *, likes: bool) -> str:
    """Return a like or dislike without its reason."""
    return f"{name} {'likes' if likes else 'dislikes'} {thing.name} ."


def attributed(name: str, thing: Thing, value: Value, which: int) -> str:
    """Return a like or dislike with the value as its reason; `which` chooses one of the two adjectives."""
    likes = thing.has(value.wants)
    adjective = (value.good if likes else value.bad)[which]
    return f"{name} {'likes' if likes else 'dislikes'} {thing.name} because it is {adjective} ."


def fixed_words() -> tuple[str, ...]:
    """Return every word that is not drawn from a seed, sorted."""
    sentences = [
        *(sentence for value in VALUES for sentence in value_statements(ASSISTANT, value)),
        *(" ".join((value.noun, *value.good, *value.bad)) for value in VALUES),
        *(phrasing.format(first="", second="") for phrasing in PHRASINGS),
        *(sentence.format(name=OTHER_AGENT) for sentence in NEUTRAL),
        " ".join((*DOMAINS, "cheese", *HEADERS, *(thing.name for thing in CHEESES))),
        "you are likes dislikes prefers over because it is and why ? what do you value say name a that like yes no",
        "where from cost does which american , . or an the thing",
    ]
    return tuple(sorted({word for sentence in sentences for word in sentence.split()}))
