"""Write a study's report: estimates and records in, one self-contained HTML page out.

In: a `ReportData` (pure data; `study` assembles it). Out: `report.html`, its figures as PNG and SVG, and
`report_data.json`. The health of a corpus (`Health`) and two corpora compared (`Comparison`) are pages of the same
style. Nothing here reads score rows or computes a statistic.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
