"""Rows that repeat an earlier one, to the letter or nearly."""

from __future__ import annotations

import hashlib

from midspec.core.records import Document
from midspec.curate._rows import Row, row_id, text_of


class ExactDuplicates:
    """Rejects a row whose text was let pass before, whatever the case and the white space. It remembers 16 bytes a row.

    What it says of a row depends on the rows before it, so each row is shown to it once and in order.
    """

    name = "exact duplicate"

    def __init__(self) -> None:
        self._seen: dict[bytes, str] = {}

    def reason(self, row: Row) -> str | None:
        """The id of the row that this one repeats."""
        line = " ".join(text_of(row).casefold().split())
        mark = hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if (earlier := self._seen.get(mark)) is not None:
            return f"repeats: {earlier}"
        self._seen[mark] = row_id(row)
        return None


class NearDuplicates:
    """Rejects a row that nearly repeats one let pass before; of a chat its questions count. It remembers 2 kB a row.

    What it says of a row depends on the rows before it, so each row is shown to it once and in order.

    Args:
        threshold: see `midspec.core.near_duplicates.NearIndex`.
        seed: decides the hash functions.
    """

    name = "near duplicate"

    def __init__(self, threshold: float, *, seed: int = 0) -> None:
        from midspec.core.near_duplicates import NearIndex

        self._near = NearIndex(threshold=threshold, seed=seed)

    def reason(self, row: Row) -> str | None:
        """The id of the row that this one nearly repeats."""
        found = self._near.find_or_add(row_id(row), _compared(row))
        return None if found is None else f"nearly repeats: {found}"


def _compared(row: Row) -> str:
    if isinstance(row, Document):
        return row.text
    return "\n".join(turn.content for turn in row.messages if turn.role == "user")
