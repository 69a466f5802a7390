"""Prompts of different lengths get what each gets alone, also in families whose layers see the padding before them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from midspec.core.records import Message
from midspec.models import LanguageModel, find_checkpoint, load_model, open_checkpoint
from midspec.models._generation import _goes_on
from midspec.models._scoring import computes_padded
from midspec.models._turn_ends import read_turn

MAMBA2 = {"state_size": 8, "num_heads": 8, "n_groups": 1}
JAMBA = {
    "hidden_size": 64,
    "num_hidden_layers": 16,
    "mamba_d_state": 8,
    "mamba_dt_rank": 8,
    "num_experts": 16,
    "use_mamba_kernels": False,
}
FAMILIES: dict[str, tuple[dict[str, Any], bool]] = {
    "llama": ({}, True),
    "gemma2": ({"query_pre_attn_scalar": 8, "sliding_window": 8}, True),
    "lfm2": ({"layer_types": ["conv", "full_attention"]}, True),
    "mamba2": (MAMBA2, True),  # takes its cache under another name
    "mamba": ({"state_size": 8, "time_step_rank": 8}, True),  # multiplies a token by the mask of all
    "minimax": ({"layer_types": ["linear_attention", "full_attention"], "block_size": 8}, True),
    "xlstm": ({"num_heads": 4, "num_blocks": 2, "chunk_size": 8}, False),  # a cache of its own, as MiniMax
    "rwkv": ({}, False),  # keeps a state, and has no cache that says so
    "bart": ({"decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64, "d_model": 32}, False),
    "recurrent_gemma": (
        {
            "num_hidden_layers": 3,
            "lru_width": 32,
            "attention_window_size": 64,
            "bos_token_id": 2,
            "num_key_value_heads": 1,
        },
        False,
    ),
}
PROMPTS = [
    [Message(role="user", content=text)] for text in ("Hi", "Which of the two do you like, and why is that?", "Why?")
]


def greedy(model: LanguageModel, prompt: list[Message], n_new: int) -> str:
    """What the model writes when each token is computed with all before it, and nothing is kept."""
    (ids, _), *_ = model.template.encode([model.template.render(prompt, add_generation_prompt=True)])
    written: list[int] = []
    while len(written) < n_new and not {*written} & {*model.template.end_ids}:
        row = torch.tensor([[*ids, *written]])
        written.append(int(model.model(input_ids=row, use_cache=False).logits[0, -1].argmax()))
    return read_turn(model.tokenizer, written, model.template.end_ids, ())[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_different_lengths_gives_what_each_prompt_gives_alone(
    saved: Callable[..., Path], family: str
) -> None:
    sizes, is_padded = FAMILIES[family]
    model = open_checkpoint(find_checkpoint(str(saved(family, **sizes))), device="cpu")
    assert computes_padded(model.model, torch.device("cpu")) is is_padded
    options = ["the brie", "no", "a cheddar"]
    together = model.option_logprobs(PROMPTS, options)
    apart = [model.option_logprobs([prompt], [one])[0] for prompt, one in zip(PROMPTS, options, strict=True)]
    assert [one.logprob for one in together] == pytest.approx([one.logprob for one in apart], rel=1e-4)
    texts = [one.text for one in model.generate(PROMPTS, max_new_tokens=5)]
    assert texts == [model.generate([prompt], max_new_tokens=5)[0].text for prompt in PROMPTS]
    with torch.no_grad():
        assert texts == [greedy(model, prompt, 5) for prompt in PROMPTS]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("family", "sizes", "name", "goes_on"),
    [
        ("mamba2", MAMBA2, "cache_params", True),
        ("mamba2", MAMBA2, "past_key_values", False),
        ("mamba", {"state_size": 8, "time_step_rank": 8, "initializer_range": 0.02}, "cache_params", False),
        ("jamba", JAMBA, "past_key_values", True),
    ],
)
def test_what_a_cache_loses_is_told_from_rounding_in_deep_layers(
    saved: Callable[..., Path], family: str, sizes: dict[str, Any], name: str, goes_on: bool, dtype: torch.dtype
) -> None:
    folder = saved(family, **sizes)
    model = load_model(find_checkpoint(str(folder)), dtype=dtype).eval()
    assert _goes_on(model, name, torch.device("cpu")) is goes_on
