"""The tiny study, for every test of the study room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from midspec.core.artifact import locked
from midspec.study import parse_study, run_study

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


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study, run once for all the processes that run tests; nobody changes it."""
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny-study" / "run"
    with locked(out.parent, wait_s=240):
        run_study(parse_study(TINY.read_text(encoding="utf-8"), home=out.parent), out)
    return out
