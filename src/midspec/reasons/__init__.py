"""Find why models did what they did, by their own words.

In: transcripts of arms (answers of an evaluation) and judges. Out: single reasons with quotes that stand in the
transcripts, clusters of them that a person can edit on a page, for every transcript and cluster whether it was a
significant driver, and which clauses of a spec were cited.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
