"""Sizes of models against their published numbers of parameters, and operations against torch's own count."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from midspec.cli._plan import GpuName
from midspec.models import PEAK_TFLOPS, Hardware, ModelShape, shape_of, shape_of_config

# From the models' cards and the index of their weights.
PUBLISHED = {
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "Qwen/Qwen2.5-14B-Instruct": 14_770_033_664,
    "Qwen/Qwen2.5-32B-Instruct": 32_763_876_352,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
}


@pytest.mark.parametrize(("name", "n_parameters"), PUBLISHED.items())
def test_the_table_of_models_has_their_published_sizes(name: str, n_parameters: int) -> None:
    shape = shape_of(name)
    assert shape is not None
    assert shape.n_parameters == pytest.approx(n_parameters, rel=1e-3)


def llama(folder: Path, *, tied: bool) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=70,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=tied,
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("tied", [True, False])
def test_sizes_of_a_folder_are_those_of_the_model_in_it(tmp_path: Path, tied: bool) -> None:
    model = llama(tmp_path / "m", tied=tied)
    shape = shape_of(str(tmp_path / "m"))
    assert shape == ModelShape(3, 32, 48, 64, 32, 70, tied)
    norms = sum(weight.numel() for name, weight in model.named_parameters() if "norm" in name)
    assert shape.n_parameters == sum(weight.numel() for weight in model.parameters()) - norms


@pytest.mark.parametrize("lora", [True, False])
def test_operations_are_those_that_torch_counts_but_for_the_masked_half_of_attention(
    tmp_path: Path, lora: bool
) -> None:
    model, n_tokens = llama(tmp_path / "m", tied=False), 40
    shape = shape_of(str(tmp_path / "m"))
    assert shape is not None
    if lora:  # weights are not trained, and what comes in is: the adapter before them is left out of both counts
        model.requires_grad_(requires_grad=False)
    embedded = torch.randn(1, n_tokens, 32, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        model(inputs_embeds=embedded).logits.sum().backward()
    masked = 3 * 2 * n_tokens * shape.queries * shape.n_layers * n_tokens
    counted = counter.get_total_flops() - masked
    assert shape.training_operations(n_tokens, n_tokens, is_lora=lora) == counted


@pytest.mark.parametrize(
    ("sizes", "width"),
    [
        ({}, 64),
        ({"num_experts_per_tok": 2}, 2 * 64),  # Mixtral
        ({"num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24}, 2 * 16 + 24),
        ({"num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_shared_experts": 1}, 3 * 16),  # DeepSeek, GLM
        ({"moe_k": 2, "moe_intermediate_size": 16, "moe_num_shared_experts": 2}, 4 * 16),  # ERNIE
        ({"top_k_experts": 2, "moe_intermediate_size": 16}, 2 * 16 + 64),  # Gemma 4, beside a layer for all tokens
        ({"top_k_experts": None}, 64),
    ],
)
def test_all_experts_that_a_token_passes_are_counted(sizes: dict[str, int | None], width: int) -> None:
    usual = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    shape = shape_of_config({**usual, "vocab_size": 70, **sizes}.get)
    assert shape is not None
    assert shape.inner == width


def test_a_gpu_hour_is_peak_times_utilization_times_3600_seconds() -> None:
    assert Hardware.of("h100", 0.5).hours(989e12 * 1800) == pytest.approx(1.0)
    assert "0.5 of 989 TFLOP/s" in Hardware.of("h100", 0.5).words


def test_every_gpu_of_the_table_can_be_named_on_the_command_line() -> None:
    assert set(get_args(GpuName)) == set(PEAK_TFLOPS)


@pytest.mark.parametrize("name", ["nobody/has-this-model", "not a name", "/no/such/folder"])
def test_a_model_that_is_not_here_has_no_size(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert shape_of(name) is None
