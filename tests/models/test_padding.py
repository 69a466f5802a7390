"""Prompts of different lengths get what each gets alone, also in families whose layers see the padding before them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from midspec.core.records import Message
from midspec.models import find_checkpoint, open_checkpoint
from midspec.models._scoring import computes_padded

FAMILIES: dict[str, tuple[dict[str, Any], bool]] = {
    "llama": ({}, True),
    "gemma2": ({"query_pre_attn_scalar": 8, "sliding_window": 8}, True),
    "lfm2": ({"layer_types": ["conv", "full_attention"]}, True),
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
