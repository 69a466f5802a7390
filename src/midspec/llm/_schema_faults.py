"""Whether a server breaks down over the schema that replies are asked for in."""

from __future__ import annotations

_FEWEST_FAULTS = 3


class SchemaFaults:
    """Finds out whether a server breaks down (500) over the schema of replies, as llama.cpp does over some grammars.

    After three faults of requests with a schema, and none that went well, one is tried without. If that is answered,
    and a request sent with a schema after it breaks down again, the schema is left out.

    Attributes:
        has_worked: a request with a schema was answered.
        has_tried: one without was answered after faults of those with one.
    """

    def __init__(self) -> None:
        self.has_worked = self.has_tried = False
        self._n_faults = 0

    def count(self) -> bool:
        """Count a fault; return whether to try that request without its schema."""
        self._n_faults += 1
        return not self.has_worked and (self.has_tried or self._n_faults % _FEWEST_FAULTS == 0)
