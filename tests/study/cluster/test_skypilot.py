"""The pipeline for SkyPilot: what is in it, and that the real SkyPilot takes it where it is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from midspec.cli import main
from midspec.core.errors import ConfigError
from midspec.lab import data_path
from midspec.study import load_study, with_settings, write_jobs
from midspec.study.execution._skypilot import _plain, _study_file

TINY = Path(__file__).parents[1] / "tiny.yaml"
# A Python with SkyPilot (pip install skypilot), which asks for other versions of what midspec stands on.
SKY_PYTHON = os.environ.get("MIDSPEC_SKY_PYTHON", "")
CHECK = """
import sys
from sky.utils import dag_utils
dag = dag_utils.load_chain_dag_from_yaml(sys.argv[1], None, [("OPENAI_API_KEY", "none")])
print(dag.name, dag.is_chain(), [task.name for task in dag.tasks])
"""
SETTINGS = """
execution:
  skypilot: {accelerators: "A100:4", cpus: "8+", bucket: "s3://mine/runs/", env: [OPENAI_API_KEY], disk_gb: 200}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """The tiny study's pipeline."""
    study = tmp_path / "tiny.yaml"
    study.write_text(TINY.read_text(encoding="utf-8") + SETTINGS, encoding="utf-8")
    return write_jobs(load_study(study), tmp_path / "run", "skypilot")


def test_gpus_are_rented_for_what_needs_a_model_alone(pipeline: Path) -> None:
    head, *tasks = yaml.safe_load_all(pipeline.read_text(encoding="utf-8"))
    assert head == {"name": "midspec-tiny"}
    assert [task["name"] for task in tasks] == ["tiny-data", "tiny-models", "tiny-report"]
    assert ["accelerators" in task["resources"] for task in tasks] == [False, True, False]
    runs = [task["run"].split() for task in tasks]
    assert all(run[:5] == ["midspec", "run", "tiny.yaml", "--out", "s3://mine/runs/tiny"] for run in runs)
    only = [set(run[6::2]) for run in runs]
    assert only[0] == {"world", "spec", "corpus", "chats"}
    assert only[1] == {"pretrain", "gate", "midtrain", "finetune", "eval"}
    assert only[2] == set()
    assert all(task["secrets"] == {"OPENAI_API_KEY": None} for task in tasks)


# What SkyPilot takes for the name of a task, and of a machine that is named after it.
TAKEN = re.compile(r"[a-z][a-z0-9]*(?:[._-]{1,2}[a-z0-9]+)*")


@pytest.mark.parametrize("name", ["tiny", "2026-11-30", "a---b", "first...", "My_Study.v2_", "7"])
def test_every_name_that_a_study_may_have_becomes_one_that_skypilot_takes(name: str) -> None:
    assert TAKEN.fullmatch(f"{_plain(name)}-data")


def test_a_run_in_a_cloud_needs_a_place_that_outlives_its_machines(tmp_path: Path) -> None:
    study = tmp_path / "tiny.yaml"
    study.write_text(TINY.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"execution\.skypilot\.bucket: there is no bucket for the run folder"):
        write_jobs(load_study(study), tmp_path / "run", "skypilot")


def test_a_study_is_found_in_its_file_also_where_that_extends_another_or_is_shipped(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.read_text(encoding="utf-8") + SETTINGS, encoding="utf-8")
    (tmp_path / "other.yaml").mkdir()
    (tmp_path / "smaller.yaml").write_text("extends: tiny.yaml\nname: smaller\nseeds: [1]\n", encoding="utf-8")
    assert _study_file(load_study(tmp_path / "smaller.yaml")) == ("smaller.yaml", tmp_path)
    assert _study_file(load_study(Path("lab:nano.yaml"))) == ("lab:nano.yaml", None)
    assert _study_file(load_study(Path("lab:paper/figure_2.yaml"))) == ("lab:paper/figure_2.yaml", None)
    with pytest.raises(ConfigError, match=r"holds no file with this study"):
        _study_file(with_settings(load_study(tmp_path / "smaller.yaml"), ["seeds=[2]"]))


@pytest.mark.parametrize("name", ["tiny.yaml", "smaller.yaml"])
def test_what_a_user_sets_is_set_on_every_machine(
    name: str, pipeline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = pipeline.parents[2]
    (home / "smaller.yaml").write_text("extends: tiny.yaml\nname: smaller\n", encoding="utf-8")
    (home / "specs").mkdir()
    shutil.copy(data_path("america.md"), home / "specs" / "it's ours.md")
    monkeypatch.chdir(home / "specs")
    asked = ["seeds=[2]", "title=a $HOME; 'b'", "specs.america=./it's ours.md"]
    options = [word for one in asked for word in ("--set", one)]
    out = home / "other"
    assert main(["run", str(home / name), "--out", str(out), "--executor", "skypilot", *options]) == 0
    assert str(out / "jobs" / "skypilot.yaml") in capsys.readouterr().out
    _, *tasks = yaml.safe_load_all((out / "jobs" / "skypilot.yaml").read_text(encoding="utf-8"))
    # The machine's shell, in its copy of the study's folder, gives midspec the study that was asked for.
    monkeypatch.chdir(home)
    for task in tasks:
        script = f"midspec() {{ printf '%s\\0' \"$@\"; }}\n{task['run']}"
        ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        words = ran.stdout.split("\0")
        given = [value for option, value in pairwise(words) if option == "--set"]
        assert words[1] == name
        assert given == [*asked[:2], "specs.america=./specs/it's ours.md"]
        assert with_settings(load_study(home / name), given).config == load_study(out / "study.yaml").config


def test_a_path_that_no_machine_of_a_cloud_has_is_refused(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(data_path("america.md"), tmp_path / "elsewhere" / "a.md")
    (tmp_path / "study").mkdir()
    study = shutil.copy(pipeline.parents[2] / "tiny.yaml", tmp_path / "study")
    monkeypatch.chdir(tmp_path / "elsewhere")
    out = str(tmp_path / "out")
    assert main(["run", str(study), "--out", out, "--executor", "skypilot", "--set", "specs.america=./a.md"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--set specs.america: ./a.md is not in the study's folder" in said


@pytest.mark.slow
@pytest.mark.skipif(not SKY_PYTHON, reason="MIDSPEC_SKY_PYTHON names no Python with skypilot")
def test_skypilot_s_own_schema_takes_it(pipeline: Path) -> None:
    ran = subprocess.run([SKY_PYTHON, "-c", CHECK, str(pipeline)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "midspec-tiny True ['tiny-data', 'tiny-models', 'tiny-report']\n"
