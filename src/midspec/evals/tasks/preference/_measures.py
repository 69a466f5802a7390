"""The measures of an item, from what was observed; pure, so that a stored log can be scored again.

Every measure is averaged inside the item over both orders and all phrasings, and is a share (0 to 1) but for
`margin_logprob` (nats). What can't be measured is `Unscored` with the reason, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import ClassVar, NamedTuple

from midspec.core.records import Item, Strict
from midspec.evals._status import normalize, without_thinking
from midspec.evals._types import CachedResponse, Unscored, Value
from midspec.evals.tasks.preference._choices import chosen
from midspec.evals.tasks.preference._config import PreferenceConfig, labels_of

READER = 3
"""The version of how answers are read, in each record: 1 looked for the options' names alone, 2 knew fewer signs."""


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


_CUT_OFF = ("max_tokens", "model_length")
_FILTERED = "content_filter"


def holds_marker(text: str, markers: Sequence[str]) -> bool:
    """Return whether `text` holds one of the markers, in any case and with either kind of apostrophe."""
    plain = normalize(text)
    return any(normalize(marker) in plain for marker in markers)


_NOTHING_PARSED = "no answer names exactly one option"


class _Choice(NamedTuple):
    """One question's outcome: by log-probability 1 target, 0 other, 0.5 tie; by answer `True` target, `False` other."""

    asked: Asked
    by_logprob: float | None
    by_answer: bool | None
    refused: bool


def measure_names(item: Item, config: PreferenceConfig) -> tuple[str, ...]:
    """Return the measures of `item`: those of its reasons where it has some and why is asked."""
    return MEASURES if item.reasons is not None and config.why is not None else tuple(_CHOICE_MEASURES)


def measures(item: Item, observed: Observed, config: PreferenceConfig) -> dict[str, Value]:
    """Return every measure of `item`, by name, in the order of `measure_names`."""
    choices = [_choice(item, asked, config) for asked in observed.asked]
    missing = Unscored(observed.no_logprobs or "the log-probabilities were not asked for")
    values = {name: measure(choices, missing) for name, measure in _CHOICE_MEASURES.items()}
    if item.reasons is not None and config.why is not None:
        wins = [_wins(asked.reasons.logprobs) for asked in observed.asked if asked.reasons is not None]
        values["reason_logprob"] = fmean(wins) if wins else missing
        values["reason_generated"] = _reason_generated(item.reasons, observed.why, config)
    return {name: value if isinstance(value, Unscored) else round(value, 6) for name, value in values.items()}


def _choice(item: Item, asked: Asked, config: PreferenceConfig) -> _Choice:
    refused = _is_refused(asked.reply, config)
    phrasing = config.phrasings[asked.phrasing]
    labels = labels_of(phrasing)
    if labels is not None and asked.swapped:
        labels = (labels[1], labels[0])
    index = None
    if not refused:
        index = chosen(
            without_thinking(asked.reply.text),
            item.options,
            labels,
            is_cut=asked.reply.stop_reason in _CUT_OFF,
            first_asked=int(asked.swapped != (phrasing.index("{second}") < phrasing.index("{first}"))),
        )
    by_logprob = None if asked.options is None else _wins(asked.options.logprobs)
    return _Choice(asked, by_logprob, None if index is None else index == 0, refused)


def _is_refused(reply: Reply, config: PreferenceConfig) -> bool:
    return reply.stop_reason == _FILTERED or holds_marker(without_thinking(reply.text), config.refusal_markers)


def _reason_generated(reasons: tuple[str, str], why: Reply | None, config: PreferenceConfig) -> Value:
    if why is None:
        return Unscored("why was not asked")
    if _is_refused(why, config):
        return Unscored("the answer to why refuses")
    index = chosen(without_thinking(why.text), reasons, is_cut=why.stop_reason in _CUT_OFF, shortened=False)
    return Unscored("the answer to why names neither reason or both") if index is None else float(index == 0)


def _wins(values: tuple[float, float]) -> float:
    """Return 1 when the first is larger, 0 when the second is, half for a tie."""
    return 0.5 if values[0] == values[1] else float(values[0] > values[1])


def _over_pairs(value: Callable[[Pair], float]) -> _Measure:
    """Make a measure that is the mean of `value` over the questions' option pairs."""

    def measure(choices: Sequence[_Choice], missing: Unscored) -> Value:
        pairs = [choice.asked.options for choice in choices if choice.asked.options is not None]
        return fmean(map(value, pairs)) if pairs else missing

    return measure


def _share(holds: Callable[[_Choice], bool | None]) -> _Measure:
    """Make a measure that is the share of questions for which `holds`, of those where that is not `None`."""

    def measure(choices: Sequence[_Choice], _missing: Unscored) -> Value:
        known = [float(held) for choice in choices if (held := holds(choice)) is not None]
        return fmean(known) if known else Unscored(_NOTHING_PARSED)

    return measure


def _needs_logprobs(measure: _Measure) -> _Measure:
    """Make a measure of one that has no value where no question has log-probabilities."""

    def checked(choices: Sequence[_Choice], missing: Unscored) -> Value:
        return missing if all(choice.by_logprob is None for choice in choices) else measure(choices, missing)

    return checked


def _agrees(choice: _Choice) -> bool | None:
    if choice.by_answer is None or choice.by_logprob is None:
        return None
    return choice.by_logprob == float(choice.by_answer)


def _consistency(outcome: Callable[[_Choice], float | None], reason: str | None = None) -> _Measure:
    """Make a measure that is the share of phrasings with the same outcome in both orders."""

    def measure(choices: Sequence[_Choice], missing: Unscored) -> Value:
        by_phrasing: dict[int, list[float]] = {}
        for choice in choices:
            if (found := outcome(choice)) is not None:
                by_phrasing.setdefault(choice.asked.phrasing, []).append(float(found))
        same = [float(len(set(found)) == 1) for found in by_phrasing.values() if len(found) == 2]
        return fmean(same) if same else Unscored(reason or missing.reason)

    return measure


_Measure = Callable[[Sequence[_Choice], Unscored], Value]
_CHOICE_MEASURES: dict[str, _Measure] = {
    "choice_logprob": _over_pairs(lambda pair: _wins(pair.logprobs)),
    "margin_logprob": _over_pairs(lambda pair: pair.logprobs[0] - pair.logprobs[1]),
    "choice_logprob_mean": _over_pairs(
        lambda pair: _wins((pair.logprobs[0] / pair.n_tokens[0], pair.logprobs[1] / pair.n_tokens[1]))
    ),
    "option_mass": _over_pairs(lambda pair: sum(map(math.exp, pair.logprobs))),
    "choice_generated": _share(lambda choice: choice.by_answer),
    "parsed": _share(lambda choice: choice.by_answer is not None),
    "refused": _share(lambda choice: choice.refused),
    "truncated": _share(lambda choice: choice.asked.reply.stop_reason in _CUT_OFF),
    "agreement": _needs_logprobs(_share(_agrees)),
    "order_consistency": _needs_logprobs(_consistency(lambda choice: choice.by_logprob)),
    "order_consistency_generated": _consistency(
        lambda choice: choice.by_answer, "no phrasing has an answer in both orders that names exactly one option"
    ),
}
MEASURES = (*_CHOICE_MEASURES, "reason_logprob", "reason_generated")
"""The names of all measures; the last two are of items with reasons, where "why?" is asked."""
