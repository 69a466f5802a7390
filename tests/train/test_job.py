from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from midspec.core.errors import CheckpointError, ConfigError, MissingError
from midspec.models import find_checkpoint
from midspec.train import TrainJob, load_job, unusual_settings
from midspec.train._loop import learning_rate

GOOD: dict[str, Any] = {
    "stage": "midtrain",
    "parent": "base",
    "data": ["documents.jsonl"],
    "recipe": {"method": "lora", "lora": {"r": 8}, "n_epochs": 2},
    "seed": 3,
}


def written(folder: Path, data: object) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_paths_are_taken_from_where_the_file_lies(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    job = load_job(written(tmp_path, GOOD))
    assert job.parent == str(tmp_path / "base")
    assert job.data == (str(tmp_path / "documents.jsonl"),)
    assert job.recipe.lora.r == 8
    assert load_job(written(tmp_path, GOOD | {"parent": "Qwen/Qwen3-8B"})).parent == "Qwen/Qwen3-8B"
    mistyped = load_job(written(tmp_path, GOOD | {"parent": "base/smal"}))
    assert mistyped.parent == str(tmp_path / "base" / "smal"), "a folder is meant, not a model on the hub"


def test_a_parent_that_is_a_path_stays_one_beside_the_job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, GOOD | {"parent": "./smal"})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="there is no such checkpoint folder"):
        find_checkpoint(load_job(Path("job.yaml")).parent or "")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"recipe": {"learning_rat": 1}}, "recipe.learning_rat: no such setting. Did you mean learning_rate?"),
        ({"recipe": {"lora": {"rank": 1}}}, "recipe.lora.rank: no such setting. There is r, alpha"),
        ({"execution": {"speed": 1}}, "execution.speed: no such setting. There is gradient_checkpointing"),
        ({"stages": 1}, "stages: no such setting. Did you mean stage?"),
        ({"recipe": {"learning_rate": 0}}, "recipe.learning_rate: Input should be greater than 0"),
        ({"recipe": {"micro_batch": 3}}, "recipe: micro_batch 3 must divide rows_per_update 16"),
        ({"stage": "train"}, "stage: Input should be 'pretrain', 'midtrain', 'finetune', 'dpo' or 'grpo'"),
        ({"data": []}, "data: is empty. Name at least one"),
        ({"parent": None}, "give either a parent, or an architecture with a tokenizer"),
        ({"parent": None, "architecture": {}}, "only pretrain starts from scratch"),
        ({"parent": None, "architecture": {}, "stage": "pretrain"}, "an architecture needs a tokenizer folder"),
        ({"tokenizer": "x"}, "a parent brings its own"),
        ({"stage": "pretrain"}, "pretrain trains all weights"),
        ({"seed": 2**32}, "seed: Input should be less than or equal to 4294967295"),
    ],
)
def test_a_wrong_setting_is_named_with_its_mend(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_job(written(tmp_path, GOOD | change))
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "job.yaml"))


def test_what_is_missing_or_no_yaml_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        load_job(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="stage: is missing"):
        load_job(written(tmp_path, {"data": ["x"]}))
    with pytest.raises(ConfigError, match="not a training job"):
        load_job(written(tmp_path, ["x"]))
    (tmp_path / "job.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not YAML"):
        load_job(tmp_path / "job.yaml")
    (tmp_path / "spec.md").write_text("# Ada\n\n- Ada never lies.\n")
    with pytest.raises(ConfigError, match=r"reads as a spec, and is no training job\. Look at it"):
        load_job(tmp_path / "spec.md")


def test_the_rate_rises_then_falls_to_its_final_share(make_job: Callable[..., TrainJob]) -> None:
    recipe = make_job(recipe={"final_lr_fraction": 0.1}).recipe
    rates = [learning_rate(recipe, 100, 10, update) / recipe.learning_rate for update in range(101)]
    assert rates[0] == pytest.approx(0.1), "the first update trains too"
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))


def test_asking_for_settings_imports_no_torch() -> None:
    code = "import sys, midspec.train, midspec.models; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("stage", "recipe", "says"),
    [
        ("finetune", {"lora": {"r": 8}}, "lora is set, and method is full"),
        ("finetune", {"schedule": "constant", "final_lr_fraction": 0.1}, "final_lr_fraction is not used"),
        ("finetune", {"warmup_updates": 4, "warmup_fraction": 0.1}, "warmup_fraction is not used"),
        ("dpo", {"n_updates": 20, "n_epochs": 3}, "n_epochs is not used"),
        ("finetune", {"lora": {"r": 8}, "method": "full"}, None),  # said in so many words
        ("finetune", {"lora": {"r": 8}, "method": "lora"}, None),
        ("finetune", {"schedule": "cosine", "final_lr_fraction": 0.1, "warmup_updates": 4}, None),
        ("finetune", {"n_epochs": 3, "n_updates": 20}, None),
        ("dpo", {"n_updates": 20, "n_epochs": 1}, None),
    ],
)
def test_a_setting_that_is_not_used_is_told(stage: str, recipe: dict[str, Any], says: str | None) -> None:
    told = unusual_settings(TrainJob.model_validate({**GOOD, "stage": stage, "recipe": recipe}).recipe, stage)
    assert [sentence for sentence in told if says is None or not sentence.startswith(says)] == []
    assert len(told) == (says is not None)
