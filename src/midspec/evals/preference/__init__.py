"""The evaluation `preference`: which of two options a model chooses, by log-probability and by its own words.

Enter: items (pairs), a `PreferenceConfig`, a model. Leave: score rows and answers, read from an Inspect log.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from midspec.evals.preference._ask import check_items, read_items
from midspec.evals.preference._config import PreferenceConfig, load_config
from midspec.evals.preference._measures import MEASURES
from midspec.evals.preference._resolve import resolve_items
from midspec.evals.preference._sets import VALUES, ValueSet, shipped_items, value_set

if TYPE_CHECKING:
    from midspec.evals.preference._log import read_answers, read_scores
    from midspec.evals.preference._run import run_preference
    from midspec.evals.preference._task import preference_task

__all__ = [
    "MEASURES",
    "VALUES",
    "PreferenceConfig",
    "ValueSet",
    "check_items",
    "load_config",
    "preference_task",
    "read_answers",
    "read_items",
    "read_scores",
    "resolve_items",
    "run_preference",
    "shipped_items",
    "value_set",
]

_HOMES = {
    "preference_task": "_task",
    "read_answers": "_log",
    "read_scores": "_log",
    "run_preference": "_run",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
