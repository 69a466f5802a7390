"""Small decoders computed by hand: the loss and gradients of transformers' own, for the models that have that form."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from midspec.models import quiet
from midspec.train._decoder import find_decoder
from midspec.train._pack import Piece, collate
from midspec.train._probe import Computation, choose_computation

CPU = torch.device("cpu")
PLAIN = Computation(torch.float32, "sdpa", None)
SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
}


def small(kind: str = "llama", **changes: Any) -> Any:
    torch.manual_seed(0)
    with quiet():
        config = AutoConfig.for_model(kind, **{**SIZES, **changes})
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(weight, 1.0, 0.3)  # those of a fresh model are all 1, and would hide a mistake
    return model


def batch(lengths: list[list[int]], share: float = 0.5, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = np.random.default_rng(seed)

    def piece(length: int) -> Piece:
        supervised = draw.random(length) < share
        supervised[0] = False
        return Piece(draw.integers(0, SIZES["vocab_size"], length).astype(np.int32), supervised)

    rows = [[piece(length) for length in row] for row in lengths]
    return collate(rows, width=max(sum(row) for row in lengths) + 3, pad_id=1)


def worst(model: Any, inputs: dict[str, torch.Tensor]) -> float:
    """The largest difference from transformers' own: of the loss, and of a gradient as a share of its size."""
    decoder = find_decoder(model, 128)
    assert decoder is not None
    expected = PLAIN.loss(model, inputs, 7)
    gradients = torch.autograd.grad(expected, decoder.weights)
    loss, found = decoder.gradients(inputs, 7)
    pairs = zip(gradients, found, strict=True)
    moved = [float((a - b).norm() / size) for (a, b), size in zip(pairs, _sizes(model, inputs), strict=True)]
    return max(*moved, abs(float(expected.detach() - loss)))


def _sizes(model: Any, inputs: dict[str, torch.Tensor]) -> list[float]:
    """The norm of each gradient in float64; that of the largest where it is 0, as rounding alone is not.

    A token that sees itself alone gives queries and keys no gradient.
    """
    exact = copy.deepcopy(model).double()
    decoder = find_decoder(model, 128)
    assert decoder is not None
    names = {id(weight): name for name, weight in model.named_parameters()}
    weights = [exact.get_parameter(names[id(weight)]) for weight in decoder.weights]
    norms = [float(one.norm()) for one in torch.autograd.grad(PLAIN.loss(exact, inputs, 7), weights)]
    return [norm if norm > 1e-9 * max(norms) else max(norms) for norm in norms]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1, "head_dim": 6},
        {"pad_token_id": 1},
        {"num_hidden_layers": 1},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}},
    ],
)
def test_loss_and_gradients_are_those_of_transformers(changes: dict[str, Any]) -> None:
    assert worst(small(**changes), batch([[40, 7, 40, 24], [12, 60], [3]])) < 2e-5


@settings(max_examples=25, deadline=None)
@example([[1, 2]], 0.1, 0)
@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), min_size=1, max_size=3),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.integers(0, 9),
)
def test_so_they_are_for_rows_of_any_documents(lengths: list[list[int]], share: float, seed: int) -> None:
    inputs = batch(lengths, share, seed)
    if (inputs["labels"] >= 0).any():
        assert worst(SMALL, inputs) < 5e-5


SMALL = small(num_hidden_layers=2)


def test_a_batch_that_teaches_nothing_has_no_loss_and_no_gradient() -> None:
    decoder = find_decoder(SMALL, 128)
    assert decoder is not None
    loss, gradients = decoder.gradients(batch([[5, 9]], share=0.0), 1)
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients)


def test_gradients_of_micro_batches_add_up() -> None:
    model = small()
    decoder = find_decoder(model, 128)
    assert decoder is not None
    parts = [batch([[20, 9]], seed=1), batch([[14]], seed=2)]
    model.zero_grad()
    losses = [decoder.add_gradients(part, 5) for part in parts]
    found = [weight.grad.clone() for weight in decoder.weights if weight.grad is not None]
    model.zero_grad()
    expected = sum(PLAIN.loss(model, part, 5) for part in parts)
    expected.backward()
    assert float(sum(losses)) == pytest.approx(expected.item(), rel=1e-5)
    for weight, gradient in zip(decoder.weights, found, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_models_of_this_form_are_computed_by_hand_in_short_rows(kind: str) -> None:
    changes = {"sliding_window": None} if kind == "mistral" else {}
    assert choose_computation(small(kind, **changes), 128, CPU, torch.float32).decoder is not None


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("mistral", {"sliding_window": 16}),  # looks like Llama, and sees less
        ("qwen2", {}),  # biases
        ("qwen3", {}),  # norms of queries and keys
        ("gemma", {"head_dim": 8}),  # scaled embeddings, another norm
        ("olmo", {}),  # norms without weights
        ("llama", {"attention_bias": True}),
        ("llama", {"hidden_act": "gelu"}),
        ("llama", {"attention_dropout": 0.1}),
        ("llama", {"hidden_size": 512}),  # large ones are not
    ],
)
def test_other_models_are_computed_as_transformers_does(kind: str, changes: dict[str, Any]) -> None:
    assert choose_computation(small(kind, **changes), 128, CPU, torch.float32).decoder is None


def test_a_model_that_is_trained_in_part_is_computed_as_transformers_does() -> None:
    model = small()
    model.get_input_embeddings().weight.requires_grad_(requires_grad=False)
    assert choose_computation(model, 128, CPU, torch.float32).decoder is None
