"""Reasons: why a model did what it did, by its own words.

In: transcripts of arms (answers of an exam run) and judges behind `llm`. Out: single reasons with quotes that really
stand in the transcripts, clusters of them that a person can look at and edit on a page, and for every transcript and
cluster whether it was a significant driver; which clauses of a spec were cited.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
