"""Spec QA: open questions about who an assistant is, scored by a judge from 1 to 10, and the tenets of a spec that answers violate."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
