"""A folder of rows with a `record.json` that is written last: its presence means done.

A step is built in a hidden folder beside its final place and moved there whole, so nobody ever sees half a result.
Same identity: the step is skipped. Another identity under the same name: `StaleError` with the fields that differ.
An interrupted step is built again from nothing, or goes on from what its hidden folder holds if it says it can.
"""

from __future__ import annotations

from midspec.artifact._build import RECORD, Built, build, read_record
from midspec.artifact._folder import locked, writable
from midspec.artifact._rows import read_rows, write_json, write_lines, write_rows, write_text

__all__ = [
    "RECORD",
    "Built",
    "build",
    "locked",
    "read_record",
    "read_rows",
    "writable",
    "write_json",
    "write_lines",
    "write_rows",
    "write_text",
]
