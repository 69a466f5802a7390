"""Judges: how a grader model is asked, read, paid for and itself calibrated."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
