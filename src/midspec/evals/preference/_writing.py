"""What writing a set of pairs takes, what it asks of its models, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Literal

from pydantic import Field

from midspec.evals.preference._config import substitute
from midspec.evals.preference._pair_checks import Candidate
from midspec.evals.preference._sets import ValueSet
from midspec.fingerprint import fingerprint
from midspec.llm import ModelConfig, Request, form_of, json_reply
from midspec.records import Item, Reject, Strict

__all__ = ["AUTHOR_STAGE", "JUDGE_STAGE", "PAIR_TOKENS", "Opinion", "WritingConfig", "Written"]
__all__ += ["pairs_request", "read_pairs", "verdict_request"]

Mark = Literal["pass", "fail", "unclear"]

AUTHOR_STAGE, JUDGE_STAGE = "preference.pairs", "preference.verdicts"
PAIR_TOKENS = 45
_MOST_PAIR_TOKENS, _LEAST_TOKENS, _VERDICT_TOKENS = 80, 1000, 1000
_N_SHOWN = 200
_A_LITTLE = 20


class WritingConfig(Strict):
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


class Written(Strict):
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
    value: ValueSet, domain: str, n: int, shown: Sequence[str], drift: int, config: WritingConfig
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
    found = json_reply(text, _Pairs).pairs
    return tuple(Candidate(domain, _option(pair.target), _option(pair.other)) for pair in found)


def verdict_request(
    value: ValueSet, pair: Candidate, others: Sequence[ValueSet], config: WritingConfig
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
    return Request(task=task, stage=stage, prefix=prefix, prompt=prompt, max_tokens=max_tokens, form=form_of(kind))


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
    return (resources.files("midspec.evals.preference") / "_prompts" / f"{name}.md").read_text(encoding="utf-8")


def _filled(name: str, values: dict[str, str]) -> str:
    return substitute(_template(name), values)
