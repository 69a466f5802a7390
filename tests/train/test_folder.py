from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from midspec.core.artifact import Built, build, locked
from midspec.core.errors import FolderError, InUseError
from midspec.core.records import Identity
from midspec.train import check_folder

COMMAND = """
import sys
from midspec.cli import main
code = main(sys.argv[1:])
print(code, "torch" in sys.modules)
"""


def test_a_place_inside_a_file_is_refused_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match=r"file/W1: can't be written"):
        check_folder(tmp_path / "file" / "W1")


def test_a_folder_that_another_is_writing_is_refused_by_its_own_name(tmp_path: Path) -> None:
    with locked(tmp_path / ".W1.part"), pytest.raises(InUseError, match=r"/W1: another process is writing"):
        check_folder(tmp_path / "W1")


def test_looking_at_a_folder_makes_nothing(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "deeper" / "W1")
    assert list(tmp_path.iterdir()) == []


def _train(folder: Path, *options: str) -> tuple[list[str], str]:
    """`midspec train` on a job in `folder`: its output lines, the last being its exit code and whether torch came."""
    job = {"stage": "midtrain", "parent": "gpt2", "data": ["rows.jsonl"]}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    (folder / "rows.jsonl").write_text('{"text": "a b c", "source": "x"}\n')
    call = [sys.executable, "-c", COMMAND, "train", str(folder / "job.yaml"), *options]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), done.stderr


def test_files_that_are_in_the_way_are_said_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "thesis.txt").write_text("mine")
    out, err = _train(tmp_path)
    assert out == ["2 False"]
    assert "holds files that are not a midspec result" in err


def test_a_wrong_device_is_said_before_torch_is_loaded(tmp_path: Path) -> None:
    out, err = _train(tmp_path, "--device", "gpu")
    assert out == ["2 False"]
    assert err == "midspec: device gpu: there is no device of that name. Known are auto, cpu, cuda, cuda:N, mps\n"


def test_a_result_of_other_inputs_is_said_before_torch_is_loaded(tmp_path: Path) -> None:
    build(tmp_path / "job", Identity(step="midtrain@1", inputs={}, config={}), lambda _draft: Built(outputs=()))
    out, err = _train(tmp_path)
    assert out == ["2 False"]
    assert "made from other inputs" in err


def test_a_parent_that_is_not_to_be_had_is_said_before_torch_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    out, err = _train(tmp_path)
    assert out == ["2 False"]
    assert err.startswith("midspec: gpt2: is no folder, and the model hub can't be reached")
    assert err.count("\n") == 1
