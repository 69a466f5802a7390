"""The side-effect panel: what training may have changed beside what it was meant to; nine tasks that need no judge.

Each has items of its own (`<panel>`), and control items whose rate should not move (`<panel>-control`).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
