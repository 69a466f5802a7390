"""Evaluation: a checkpoint or any Inspect model, asked held-out pairs or an exam's questions.

Enter: items (pairs to choose from) and a `PreferenceConfig`, or an exam and its config; a model; judges, where an exam
needs them. Leave: an Inspect log, which is the source of truth, and what is read from it: score rows (a value, or none
with the reason), answers word for word, judges' replies.
inspect_ai lives in this room only, and is imported when something is asked, not before.
`inspect eval midspec/<name> --model midspec/<checkpoint>` asks the same.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from midspec.evals._identity import eval_identity, exam_identity
from midspec.evals.exam import Exam, ExamConfig, exam_named, exam_names, measure_names
from midspec.evals.preference._ask import check_items, read_items
from midspec.evals.preference._config import PreferenceConfig, load_config
from midspec.evals.preference._measures import MEASURES
from midspec.evals.preference._resolve import resolve_items
from midspec.evals.preference._sets import VALUES, shipped_items

if TYPE_CHECKING:
    from midspec.evals._abilities import ManyGenerator, OptionScorer
    from midspec.evals._provider import MidspecAPI
    from midspec.evals._scripted import ScriptedAPI, ScriptedReply, ScriptedScorerAPI, scripted_model
    from midspec.evals.exam import ExamLog, exam_task, log_settings, logged_questions, read_exam, rescore, run_exam
    from midspec.evals.judges import (
        GraderConfig,
        calibrate_judge,
        calibration_identity,
        calibration_of,
        calibration_set,
        load_calibration,
    )
    from midspec.evals.preference._log import read_answers, read_scores
    from midspec.evals.preference._run import run_preference
    from midspec.evals.preference._task import preference_task

__all__ = [
    "MEASURES",
    "VALUES",
    "Exam",
    "ExamConfig",
    "ExamLog",
    "GraderConfig",
    "ManyGenerator",
    "MidspecAPI",
    "OptionScorer",
    "PreferenceConfig",
    "ScriptedAPI",
    "ScriptedReply",
    "ScriptedScorerAPI",
    "calibrate_judge",
    "calibration_identity",
    "calibration_of",
    "calibration_set",
    "check_items",
    "eval_identity",
    "exam_identity",
    "exam_named",
    "exam_names",
    "exam_task",
    "load_calibration",
    "load_config",
    "log_settings",
    "logged_questions",
    "measure_names",
    "preference_task",
    "read_answers",
    "read_exam",
    "read_items",
    "read_scores",
    "rescore",
    "resolve_items",
    "run_exam",
    "run_preference",
    "scripted_model",
    "shipped_items",
]

_HOMES = {
    "ExamLog": "exam",
    "GraderConfig": "judges",
    "ManyGenerator": "_abilities",
    "MidspecAPI": "_provider",
    "OptionScorer": "_abilities",
    "ScriptedAPI": "_scripted",
    "ScriptedReply": "_scripted",
    "ScriptedScorerAPI": "_scripted",
    "calibrate_judge": "judges",
    "calibration_identity": "judges",
    "calibration_of": "judges",
    "calibration_set": "judges",
    "exam_task": "exam",
    "load_calibration": "judges",
    "log_settings": "exam",
    "logged_questions": "exam",
    "preference_task": "preference._task",
    "read_answers": "preference._log",
    "read_exam": "exam",
    "read_scores": "preference._log",
    "rescore": "exam",
    "run_exam": "exam",
    "run_preference": "preference._run",
    "scripted_model": "_scripted",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
