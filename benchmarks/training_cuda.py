"""The training benchmark on a GPU: tokens a second, share of the GPU's peak, and peak memory, from fresh weights.

Two shapes of Qwen3 (0.6B all weights in rows of 8,192; 4B by LoRA in rows of 16,384, and that once more with
activations computed again), each a few updates with a time limit, so that all ends in under 8 minutes. prime-rl
publishes 16.8% and 21.7% of one H100 for the like; the aim is 35%.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from midspec.models import quiet
from midspec.train import Preflight, TrainJob
from midspec.train._loop import run_updates
from midspec.train._memory import Usage, forecast_memory, sizes_of
from midspec.train._pack import Piece
from midspec.train._plan import Plan
from midspec.train._probe import choose_computation
from training_models import word_tokenizer

_TIME_LIMIT_S = 150
_GPU = torch.device("cuda")
# Dense bfloat16 peaks from the makers' data sheets, in TFLOPS.
_PEAKS = {"H100": 989, "H200": 989, "A100": 312, "L40": 181, "4090": 165}


class Shape(NamedTuple):
    """A model and how it is trained."""

    name: str
    method: str
    row_tokens: int
    sizes: dict[str, Any]
    published: str
    checkpointing: bool = False


_QWEN3 = {"head_dim": 128, "num_key_value_heads": 8, "vocab_size": 151_936, "tie_word_embeddings": True}
SHAPES = {
    "full": Shape(
        "Qwen3-0.6B, all weights, rows of 8,192",
        "full",
        8192,
        _QWEN3 | {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
        "16.8%",
    ),
    "lora": Shape(
        "Qwen3-4B, LoRA r 64, rows of 16,384",
        "lora",
        16_384,
        _QWEN3 | {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
        "21.7%",
    ),
}
SHAPES["lora-less-memory"] = SHAPES["lora"]._replace(
    name=f"{SHAPES['lora'].name}, activation checkpointing", checkpointing=True
)


def measure_on_gpu() -> None:
    """Measure each shape in a process of its own: what one leaves in memory is not the other's."""
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU that torch can use")
    for name in SHAPES:
        try:
            subprocess.run([sys.executable, __file__, name], check=False, timeout=_TIME_LIMIT_S)  # noqa: S603
        except subprocess.TimeoutExpired:
            print(f"  {SHAPES[name].name}: not done after {_TIME_LIMIT_S} s")


def measure(shape: Shape, n_updates: int = 8, device: torch.device = _GPU) -> None:
    """Train a few updates on random documents, and print what they took after the first two."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("qwen3", max_position_embeddings=32_768, **shape.sizes)
    dtype = torch.bfloat16 if shape.method == "lora" else torch.float32
    with quiet(), torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        if shape.method == "lora":
            modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
            model = get_peft_model(model, LoraConfig(r=64, lora_alpha=128, target_modules=modules))
    plan, lengths = _plan(shape, n_updates)
    recipe = {"method": shape.method, "rows_per_update": 1, "row_tokens": shape.row_tokens, "min_updates": 1}
    job = TrainJob.model_validate(
        {
            "stage": "midtrain",
            "parent": "-",
            "data": ["-"],
            "recipe": recipe,
            "execution": {"gradient_checkpointing": shape.checkpointing},
        }
    )
    computation = choose_computation(model, shape.row_tokens, device, torch.bfloat16)
    marks: list[float] = []
    usage = Usage(device)
    with TemporaryDirectory() as folder:
        run_updates(
            model,
            job,
            plan,
            Path(folder),
            device=device,
            computation=computation,
            tokenizer=word_tokenizer(Path(folder), 100),
            on_progress=lambda _: marks.append(time.perf_counter()),
        )
    seconds = (marks[-1] - marks[1]) / (len(marks) - 2)
    speed = shape.row_tokens / seconds
    card = torch.cuda.get_device_name() if device.type == "cuda" else "a CPU"
    peak = next((value for name, value in _PEAKS.items() if name in card), None)
    used = "" if peak is None else f"{speed * _flops_a_token(model, shape, lengths) / peak / 1e12:.1%} of its peak"
    print(f"  {shape.name} on {card} ({computation.describe()})")
    sizes = sizes_of(model)
    forecast = forecast_memory(sizes, job, 1, row_width=shape.row_tokens, dtype=torch.bfloat16, device=device)
    print(f"    {speed:,.0f} tokens a second, {used} (prime-rl: {shape.published}; aim: 35%)")
    print(f"    {(usage.peak() or 0) / 1e9:.1f} GB at most, {forecast.total / 1e9:.1f} GB forecast")


def _plan(shape: Shape, n_updates: int) -> tuple[Plan, list[int]]:
    """One row an update, filled with documents of a quarter of it: longer than most, so that attention counts."""
    draw = np.random.default_rng(0)
    lengths = [shape.row_tokens // 4] * 4
    updates = []
    for _ in range(n_updates):
        row = []
        for length in lengths:
            supervised = np.ones(length, dtype=np.bool_)
            supervised[0] = False
            row.append(Piece(draw.integers(0, shape.sizes["vocab_size"], length).astype(np.int32), supervised))
        updates.append([row])
    needed = [name for name, field in Preflight.model_fields.items() if field.is_required()]
    counted = dict.fromkeys(needed, 0) | {"stage": "midtrain", "example": "", "floor_lowered": True}
    counted |= {"row_width": shape.row_tokens, "n_updates": n_updates, "rows_per_update": 1}
    return Plan(updates, Preflight.model_validate(counted)), lengths


def _flops_a_token(model: Any, shape: Shape, lengths: list[int]) -> float:
    """Count the model's own operations: none again, attention in documents alone, no gradient of frozen weights."""
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    frozen = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
    # A tied embedding is counted once, as the head: looking up costs nothing.
    size = shape.sizes["num_hidden_layers"] * shape.sizes["num_attention_heads"] * shape.sizes["head_dim"]
    seen = sum(length * length / 2 for length in lengths) / sum(lengths)
    return 6 * trained + 4 * frozen + 12 * size * seen


if __name__ == "__main__":
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    measure(SHAPES[sys.argv[1]])
