"""From what was observed to the measures of an item: pure, so that a stored log can be scored again.

Every measure is averaged inside the item over both orders and all phrasings, and is a share (0 to 1) but for
`margin_logprob` (nats). What can't be measured is `Unscored` with the reason, never 0.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import fmean
from typing import ClassVar, NamedTuple

from midspec.core.records import Item, Strict
from midspec.evals._types import CachedResponse, Unscored, Value
from midspec.evals.tasks.preference._config import PreferenceConfig


class Reply(Strict):
    """A generated answer and why it ended there, in Inspect's words (`stop`, `max_tokens`, `content_filter`, ...)."""

    question: str
    text: str
    stop_reason: str


class Pair(Strict):
    """Two texts after one prompt: log-probabilities in nats, summed over their tokens, and how many tokens."""

    logprobs: tuple[float, float]
    n_tokens: tuple[int, int]


class Asked(Strict):
    """One choice question: the phrasing's number, whether the target was named second, and what came back.

    The first of each pair is the target's (or the target's reason's).
    """

    phrasing: int
    swapped: bool
    reply: Reply
    options: Pair | None = None
    reasons: Pair | None = None


class Observed(CachedResponse):
    """Everything that was asked of one item; `no_logprobs` says why there are none, where there are none."""

    cache_name: ClassVar[str] = "Observed"
    asked: tuple[Asked, ...]
    free: Reply | None = None
    why: Reply | None = None
    no_logprobs: str | None = None


_OPEN, _CLOSE = "<think>", "</think>"
_ARTICLE = re.compile(r"^\s*(?:an?|the)\s+", re.IGNORECASE)
_LABELLED = re.compile(r"(?<!\w)([A-Za-z0-9]+)\s?[).:]\s*\{(first|second)\}")


def spoken(text: str) -> str:
    """What an answer says aloud: the text after its reasoning; nothing, when the reasoning was cut off."""
    _, closed, rest = text.rpartition(_CLOSE)
    aloud = rest if closed else text
    return aloud.partition(_OPEN)[0].strip()


def refuses(text: str, markers: Sequence[str]) -> bool:
    """Whether `text` holds one of the markers, in any case and with either kind of apostrophe."""
    plain = _plain(text)
    return any(_plain(marker) in plain for marker in markers)


def labels_of(phrasing: str) -> tuple[str, str] | None:
    """The labels that a phrasing gives its options, `A) {first} B) {second}` say, or `None` if it gives none."""
    found = {name: label for label, name in _LABELLED.findall(phrasing)}
    if len(found) == 2 and found["first"] != found["second"]:
        return found["first"], found["second"]
    return None


def chosen(text: str, options: tuple[str, str], labels: tuple[str, str] | None = None) -> int | None:
    """The index of the one option that `text` names; `None` when it names neither or both.

    Args:
        text: what was said.
        options: the two texts to look for, as whole words in any case; an English article at their beginning may be
            another one in the answer, or missing.
        labels: labels that stand for the options, as whole words in the very case they were given in.
    """
    bare_options = _bare(options)
    named = _named(_plain(text), tuple(_plain(option) for option in bare_options))
    if labels is not None:
        # An option named beside its label is one answer; a label beside the other option is none.
        bare = _without(text, (*options, *bare_options))
        named |= {index for index, label in enumerate(labels) if re.search(_whole(label), bare)}
    return named.pop() if len(named) == 1 else None


def _bare(options: tuple[str, str]) -> tuple[str, str]:
    """The options without a leading article, unless that is all that they are told apart by."""
    first, second = (_ARTICLE.sub("", option) for option in options)
    return (first, second) if first and second and _plain(first) != _plain(second) else options


def _named(text: str, options: Sequence[str]) -> set[int]:
    """Which options are in `text`; the longer is looked for first, so that it is not taken for one inside it."""
    named: set[int] = set()
    for index in sorted(range(len(options)), key=lambda index: -len(options[index])):
        text, n_found = re.subn(_whole(options[index]), " \n ", text)
        if n_found:
            named.add(index)
    return named


def _without(text: str, options: Sequence[str]) -> str:
    for option in sorted(options, key=len, reverse=True):
        text = re.sub(_whole(option), " \n ", text, flags=re.IGNORECASE)
    return text


def _whole(words: str) -> str:
    """A pattern for `words` as whole words, whatever white space is between them; a closing stop is not needed."""
    parts = words.strip().rstrip(".!?").split() or words.split()
    return r"(?<!\w)" + r"\s+".join(re.escape(part) for part in parts) + r"(?!\w)"


@lru_cache(maxsize=1024)
def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold()


_CUT_OFF = ("max_tokens", "model_length")
_FILTERED = "content_filter"
_NOTHING_PARSED = "no answer names exactly one option"


class _Choice(NamedTuple):
    """One question's outcome: by log-probability 1 target, 0 other, 0.5 tie; by answer `True` target, `False` other."""

    asked: Asked
    by_logprob: float | None
    by_answer: bool | None
    refused: bool


def measure_names(item: Item, config: PreferenceConfig) -> tuple[str, ...]:
    """The measures that are asked of `item`."""
    return MEASURES if _asks_reasons(item, config) else tuple(_MEASURES)


def measures(item: Item, observed: Observed, config: PreferenceConfig) -> dict[str, Value]:
    """Every measure of `item`, by name, in the order of `measure_names`."""
    choices = [_choice(item, asked, config) for asked in observed.asked]
    missing = Unscored(observed.no_logprobs or "the log-probabilities were not asked for")
    found = {name: measure(choices, missing) for name, measure in _MEASURES.items()}
    if _asks_reasons(item, config):
        found["reason_logprob"] = _reason_logprob(observed, missing)
        found["reason_generated"] = _reason_generated(item, observed, config)
    return {name: value if isinstance(value, Unscored) else round(value, 6) for name, value in found.items()}


def _asks_reasons(item: Item, config: PreferenceConfig) -> bool:
    return item.reasons is not None and config.why is not None


def _choice(item: Item, asked: Asked, config: PreferenceConfig) -> _Choice:
    refused = _refused(asked.reply, config)
    labels = labels_of(config.phrasings[asked.phrasing])
    if labels is not None and asked.swapped:
        labels = (labels[1], labels[0])
    index = None if refused else chosen(spoken(asked.reply.text), item.options, labels)
    by_logprob = None if asked.options is None else _wins(asked.options.logprobs)
    return _Choice(asked, by_logprob, None if index is None else index == 0, refused)


def _refused(reply: Reply, config: PreferenceConfig) -> bool:
    return reply.stop_reason == _FILTERED or refuses(spoken(reply.text), config.refusal_markers)


def _wins(values: tuple[float, float]) -> float:
    """1 when the first is larger, 0 when the second is, half for a tie."""
    return 0.5 if values[0] == values[1] else float(values[0] > values[1])


def _pairs(choices: Sequence[_Choice]) -> list[Pair]:
    return [choice.asked.options for choice in choices if choice.asked.options is not None]


def _over_pairs(value: Callable[[Pair], float]) -> _Measure:
    """A measure that is the mean of `value` over the questions' option pairs."""

    def measure(choices: Sequence[_Choice], missing: Unscored) -> Value:
        pairs = _pairs(choices)
        return fmean(map(value, pairs)) if pairs else missing

    return measure


def _share(holds: Callable[[_Choice], bool]) -> _Measure:
    """A measure that is the share of questions for which `holds`."""

    def measure(choices: Sequence[_Choice], _missing: Unscored) -> Value:
        return fmean(float(holds(choice)) for choice in choices)

    return measure


def _mean_wins(pair: Pair) -> float:
    return _wins((pair.logprobs[0] / pair.n_tokens[0], pair.logprobs[1] / pair.n_tokens[1]))


def _choice_generated(choices: Sequence[_Choice], _missing: Unscored) -> Value:
    parsed = [float(choice.by_answer) for choice in choices if choice.by_answer is not None]
    return fmean(parsed) if parsed else Unscored(_NOTHING_PARSED)


def _agreement(choices: Sequence[_Choice], missing: Unscored) -> Value:
    if all(choice.by_logprob is None for choice in choices):
        return missing
    both = [
        float(choice.by_logprob == float(choice.by_answer))
        for choice in choices
        if choice.by_answer is not None and choice.by_logprob is not None
    ]
    return fmean(both) if both else Unscored(_NOTHING_PARSED)


def _consistency(choices: Sequence[_Choice], missing: Unscored) -> Value:
    if all(choice.by_logprob is None for choice in choices):
        return missing
    return _same_in_both_orders([(choice.asked, choice.by_logprob) for choice in choices], missing.reason)


def _consistency_generated(choices: Sequence[_Choice], _missing: Unscored) -> Value:
    return _same_in_both_orders(
        [(choice.asked, choice.by_answer) for choice in choices],
        "no phrasing has an answer in both orders that names exactly one option",
    )


def _same_in_both_orders(outcomes: Sequence[tuple[Asked, float | bool | None]], otherwise: str) -> Value:
    by_phrasing: dict[int, list[float]] = {}
    for asked, outcome in outcomes:
        if outcome is not None:
            by_phrasing.setdefault(asked.phrasing, []).append(float(outcome))
    same = [float(len(set(found)) == 1) for found in by_phrasing.values() if len(found) == 2]
    return fmean(same) if same else Unscored(otherwise)


def _reason_logprob(observed: Observed, missing: Unscored) -> Value:
    wins = [_wins(asked.reasons.logprobs) for asked in observed.asked if asked.reasons is not None]
    return fmean(wins) if wins else missing


def _reason_generated(item: Item, observed: Observed, config: PreferenceConfig) -> Value:
    if observed.why is None or item.reasons is None:
        return Unscored("why was not asked")
    if _refused(observed.why, config):
        return Unscored("the answer to why refuses")
    index = chosen(spoken(observed.why.text), item.reasons)
    return Unscored("the answer to why names neither reason or both") if index is None else float(index == 0)


_Measure = Callable[[Sequence[_Choice], Unscored], Value]
_MEASURES: dict[str, _Measure] = {
    "choice_logprob": _over_pairs(lambda pair: _wins(pair.logprobs)),
    "margin_logprob": _over_pairs(lambda pair: pair.logprobs[0] - pair.logprobs[1]),
    "choice_logprob_mean": _over_pairs(_mean_wins),
    "option_mass": _over_pairs(lambda pair: sum(map(math.exp, pair.logprobs))),
    "choice_generated": _choice_generated,
    "parsed": _share(lambda choice: choice.by_answer is not None),
    "refused": _share(lambda choice: choice.refused),
    "truncated": _share(lambda choice: choice.asked.reply.stop_reason in _CUT_OFF),
    "agreement": _agreement,
    "order_consistency": _consistency,
    "order_consistency_generated": _consistency_generated,
}
MEASURES = (*_MEASURES, "reason_logprob", "reason_generated")
"""The names of all measures; the last two are of items with reasons, where "why?" is asked."""
