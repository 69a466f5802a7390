"""Spec QA: open-ended questions about who an assistant is, scored by a judge from 1 to 10, and by clause of a spec.

Enter: a `SpecQAConfig` (which questions, which spec) and what a model said. Leave: `qa_score` with the rates that stand
beside it, and `by_clause`, which shows a spec's author what was not learned. The shipped set has seven categories;
`write_questions` has a set written for any other spec.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
