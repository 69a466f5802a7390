"""Replies are in the file when `put` returns, and a line that a kill cut off is no reply."""

from __future__ import annotations

from pathlib import Path

import pytest

from midspec.evals import JudgeResponse, ModelResponse
from midspec.evals._response_cache import ResponseCache

SAID = ModelResponse(text="grüß dich\nline two", stop_reason="stop")


def test_a_reply_is_there_for_whoever_opens_the_file_next(tmp_path: Path) -> None:
    with ResponseCache(tmp_path / "kept.jsonl") as kept:
        assert kept.get(ModelResponse, {"id": "q"}) is None
        kept.put(SAID, {"id": "q"})
        assert (tmp_path / "kept.jsonl").read_bytes().count(b"\n") == 1
    with ResponseCache(tmp_path / "kept.jsonl") as kept:
        assert kept.get(ModelResponse, {"id": "q"}) == SAID
        assert kept.get(ModelResponse, {"id": "other"}) is None
        assert kept.get(JudgeResponse, {"id": "q"}) is None


def test_a_line_that_was_cut_off_is_dropped_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    with ResponseCache(path) as kept:
        kept.put(SAID, 1)
        kept.put(SAID, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with ResponseCache(path) as kept:
        assert kept.get(ModelResponse, 1) == SAID
        assert kept.get(ModelResponse, 2) is None
        kept.put(SAID, 2)
    assert path.read_bytes() == whole


def test_nothing_is_kept_in_a_file_that_is_not_open(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not open"):
        ResponseCache(tmp_path / "kept.jsonl").put(SAID, 1)
