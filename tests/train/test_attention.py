"""Attention inside each document, held against every document alone and against transformers' masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.masking_utils import (
    and_masks,
    packed_sequence_mask_function,
    remap_positions_for_packed_sequence,
    sdpa_mask,
    sliding_window_causal_mask_function,
)

from midspec.train._attention import DOCUMENT_ATTENTION, Documents, document_attention, find_documents
from midspec.train._checks import refuse_leaks
from midspec.train._pack import Piece, collate
from midspec.train._probe import attention_of, choose_computation

CPU = torch.device("cpu")
WIDE = 1024  # rows so long that attention is chosen
BASE: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}
# Families that people train, with windows shorter than the documents where they have windows.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "mistral": {"sliding_window": 5},
    "gemma2": {"head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 5, "num_hidden_layers": 6},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "gpt_neox": {},
    "phi3": {},
    "olmo2": {},
    "granite": {"logits_scaling": 3.0},
    "cohere": {"logit_scale": 0.25},
    "qwen3_moe": {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
}


def tiny(family: str) -> Any:
    torch.manual_seed(0)
    sizes = BASE | FAMILIES[family]
    if family == "gpt2":
        sizes = {"vocab_size": 60, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None, **FAMILIES[family]}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).eval()


def pieces(lengths: list[int], seed: int = 0) -> list[Piece]:
    draw = np.random.default_rng(seed)
    made = []
    for length in lengths:
        supervised = draw.random(length) < 0.7
        supervised[0] = False
        made.append(Piece(draw.integers(2, 60, length).astype(np.int32), supervised))
    return made


def alone_loss(model: Any, documents: list[Piece]) -> torch.Tensor:
    """The summed loss of each document in a batch of its own, under the model's own attention."""
    total = torch.zeros(())
    for document in documents:
        ids = torch.tensor(document.ids, dtype=torch.long).unsqueeze(0)
        logprobs = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0].float(), dim=-1)
        for place in np.flatnonzero(document.supervised):
            total = total - logprobs[place - 1, ids[0, place]]
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_have_the_loss_and_gradients_of_every_document_alone(family: str) -> None:
    model = tiny(family)
    documents = pieces([9, 30, 9, 3, 14, 21])
    names = [name for name, _ in model.named_parameters()]
    expected = alone_loss(model, documents)
    gradients = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True)
    computation = choose_computation(model, WIDE, CPU, torch.float32)
    assert computation.attention == DOCUMENT_ATTENTION != attention_of(model)
    assert computation.head is not None
    batch = collate([documents[:3], documents[3:]], width=50, pad_id=0)
    with computation.installed(model):
        loss = computation.loss(model, batch, 1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    for name, one, other in zip(names, gradients, found, strict=True):
        assert (one is None) == (other is None), name
        if one is not None and other is not None:
            torch.testing.assert_close(other, one, atol=2e-4, rtol=2e-3, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_document_sees_another_through_the_attention_that_is_trained_with(family: str) -> None:
    model = tiny(family)
    with choose_computation(model, WIDE, CPU, torch.float32).with_attention(model):
        assert attention_of(model) == DOCUMENT_ATTENTION
        refuse_leaks(model, CPU, "base")


def test_a_family_that_asks_for_more_keeps_its_own_attention() -> None:
    sizes = BASE | {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}  # attention sinks
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt_oss", **sizes)).eval()
    before = attention_of(model)
    assert choose_computation(model, WIDE, CPU, torch.float32).attention == attention_of(model) == before


def test_short_rows_on_a_cpu_are_computed_as_ever(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model("llama")
    computation = choose_computation(model, 256, CPU, torch.float32)
    assert (computation.attention, computation.head, attention_of(model)) == ("sdpa", None, "sdpa")


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


def documents_of(lengths: list[int], n_rows: int, window: int | None) -> tuple[Documents, torch.Tensor]:
    """The documents of rows that all hold `lengths`, and transformers' own mask of the same rows."""
    positions = torch.cat([torch.arange(length) for length in lengths]).expand(n_rows, -1)
    numbers = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).expand(n_rows, -1)
    own = sliding_window_causal_mask_function(window or 10_000)
    function = and_masks(packed_sequence_mask_function(numbers), remap_positions_for_packed_sequence(own, positions))
    found = find_documents(n_rows, sum(lengths), sum(lengths), mask_function=function)
    mask = sdpa_mask(n_rows, sum(lengths), sum(lengths), mask_function=function, allow_is_causal_skip=False)
    assert isinstance(found, Documents)
    assert mask is not None
    return found, mask


@settings(deadline=None, max_examples=40)
@given(
    LENGTHS, st.integers(1, 2), st.none() | st.integers(2, 12), st.sampled_from([1, 2]), st.sampled_from([0.2, None])
)
def test_whatever_the_lengths_it_is_attention_under_the_whole_mask(
    lengths: list[int], n_rows: int, window: int | None, n_key_heads: int, scaling: float | None
) -> None:
    found, mask = documents_of(lengths, n_rows, window)
    torch.manual_seed(sum(lengths))
    shapes = [(n_rows, heads, sum(lengths), 8) for heads in (2, n_key_heads, n_key_heads)]
    query, key, value = (torch.randn(shape, requires_grad=True) for shape in shapes)
    output, _ = document_attention(torch.nn.Module(), query, key, value, found, scaling=scaling)
    expected = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True)
    expected = expected.transpose(1, 2)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-4)
    weight = torch.randn_like(expected)
    ours = torch.autograd.grad((output * weight).sum(), [query, key, value])
    theirs = torch.autograd.grad((expected * weight).sum(), [query, key, value])
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@given(LENGTHS, st.integers(1, 3))
def test_every_token_has_one_place_and_little_is_padded(lengths: list[int], n_rows: int) -> None:
    found, _ = documents_of(lengths, n_rows, None)
    n_tokens = n_rows * sum(lengths)
    assert found.source[found.place].tolist() == list(range(n_tokens))
    n_places = sum(group.n_documents * group.n_tokens for group in found.groups)
    assert n_places <= n_tokens / 0.875 + 16 * n_rows * len(lengths)
    assert found.bounds.diff().tolist() == lengths * n_rows


def test_nothing_is_computed_between_documents() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    found, mask = documents_of([64] * 16, 1, None)
    query = torch.randn(1, 2, 1024, 8)
    with FlopCounterMode(display=False) as counted:
        document_attention(torch.nn.Module(), query, query, query, found)
    with FlopCounterMode(display=False) as whole:
        scaled_dot_product_attention(query, query, query, attn_mask=mask)
    assert counted.get_total_flops() * 16 == whole.get_total_flops()


def test_padding_that_a_mask_names_is_seen_by_nobody() -> None:
    model = tiny("llama")
    computation = choose_computation(model, WIDE, CPU, torch.float32)
    ids = torch.randint(2, 60, (2, 12))
    mask = torch.ones_like(ids)
    mask[0, 8:] = 0
    mask[1, :3] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad(), computation.with_attention(model):
        found = model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        for row, part in enumerate((slice(0, 8), slice(3, 12))):
            torch.testing.assert_close(found[row, part], model(ids[row : row + 1, part], use_cache=False).logits[0])
