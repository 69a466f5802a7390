"""Inspect's own command line, unchanged, on a checkpoint of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from inspect_ai.log import read_eval_log

from midspec.core.artifact import write_rows
from midspec.core.records import Item
from midspec.evals import PreferenceConfig, read_scores, run_preference

INSPECT = Path(sys.executable).with_name("inspect")


def shell(*words: str, cwd: Path) -> str:
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(words, cwd=cwd, env=quiet, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_inspect_eval_on_a_checkpoint_gives_the_scores_that_we_give(
    checkpoint: Path, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    write_rows(tmp_path / "items.jsonl", items)
    (tmp_path / "config.yaml").write_text(json.dumps(nano.model_dump(mode="json")), encoding="utf-8")
    words = ("eval", "midspec/preference", "-T", "items=items.jsonl", "-T", "config=config.yaml", "-M", "device=cpu")
    shell(str(INSPECT), *words, "--model", f"midspec/{checkpoint}", "--display", "plain", cwd=tmp_path)
    [log] = (tmp_path / "logs").glob("*.eval")
    (tmp_path / "ours").mkdir()
    run_preference(str(checkpoint), items, nano, tmp_path / "ours", model_args={"device": "cpu"})
    [ours] = (tmp_path / "ours" / "logs").glob("*.eval")
    for theirs, mine in zip(read_scores(log), read_scores(ours), strict=True):
        assert theirs.value == (None if mine.value is None else pytest.approx(mine.value, abs=1e-4))
        assert theirs.model_copy(update={"value": None}) == mine.model_copy(update={"value": None})
    header = read_eval_log(str(log), header_only=True)
    assert header.status == "success"
    assert header.eval.task_registry_name == "midspec/preference"


def test_importing_the_room_brings_in_neither_inspect_nor_torch(tmp_path: Path) -> None:
    code = "import sys, midspec.evals as e; e.PreferenceConfig; print({'torch', 'inspect_ai'} & sys.modules.keys())"
    assert shell(sys.executable, "-c", code, cwd=tmp_path).strip() == "set()"


def test_every_public_name_is_there() -> None:
    import midspec.evals as room

    assert all(getattr(room, name) is not None for name in room.__all__)
    with pytest.raises(AttributeError):
        _ = room.nothing
