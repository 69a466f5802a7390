from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError
from safetensors.torch import load_file
from tests.train.reference_loop import Moments, rate_at, step
from transformers import AutoModelForCausalLM, AutoTokenizer

from midspec.core.artifact import read_rows
from midspec.core.errors import CheckpointError
from midspec.core.records import Message
from midspec.models import find_checkpoint, open_checkpoint, quiet
from midspec.train import DpoRecipe, Progress, TrainJob, preflight, train
from midspec.train import _checkpoint as checkpoint
from midspec.train._checkpoint import open_start, open_tokenizer
from midspec.train._dpo import make_trainer
from midspec.train._recorder import Recorder
from midspec.train._rl_guards import refuse_wrong_dpo_reference
from midspec.train._rl_plan import PairIds, plan_dpo
from midspec.train._rl_trainer import DpoRow

MakeJob = Callable[..., TrainJob]


def made(job: TrainJob, folder: Path, **more: Any) -> list[DpoRow]:
    folder.mkdir(exist_ok=True)
    train(job, folder, device="cpu", **more)
    return list(read_rows(folder / "metrics.jsonl", DpoRow))


def summed(model: Any, ids: list[int], n_prompt: int) -> torch.Tensor:
    """The log-probability of what follows the prompt; the sequence is alone in its batch."""
    row = torch.tensor([ids])
    logprobs = torch.log_softmax(model(input_ids=row, use_cache=False).logits[0], dim=-1)
    return torch.stack([logprobs[at - 1, ids[at]] for at in range(n_prompt, len(ids))]).sum()


def both(model: Any, pair: PairIds) -> torch.Tensor:
    n = len(pair.prompt)
    return summed(model, [*pair.prompt, *pair.chosen], n) - summed(model, [*pair.prompt, *pair.rejected], n)


def reference_losses(job: TrainJob) -> list[float]:
    """DPO again from its formula (arXiv 2305.18290, equation 7), a pair at a time, with AdamW spelt out."""
    tokenizer = open_tokenizer(job)
    pairs, size = plan_dpo(job, tokenizer).pairs, job.recipe.rows_per_update
    model = open_start(job, tokenizer, dtype=torch.float32).eval()
    with torch.no_grad():
        anchors = [float(both(model, pair)) for pair in pairs]
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    moments = [Moments(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    losses = []
    for number in range(job.recipe.n_updates or 0):
        for weight in weights:
            weight.grad = None
        total = 0.0
        for at in range(number * size, (number + 1) * size):
            loss = -torch.nn.functional.logsigmoid(0.1 * (both(model, pairs[at]) - anchors[at])) / size
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        norm = float(sum(weight.grad.double().square().sum() for weight in weights)) ** 0.5
        rate = rate_at(job.recipe, number, job.recipe.n_updates or 0)
        with torch.no_grad():
            for weight, moment in zip(weights, moments, strict=True):
                step(weight, weight.grad * min(1.0, 1 / (norm + 1e-6)), moment, rate, number + 1, job.recipe)
        losses.append(total)
    return losses


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_losses_are_those_of_a_plain_loop_over_single_pairs(
    make_dpo: MakeJob, tmp_path: Path, method: str, micro_batch: int | None
) -> None:
    job = make_dpo(method, recipe={"micro_batch": micro_batch})
    rows = made(job, tmp_path / "out")
    assert [row.loss for row in rows] == pytest.approx(reference_losses(job), abs=2e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_first_loss_is_ln_2_with_zero_margins_since_the_reference_is_the_incoming_model(
    make_dpo: MakeJob, tmp_path: Path, method: str, precision: str
) -> None:
    rows = made(make_dpo(method, recipe={"precision": precision}), tmp_path / "out")
    assert rows[0].loss == pytest.approx(0.693147, abs=1e-6)
    assert rows[0].margin == 0
    assert rows[-1].margin > 0.01


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_reference_that_is_not_the_incoming_model_is_refused(
    make_dpo: MakeJob, base: Path, tmp_path: Path, method: str
) -> None:
    job = make_dpo(method)
    tokenizer = open_tokenizer(job)
    plan, model = plan_dpo(job, tokenizer), open_start(job, tokenizer, dtype=torch.float32)
    recorder = Recorder(job.execution, 1, lambda _logs, **_: pytest.fail("nothing is trained here"))
    trainer = make_trainer(
        model, job, plan, tmp_path, device=torch.device("cpu"), tokenizer=tokenizer, recorder=recorder
    )
    refuse_wrong_dpo_reference(trainer, plan.pairs[:4], "parent")
    if method == "lora":
        model.delete_adapter("ref")  # TRL then takes the base, the adapter disabled
    else:
        with torch.no_grad():
            trainer.ref_model.get_input_embeddings().weight[10] += 0.5
    with pytest.raises(CheckpointError, match=r"the reference is not the incoming model.*first loss 0\.6"):
        refuse_wrong_dpo_reference(trainer, plan.pairs[:4], "parent")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_that_was_killed_goes_on_with_the_same_losses_and_ends_with_the_same_bytes(
    make_dpo: MakeJob, tmp_path: Path, method: str
) -> None:
    job = make_dpo(method, execution={"save_every_updates": 2}, recipe={"micro_batch": 2})

    class KilledError(BaseException):
        pass

    def kill(progress: Progress) -> None:
        if progress.update == 5:
            raise KilledError

    straight = made(job, tmp_path / "straight")
    with pytest.raises(KilledError):
        made(job, tmp_path / "halting", on_progress=kill)
    seen: list[int] = []
    again = made(job, tmp_path / "halting", on_progress=lambda progress: seen.append(progress.update))
    assert seen == [5, 6]
    assert again == straight
    name = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    assert (tmp_path / "halting" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_a_damaged_half_way_checkpoint_is_told_and_the_same_job_begins_anew(
    make_dpo: MakeJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_dpo(execution={"save_every_updates": 2}, recipe={"n_updates": 3})

    def halt(progress: Progress) -> None:
        if progress.update == 3:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        made(job, tmp_path / "out", on_progress=halt)
    (checkpoint,) = (tmp_path / "out" / ".checkpoints").iterdir()
    (checkpoint / "adapter_model.safetensors").write_bytes(b"")
    seen: list[int] = []
    made(job, tmp_path / "out", on_progress=lambda progress: seen.append(progress.update))
    assert seen == [1, 2, 3]
    assert f"{checkpoint}: the half-way checkpoint is damaged" in caplog.text


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_fault_while_the_result_is_written_repeats_no_update(
    make_dpo: MakeJob, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_dpo(method, recipe={"micro_batch": 2})
    straight = made(job, tmp_path / "straight")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "drop_incomplete", broken)
        with pytest.raises(OSError, match="a fault at the end"):
            made(job, tmp_path / "faulty")
    seen: list[int] = []
    assert made(job, tmp_path / "faulty", on_progress=lambda progress: seen.append(progress.update)) == straight
    assert seen == []
    name = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    assert (tmp_path / "faulty" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def broken(_folder: Path) -> None:
    raise OSError("a fault at the end")


def test_the_result_is_one_adapter_with_the_tokenizer_as_it_was_and_opens(
    make_dpo: MakeJob, adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made(make_dpo(), out)
    assert not [path for path in out.iterdir() if path.is_dir()]
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (adapter / name).read_bytes()
    before, after = load_file(adapter / "adapter_model.safetensors"), load_file(out / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    model = open_checkpoint(find_checkpoint(str(out)), device="cpu")
    assert model.generate([[Message(role="user", content="w1 w2")]], max_new_tokens=3)


def test_training_prefers_what_was_chosen(make_dpo: MakeJob, tmp_path: Path) -> None:
    rows = made(make_dpo("full", recipe={"n_updates": 30, "learning_rate": 1e-2}), tmp_path / "out")
    assert rows[-1].accuracy == 1
    assert rows[-1].loss < 0.3


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"n_updates": None}, "n_updates: dpo needs it"),
        ({"grpo": {"rewards": [{"rule": "contains", "settings": {"text": "w1"}}]}}, "settings of stage grpo"),
        ({"dpo": {"label_smoothing": 0.1}}, "only loss_type robust"),
    ],
)
def test_a_recipe_that_does_not_fit_the_stage_is_refused(
    make_dpo: MakeJob, recipe: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_dpo(recipe=recipe)


@pytest.mark.parametrize("bias", ["lora_only", "all"])
def test_a_parents_adapter_with_biases_is_refused_before_any_work_where_there_is_a_reference(
    make_dpo: MakeJob, adapter: Path, tmp_path: Path, bias: str
) -> None:
    parent = shutil.copytree(adapter, tmp_path / "adapter")
    settings = json.loads((parent / "adapter_config.json").read_text())
    (parent / "adapter_config.json").write_text(json.dumps(settings | {"bias": bias}))
    with pytest.raises(CheckpointError, match=f"has biases \\(bias: {bias}\\).*Merge it into its base"):
        preflight(make_dpo(parent=str(parent)))
    grpo = {"rewards": [{"rule": "contains", "settings": {"text": "w3"}}], "group_size": 4, "max_new_tokens": 8}
    for beta in (0.1, 0.0):
        job = make_dpo(stage="grpo", parent=str(parent), recipe={"grpo": grpo | {"beta": beta}})
        with pytest.raises(CheckpointError, match="has biases") if beta else nullcontext():
            preflight(job)


def test_settings_at_their_defaults_are_no_part_of_another_stages_identity(make_dpo: MakeJob) -> None:
    job = make_dpo()
    assert "dpo" not in job.recipe.identity()
    named = job.recipe.model_copy(update={"dpo": DpoRecipe(beta=0.2)}).identity()
    assert named["dpo"] == {"beta": 0.2, "loss_type": "sigmoid", "label_smoothing": 0.0}


def test_dropout_is_off_where_a_layer_has_it_without_a_module_too(
    base: Path, make_dpo: MakeJob, tmp_path: Path
) -> None:
    parent = tmp_path / "base"
    shutil.copytree(base, parent)
    config = json.loads((parent / "config.json").read_text())
    (parent / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.5}))
    first = made(make_dpo("full", parent=str(parent)), tmp_path / "out")[0]
    assert first.margin == pytest.approx(0, abs=1e-4), "before the first update the model is the reference"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["attention_dropout"] == 0.5


@pytest.mark.parametrize("stage", ["dpo", "grpo"])
def test_the_reference_of_an_adapter_of_embeddings_is_that_adapter(
    base: Path, make_dpo: MakeJob, tmp_path: Path, stage: str
) -> None:
    parent = tmp_path / "adapter"
    model = AutoModelForCausalLM.from_pretrained(base)
    with quiet():
        adapted = get_peft_model(
            model, LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM")
        )
        torch.manual_seed(1)
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, 0, 0.2)
        adapted.save_pretrained(parent)
    AutoTokenizer.from_pretrained(base).save_pretrained(parent)
    recipe: dict[str, Any] = {"n_updates": 1}
    if stage == "grpo":
        rewards = [{"rule": "contains", "settings": {"text": "w3"}}]
        recipe["grpo"] = {"rewards": rewards, "beta": 0.1, "group_size": 4, "max_new_tokens": 8, "max_flat_share": 1}
    job = make_dpo("full", stage=stage, parent=str(parent), recipe={"method": "lora", **recipe})
    (tmp_path / "out").mkdir()
    summary = train(job, tmp_path / "out", device="cpu").summary
    if stage == "dpo":
        assert summary["first_loss"] == pytest.approx(0.693147, abs=1e-5)


@pytest.mark.parametrize("stage", ["dpo", "grpo"])
@pytest.mark.parametrize(
    "settings", [{"target_modules": ["lm_head"]}, {"target_modules": ["q_proj"], "trainable_token_indices": [7, 8]}]
)
def test_an_adapter_of_the_output_embeddings_is_refused_as_the_trainer_leaves_it_out(
    base: Path, make_dpo: MakeJob, tmp_path: Path, stage: str, settings: dict[str, Any]
) -> None:
    with quiet():  # the base's embeddings are tied, so that tokens of one are tokens of both
        config = LoraConfig(r=2, task_type="CAUSAL_LM", init_lora_weights=False, **settings)
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "adapter")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "adapter")
    recipe: dict[str, Any] = {"method": "lora", "n_updates": 1}
    if stage == "grpo":
        rewards = [{"rule": "contains", "settings": {"text": "w3"}}]
        recipe["grpo"] = {"rewards": rewards, "group_size": 4, "max_new_tokens": 8}
    job = make_dpo("full", stage=stage, parent=str(tmp_path / "adapter"), recipe=recipe)
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="the adapter changes the output embeddings"):
        train(job, tmp_path / "out", device="cpu")
