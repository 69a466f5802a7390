"""Replies of judges of our own writing, well and ill formed, with what a careful reader finds in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from midspec.core.records import Strict


class GraderReply(Strict):
    """A judge's reply as it may come back: what is right or wrong with it, and the verdict that it gives, if any."""

    id: str
    kind: str
    text: str
    stop_reason: str
    expected: Literal["yes", "no", "unclear", "unscored"]


_LINES = Path(__file__).with_name("grader_replies.jsonl").read_text(encoding="utf-8").split("\n")
GRADER_REPLIES = tuple(GraderReply.model_validate(json.loads(line)) for line in _LINES if line.strip())
