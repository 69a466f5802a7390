"""The command line: arguments, printing and progress; other packages do the work.

They are imported inside commands, so that `midspec --help` answers at once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
