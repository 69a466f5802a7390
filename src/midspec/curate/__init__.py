"""Curate rows: rows go in; kept rows, rejects with reasons, and statistics of the rows come out.

In: documents or chats, and evaluation items that they must not hold. Out: what every filter let pass, what each took
out and why, a judge's verdicts and its measured error rates, and statistics of a corpus, alone or beside another one.
Another package brings a filter under the entry point group `midspec.curate_filters`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
