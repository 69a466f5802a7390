"""Parents whose weights are quantised: opened as plain ones, saved so, or refused in words that say why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from midspec.core.errors import CheckpointError
from midspec.models import find_checkpoint, load_model
from midspec.models._open import refuse_uncomputed

from .test_odd_parents import change, refusal

Saved = Callable[..., Path]


def test_a_quantised_parent_that_is_not_computed_here_is_refused(saved: Saved) -> None:
    folder = saved("llama")
    model = load_model(find_checkpoint(str(folder)), dtype=torch.float32)
    refuse_uncomputed(model, str(folder))
    model.hf_quantizer = SimpleNamespace(quantization_config=SimpleNamespace(quant_method="fp8"))
    refuse_uncomputed(model, str(folder))

    def fails(*_: Any) -> None:
        raise RuntimeError("no kernel for this device")

    model.model.layers[0].self_attn.q_proj.forward = fails
    with pytest.raises(CheckpointError, match=r"quantised \(fp8\), and are not computed on cpu \(no kernel"):
        refuse_uncomputed(model, str(folder))


@pytest.mark.parametrize(
    ("method", "scaled", "told"),
    [
        ("modelopt", "0.k_proj.weight_scale", "in a way that transformers does not read .*k_proj.weight_scale, say"),
        ("modelopt", "0.self_attn.k_scale", None),  # of a cache's keys
        ("modelopt", "2.mlp.up_proj.weight_packed", None),  # of a layer beyond the model's (MTP)
        ("modelopt", None, None),  # left by a tool that dequantised
        ("gptq", None, "quantised, and do not open .*optimum.*Use the model's checkpoint in bfloat16"),
        (None, None, "quantised, and do not open .*quant_method"),  # MLX
    ],
)
def test_quantised_weights_are_read_as_their_scales_say_or_told(
    saved: Saved, method: str | None, scaled: str | None, told: str | None
) -> None:
    folder = saved("llama")
    weights = load_file(folder / "model.safetensors")
    if scaled is not None:
        weights[f"model.layers.{scaled}"] = torch.ones(1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder / "config.json", quantization_config={"bits": 4, **({"quant_method": method} if method else {})})
    if told is not None:
        with pytest.raises(CheckpointError, match=told):
            load_model(find_checkpoint(str(folder)), dtype=torch.float32)
    else:
        model = load_model(find_checkpoint(str(folder)), dtype=torch.float32)
        assert not hasattr(model.config, "quantization_config")


def quantise(folder: Path, method: str) -> None:
    """Save a model's projections as gpt-oss's blocks of 32 (all 0.5), or as float8 with a scale each."""
    plain, found = load_file(folder / "model.safetensors"), {}
    for name, weight in plain.items():
        if method == "mxfp4" and name.endswith("_proj") and weight.dim() == 3:
            shape = (weight.shape[0], weight.shape[2], weight.shape[1] // 32)
            found[f"{name}_blocks"] = torch.full((*shape, 16), 0x11, dtype=torch.uint8)
            found[f"{name}_scales"] = torch.full(shape, 127, dtype=torch.uint8)
        elif method == "fp8" and name.endswith("_proj.weight"):
            scale = weight.abs().amax() / 448
            found |= {name: (weight / scale).to(torch.float8_e4m3fn), f"{name}_scale_inv": scale.reshape(1, 1)}
        else:
            found[name] = weight
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    blocks = {"weight_block_size": [128, 128]} if method == "fp8" else {"modules_to_not_convert": ["lm_head"]}
    change(folder / "config.json", quantization_config={"quant_method": method, **blocks})


@pytest.mark.parametrize(
    ("method", "family", "sizes"),
    [
        ("mxfp4", "gpt_oss", {"num_local_experts": 2, "num_experts_per_tok": 1}),
        ("fp8", "qwen3_moe", {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32}),
        ("fp8", "llama", {}),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="it stays quantised there")
def test_a_quantised_parent_is_saved_as_the_plain_one_that_it_was_opened_as(
    saved: Saved, tmp_path: Path, method: str, family: str, sizes: dict[str, Any]
) -> None:
    folder = saved(family, **sizes)
    quantise(folder, method)
    model = load_model(find_checkpoint(str(folder)), dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "again")
    again = load_model(find_checkpoint(str(tmp_path / "again")), dtype=torch.bfloat16).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"{}")])
def test_a_quantised_parent_whose_file_is_missing_or_damaged_is_told_so(
    saved: Saved, damage: Callable[[Path], object]
) -> None:
    folder = saved("llama")
    change(folder / "config.json", quantization_config={"quant_method": "fp8"})
    damage(folder / "model.safetensors")
    found = refusal(folder)
    assert "weights are quantised" not in found.what
    assert "its files are whole" in str(found)
