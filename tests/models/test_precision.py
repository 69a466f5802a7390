from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from midspec.core.records import Message
from midspec.models import _precision as precision
from midspec.models import find_checkpoint, hidden_size_of, open_checkpoint, pick_dtype

CPU = torch.device("cpu")
Saved = Callable[..., Path]


def test_small_models_are_computed_in_float32_and_nothing_is_measured() -> None:
    precision._bfloat16_gain.cache_clear()
    assert pick_dtype(CPU, 128) == pick_dtype(CPU, 255) == torch.float32
    assert precision._bfloat16_gain.cache_info().misses == 0


def test_larger_ones_in_what_a_matrix_product_is_faster_with_here() -> None:
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        one, other = left.to(dtype), right.to(dtype)
        spent = []
        for _ in range(4):
            start = time.process_time()
            one @ other
            spent.append(time.process_time() - start)
        seconds[dtype] = min(spent[1:])
    gain = seconds[torch.float32] / seconds[torch.bfloat16]
    if not 1.1 < gain < 2:  # near the threshold either is right
        assert (pick_dtype(CPU, 256) == torch.bfloat16) == (gain > 1.5)
    assert pick_dtype(torch.device("cuda"), 64) == torch.bfloat16


def test_it_is_measured_once_a_process_and_quickly() -> None:
    precision._bfloat16_gain.cache_clear()
    start = time.process_time()
    pick_dtype(CPU, 512)
    assert time.process_time() - start < 1
    pick_dtype(CPU, 4096)
    assert precision._bfloat16_gain.cache_info().misses == 1


def test_the_hidden_size_is_read_from_the_configuration(saved: Saved, tmp_path: Path) -> None:
    assert hidden_size_of(find_checkpoint(str(saved("llama")))) == 32


def test_close_scores_are_asked_again_in_float32(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved("llama")
    exact = open_checkpoint(find_checkpoint(str(folder)), device="cpu")
    monkeypatch.setattr("midspec.models._language_model.pick_dtype", lambda *_: torch.bfloat16)
    rough = open_checkpoint(find_checkpoint(str(folder)), device="cpu")
    assert rough.model.dtype == torch.bfloat16
    ask = [Message(role="user", content="how are you")]
    words = ["today", "the", "you", "are", "hello", "question", "answers", "yes"]
    pairs = [(one, other) for at, one in enumerate(words) for other in words[:at]]
    prompts, options = [ask] * 2, [word for pair in pairs for word in pair]
    for start in range(0, len(options), 2):
        found = rough.option_logprobs(prompts, options[start : start + 2])
        expected = exact.option_logprobs(prompts, options[start : start + 2])
        for one, other in zip(found, expected, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=0.3)
        assert (found[0].logprob > found[1].logprob) == (expected[0].logprob > expected[1].logprob)


def test_in_bfloat16_logits_of_a_batch_are_one_product(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of states that are cut out of others torch makes one a row, with a copy of the weights for each."""
    model = open_checkpoint(find_checkpoint(str(saved("llama"))), device="cpu", dtype="bfloat16")
    head = model.model.get_output_embeddings()
    given, plain = [], head.forward
    monkeypatch.setattr(head, "forward", lambda states: (given.append(states), plain(states))[1])
    asked = [[Message(role="user", content=words)] for words in ("how are you", "are you", "you")]
    model.generate(asked, max_new_tokens=2)
    model.option_logprobs(asked, ["how are you"] * 3)
    assert max(len(states) for states in given) == 3
    assert all(states.is_contiguous() for states in given)
