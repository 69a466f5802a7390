"""Checkpoints that a recipe asks to keep, and adapters merged into the weights under them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from midspec.core.artifact import Built
from midspec.core.errors import CheckpointError, PreflightError
from midspec.models import find_checkpoint, load_model, quiet
from midspec.train import Recipe, TrainJob, merge_adapter, train

MakeJob = Callable[..., TrainJob]
LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}}
METHODS: dict[str, dict[str, Any]] = {"full": {}, "lora": LORA}
WEIGHTS = {"full": "model.safetensors", "lora": "adapter_model.safetensors"}


def trained(job: TrainJob, folder: Path, **options: Any) -> Built:
    folder.mkdir(parents=True, exist_ok=True)
    return train(job, folder, device="cpu", **options)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path, tiny_model: Callable[..., Any]) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_model("llama").save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    return folder


class StopError(Exception):
    """Stands for whatever ends a run in its middle."""


@pytest.mark.parametrize("method", METHODS)
def test_a_kept_checkpoint_is_the_model_of_a_run_that_ends_there(
    make_job: MakeJob, base: Path, tmp_path: Path, method: str
) -> None:
    always = {"schedule": "constant", "warmup_updates": 2, **METHODS[method]}
    start = {"stage": "midtrain", "parent": str(base)}
    kept = trained(make_job(**start, recipe={**always, "keep_updates": [3, 5]}), tmp_path / "kept")
    plain = trained(make_job(**start, recipe=always), tmp_path / "plain")
    short = trained(make_job(**start, recipe={**always, "n_updates": 3}), tmp_path / "short")
    # The run goes on as if nothing had been kept.
    assert set(plain.outputs) < set(kept.outputs)
    for name in plain.outputs:
        assert (tmp_path / "kept" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes(), name
    # Each is whole: the same files as a result of its own, and the same weights.
    saved = set(short.outputs) - {"metrics.jsonl", "preflight.json"}
    for n_updates in (3, 5):
        assert {f"checkpoint-{n_updates}/{name}" for name in saved} <= set(kept.outputs)
    for name in saved:
        assert (tmp_path / "kept" / "checkpoint-3" / name).read_bytes() == (tmp_path / "short" / name).read_bytes()
    assert load_model(find_checkpoint(str(tmp_path / "kept" / "checkpoint-5")), dtype=torch.float32) is not None
    other = (tmp_path / "kept" / "checkpoint-5" / WEIGHTS[method]).read_bytes()
    assert other != (tmp_path / "kept" / WEIGHTS[method]).read_bytes()


@pytest.mark.parametrize("stop_at", [2, 3, 4, 6])
def test_an_interrupted_run_keeps_the_same_checkpoints(
    make_job: MakeJob, base: Path, tmp_path: Path, stop_at: int
) -> None:
    job = make_job(
        stage="midtrain",
        parent=str(base),
        recipe={"keep_updates": [3, 5], **LORA},
        execution={"save_every_updates": 2},
    )
    straight = trained(job, tmp_path / "straight")

    def stop(progress: Any) -> None:
        if progress.update == stop_at:
            raise StopError

    with pytest.raises(StopError):
        trained(job, tmp_path / "halting", on_progress=stop)
    resumed = trained(job, tmp_path / "halting")
    assert resumed.outputs == straight.outputs
    for name in straight.outputs:
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "halting" / name).read_bytes(), name
    assert not list((tmp_path / "halting").glob(".checkpoint*"))


def test_a_checkpoint_after_the_end_is_refused_before_anything_is_trained(make_job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep_updates names 7, and n_updates is 7"):
        make_job(recipe={"keep_updates": [3, 7]})
    with pytest.raises(PreflightError, match=r"keep_updates names update 900, and the stage ends after \d+"):
        trained(make_job(recipe={"n_updates": None, "keep_updates": [900]}), tmp_path / "late")


def test_keeping_nothing_leaves_a_recipes_identity_as_it_was() -> None:
    assert "keep_updates" not in Recipe().identity()
    assert Recipe(keep_updates=(3,)).identity()["keep_updates"] == [3]


def test_a_merged_adapter_answers_as_the_adapter_over_its_base(make_job: MakeJob, base: Path, tmp_path: Path) -> None:
    trained(make_job(stage="midtrain", parent=str(base), recipe=LORA), tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    built = merge_adapter(str(tmp_path / "adapter"), tmp_path / "merged")
    assert find_checkpoint(str(tmp_path / "merged")).adapter is None
    ids = torch.tensor([[2, 7, 8, 4, 3, 9, 10]])
    with quiet():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
        plain = AutoModelForCausalLM.from_pretrained(base).eval()
        adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter").eval()
    with torch.inference_mode():
        ours, theirs, before = (model(ids).logits for model in (merged, adapted, plain))
    effect = float((theirs - before).abs().max())
    assert effect > 0.01
    assert float((ours - theirs).abs().max()) < 1e-4 * effect + 1e-5
    assert built.summary["adapter_effect"] > 0.001
    # A fresh adapter is trained on it: at its first update it answers as the merged model.
    first = trained(make_job(stage="finetune", parent=str(tmp_path / "merged"), recipe=LORA), tmp_path / "next")
    assert first.summary["method"] == "lora"
    config = json.loads((tmp_path / "next" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == str(tmp_path / "merged")


def test_what_has_no_adapter_or_shares_it_between_two_ends_is_not_merged(
    make_job: MakeJob, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "merged").mkdir()
    with pytest.raises(CheckpointError, match="has no adapter to merge"):
        merge_adapter(str(base), tmp_path / "merged")
    shared = {"method": "lora", "lora": {"r": 4, "alpha": 8, "target_modules": ["embed_tokens", "lm_head"]}}
    trained(make_job(stage="midtrain", parent=str(base), recipe=shared), tmp_path / "shared")
    with pytest.raises(CheckpointError, match="embeddings that input and output share"):
        merge_adapter(str(tmp_path / "shared"), tmp_path / "merged")
    assert list((tmp_path / "merged").iterdir()) == []
