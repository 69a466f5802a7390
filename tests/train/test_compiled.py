"""Compiled parts, held against transformers' own layers and against autograd; with a backend that needs no compiler."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from midspec.train import _compiled, _loss
from midspec.train._compiled import compiled_parts
from midspec.train._loss import LinearCrossEntropy

from .test_attention import tiny
from .test_lora import adapted, loss_and_gradients

# torch looks at `.grad` of what it traces, and hides the warning of that from a filter that shows warnings only.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_compiled, "_BACKEND", "aot_eager")
    kept = (_compiled._product, _compiled._rotation, _loss._compiled_gradient)
    for function in kept:
        function.cache_clear()
    yield
    for function in kept:
        function.cache_clear()
    torch._dynamo.reset()


# A family's gates, one a layer, and its function of rotary embeddings.
@pytest.mark.parametrize(
    ("family", "n_parts"), [("llama", 3), ("qwen3", 3), ("gemma2", 3), ("phi3", 1), ("gpt2", 0), ("gpt_neox", 1)]
)
def test_gates_and_rotary_embeddings_give_the_loss_and_gradients_of_transformers(family: str, n_parts: int) -> None:
    model = tiny(family)
    expected = loss_and_gradients(model)
    module = sys.modules[type(model).__module__]
    own = getattr(module, "apply_rotary_pos_emb", None)
    with compiled_parts(model) as n_compiled:
        assert n_compiled == n_parts
        found = loss_and_gradients(model)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert getattr(module, "apply_rotary_pos_emb", None) is own
    assert all("forward" not in vars(module) for module in model.modules())


def test_under_an_adapter_too() -> None:
    model = adapted("qwen3")
    expected = loss_and_gradients(model)
    with compiled_parts(model):
        found = loss_and_gradients(model)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.25, None), (1.0, 3.0), (0.5, 2.0)])
def test_the_compiled_loss_has_autograds_gradients(scale: float, softcap: float | None) -> None:
    torch.manual_seed(0)
    targets = torch.randint(0, 30, (17,))
    given = [torch.randn(17, 8), torch.randn(30, 8), torch.randn(30)]
    exact = [part.double().requires_grad_() for part in given]
    logits = (exact[0] @ exact[1].T + exact[2]) * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    expected.backward()
    rough = [part.clone().requires_grad_() for part in given]
    found = LinearCrossEntropy.apply(*rough, targets, scale, softcap, True)  # type: ignore[no-untyped-call]  # noqa: FBT003
    found.backward()
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-5)
    for one, other in zip(rough, exact, strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, atol=1e-4, rtol=1e-4)


def test_an_activation_that_is_not_known_is_left_to_the_model() -> None:
    model: Any = tiny("llama")
    for layer in model.model.layers:
        layer.mlp.act_fn = torch.nn.Tanh()
    with compiled_parts(model) as n_compiled:
        assert n_compiled == 1
    assert not _compiled._is_gated(SimpleNamespace(named_children=list))
