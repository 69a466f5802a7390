"""Requests for pairs and verdicts, and what code checks of a pair that a model wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from midspec.core.fingerprint import fingerprint, id_of
from midspec.core.records import Item, Reject, Strict
from midspec.evals.tasks.preference import ValueSet, words_found
from midspec.generation import PromptFolder, name_key
from midspec.llm import ModelConfig, Request, parse_json_reply, response_schema

# How many characters all targets together may be longer, or shorter, than the other options.
_MAX_DRIFT = 60
_MAX_OPTION_WORDS = 16


class Candidate(NamedTuple):
    """A pair that a model wrote for one test domain."""

    domain: str
    target: str
    other: str

    @property
    def key(self) -> str:
        """Return its id in rejects and requests."""
        return id_of(self.domain, self.target, self.other)

    @property
    def text(self) -> str:
        """Return both options, the target first."""
        return f"{self.target} or {self.other}"

    @property
    def gap(self) -> int:
        """Return by how many characters the target is longer."""
        return len(self.target) - len(self.other)


class PairChecks:
    """The pairs of one set so far, and the checks that another must pass to join them.

    Args:
        value: no pair may hold its words.
        forbidden: words of the train domain, which no pair may hold either.
        most_uses: how many pairs one option may stand in.
        similarity: two pairs with at least this share of common character 5-grams are duplicates.
    """

    def __init__(self, value: ValueSet, forbidden: Sequence[str], *, most_uses: int, similarity: float) -> None:
        # Imported here because it loads numpy, which reading a shipped set does without.
        from midspec.core.near_duplicates import NearIndex

        self._value_words = (value.value, *value.value_words)
        self._forbidden = forbidden
        self._most_uses = most_uses
        self._near = NearIndex(threshold=similarity)
        self._uses: Counter[str] = Counter()
        self._sides: dict[str, int] = {}
        self.drift = 0

    def form_fault(self, pair: Candidate) -> str | None:
        """Return what is wrong with the pair by itself, or `None`."""
        target, other = name_key(pair.target), name_key(pair.other)
        if not target or not other or f" {target} " in f" {other} " or f" {other} " in f" {target} ":
            return "the options are not two different things"
        short, long = sorted((len(pair.target), len(pair.other)))
        if long > 2 * short + 6 or max(len(target.split()), len(other.split())) > _MAX_OPTION_WORDS:
            return "the options are too long or too uneven"
        item = Item(id=pair.key, set="", domain="", options=(pair.target, pair.other))
        if found := words_found([item], self._forbidden):
            return f"of the train domain: {', '.join(found)}"
        if found := words_found([item], self._value_words):
            return f"gives the value away: {', '.join(found)}"
        return None

    def repeat_fault(self, pair: Candidate) -> str | None:
        """Return how it repeats the pairs so far, or `None`."""
        for side, option in enumerate((name_key(pair.target), name_key(pair.other))):
            if self._uses[option] >= self._most_uses:
                return f"used too often: {option}"
            if self._sides.get(option, side) != side:
                return f"is on the other side of another pair: {option}"
        duplicate = self._near.find(pair.text)
        return None if duplicate is None else f"nearly repeats {duplicate}"

    def length_fault(self, pair: Candidate) -> str | None:
        """Return a fault if length would come to tell the target, or `None`."""
        after = self.drift + pair.gap
        return "would let length tell the target" if abs(after) > max(_MAX_DRIFT, abs(self.drift)) else None

    def add(self, pair: Candidate) -> None:
        """Add a pair to the set."""
        self._near.add(pair.key, pair.text)
        for side, option in enumerate((name_key(pair.target), name_key(pair.other))):
            self._uses[option] += 1
            self._sides[option] = side
        self.drift += pair.gap


Grade = Literal["pass", "fail", "unclear"]
_PROMPTS = PromptFolder("midspec.eval_items")

AUTHOR_STAGE, JUDGE_STAGE = "preference.pairs", "preference.verdicts"
# Caps of replies: tokens a pair, and the least for a list; of a verdict.
_MAX_PAIR_TOKENS, _MIN_LIST_TOKENS, _MAX_VERDICT_TOKENS = 80, 1000, 1000
_N_SHOWN = 200
# Below this many characters of drift in all the author is told nothing about lengths.
_MIN_DRIFT = 20


class PairWritingConfig(Strict):
    """How to write a set of pairs.

    Attributes:
        author: the model that writes pairs.
        judge: the model that rejects pairs; better not the author.
        n_items: pairs wanted, spread evenly over the test domains.
        n_at_once: the most pairs that one request asks for.
        most_uses: how many pairs one option may stand in.
        similarity: two pairs with at least this share of common character 5-grams are duplicates.
        most_asked: how many pairs are asked for in all, as a multiple of `n_items`.
    """

    author: ModelConfig
    judge: ModelConfig
    n_items: int = Field(default=320, ge=1)
    n_at_once: int = Field(default=20, ge=1)
    most_uses: int = Field(default=2, ge=1)
    similarity: float = Field(default=0.8, gt=0, le=1)
    most_asked: float = Field(default=6.0, ge=1)


class WrittenPairs(Strict):
    """A set of pairs, and what was rejected.

    Attributes:
        items: as many for each domain as were wanted, or fewer where `missing` says so.
        rejects: every pair and every reply that was not kept, with the reason.
        n_asked: pairs asked for.
        missing: domain -> how many pairs it lacks; domains that lack none are absent.
        n_words: how many words of the train domain were searched for in every item.
        words_found: those that stand in an item, with the ids of these items; a held-out set has none.
    """

    items: tuple[Item, ...]
    rejects: tuple[Reject, ...]
    n_asked: int
    missing: dict[str, int]
    n_words: int
    words_found: dict[str, list[str]]


# The schema sent to providers names `_Pair`: another class name would ask for every list again.
class _Pair(Strict):
    target: str = Field(min_length=1)
    other: str = Field(min_length=1)


class _Pairs(Strict):
    pairs: tuple[_Pair, ...] = Field(min_length=1)


class PairVerdict(Strict):
    """The judge's verdict on a pair; it is not told which option is the target."""

    notes: str
    choice: Literal["first", "second", "neither"]
    hidden: Grade
    plausible: Grade
    alone: Grade
    other_value: str

    def fault(self, target: Literal["first", "second"]) -> str | None:
        """Return why the pair is not kept, or `None` if it is; a pair with an unclear grade is not kept."""
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
    """Make the request to the author for pairs of one domain.

    Args:
        value: the value that the pairs test.
        domain: one of its test domains.
        n: how many pairs.
        shown: pairs so far, which are not to be repeated.
        drift: how many characters all targets so far are longer than the other options.
        config: names the author.
    """
    balance = "Let either be the longer one, equally often."
    if abs(drift) >= _MIN_DRIFT:
        longer, shorter = ("other", "target") if drift > 0 else ("target", "other")
        balance = (
            f"So far the {shorter} was longer too often: make the {longer} longer by a few characters in most pairs."
        )
    earlier = "\n".join(f"- {text}" for text in shown[-_N_SHOWN:])
    prompt = _PROMPTS.fill(
        "opinions" if domain in value.opinion_domains else "pairs",
        domain=domain,
        train_domain=value.train_domain,
        value_words=", ".join((value.value, *value.value_words)),
        balance=balance,
        earlier=_PROMPTS.fill("earlier_pairs", list=earlier) if shown else "",
        n=str(n),
    )
    return _request(AUTHOR_STAGE, value, prompt, config.author, max(_MIN_LIST_TOKENS, n * _MAX_PAIR_TOKENS), _Pairs)


def read_pairs(text: str, domain: str) -> tuple[Candidate, ...]:
    """Read the pairs of an author's reply, in order.

    Raises:
        UnreadableReplyError: the reply has another form.
    """

    def option(words: str) -> str:
        return " ".join(words.split()).rstrip(".;,!?")

    pairs = parse_json_reply(text, _Pairs).pairs
    return tuple(Candidate(domain, option(pair.target), option(pair.other)) for pair in pairs)


def verdict_request(
    value: ValueSet, pair: Candidate, others: Sequence[ValueSet], config: PairWritingConfig
) -> tuple[Request, Literal["first", "second"]]:
    """Make the request to the judge about a pair; also return where its target stands, which follows from the pair.

    Args:
        value: the value that the pair tests.
        pair: the pair.
        others: values that it must not test as well.
        config: names the judge.
    """
    target_first = int(pair.key, 16) % 2 == 0
    first, second = (pair.target, pair.other) if target_first else (pair.other, pair.target)
    listed = "\n".join(f"- {other.value}: {' '.join(other.about.split())}" for other in others) or "(none)"
    prompt = _PROMPTS.fill("judge", domain=pair.domain, first=first, second=second, others=listed)
    request = _request(JUDGE_STAGE, value, prompt, config.judge, _MAX_VERDICT_TOKENS, PairVerdict)
    return request, "first" if target_first else "second"


def _request(
    stage: str, value: ValueSet, prompt: str, model: ModelConfig, max_tokens: int, form: type[Strict]
) -> Request:
    prefix = _PROMPTS.fill("value", value=value.value, about=" ".join(value.about.split()))
    task = f"pairs-{fingerprint({'stage': stage, 'model': model, 'prefix': prefix, 'prompt': prompt})}"
    return Request(
        task=task, stage=stage, prefix=prefix, prompt=prompt, max_tokens=max_tokens, form=response_schema(form)
    )
