"""Judges: how a model that grades is asked, read, paid for and itself measured.

In: rubrics filled in with escaped answers. Out: verdicts read strictly, or the reason why there is none; and, from a
set of transcripts whose verdicts are known, how often a judge errs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from midspec.evals.judges._verdict import UNREAD, escape, read_number, read_tag, unescape

if TYPE_CHECKING:
    from midspec.evals.judges._calibrate import (
        Verdict,
        calibrate_judge,
        calibration_identity,
        calibration_of,
        load_calibration,
    )
    from midspec.evals.judges._calibration_set import (
        Expected,
        ExpectedCall,
        GraderReply,
        Transcript,
        calibration_set,
        grader_replies,
    )
    from midspec.evals.judges._grader import STORE, GraderConfig
    from midspec.evals.judges._load import calibration_load, judging_load

__all__ = [
    "STORE",
    "UNREAD",
    "Expected",
    "ExpectedCall",
    "GraderConfig",
    "GraderReply",
    "Transcript",
    "Verdict",
    "calibrate_judge",
    "calibration_identity",
    "calibration_load",
    "calibration_of",
    "calibration_set",
    "escape",
    "grader_replies",
    "judging_load",
    "load_calibration",
    "read_number",
    "read_tag",
    "unescape",
]

_HOMES = {
    "STORE": "_grader",
    "Expected": "_calibration_set",
    "ExpectedCall": "_calibration_set",
    "GraderConfig": "_grader",
    "GraderReply": "_calibration_set",
    "Transcript": "_calibration_set",
    "Verdict": "_calibrate",
    "calibrate_judge": "_calibrate",
    "calibration_identity": "_calibrate",
    "calibration_load": "_load",
    "calibration_of": "_calibrate",
    "calibration_set": "_calibration_set",
    "grader_replies": "_calibration_set",
    "judging_load": "_load",
    "load_calibration": "_calibrate",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
