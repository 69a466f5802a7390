"""LoRA layers whose products are added in place: the same numbers as PEFT's with fewer passes over memory.

PEFT computes `base(x) + lora_B(lora_A(x)) * scaling` in five passes over the output, and its backward as many; on a CPU
they take a tenth of an update.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.nn import functional

from midspec.train._forwards import computed_by


class AdaptedLinear(torch.autograd.Function):
    """A frozen linear layer and its low-rank update (arXiv 2106.09685)."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Compute the layer for `states`, (..., in), with `down`, (rank, in), and `up`, (out, rank)."""
        dtype = weight.dtype
        with torch.autocast(states.device.type, enabled=False):
            rows, narrow, wide = states.reshape(-1, states.shape[-1]).to(dtype), down.to(dtype), up.to(dtype)
            inner = rows @ narrow.T
            output = functional.linear(rows, weight, bias).addmm_(inner, wide.T, alpha=scaling)
        ctx.save_for_backward(rows, weight, down, up, inner)
        ctx.scaling = scaling
        ctx.states = states.shape, states.dtype
        return output.view(*states.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Compute the gradients of the states and of both low-rank matrices."""
        rows, weight, down, up, inner = ctx.saved_tensors
        dtype, (shape, given) = weight.dtype, ctx.states
        with torch.autocast(rows.device.type, enabled=False):
            grad = grads[0].reshape(-1, grads[0].shape[-1]).to(dtype)
            grad_inner = grad @ up.to(dtype)
            grad_states = None
            if ctx.needs_input_grad[0]:
                grad_states = (grad @ weight).addmm_(grad_inner, down.to(dtype), alpha=ctx.scaling)
                grad_states = grad_states.view(shape).to(given)
            grad_down = (grad_inner.T @ rows).to(down.dtype).mul_(ctx.scaling)
            grad_up = (grad.T @ inner).to(up.dtype).mul_(ctx.scaling)
        return grad_states, None, None, grad_down, grad_up, None


def in_place_adapters(model: Any) -> AbstractContextManager[int]:
    """Compute plain LoRA layers over frozen linear layers by `AdaptedLinear` within what is returned."""
    return computed_by(model, _is_plain, _compute)


def _is_plain(module: Any) -> bool:
    """Return whether a layer is one linear adapter, without dropout and variants, over a frozen `torch.nn.Linear`."""
    if type(module) is not Linear or module.merged or module.disable_adapters or len(module.active_adapters) != 1:
        return False
    name, base = module.active_adapters[0], module.base_layer
    return (
        type(base) is torch.nn.Linear
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and name in module.lora_A
        and name not in module.lora_variant
        and isinstance(module.lora_dropout[name], torch.nn.Identity)
        and module.lora_A[name].bias is None
        and module.lora_B[name].bias is None
    )


def _compute(module: Any, states: torch.Tensor) -> torch.Tensor:
    name, base = module.active_adapters[0], module.base_layer
    down, up = module.lora_A[name].weight, module.lora_B[name].weight
    output: torch.Tensor = AdaptedLinear.apply(  # type: ignore[no-untyped-call]
        states, base.weight, base.bias, down, up, module.scaling[name]
    )
    return output
