"""RMS norms in fewer passes, held against float64 autograd and against transformers' own layers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.train import _norm
from midspec.train._norm import RmsNorm, fused_norms
from midspec.train._probe import choose_computation

from .test_attention import CPU, WIDE, tiny
from .test_lora import adapted, loss_and_gradients


def formula(states: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return states / (states.square().mean(-1, keepdim=True) + epsilon).sqrt() * weight


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 7), st.integers(1, 33), st.sampled_from([1e-6, 0.1]), st.sampled_from([1e-3, 1.0, 50.0]))
def test_whatever_the_shape_it_has_the_gradients_of_the_formula(
    n_tokens: int, size: int, epsilon: float, spread: float
) -> None:
    torch.manual_seed(n_tokens * 100 + size)
    states = torch.randn(2, n_tokens, size) * spread
    weight, slope = (torch.rand(size) + 0.5).requires_grad_(), torch.randn(2, n_tokens, size)
    one, exact = states.clone().requires_grad_(), states.double().requires_grad_()
    exact_weight = weight.detach().double().requires_grad_()
    found, expected = RmsNorm.apply(one, weight, epsilon), formula(exact, exact_weight, epsilon)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    (found * slope).sum().backward()
    (expected * slope).sum().backward()
    assert one.grad is not None
    assert exact.grad is not None
    # What is left where the two terms of the gradient cancel (a size of 1) is rounding of the terms.
    term = slope * weight.detach() / (states.square().mean(-1, keepdim=True) + epsilon).sqrt()
    assert float((one.grad - exact.grad).norm()) <= 1e-5 * float(term.norm())
    torch.testing.assert_close(weight.grad, exact_weight.grad.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("family", "n_norms"), [("llama", 5), ("qwen2", 5), ("qwen3", 9), ("gemma2", 0), ("gpt2", 0)])
def test_norms_under_an_adapter_give_the_loss_and_gradients_of_transformers(family: str, n_norms: int) -> None:
    model = adapted(family)
    expected = loss_and_gradients(model)
    with fused_norms(model) as n_fused:
        assert n_fused == n_norms
        found = loss_and_gradients(model)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.parametrize(("family", "n_norms"), [("llama", 5), ("qwen3", 9), ("gemma2", 0)])
def test_norms_that_are_trained_give_the_loss_and_gradients_of_transformers(family: str, n_norms: int) -> None:
    model = tiny(family)
    expected = loss_and_gradients(model)
    with fused_norms(model) as n_fused:
        assert n_fused == n_norms
        found = loss_and_gradients(model)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_norms_that_move_gradients_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_computation(adapted(), WIDE, CPU, torch.float32).fused_norms
    right = RmsNorm.backward

    def wrong(ctx: object, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (right(ctx, *grads)[0] * 1.1, None, None)  # type: ignore[operator]

    monkeypatch.setattr(_norm.RmsNorm, "backward", staticmethod(wrong))
    assert not choose_computation(adapted(), WIDE, CPU, torch.float32).fused_norms
