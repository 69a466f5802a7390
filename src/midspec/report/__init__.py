"""The report: estimates and records in, one self-contained HTML page out.

Enters: a `ReportData` (pure data, assembled by `study`). Leaves: `report.html`, its figures as PNG and SVG, and
`report_data.json`. Nothing here starts a step, reads a score row or computes a statistic.
"""

from midspec.report._data import (
    ArmAnswer,
    ArmInfo,
    Caveat,
    ContrastSays,
    GateResult,
    Panel,
    ReportData,
    SetInfo,
    Shown,
    SideBySide,
    StageHealth,
)
from midspec.report._words import say_contrast, summary_lines, verdict
from midspec.report._write import write_report

__all__ = [
    "ArmAnswer",
    "ArmInfo",
    "Caveat",
    "ContrastSays",
    "GateResult",
    "Panel",
    "ReportData",
    "SetInfo",
    "Shown",
    "SideBySide",
    "StageHealth",
    "say_contrast",
    "summary_lines",
    "verdict",
    "write_report",
]
