"""Evaluation: a checkpoint or any Inspect model, asked held-out pairs.

Enter: items (pairs to choose from), a `PreferenceConfig`, and a model. Leave: an Inspect log, which is the source of
truth, and what is read from it: score rows (a value, or none with the reason) and the answers word for word.
inspect_ai lives in this room only. `inspect eval midspec/preference --model midspec/<checkpoint>` asks the same.
"""

from __future__ import annotations

from midspec.evals._abilities import ManyGenerator, OptionScorer
from midspec.evals._ask import read_items
from midspec.evals._config import PreferenceConfig, load_config
from midspec.evals._log import read_answers, read_scores
from midspec.evals._provider import MidspecAPI
from midspec.evals._run import eval_identity, run_preference
from midspec.evals._scripted import ScriptedAPI, ScriptedReply, ScriptedScorerAPI, scripted_model
from midspec.evals._task import preference, preference_task

__all__ = [
    "ManyGenerator",
    "MidspecAPI",
    "OptionScorer",
    "PreferenceConfig",
    "ScriptedAPI",
    "ScriptedReply",
    "ScriptedScorerAPI",
    "eval_identity",
    "load_config",
    "preference",
    "preference_task",
    "read_answers",
    "read_items",
    "read_scores",
    "run_preference",
    "scripted_model",
]
