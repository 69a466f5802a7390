"""The seeds of a study file, and what was meant where they are written in another way than as a list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from midspec.core.errors import ConfigError

_SEED_BOUND = 2**63  # a training takes fewer (numpy's 2**32), and refuses the others itself
_MAX_SHOWN = 20
_RANGE = re.compile(r"\s*(\d{1,6})\s*(?:-|–|—|\.{2,3}|…|:|to|bis|until)\s*(\d{1,6})\s*")
_PYTHON_RANGE = re.compile(r"\s*range\(\s*(?:(\d{1,6})\s*,)?\s*(\d{1,6})\s*\)\s*")


def _listed(given: object) -> object:
    """Refuse one number, or text, with the list that was meant."""
    if isinstance(given, list | tuple) and given and not any(isinstance(each, str) and _range(each) for each in given):
        return given
    meant = [seed for each in (given if isinstance(given, list | tuple) else [given]) for seed in _named(each)]
    hint = f"Write seeds: {_shown(list(dict.fromkeys(meant)) or range(1, 4))}"
    if isinstance(given, int) and 1 < given <= _MAX_SHOWN:
        hint = f"{hint} for seed {given}, or {_shown(range(1, given + 1))} for {given} seeds"
    raise ConfigError("must be a list of whole numbers, each written out", hint=hint)


def _range(text: str) -> range | None:
    if found := _RANGE.fullmatch(text):
        return range(int(found[1]), int(found[2]) + 1) or None
    found = _PYTHON_RANGE.fullmatch(text)
    return (range(int(found[1] or 0), int(found[2])) or None) if found else None


def _named(given: object) -> Sequence[int]:
    """Return the seeds that a number or a text names."""
    if not isinstance(given, str | int | float) or isinstance(given, bool):
        return ()
    return _range(str(given)) or [int(number) for number in re.findall(r"(?<![\d.])\d{1,18}(?![\d.]*\d)", str(given))]


def _shown(seeds: Sequence[int]) -> str:
    """Write seeds as a study file has them; of many the first and the last."""
    shown = [*map(str, seeds[:_MAX_SHOWN])]
    return f"[{', '.join(shown if len(seeds) <= _MAX_SHOWN else [*shown[:3], '...', str(seeds[-1])])}]"


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    distinct = list(dict.fromkeys(seeds))
    if len(distinct) < len(seeds):
        twice = next(seed for seed in distinct if seeds.count(seed) > 1)
        raise ConfigError(f"seed {twice} is named twice", hint=f"Write seeds: {_shown(distinct)}")
    if not all(0 <= seed < _SEED_BOUND for seed in seeds):
        hint = "Choose others, such as [1, 2, 3]"
        raise ConfigError(f"a seed is a whole number from 0 to {_SEED_BOUND - 1:,}", hint=hint)
    return seeds


_Some = Annotated[tuple[int, ...], Field(min_length=1)]
Seeds = Annotated[_Some, BeforeValidator(_listed, json_schema_input_type=_Some), AfterValidator(_distinct)]
"""Whole numbers, each once."""
