"""The report: estimates and records in, one self-contained HTML page out.

Enters: a `ReportData` (pure data, assembled by `study`). Leaves: `report.html`, its figures as PNG and SVG, and
`report_data.json`. The health of a corpus (`Health`) and two corpora compared (`Comparison`) are pages of the same
look. Nothing here starts a step, reads a score row or computes a statistic.
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
from midspec.report._exam_data import (
    ArmStatus,
    Beside,
    ClauseRow,
    Column,
    Corrected,
    Difference,
    ExamReport,
    Grid,
    GridCell,
    JudgedBy,
    JudgeSaid,
    JudgingBill,
    LogPlace,
    Measured,
    PowerNeeded,
    PowerSays,
    Reasons,
    Transcript,
)
from midspec.report._health import write_health
from midspec.report._health_comparison import write_comparison
from midspec.report._words import is_share, say_contrast, summary_lines, verdict
from midspec.report._write import write_report

__all__ = [
    "ArmAnswer",
    "ArmInfo",
    "ArmStatus",
    "Beside",
    "Caveat",
    "ClauseRow",
    "Column",
    "ContrastSays",
    "Corrected",
    "Difference",
    "ExamReport",
    "GateResult",
    "Grid",
    "GridCell",
    "JudgeSaid",
    "JudgedBy",
    "JudgingBill",
    "LogPlace",
    "Measured",
    "Panel",
    "PowerNeeded",
    "PowerSays",
    "Reasons",
    "ReportData",
    "SetInfo",
    "Shown",
    "SideBySide",
    "StageHealth",
    "Transcript",
    "is_share",
    "say_contrast",
    "summary_lines",
    "verdict",
    "write_comparison",
    "write_health",
    "write_report",
]
