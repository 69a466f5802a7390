"""The command line: arguments, printing and progress, and nothing else; the rooms do the work.

Rooms are imported inside commands, so that `midspec --help` answers at once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
