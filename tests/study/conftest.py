"""The tiny study, for every test of the study room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from midspec.core.artifact import locked
from midspec.core.machine import granted
from midspec.study import load_study, run_study

TINY = Path(__file__).parent / "tiny.yaml"


@pytest.fixture(scope="session", autouse=True)
def _one_worker() -> Iterator[None]:
    """Have runs take one worker where a test asks for no number: each loads torch and all else, 6 CPU seconds."""
    with pytest.MonkeyPatch.context() as patch:
        one_core = granted().model_copy(update={"n_usable_cores": 1})
        patch.setattr("midspec.study.execution._run.granted", lambda: one_core)
        yield


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


def with_two_arms(text: str) -> str:
    """Leave the tiny study with its base and the arm of America alone."""
    for old, new in (
        ("  AFT: {finetune: cheese}\n", ""),
        ("  MSM(thrift)+AFT: {midtrain: thrift, finetune: cheese}\n", ""),
        ("minus: MSM(thrift)+AFT", "minus: base"),
        ("seeds: [1, 2]", "seeds: [1]"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


def once(tmp_path_factory: pytest.TempPathFactory, name: str, study: str) -> Path:
    """Run a study once for all the processes that run tests; return its folder, which nobody changes."""
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name / "run"
    with locked(out.parent, wait_s=240):
        (out.parent / "study.yaml").write_text(study, encoding="utf-8")
        run_study(load_study(out.parent / "study.yaml"), out)
    return out


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study, finished."""
    return once(tmp_path_factory, "tiny-study", TINY.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def twin_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cheapest of the nano twins, finished: one seed of it, in its own world alone."""
    study = "extends: lab:nano_general.yaml\nseeds: [601]\nbase: {midtrainings: 1, mirror: false}\n"
    return once(tmp_path_factory, "twin", study)
