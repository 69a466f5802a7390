"""The command line: arguments, printing, progress and exit codes; the other packages do the work.

They are imported inside the commands, so that `midspec --help` loads none of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
