"""Judges: how a model that grades is asked, read, paid for and itself measured.

In: rubrics filled in with escaped answers. Out: verdicts read strictly, or the reason why there is none.
"""

from __future__ import annotations

from midspec.evals.judges._verdict import UNREAD, escape, read_number, read_tag, unescape

__all__ = ["UNREAD", "escape", "read_number", "read_tag", "unescape"]
