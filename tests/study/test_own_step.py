"""A kind of step that another package brings is found by its entry point, and stands in a study file like any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from midspec.core.artifact import Built
from midspec.core.errors import ConfigError
from midspec.study import File, Input, Job, Step, parse_study, study_steps

from ..installed import install

TOY = '''
from dataclasses import dataclass
from pathlib import Path

from midspec.core.artifact import Built
from midspec.study import Input, Step


@dataclass(frozen=True, kw_only=True, eq=False)
class CountStep(Step):
    """How many rows a corpus has that hold a word."""

    kind = "count"
    documents: Input
    word: str

    @classmethod
    def from_study(cls, name, settings, made):
        for (corpus, seed), documents in made.documents.items():
            yield cls(label=f"{name} {corpus}", seed=seed, documents=documents, word=settings["word"])

    @property
    def settings(self):
        return {"word": self.word}

    def run(self, job, folder):
        lines = job.path(self.documents).read_text(encoding="utf-8").splitlines()
        (folder / "count.txt").write_text(str(sum(self.word in line for line in lines)))
        return Built(outputs=("count.txt",), summary={"n_rows": len(lines)})
'''
RUN = """
import json, sys
from pathlib import Path
from midspec.study import load_study, plan, run_study
study = load_study(Path("study.yaml"))
for _ in range(2):
    records = run_study(study, Path("run"), only=["count/*"], workers=1)
print(json.dumps([step.state for step in plan(study, Path("run")).steps if step.kind == "count"]))
"""


def with_own_step(tiny_text: str) -> str:
    return tiny_text.replace("\nevals:", '\nsteps:\n  cheese: {kind: count, word: "cheddar"}\nevals:')


@pytest.fixture
def installed(tmp_path: Path, tiny_text: str) -> Path:
    """A package outside midspec with one kind of step, and a study that asks for it."""
    (tmp_path / "study.yaml").write_text(with_own_step(tiny_text), encoding="utf-8")
    return install(tmp_path, "toy_steps", "steps", "count = toy_steps:CountStep", toy_steps=TOY)


def test_a_step_of_another_package_is_planned_run_in_a_worker_and_recorded(installed: Path) -> None:
    path = os.pathsep.join([str(installed), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=installed,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    states = json.loads(done.stdout)
    assert states
    assert set(states) == {"done"}
    counts = list((installed / "run" / "steps" / "count").glob("*/count.txt"))
    assert len(counts) == len(states)
    assert any(int(count.read_text(encoding="utf-8")) > 0 for count in counts)


def test_a_kind_that_nothing_brings_is_refused_where_it_stands(tiny_text: str) -> None:
    with pytest.raises(ConfigError, match=r"steps.cheese.kind: there is no kind of step 'count'"):
        study_steps(parse_study(with_own_step(tiny_text), home=Path()))


def test_a_kind_that_the_study_makes_itself_is_refused(tiny_text: str) -> None:
    text = with_own_step(tiny_text).replace("kind: count", "kind: midtrain")
    with pytest.raises(ConfigError, match=r"steps.cheese.kind: the kind 'midtrain' is made by the study itself"):
        study_steps(parse_study(text, home=Path()))


def test_a_step_can_leave_nothing_that_decides_its_result_out_of_its_identity_unsaid(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True, eq=False)
    class Silent(Step):
        kind = "silent"
        documents: Input

        def run(self, job: Job, folder: Path) -> Built:
            raise AssertionError("is never made")

    @dataclass(frozen=True, kw_only=True, eq=False)
    class Several(Silent):
        corpora: Mapping[str, Input]
        settings = property(lambda self: {})

    file = File(str(tmp_path))
    with pytest.raises(TypeError, match="settings"):
        Silent(label="a", documents=file)  # type: ignore[abstract]
    with pytest.raises(NotImplementedError, match=r"Several\.corpora holds inputs"):
        Several(label="a", documents=file, corpora={"b": file}).inputs  # noqa: B018
    assert Several(label="a", documents=file, corpora={}).inputs == {"documents": file}
