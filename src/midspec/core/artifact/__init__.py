"""Make a result as a folder of rows with a `record.json` that is written last: its presence means done.

`build` makes a result in a hidden folder beside its final place and moves it there whole, so that a half-written
result is never seen. Same identity: the result is there already. Another identity under the same name: `StaleError`
with the fields that differ. An interrupted result is made again from nothing, or from what its hidden folder holds if
`make` can. What `make` puts in `CHECKPOINTS` there outlives every error.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
