"""Evaluation: a checkpoint or any Inspect model, asked held-out pairs.

Enter: items (pairs to choose from), a `PreferenceConfig`, and a model. Leave: an Inspect log, which is the source of
truth, and what is read from it: score rows (a value, or none with the reason) and the answers word for word.
inspect_ai lives in this room only, and is imported when something is asked, not before.
`inspect eval midspec/preference --model midspec/<checkpoint>` asks the same.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from midspec.evals._identity import eval_identity
from midspec.evals.preference._ask import check_items, read_items
from midspec.evals.preference._config import PreferenceConfig, load_config
from midspec.evals.preference._measures import MEASURES

if TYPE_CHECKING:
    from midspec.evals._abilities import ManyGenerator, OptionScorer
    from midspec.evals._provider import MidspecAPI
    from midspec.evals._scripted import ScriptedAPI, ScriptedReply, ScriptedScorerAPI, scripted_model
    from midspec.evals.preference._log import read_answers, read_scores
    from midspec.evals.preference._run import run_preference
    from midspec.evals.preference._task import preference_task

__all__ = [
    "MEASURES",
    "ManyGenerator",
    "MidspecAPI",
    "OptionScorer",
    "PreferenceConfig",
    "ScriptedAPI",
    "ScriptedReply",
    "ScriptedScorerAPI",
    "check_items",
    "eval_identity",
    "load_config",
    "preference_task",
    "read_answers",
    "read_items",
    "read_scores",
    "run_preference",
    "scripted_model",
]

_HOMES = {
    "ManyGenerator": "_abilities",
    "MidspecAPI": "_provider",
    "OptionScorer": "_abilities",
    "ScriptedAPI": "_scripted",
    "ScriptedReply": "_scripted",
    "ScriptedScorerAPI": "_scripted",
    "preference_task": "preference._task",
    "read_answers": "preference._log",
    "read_scores": "preference._log",
    "run_preference": "preference._run",
    "scripted_model": "_scripted",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
