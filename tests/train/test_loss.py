"""The loss of an update: summed over its supervised tokens, for every class of model, without whole logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoTokenizer, Gemma4Config, Gemma4ForConditionalGeneration

from midspec.models import quiet
from midspec.train import Recipe, TrainJob, train
from midspec.train import _loss as loss_module
from midspec.train._loss import LinearCrossEntropy, find_head
from midspec.train._pack import collate
from midspec.train._probe import Computation, choose_computation, rows_at_once

from .reference_loop import run_reference
from .test_attention import CPU, WIDE, pieces, tiny

MakeJob = Callable[..., TrainJob]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 9),
    st.booleans(),
    st.sampled_from([1.0, 0.25, 3.0]),
    st.sampled_from([None, 0.5, 30.0]),
    st.sampled_from([1, 320, 80_000]),
    st.sampled_from([1, 30, 10_000]),
)
def test_chunks_and_blocks_give_the_loss_and_gradients_of_whole_logits(
    n_tokens: int, has_bias: bool, scale: float, softcap: float | None, chunk: int, block: int
) -> None:
    torch.manual_seed(n_tokens)
    hidden = torch.randn(n_tokens, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 6, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True) if has_bias else None
    targets = torch.randint(0, 11, (n_tokens,))
    logits = functional.linear(hidden, weight, bias) * scale
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    expected = functional.cross_entropy(logits, targets, reduction="sum")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_module, "CHUNK_BYTES", chunk)
        patch.setattr(loss_module, "_BLOCK_LOGITS", block)
        found = LinearCrossEntropy.apply(hidden, weight, bias, targets, scale, softcap)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    inputs = [hidden, weight] if bias is None else [hidden, weight, bias]
    ours, theirs = torch.autograd.grad(found * 0.5, inputs), torch.autograd.grad(expected * 0.5, inputs)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("is_trained", [False, True])
def test_blocks_of_short_numbers_give_the_loss_and_gradients_of_one_block(
    monkeypatch: pytest.MonkeyPatch, is_trained: bool
) -> None:
    torch.manual_seed(1)
    states, targets = torch.randn(50, 16, requires_grad=is_trained), torch.randint(0, 300, (50,))
    weight = torch.randn(300, 16, requires_grad=is_trained)

    def compute() -> list[torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            loss = LinearCrossEntropy.apply(states, weight, None, targets, 1.0, None)
        return [loss, *(torch.autograd.grad(loss, [states, weight]) if is_trained else ())]

    whole = compute()
    monkeypatch.setattr(loss_module, "_BLOCK_LOGITS", 300 * 7)
    torch.testing.assert_close(compute(), whole, rtol=0, atol=0)


class _Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor holds that anything computes."""

    n_numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.n_numbers = max(self.n_numbers, result.numel())
        return result


def test_the_logits_of_a_batch_are_never_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    model.resize_token_embeddings(5_000)
    monkeypatch.setattr(loss_module, "CHUNK_BYTES", 200_000)
    batch = collate([pieces([40, 30])], width=70, pad_id=0)
    ours, whole = _Largest(), _Largest()
    with ours:
        Computation(torch.float32, "sdpa", find_head(model)).loss(model, batch, 1).backward()
    with whole:
        Computation(torch.float32, "sdpa", None).loss(model, batch, 1).backward()
    assert whole.n_numbers == 70 * 5_000
    assert ours.n_numbers == 5_000 * 32, "nothing is larger than the head's own gradient"


def test_logits_are_computed_for_supervised_tokens_alone() -> None:
    model = tiny("qwen3")
    batch = collate([pieces([40, 30])], width=80, pad_id=0)
    seen: list[int] = []
    linear = functional.linear

    def counted(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if weight.shape[0] == 60:
            seen.append(len(states))
        return linear(states, weight, bias)

    loss_module.functional.linear = counted  # type: ignore[assignment]
    try:
        Computation(torch.float32, "sdpa", find_head(model)).loss(model, batch, 1)
    finally:
        loss_module.functional.linear = linear
    assert seen == [int((batch["labels"] >= 0).sum())]


def test_a_head_with_an_adapter_over_it_is_left_to_the_model() -> None:
    with quiet():
        config = LoraConfig(r=2, target_modules=["q_proj", "lm_head"], task_type="CAUSAL_LM")
        model = get_peft_model(tiny("llama"), config)
    assert choose_computation(model, WIDE, CPU, torch.float32).head is None


def test_a_family_that_does_more_to_its_logits_is_found_out() -> None:
    model = tiny("llama")
    plain = model.lm_head.forward
    assert choose_computation(model, WIDE, CPU, torch.float32).head is not None
    model.lm_head.register_forward_hook(lambda _module, _inputs, output: output * 1.5)
    assert choose_computation(model, WIDE, CPU, torch.float32).head is None
    assert model.lm_head.forward == plain, "the layer is as it was"


def test_a_class_that_takes_no_loss_arguments_is_trained_as_any_other(
    make_job: MakeJob, tmp_path: Path, tokenizer_folder: Path
) -> None:
    """Trainer alone averages the means of its micro-batches, so that their size changes the weights."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = sizes | {"num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 8, "vocab_size": 46}
    text |= {"vocab_size_per_layer_input": 46, "hidden_size_per_layer_input": 8, "initializer_range": 0.2}
    text |= {"layer_types": ["sliding_attention", "full_attention"], "pad_token_id": 0, "eos_token_id": 1}  # type: ignore[dict-item]
    marks = {f"{name}_token_id": 40 + at for at, name in enumerate(("boi", "eoi", "image", "video", "audio", "boa"))}
    torch.manual_seed(0)
    model = Gemma4ForConditionalGeneration(
        Gemma4Config(text_config=text, vision_config=None, audio_config=None, **marks)
    )
    assert model.accepts_loss_kwargs is False
    model.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path / "base")
    weights, losses = [], []
    for micro_batch in (1, 4):
        job = make_job(
            stage="midtrain", parent=str(tmp_path / "base"), recipe={"micro_batch": micro_batch, "n_updates": 3}
        )
        out = tmp_path / str(micro_batch)
        out.mkdir()
        built = train(job, out, device="cpu")
        weights.append(load_file(out / "model.safetensors"))
        losses.append((built.summary["first_loss"], built.summary["last_loss"]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], atol=1e-5, rtol=1e-4)
    reference = run_reference(job)
    assert losses[0] == pytest.approx((reference.losses[0], reference.losses[-1]), abs=2e-5)


LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}}


@pytest.mark.parametrize("recipe", [{}, LORA], ids=["full", "lora"])
def test_long_rows_train_as_the_flat_loop_does(
    make_job: MakeJob, tmp_path: Path, tiny_model: Callable[..., Any], tokenizer_folder: Path, recipe: dict[str, Any]
) -> None:
    """The fast ways through a whole run: rows of 300 tokens, tied embeddings that are trained or frozen."""
    base = tmp_path / "base"
    tiny_model("llama").save_pretrained(base)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(base)
    long = {"row_tokens": 600, "rows_per_update": 2, "n_updates": 2, "n_epochs": 2, "micro_batch": 1}
    job = make_job(stage="midtrain", parent=str(base), recipe=recipe | long)
    (tmp_path / "out").mkdir()
    built = train(job, tmp_path / "out", device="cpu")
    assert built.execution["attention"] == "midspec_documents"
    assert built.execution["loss"] == "chunked logits"
    reference = run_reference(job)
    found = built.summary["first_loss"], built.summary["last_loss"]
    assert found == pytest.approx((reference.losses[0], reference.losses[-1]), abs=2e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_interrupted_run_of_long_rows_ends_like_a_straight_one(
    make_job: MakeJob,
    tmp_path: Path,
    tiny_model: Callable[..., Any],
    tokenizer_folder: Path,
    precision: str,
) -> None:
    base = tmp_path / "base"
    tiny_model("qwen3").save_pretrained(base)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(base)
    long = {"row_tokens": 600, "rows_per_update": 1, "n_updates": 4, "n_epochs": 2, "precision": precision}
    job = make_job(stage="midtrain", parent=str(base), recipe=LORA | long, execution={"save_every_updates": 2})
    for name in ("straight", "halting"):
        (tmp_path / name).mkdir()
    straight = train(job, tmp_path / "straight", device="cpu")
    assert straight.execution["precision"] == precision
    assert straight.execution["adapters"] == "in place"

    def stop(progress: Any) -> None:
        if progress.update == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(job, tmp_path / "halting", device="cpu", on_progress=stop)
    train(job, tmp_path / "halting", device="cpu")
    for name in straight.outputs:
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "halting" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("rows", "width", "device", "expected"),
    [
        (16, 64, "cpu", 16),
        (4, 192, "cpu", 4),
        (16, 4096, "cpu", 1),
        (16, 600, "cpu", 2),
        (12, 4096, "cuda", 4),
        (7, 300, "cpu", 1),
    ],
)
def test_rows_at_once_divide_an_update_and_keep_memory_low(rows: int, width: int, device: str, expected: int) -> None:
    job = TrainJob(stage="midtrain", parent="x", data=("x",), recipe=Recipe(rows_per_update=rows))
    assert rows_at_once(job, width, torch.device(device)) == expected
