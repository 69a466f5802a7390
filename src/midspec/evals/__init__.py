"""Ask evaluation tasks and pairs of a checkpoint or any Inspect model, have answers judged, and read score rows.

`run_task` takes an `EvalTask` and its config, `run_preference` pairs to choose from; both write an Inspect log, the
source of truth, and what is read from it: score rows (a value, or none with the reason), answers word for word,
judges' replies. inspect_ai is imported in this package only, when something is asked.
`inspect eval midspec/<name> --model midspec/<checkpoint>` runs the same.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
