"""The evaluation `preference`: which of two options a model chooses, by log-probability and by its own words.

Enter: items (pairs), a `PreferenceConfig`, a model. Leave: score rows and answers, read from an Inspect log. Pairs are
shipped for eight values, read from files and data sets, or written by a model for any value.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from midspec.evals.preference._ask import check_items, read_items
from midspec.evals.preference._config import PreferenceConfig, load_config
from midspec.evals.preference._measures import MEASURES
from midspec.evals.preference._resolve import resolve_items
from midspec.evals.preference._sets import VALUES, ValueSet, read_value_set, shipped_items, value_set

if TYPE_CHECKING:
    from midspec.evals.preference._author import write_items
    from midspec.evals.preference._log import read_answers, read_scores
    from midspec.evals.preference._pair_set import author_items, items_loads
    from midspec.evals.preference._run import run_preference
    from midspec.evals.preference._task import preference_task
    from midspec.evals.preference._writing import WritingConfig, Written

__all__ = [
    "MEASURES",
    "VALUES",
    "PreferenceConfig",
    "ValueSet",
    "WritingConfig",
    "Written",
    "author_items",
    "check_items",
    "items_loads",
    "load_config",
    "preference_task",
    "read_answers",
    "read_items",
    "read_scores",
    "read_value_set",
    "resolve_items",
    "run_preference",
    "shipped_items",
    "value_set",
    "write_items",
]

_HOMES = {
    "WritingConfig": "_writing",
    "Written": "_writing",
    "author_items": "_pair_set",
    "items_loads": "_pair_set",
    "preference_task": "_task",
    "read_answers": "_log",
    "read_scores": "_log",
    "run_preference": "_run",
    "write_items": "_author",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
