"""The report: estimates and records in, one self-contained HTML page out.

In: a `ReportData` (pure data, assembled by `study`). Out: `report.html`, its figures as PNG and SVG, and
`report_data.json`. The health of a corpus (`Health`) and two corpora compared (`Comparison`) are pages of the same
style. Nothing here starts a step, reads a score row or computes a statistic.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
