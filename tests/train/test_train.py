from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from midspec.core.artifact import Built, read_rows
from midspec.core.errors import CheckpointError, ConfigError, FolderError, PreflightError
from midspec.core.records import Message
from midspec.models import find_checkpoint, open_checkpoint, quiet
from midspec.train import MetricsRow, TrainJob, preflight, train

from .reference_loop import run_reference
from .test_save import files_end_at

LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}}
MakeJob = Callable[..., TrainJob]


def trained(job: TrainJob, folder: Path, **options: Any) -> Built:
    folder.mkdir(parents=True, exist_ok=True)
    return train(job, folder, device="cpu", **options)


def losses(folder: Path) -> list[float]:
    return [row.loss for row in read_rows(folder / "metrics.jsonl", MetricsRow)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path, tiny_model: Callable[..., Any]) -> Path:
    """A random Llama in a folder, as a user would have one."""
    folder = tmp_path_factory.mktemp("base")
    tiny_model("llama").save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    return folder


class StopError(Exception):
    """Stands for whatever ends a run in its middle."""


def stop_after(update: int) -> Callable[[Any], None]:
    def watch(progress: Any) -> None:
        if progress.update == update:
            raise StopError

    return watch


# Against the flat loop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"micro_batch": 1},
        {"micro_batch": 2, "warmup_updates": 3, "final_lr_fraction": 0.2, "weight_decay": 0.1},
        {"n_updates": None, "rows_per_update": 5, "n_epochs": 2, "schedule": "constant", "max_grad_norm": 0.1},
    ],
    ids=["plain", "row by row", "warm-up and decay", "last update partial, two epochs"],
)
def test_the_trainer_agrees_with_the_flat_loop_update_by_update(
    make_job: MakeJob, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    job = make_job(recipe=recipe)
    trained(job, tmp_path / "out")
    reference = run_reference(job)
    rows = list(read_rows(tmp_path / "out" / "metrics.jsonl", MetricsRow))
    assert [row.loss for row in rows] == pytest.approx(reference.losses, abs=2e-5)
    assert [row.grad_norm for row in rows] == pytest.approx(reference.grad_norms, rel=1e-3)
    assert [row.learning_rate for row in rows] == pytest.approx(reference.rates, rel=1e-9)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    for name, weight in reference.model.named_parameters():
        torch.testing.assert_close(weights[name], weight.detach(), atol=5e-4, rtol=1e-3)


def test_with_an_adapter_too(make_job: MakeJob, base: Path, tmp_path: Path) -> None:
    job = make_job(stage="midtrain", parent=str(base), recipe=LORA | {"micro_batch": 2})
    trained(job, tmp_path / "out")
    assert losses(tmp_path / "out") == pytest.approx(run_reference(job).losses, abs=2e-5)


# Same again ----------------------------------------------------------------------------------------------------


def test_the_same_job_gives_the_same_bytes(make_job: MakeJob, tmp_path: Path) -> None:
    built = [trained(make_job(), tmp_path / name) for name in ("one", "two")]
    assert built[0].outputs == built[1].outputs
    assert built[0].summary == built[1].summary
    for name in built[0].outputs:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("stop_at", [1, 4, 6])
def test_an_interrupted_run_ends_like_a_straight_one(
    make_job: MakeJob, base: Path, tmp_path: Path, method: str, stop_at: int
) -> None:
    recipe = {"micro_batch": 2} | (LORA | {"lora": LORA["lora"] | {"dropout": 0.1}} if method == "lora" else {})
    execution = {"save_every_updates": 2}
    job = make_job(stage="midtrain", parent=str(base), recipe=recipe, execution=execution)
    straight = trained(job, tmp_path / "straight")
    with pytest.raises(StopError):
        trained(job, tmp_path / "halting", on_progress=stop_after(stop_at))
    seen: list[int] = []
    resumed = trained(job, tmp_path / "halting", on_progress=lambda progress: seen.append(progress.update))
    assert seen[0] == (stop_at - 1) // 2 * 2 + 1, "it goes on after the last half-way checkpoint"
    assert resumed.outputs == straight.outputs
    assert resumed.summary == straight.summary
    for name in straight.outputs:
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "halting" / name).read_bytes(), name
    assert not list((tmp_path / "halting").glob("*checkpoint*"))


def test_a_half_written_checkpoint_is_passed_over(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(execution={"save_every_updates": 2})
    trained(job, tmp_path / "straight")
    with pytest.raises(StopError):
        trained(job, tmp_path / "halting", on_progress=stop_after(6))
    (complete,) = (tmp_path / "halting" / ".checkpoints").iterdir()
    broken = complete.with_name("checkpoint-6")
    shutil.copytree(complete, broken)
    (broken / "metrics.jsonl").unlink()
    (broken / "optimizer.pt").write_bytes(b"half")
    trained(job, tmp_path / "halting")
    assert losses(tmp_path / "halting") == losses(tmp_path / "straight")


# Adapters ------------------------------------------------------------------------------------------------------


def test_finetuning_continues_the_same_adapter(make_job: MakeJob, base: Path, tmp_path: Path) -> None:
    first = make_job(stage="midtrain", parent=str(base), recipe=LORA)
    trained(first, tmp_path / "mid")
    second = make_job(stage="finetune", parent=str(tmp_path / "mid"), recipe=LORA)
    built = trained(second, tmp_path / "fine")
    assert losses(tmp_path / "fine")[0] < losses(tmp_path / "mid")[0], "it starts where the first stage ended"
    config = json.loads((tmp_path / "fine" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    assert config["r"] == 4
    assert list(config) == sorted(config)
    assert config["target_modules"] == sorted(config["target_modules"])
    assert built.summary["n_params_trained"] < built.summary["n_params"]
    weights = load_file(tmp_path / "fine" / "adapter_model.safetensors")
    assert all(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)


def test_a_saved_adapter_applies_when_it_is_opened_again(make_job: MakeJob, base: Path, tmp_path: Path) -> None:
    built = trained(make_job(stage="midtrain", parent=str(base), recipe=LORA), tmp_path / "mid")
    assert built.summary["weights_moved"] > 0
    assert built.summary["logits_moved"] > 0
    ask = [[Message(role="user", content="w1 w2")]]
    plain = open_checkpoint(find_checkpoint(str(base)), device="cpu")
    adapted = open_checkpoint(find_checkpoint(str(tmp_path / "mid")), device="cpu")
    ours = adapted.option_logprobs(ask, ["w3 w4"])[0].logprob
    assert ours != pytest.approx(plain.option_logprobs(ask, ["w3 w4"])[0].logprob, abs=1e-4)
    with quiet():  # PEFT still asks for a name that transformers has given up
        opened = AutoModelForCausalLM.from_pretrained(base)
        merged = PeftModel.from_pretrained(opened, tmp_path / "mid").merge_and_unload()
    ids = torch.tensor([[2, 7, 8, 4, 3]])
    torch.testing.assert_close(adapted.model(ids).logits, merged(ids).logits, atol=1e-5, rtol=1e-4)


def test_an_adapter_is_never_put_over_an_adapter(make_job: MakeJob, base: Path, tmp_path: Path) -> None:
    trained(make_job(stage="midtrain", parent=str(base), recipe=LORA), tmp_path / "mid")
    shutil.copytree(tmp_path / "mid", tmp_path / "twice")
    config = json.loads((tmp_path / "twice" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "mid")
    (tmp_path / "twice" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="over another adapter"):
        preflight(make_job(stage="finetune", parent=str(tmp_path / "twice"), recipe=LORA))
    with pytest.raises(CheckpointError, match="all weights can't be trained"):
        trained(make_job(stage="finetune", parent=str(tmp_path / "mid")), tmp_path / "full")
    other = make_job(stage="finetune", parent=str(tmp_path / "mid"), recipe=LORA | {"lora": LORA["lora"] | {"r": 8}})
    with pytest.raises(ConfigError, match="differs from the parent adapter in r"):
        trained(other, tmp_path / "other")


def test_pretraining_with_an_adapter_is_refused(make_job: MakeJob) -> None:
    with pytest.raises(ValueError, match="pretrain trains all weights"):
        make_job(recipe=LORA)


def test_modules_that_are_not_there_are_a_config_error(make_job: MakeJob, base: Path, tmp_path: Path) -> None:
    recipe = {"method": "lora", "lora": {"target_modules": ["nowhere"]}}
    with pytest.raises(ConfigError, match="target_modules"):
        trained(make_job(stage="midtrain", parent=str(base), recipe=recipe), tmp_path / "out")


# What is saved -------------------------------------------------------------------------------------------------


def test_the_folder_opens_as_any_model_does(make_job: MakeJob, tmp_path: Path) -> None:
    out = tmp_path / "out"
    built = trained(make_job(), out)
    assert {path.name for path in out.iterdir()} == set(built.outputs)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert tokenizer.chat_template
    assert model.generation_config.eos_token_id == [1, 4], "the end of text and the template's end of turn"
    assert model.generation_config.pad_token_id == 0
    assert model.config.use_cache
    assert "name_or_path" not in (out / "config.json").read_text()
    assert str(tmp_path) not in "".join(path.read_text() for path in out.glob("*.json*"))


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_a_folder_of_a_real_family_is_midtrained_and_finetuned(
    make_job: MakeJob, tokenizer_folder: Path, tiny_model: Callable[..., Any], tmp_path: Path, family: str
) -> None:
    tiny_model(family).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path / "base")
    trained(make_job(stage="midtrain", parent=str(tmp_path / "base")), tmp_path / "mid")
    trained(make_job(stage="finetune", parent=str(tmp_path / "mid")), tmp_path / "fine")
    assert losses(tmp_path / "fine")[-1] < losses(tmp_path / "mid")[0]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "fine").config.model_type == family


def test_gradient_checkpointing_changes_memory_and_nothing_else(make_job: MakeJob, base: Path, tmp_path: Path) -> None:
    for recipe in ({}, LORA):
        plain = make_job(stage="midtrain", parent=str(base), recipe=recipe)
        saving = plain.model_copy(
            update={"execution": plain.execution.model_copy(update={"gradient_checkpointing": True})}
        )
        trained(plain, tmp_path / f"plain{len(recipe)}")
        trained(saving, tmp_path / f"saving{len(recipe)}")
        assert losses(tmp_path / f"saving{len(recipe)}") == pytest.approx(
            losses(tmp_path / f"plain{len(recipe)}"), abs=1e-6
        )


def test_training_is_silent(make_job: MakeJob, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as seen:
        trained(make_job(), tmp_path / "out")
    assert seen == []
    assert capfd.readouterr() == ("", "")


def test_too_few_updates_are_refused_before_anything_is_written(make_job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match="7 updates are under the floor of 100"):
        trained(make_job(recipe={"min_updates": None}), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_rows_beyond_the_switch_of_a_longrope_model_are_told(
    make_job: MakeJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = make_job().architecture
    assert plain is not None
    half = int(plain["hidden_size"]) // int(plain["num_attention_heads"]) // 2
    rope = {"rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": [1.0] * half, "long_factor": [2.0] * half}
    for switch, is_told in ((8, True), (4096, False)):
        rope["original_max_position_embeddings"] = switch
        long = plain | {"rope_parameters": dict(rope), "original_max_position_embeddings": switch}
        with caplog.at_level("WARNING", "midspec"):
            trained(make_job(architecture=long), tmp_path / str(switch))
        assert ("pieces of more than 8 tokens change the positions (longrope)" in caplog.text) is is_told
        caplog.clear()


def test_a_model_that_can_not_hold_the_rows_is_refused(make_job: MakeJob, tmp_path: Path) -> None:
    small = make_job().architecture
    assert small is not None
    short = make_job(architecture=small | {"max_position_embeddings": 16})
    with pytest.raises(PreflightError, match="longer than the model's 16 positions"):
        trained(short, tmp_path / "short")
    few = make_job(architecture=small | {"vocab_size": 20})
    with pytest.raises(CheckpointError, match="the tokenizer has 46 tokens and the model 20"):
        trained(few, tmp_path / "few")
    wrong = make_job(architecture=small | {"model_type": "lama"})
    with pytest.raises(ConfigError, match="no lama model can be built"):
        trained(wrong, tmp_path / "wrong")
    for at, sizes in enumerate(({"hidden_size": "32"}, {"num_attention_heads": 0}, {"num_key_value_heads": 3})):
        unfit = make_job(architecture=small | sizes)
        with pytest.raises(ConfigError, match="no llama model can be built") as caught:
            trained(unfit, tmp_path / f"unfit-{at}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("recipe", [{}, LORA], ids=["full", "lora"])
def test_bfloat16_trains_where_it_is_asked_for(
    make_job: MakeJob, base: Path, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    exact = make_job(stage="midtrain", parent=str(base), recipe=recipe)
    rough = make_job(stage="midtrain", parent=str(base), recipe=recipe | {"precision": "bfloat16"})
    trained(exact, tmp_path / "exact")
    trained(rough, tmp_path / "rough")
    assert losses(tmp_path / "rough") != losses(tmp_path / "exact")
    assert losses(tmp_path / "rough") == pytest.approx(losses(tmp_path / "exact"), abs=0.05)
    weights = load_file(next((tmp_path / "rough").glob("*.safetensors")))
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_half_way_checkpoints_are_written_by_the_clock(make_job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(StopError):
        trained(make_job(execution={"save_every_s": 1e-6}), tmp_path / "out", on_progress=stop_after(4))
    assert [path.name for path in (tmp_path / "out" / ".checkpoints").iterdir()] == ["checkpoint-3"]


@pytest.mark.parametrize("execution", [{}, {"save_every_updates": 2}], ids=["at the end", "half-way"])
def test_a_full_disk_is_said_in_one_line(make_job: MakeJob, tmp_path: Path, execution: dict[str, Any]) -> None:
    with files_end_at(20_000), pytest.raises(FolderError, match=r"can't be written.*Free space") as caught:
        trained(make_job(execution=execution), tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_told_as_such(make_job: MakeJob, base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "broken")
    weights = load_file(tmp_path / "broken" / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, tmp_path / "broken" / "model.safetensors", metadata={"format": "pt"})
    job = make_job(stage="midtrain", parent=str(tmp_path / "broken"))
    with pytest.raises(CheckpointError, match="the loss is nan before anything was trained"):
        trained(job, tmp_path / "out")


def test_a_loss_that_is_no_number_stops_the_run(make_job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the loss is"):
        trained(make_job(recipe={"learning_rate": 1e30, "max_grad_norm": 1e30, "n_updates": 7}), tmp_path / "out")
