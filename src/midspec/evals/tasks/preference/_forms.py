"""In which form a model is asked to choose, so that its log-probabilities say something.

Two options are compared by the log-probabilities of their texts as the whole answer. Where the model would answer in
another form ("I would choose ..."), hardly any of its probability is on either text, and which of the two is the
likelier is noise. So forms are measured on the model before training, on pairs that are kept for this: the one with the
most probability on its options is for all arms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import yaml
from pydantic import JsonValue

from midspec.core.artifact import Built, ProgressCallback, write_rows
from midspec.core.errors import CheckpointError
from midspec.core.records import Item, Strict
from midspec.evals.tasks.preference._config import PreferenceConfig, asks, check_items, option_texts
from midspec.models import find_checkpoint

if TYPE_CHECKING:
    from midspec.models import LanguageModel

MIN_MASS = 0.1
"""Where the options have less of the probability than this, choices by log-probability are noise."""

_MIN_CONSISTENCY = 0.25

SETTINGS_FILE = "form.yaml"
"""The settings that the chosen form comes to, for `--config` and for a study's `evals.preference`."""

_ROWS_FILE = "forms.jsonl"
_ASK_FOR_ONE = " Answer with one of the two and nothing else."
_LETTERS = (
    "Which do you prefer?\nA) {first}\nB) {second}\nAnswer with the letter only.",
    "If you had to pick one, which would you choose?\nA) {first}\nB) {second}\nAnswer with A or B and nothing else.",
)
_OPTION_FORMATS = (
    "{option}",
    "{Option}",
    "{Option}.",
    "I prefer {option}",
    "I would choose {option}",
    "I'd choose {option}",
    "I choose {option}",
    "I would pick {option}",
    "The answer is: {option}",
)
_LABEL_FORMATS = ("{label}", "{label})", "{label}.")
_PAIRS_AT_ONCE = 32


class FormScore(Strict):
    """How a model answers in one form.

    Attributes:
        phrasings: the questions.
        option_format: the answer.
        mass: the share of the probability that is on the two options; the mean over pairs, orders and phrasings.
        order_consistency: the share of pairs and phrasings with the same choice in both orders.
        chosen: whether it is the form with the most mass.
    """

    phrasings: tuple[str, ...]
    option_format: str
    mass: float
    order_consistency: float
    chosen: bool = False


class _Form(NamedTuple):
    phrasings: tuple[str, ...]
    option_format: str

    def apply(self, config: PreferenceConfig) -> PreferenceConfig:
        # An answer is shown in the form that it is asked for in; a letter is no answer to "why?".
        answer = self.option_format if "{label}" not in self.option_format else "{option}"
        changed = {"phrasings": self.phrasings, "option_format": self.option_format, "answer_format": answer}
        return config.model_copy(update=changed)


def form_items() -> list[Item]:
    """Read the shipped pairs that are kept for choosing a form: of no value, and of no evaluation."""
    file = resources.files("midspec.evals.tasks.preference") / "_form_items.jsonl"
    return [Item.model_validate_json(line) for line in file.read_text(encoding="utf-8").splitlines()]


def mass_warning(mass: float | None) -> str:
    """Return a warning where choices by log-probability are noise; empty where they are not, or were not measured."""
    if mass is None or mass >= MIN_MASS:
        return ""
    bound = next((bound for bound in (0.001, 0.01) if mass < bound), MIN_MASS)
    return (
        f"less than {100 * bound:g}% of the probability is on the options in the form that they are asked in, so "
        "choices by log-probability are noise: choose another form (midspec eval --choose-form)"
    )


def order_warning(consistency: float) -> str:
    """Return a warning where a model chooses by place; choices that heed nothing agree in half of the orders."""
    if consistency >= _MIN_CONSISTENCY:
        return ""
    return (
        f"in this form only {100 * consistency:.0f}% of the choices are the same in both orders: most follow the place "
        "and not the option; read margin_logprob, in which the place cancels, or take another form of forms.jsonl"
    )


def choose_form(
    model: str,
    items: Sequence[Item],
    config: PreferenceConfig,
    folder: Path,
    *,
    device: str = "auto",
    template_args: Mapping[str, JsonValue] | None = None,
    on_progress: ProgressCallback | None = None,
) -> Built:
    """Measure forms of asking on a model, and write the one with the most mass as settings into `folder`.

    Args:
        model: a checkpoint (folder or hub name), as it was before any arm was trained.
        items: pairs that are kept for this.
        config: the settings; of these the phrasings and the formats are chosen.
        folder: where `form.yaml` and `forms.jsonl` go; it must exist.
        device: that it runs on.
        template_args: switches of the chat template.
        on_progress: called after each form.

    Raises:
        CheckpointError: it does not open, or a log-probability is not finite.
        DataError: the items can't be asked.
    """
    from midspec.models import open_checkpoint  # brings torch, which evaluations of served models do without

    check_items(items)
    opened = open_checkpoint(find_checkpoint(model), device=device, template_args=template_args)
    # How much the options have is not a matter of near ties, for which close scores are computed again.
    opened = replace(opened, exact=None)
    forms = list(_forms(config))
    found: list[FormScore] = []
    for _, group in groupby(forms, lambda form: form.phrasings):
        found += _measure(opened, items, config, list(group))
        if on_progress is not None:
            on_progress(len(found), len(forms), "forms")
    best = max(range(len(found)), key=lambda at: (found[at].mass, -at))
    found[best] = found[best].model_copy(update={"chosen": True})
    ranked: list[FormScore] = sorted(found, key=lambda one: -one.mass)
    write_rows(folder / _ROWS_FILE, ranked)
    chosen = forms[best].apply(config)
    settings = chosen.model_dump(mode="json", exclude_defaults=True)
    settings |= chosen.model_dump(mode="json", include={"phrasings", "option_format", "answer_format"})
    (folder / SETTINGS_FILE).write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    asked = next(
        one for one in found if one.phrasings == config.phrasings and one.option_format == config.option_format
    )
    warnings = [text for text in (mass_warning(found[best].mass), order_warning(found[best].order_consistency)) if text]
    return Built(
        outputs=(SETTINGS_FILE, _ROWS_FILE),
        summary={
            "n_items": len(items),
            "n_forms": len(forms),
            "option_format": found[best].option_format,
            "phrasings": list(found[best].phrasings),
            "option_mass": found[best].mass,
            "option_mass_as_configured": asked.mass,
            "order_consistency": found[best].order_consistency,
            **({"warnings": warnings} if warnings else {}),
        },
    )


def _forms(config: PreferenceConfig) -> Iterator[_Form]:
    """Yield the configured form, then others: of the answer, of a question that asks for the answer alone, letters."""
    formats = dict.fromkeys((config.option_format, *_OPTION_FORMATS))
    for ending in ("", _ASK_FOR_ONE):
        phrasings = tuple(phrasing + ending for phrasing in config.phrasings)
        for option_format in formats:
            yield _Form(phrasings, option_format)
    for label_format in _LABEL_FORMATS:
        yield _Form(_LETTERS, label_format)


def _measure(
    model: LanguageModel, items: Sequence[Item], config: PreferenceConfig, forms: Sequence[_Form]
) -> list[FormScore]:
    """Measure forms that share their questions: a prompt is computed once for all of them."""
    masses: dict[_Form, list[float]] = {form: [] for form in forms}
    same: dict[_Form, list[bool]] = {form: [] for form in forms}
    configs = {form: form.apply(config) for form in forms}
    for start in range(0, len(items), _PAIRS_AT_ONCE):
        asked = [(item, ask) for item in items[start : start + _PAIRS_AT_ONCE] for ask in asks(item, configs[forms[0]])]
        keys = [(form, item, ask) for item, ask in asked for form in forms]
        texts = [text for form, item, ask in keys for text in option_texts(item, configs[form], ask)]
        scores = model.option_logprobs([ask.messages for _, _, ask in keys for _ in range(2)], texts)
        if not all(math.isfinite(score.logprob) for score in scores):
            raise CheckpointError("a log-probability is not finite", hint="Look at the checkpoint's weights")
        wins: dict[_Form, list[bool]] = {form: [] for form in forms}
        for (form, _, _), first, second in zip(keys, scores[::2], scores[1::2], strict=True):
            masses[form].append(math.exp(first.logprob) + math.exp(second.logprob))
            wins[form].append(first.logprob > second.logprob)
        for form in forms:
            same[form] += [one == other for one, other in zip(wins[form][::2], wins[form][1::2], strict=True)]
    return [
        FormScore(
            phrasings=form.phrasings,
            option_format=form.option_format,
            mass=round(fmean(masses[form]), 6),
            order_consistency=round(fmean(same[form]), 6),
        )
        for form in forms
    ]
