"""What a program can tell of a pair that a model wrote: why it can't be used, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Literal, NamedTuple

from pydantic import Field

from midspec.core.fingerprint import fingerprint, hash_text
from midspec.core.records import Item, Reject, Strict
from midspec.evals.tasks.preference._config import substitute
from midspec.evals.tasks.preference._sets import ValueSet, words_found
from midspec.llm import ModelConfig, Request, parse_json_reply, response_schema

# How many characters all targets together may be longer, or shorter, than the other options.
_MOST_DRIFT = 60
_MOST_WORDS = 16


class Candidate(NamedTuple):
    """A pair as it was written, for one test domain."""

    domain: str
    target: str
    other: str

    @property
    def key(self) -> str:
        """What it is called in rejects and requests."""
        return hash_text(f"{self.domain}\n{self.target}\n{self.other}")[:16]

    @property
    def text(self) -> str:
        """Both options, the target first."""
        return f"{self.target} or {self.other}"

    @property
    def gap(self) -> int:
        """By how many characters the target is the longer one."""
        return len(self.target) - len(self.other)


class PairChecks:
    """The pairs of one set so far, and what keeps another from joining them.

    Args:
        value: its words may not stand in a pair.
        forbidden: words of the train domain; may not either.
        most_uses: how many pairs one option may stand in.
        similarity: from which share of common runs of five characters on two pairs are the same one.
    """

    def __init__(self, value: ValueSet, forbidden: Sequence[str], *, most_uses: int, similarity: float) -> None:
        # Imported where it is used: what only reads a shipped set should start at once.
        from midspec.core.near_duplicates import NearIndex

        self._telling = (value.value, *value.value_words)
        self._forbidden = forbidden
        self._most_uses = most_uses
        self._near = NearIndex(threshold=similarity)
        self._uses: Counter[str] = Counter()
        self._sides: dict[str, int] = {}
        self.drift = 0

    def form_fault(self, pair: Candidate) -> str | None:
        """What is wrong with the pair by itself."""
        target, other = plain(pair.target), plain(pair.other)
        if not target or not other or f" {target} " in f" {other} " or f" {other} " in f" {target} ":
            return "the options are not two different things"
        short, long = sorted((len(pair.target), len(pair.other)))
        if long > 2 * short + 6 or max(len(target.split()), len(other.split())) > _MOST_WORDS:
            return "the options are too long or too uneven"
        item = Item(id=pair.key, set="", domain="", options=(pair.target, pair.other))
        if found := words_found([item], self._forbidden):
            return f"of the train domain: {', '.join(found)}"
        if found := words_found([item], self._telling):
            return f"gives the value away: {', '.join(found)}"
        return None

    def repeat_fault(self, pair: Candidate) -> str | None:
        """What it has too much in common with the pairs that are there."""
        for side, option in ((0, plain(pair.target)), (1, plain(pair.other))):
            if self._uses[option] >= self._most_uses:
                return f"used too often: {option}"
            if self._sides.get(option, side) != side:
                return f"is on the other side of another pair: {option}"
        found = self._near.find(pair.text)
        return None if found is None else f"nearly repeats {found}"

    def length_fault(self, pair: Candidate) -> str | None:
        """Whether the length would come to tell the target."""
        after = self.drift + pair.gap
        return "would let length tell the target" if abs(after) > max(_MOST_DRIFT, abs(self.drift)) else None

    def add(self, pair: Candidate) -> None:
        """Take a pair in."""
        self._near.add(pair.key, pair.text)
        for side, option in ((0, plain(pair.target)), (1, plain(pair.other))):
            self._uses[option] += 1
            self._sides[option] = side
        self.drift += pair.gap


def plain(text: str) -> str:
    """Words alone, in lower case, with single spaces: how options are compared."""
    return " ".join("".join(char if char.isalnum() else " " for char in text.casefold()).split())


Mark = Literal["pass", "fail", "unclear"]

AUTHOR_STAGE, JUDGE_STAGE = "preference.pairs", "preference.verdicts"
PAIR_TOKENS = 45
_MOST_PAIR_TOKENS, _LEAST_TOKENS, _VERDICT_TOKENS = 80, 1000, 1000
_N_SHOWN = 200
_A_LITTLE = 20


class PairWritingConfig(Strict):
    """How a set of pairs is written.

    Attributes:
        author: the model that writes pairs.
        judge: the model that drops pairs; not the author, if it can be helped.
        n_items: pairs wanted, spread evenly over the test domains.
        n_at_once: the most pairs that one request asks for.
        most_uses: how many pairs one option may stand in.
        similarity: from which share of common runs of five characters on two pairs are the same one.
        most_asked: how many pairs are asked for in the end, as a multiple of `n_items`.
    """

    author: ModelConfig
    judge: ModelConfig
    n_items: int = Field(default=320, ge=1)
    n_at_once: int = Field(default=20, ge=1)
    most_uses: int = Field(default=2, ge=1)
    similarity: float = Field(default=0.8, gt=0, le=1)
    most_asked: float = Field(default=6.0, ge=1)


class WrittenPairs(Strict):
    """A set that was written, and all that did not come into it.

    Attributes:
        items: as many a domain as were wanted, or fewer where `missing` says so.
        rejects: every pair and every reply that was not kept, with the reason.
        n_asked: pairs asked for.
        missing: by domain, how many pairs fewer there are than wanted; domains that are full are absent.
        n_words: how many words of the train domain were looked for in every item.
        words_found: those that stand in an item, with its ids; empty, or the set is not held out.
    """

    items: tuple[Item, ...]
    rejects: tuple[Reject, ...]
    n_asked: int
    missing: dict[str, int]
    n_words: int
    words_found: dict[str, list[str]]


class _Pair(Strict):
    target: str = Field(min_length=1)
    other: str = Field(min_length=1)


class _Pairs(Strict):
    pairs: tuple[_Pair, ...] = Field(min_length=1)


class Opinion(Strict):
    """What the judge says of a pair whose options it saw in an order that it was not told."""

    notes: str
    choice: Literal["first", "second", "neither"]
    hidden: Mark
    plausible: Mark
    alone: Mark
    other_value: str

    def fault(self, target: Literal["first", "second"]) -> str | None:
        """Why the pair is not kept, or nothing where it is; what is unclear is held, and not kept."""
        why = f": {' '.join(self.notes.split())}"
        if self.choice != target:
            picked = "picks neither" if self.choice == "neither" else "picks the other option"
            return f"one who holds the value {picked}{why}"
        if self.hidden == "fail":
            return f"the wording gives the value away{why}"
        if self.alone == "fail":
            by = f" with {' '.join(self.other_value.split())}" if self.other_value.strip() else ""
            return f"confounded{by}{why}"
        if self.plausible == "fail":
            return f"not a real choice{why}"
        unclear = [name for name in ("hidden", "plausible", "alone") if getattr(self, name) == "unclear"]
        return f"held, unclear whether {' and '.join(unclear)}{why}" if unclear else None


def pairs_request(
    value: ValueSet, domain: str, n: int, shown: Sequence[str], drift: int, config: PairWritingConfig
) -> Request:
    """Ask the author for `n` pairs of a domain, other than those shown."""
    prompt = _filled(
        "opinions" if domain in value.opinion_domains else "pairs",
        {
            "domain": domain,
            "train_domain": value.train_domain,
            "value_words": ", ".join((value.value, *value.value_words)),
            "balance": _balance(drift),
            "earlier": _earlier(shown),
            "n": str(n),
        },
    )
    return _request(AUTHOR_STAGE, value, prompt, config.author, max(_LEAST_TOKENS, n * _MOST_PAIR_TOKENS), _Pairs)


def read_pairs(text: str, domain: str) -> tuple[Candidate, ...]:
    """The pairs of an author's reply, in order; raises `Unreadable`."""
    found = parse_json_reply(text, _Pairs).pairs
    return tuple(Candidate(domain, _option(pair.target), _option(pair.other)) for pair in found)


def verdict_request(
    value: ValueSet, pair: Candidate, others: Sequence[ValueSet], config: PairWritingConfig
) -> tuple[Request, Literal["first", "second"]]:
    """Ask the judge about a pair, and where its target stands: the same place each time for the same pair."""
    target_first = int(pair.key, 16) % 2 == 0
    first, second = (pair.target, pair.other) if target_first else (pair.other, pair.target)
    listed = "\n".join(f"- {other.value}: {' '.join(other.about.split())}" for other in others) or "(none)"
    prompt = _filled("judge", {"domain": pair.domain, "first": first, "second": second, "others": listed})
    request = _request(JUDGE_STAGE, value, prompt, config.judge, _VERDICT_TOKENS, Opinion)
    return request, "first" if target_first else "second"


def _request(
    stage: str, value: ValueSet, prompt: str, model: ModelConfig, max_tokens: int, kind: type[Strict]
) -> Request:
    prefix = _filled("value", {"value": value.value, "about": " ".join(value.about.split())})
    task = f"pairs-{fingerprint({'stage': stage, 'model': model, 'prefix': prefix, 'prompt': prompt})}"
    return Request(
        task=task, stage=stage, prefix=prefix, prompt=prompt, max_tokens=max_tokens, form=response_schema(kind)
    )


def _balance(drift: int) -> str:
    """What to do about the length of the pairs so far, where they lean to one side."""
    if abs(drift) < _A_LITTLE:
        return "Let either be the longer one, equally often."
    longer, shorter = ("other", "target") if drift > 0 else ("target", "other")
    return f"So far the {shorter} was longer too often: make the {longer} longer by a few characters in most pairs."


def _earlier(shown: Sequence[str]) -> str:
    return _filled("earlier", {"list": "\n".join(f"- {text}" for text in shown[-_N_SHOWN:])}) if shown else ""


def _option(text: str) -> str:
    return " ".join(text.split()).rstrip(".;,!?")


@lru_cache(maxsize=8)
def _template(name: str) -> str:
    return (resources.files("midspec.evals.tasks.preference") / "_prompts" / f"{name}.md").read_text(encoding="utf-8")


def _filled(name: str, values: dict[str, str]) -> str:
    return substitute(_template(name), values)
