"""The types that packages hand to each other: frozen, extra fields forbidden.

What flows from a spec to a report, what curation finds out about rows, how often judges err, and which reasons drove
what a model did. Rows on disk are these types as JSON lines, so their fields never change their names.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
