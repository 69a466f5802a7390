"""Tools for those who write a spec: variants of it by a model, differences between two by clause, and a linter.

In: a `Spec`, and for variants an author. Out: edits, each with the clauses that it comes from; nothing is taken before
somebody accepts it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
