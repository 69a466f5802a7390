"""Write what evaluations ask: held-out pairs for a value, and open questions about a spec's clauses.

In: a value (or a spec's clauses) and language models. Out: items with even numbers by domain or clause, and what was
rejected with the reason.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
