"""The study room: a study file goes in, a run folder with every step's result and a report comes out.

Enters: a `StudyConfig` (from YAML or from Python). Leaves: steps as lazy values, a `Plan`, and by `run_study` the
records of all steps. Steps are done side by side in worker processes, shared ones once; an interrupted run goes on.
Nothing is printed here: whoever wants to see a run go listens to its `Event`s.

The names below are loaded when they are first used, so that importing this room loads neither models nor evaluations.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midspec.study._alone import (
        build_alone,
        chats_step,
        corpus_step,
        eval_step,
        exam_alone,
        reframe_step,
        rescore_step,
        train_step,
    )
    from midspec.study._authors import (
        Way,
        forecast_chats,
        forecast_corpus,
        preview_chats_by_model,
        preview_corpus_by_model,
        spent_against,
    )
    from midspec.study._calibrating import calibrate_alone, forecast_calibration
    from midspec.study._config import StudyConfig
    from midspec.study._curating import curate_step
    from midspec.study._events import Event, Listener
    from midspec.study._exam_load import Serving, forecast_exam
    from midspec.study._exam_steps import check_graders
    from midspec.study._exchange import export_rows, import_rows, mix_rows, neutral_rows
    from midspec.study._item_authors import (
        QuestionsConfig,
        forecast_pairs,
        forecast_questions,
        write_pairs,
        write_questions_file,
    )
    from midspec.study._load import Study, first_seeds, load_study, parse_study, study_schema
    from midspec.study._local import StepFaultError, WorkerLostError
    from midspec.study._plan import Plan, PlannedStep, plan
    from midspec.study._reasons import build_reasons, clause_texts, forecast_reasons, read_transcripts
    from midspec.study._run import report_again, run_study
    from midspec.study._steps import Step

__all__ = [
    "Event",
    "Listener",
    "Plan",
    "PlannedStep",
    "QuestionsConfig",
    "Serving",
    "Step",
    "StepFaultError",
    "Study",
    "StudyConfig",
    "Way",
    "WorkerLostError",
    "build_alone",
    "build_reasons",
    "calibrate_alone",
    "chats_step",
    "check_graders",
    "clause_texts",
    "corpus_step",
    "curate_step",
    "eval_step",
    "exam_alone",
    "export_rows",
    "first_seeds",
    "forecast_calibration",
    "forecast_chats",
    "forecast_corpus",
    "forecast_exam",
    "forecast_pairs",
    "forecast_questions",
    "forecast_reasons",
    "import_rows",
    "load_study",
    "mix_rows",
    "neutral_rows",
    "parse_study",
    "plan",
    "preview_chats_by_model",
    "preview_corpus_by_model",
    "read_transcripts",
    "reframe_step",
    "report_again",
    "rescore_step",
    "run_study",
    "spent_against",
    "study_schema",
    "train_step",
    "write_pairs",
    "write_questions_file",
]

_MODULES = {
    "_alone": (
        "build_alone",
        "chats_step",
        "corpus_step",
        "eval_step",
        "exam_alone",
        "reframe_step",
        "rescore_step",
        "train_step",
    ),
    "_authors": (
        "Way",
        "forecast_chats",
        "forecast_corpus",
        "preview_chats_by_model",
        "preview_corpus_by_model",
        "spent_against",
    ),
    "_calibrating": ("calibrate_alone", "forecast_calibration"),
    "_config": ("StudyConfig",),
    "_curating": ("curate_step",),
    "_events": ("Event", "Listener"),
    "_exam_load": ("Serving", "forecast_exam"),
    "_exam_steps": ("check_graders",),
    "_exchange": ("export_rows", "import_rows", "mix_rows", "neutral_rows"),
    "_item_authors": (
        "QuestionsConfig",
        "forecast_pairs",
        "forecast_questions",
        "write_pairs",
        "write_questions_file",
    ),
    "_load": ("Study", "first_seeds", "load_study", "parse_study", "study_schema"),
    "_local": ("StepFaultError", "WorkerLostError"),
    "_plan": ("Plan", "PlannedStep", "plan"),
    "_reasons": ("build_reasons", "clause_texts", "forecast_reasons", "read_transcripts"),
    "_run": ("report_again", "run_study"),
    "_steps": ("Step",),
}
_HOME_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
