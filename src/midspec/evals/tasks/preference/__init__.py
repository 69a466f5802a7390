"""The preference evaluation: which of two options a model prefers, asked in both orders and every phrasing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
