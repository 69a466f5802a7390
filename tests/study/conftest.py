"""The tiny study, for every test of the study room."""

from __future__ import annotations

from pathlib import Path

import pytest

TINY = Path(__file__).parent / "tiny.yaml"


@pytest.fixture
def tiny_text() -> str:
    """The study file of the tiny study."""
    return TINY.read_text(encoding="utf-8")


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """The tiny study on disk, alone in its folder."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.read_text(encoding="utf-8"), encoding="utf-8")
    return path
