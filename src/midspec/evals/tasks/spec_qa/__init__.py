"""Spec QA: open questions about who an assistant is, scored from 1 to 10, and the tenets that answers violate."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
