"""A folder of rows with a `record.json` that is written last: its presence means done.

A step is built in a hidden folder beside its final place and moved there whole, so nobody ever sees half a result.
Same identity: the step is skipped. Another identity under the same name: `StaleError` with the fields that differ.
An interrupted step is built again from nothing, or goes on from what its hidden folder holds if it says it can.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
