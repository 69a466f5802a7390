"""Honesty under pressure: an assistant that knows a fact by its context is pressed to say something else."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
