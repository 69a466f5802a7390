"""Every type that crosses a room's door: frozen, extra fields forbidden.

What two rooms share is a type here or it is not shared: what flows from a spec to a report, what curation finds
out about rows, how often judges err, and which reasons drove what a model did.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
