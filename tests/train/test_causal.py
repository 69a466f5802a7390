"""Gradients of causal attention by products of blocks, held against float64 autograd under a written-out mask."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.train import _attention, _causal
from midspec.train._attention import DOCUMENT_ATTENTION, document_attention
from midspec.train._causal import CausalAttention
from midspec.train._probe import choose_computation

from .test_attention import CPU, WIDE, documents_of, tiny


def written_out(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    """Attention by its formula, with a head of keys for each of queries."""
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    return torch.softmax(scores.masked_fill(~seen, -math.inf), -1) @ value


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.sampled_from([(1, 1), (2, 2), (4, 2), (6, 2), (9, 3), (5, 1)]),
    st.sampled_from([1, 3, 8]),
    st.sampled_from([None, 0.3]),
    st.sampled_from([1, 7, 16, 192]),
)
def test_whatever_the_shape_it_has_the_gradients_of_the_formula(
    n: int, n_tokens: int, heads: tuple[int, int], size: int, scaling: float | None, block: int
) -> None:
    torch.manual_seed(n_tokens)
    # As layers hand them over: (documents, tokens, heads, size) seen with heads before tokens.
    query, key, value, slope = (
        torch.randn(n, n_tokens, n_heads, size, dtype=torch.float64).transpose(1, 2)
        for n_heads in (*heads, heads[1], heads[0])
    )
    inputs = [part.requires_grad_() for part in (query, key, value)]
    expected = written_out(query, key, value, size**-0.5 if scaling is None else scaling)
    before, _causal.BLOCK_QUERIES = _causal.BLOCK_QUERIES, block
    try:
        found = CausalAttention.apply(query, key, value, scaling)
        ours = torch.autograd.grad((found * slope).sum(), inputs)
    finally:
        _causal.BLOCK_QUERIES = before
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ours, torch.autograd.grad((expected * slope).sum(), inputs))


@pytest.mark.parametrize(("n", "n_tokens"), [(1, 450), (3, 61)])
def test_in_bfloat16_its_error_is_that_of_rounding(n: int, n_tokens: int) -> None:
    torch.manual_seed(0)
    parts = [torch.randn(n, n_tokens, heads, 16, dtype=torch.bfloat16).transpose(1, 2) for heads in (6, 2, 2)]
    slope = torch.randn(n, 6, n_tokens, 16, dtype=torch.bfloat16)
    rough = [part.clone().requires_grad_() for part in parts]
    exact = [part.double().requires_grad_() for part in parts]
    ours = torch.autograd.grad(CausalAttention.apply(*rough, None), rough, slope)
    theirs = torch.autograd.grad(written_out(*exact, 0.25), exact, slope.double())
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == torch.bfloat16
        assert float((one.double() - other).norm()) < 0.01 * float(other.norm())


class _Counted:
    """Counts what is computed by blocks."""

    def __init__(self) -> None:
        self.n_groups = 0

    def apply(self, *given: object) -> object:
        self.n_groups += 1
        return CausalAttention.apply(*given)


@pytest.mark.parametrize(
    ("dtype", "window", "more", "n_groups"),
    [
        (torch.bfloat16, None, {}, 2),
        (torch.float32, None, {}, 0),
        (torch.bfloat16, 5, {}, 0),
        (torch.bfloat16, None, {"softcap": 30.0}, 0),
        (torch.bfloat16, None, {"dropout": 0.1}, 0),
    ],
    ids=["bfloat16", "float32", "a window", "softcap", "dropout"],
)
def test_only_plain_causal_attention_in_bfloat16_is_computed_by_blocks(
    dtype: torch.dtype, window: int | None, more: dict[str, float], n_groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = _Counted()
    monkeypatch.setattr(_attention, "CausalAttention", counted)
    found, _ = documents_of([40, 9, 40], 1, window)
    query, key = torch.randn(1, 2, 89, 8, dtype=dtype), torch.randn(1, 1, 89, 8, dtype=dtype)
    document_attention(torch.nn.Module(), query, key, key, found, **more)  # type: ignore[arg-type]
    assert counted.n_groups == n_groups


def test_gradients_that_are_wrong_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    assert choose_computation(model, WIDE, CPU, torch.bfloat16).attention == DOCUMENT_ATTENTION
    right = _causal._scaled
    monkeypatch.setattr(_causal, "_scaled", lambda one, other, scale: right(one, other, 1.5 * scale))
    assert choose_computation(model, WIDE, CPU, torch.bfloat16).attention != DOCUMENT_ATTENTION
