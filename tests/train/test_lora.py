"""Adapters computed in place, held against PEFT's own layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from midspec.models import quiet
from midspec.train._lora import in_place_adapters
from midspec.train._pack import collate
from midspec.train._probe import Computation, choose_computation

from .test_attention import CPU, WIDE, pieces, tiny


def adapted(family: str = "llama", **settings: Any) -> PeftModel:
    """A tiny model under an adapter whose second matrix is not zero."""
    with quiet():
        config = LoraConfig(r=4, lora_alpha=12, task_type="CAUSAL_LM", **{"target_modules": "all-linear", **settings})
        model = get_peft_model(tiny(family), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    return model


def loss_and_gradients(model: Any, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    batch = collate([pieces([20, 11]), pieces([17])], width=33, pad_id=0)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        loss = Computation(dtype, "sdpa", None).loss(model, batch, 1)
    return [loss, *torch.autograd.grad(loss, [weight for weight in model.parameters() if weight.requires_grad])]


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2"])
def test_in_place_adapters_give_the_loss_and_gradients_of_pefts(family: str) -> None:
    model = adapted(family)
    expected = loss_and_gradients(model)
    with in_place_adapters(model) as n_layers:
        assert n_layers == 14
        found = loss_and_gradients(model)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert all("forward" not in vars(module) for module in model.modules())


def test_over_a_frozen_bfloat16_base_too() -> None:
    exact = loss_and_gradients(adapted())
    rough = adapted()
    rough.base_model.model.to(torch.bfloat16)
    for name, weight in rough.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()
    with in_place_adapters(rough):
        found = loss_and_gradients(rough, torch.bfloat16)
    assert found[0].item() == pytest.approx(exact[0].item(), rel=0.02)
    assert all(gradient.dtype == torch.float32 for gradient in found[1:])
    for one, other in zip(found[1:], exact[1:], strict=True):
        assert float((one - other).norm()) < 0.1 * float(other.norm()) + 1e-3


@pytest.mark.parametrize(
    "settings",
    [{"lora_dropout": 0.1}, {"use_dora": True}, {"modules_to_save": ["q_proj"], "target_modules": ["v_proj"]}],
    ids=["dropout", "DoRA", "a saved module"],
)
def test_what_is_not_plain_is_left_to_peft(settings: dict[str, Any]) -> None:
    model = adapted(**settings)
    with in_place_adapters(model) as n_layers:
        assert n_layers == (2 if "modules_to_save" in settings else 0)


def test_a_run_with_adapters_computes_them_in_place_where_that_is_measured_to_be_the_same() -> None:
    assert choose_computation(adapted(), WIDE, CPU, torch.float32).adapters_in_place
    assert not choose_computation(tiny("llama"), WIDE, CPU, torch.float32).adapters_in_place
