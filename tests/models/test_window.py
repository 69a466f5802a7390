"""A model's window, and marks of reasoning that are special tokens: what generating and scoring do with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from midspec.core.reasoning import split_reasoning
from midspec.core.records import Message
from midspec.models import LanguageModel, PromptTooLongError, find_checkpoint, open_checkpoint, window_of
from midspec.models._turn_ends import decode_turn

from .conftest import byte_level

Saved = Callable[..., Path]


HARMONY = "<|channel|>analysis<|message|>the assistant<|end|><|start|>assistant<|channel|>final<|message|>you"


def ask(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def opened(folder: Path) -> LanguageModel:
    return open_checkpoint(find_checkpoint(str(folder)), device="cpu")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_prompt_beyond_the_window_is_refused_before_anything_is_computed(family: str, saved: Saved) -> None:
    # GPT-2 has learnt positions, beyond which it can't compute; a Llama would, and answer at random.
    sizes: dict[str, Any] = {"n_positions": 64, "n_embd": 32, "n_head": 4} if family == "gpt2" else {}
    model = opened(saved(family, **(sizes or {"max_position_embeddings": 64})))
    long = "how are you today " * 30
    with pytest.raises(
        PromptTooLongError, match=r"does not fit the model's window: \d+ tokens, and it has 64"
    ) as error:
        model.generate([ask("Hello"), ask(long)], max_new_tokens=4)
    assert error.value.numbers == (1,)
    with pytest.raises(PromptTooLongError):
        model.option_logprobs([ask("Hello")] * 2, ["you", long])


def test_a_turn_is_cut_at_the_window_and_only_where_there_is_no_room(saved: Saved) -> None:
    model = opened(saved("llama", max_position_embeddings=64))
    with torch.no_grad():
        model.model.lm_head.weight.zero_()
    prompts = [ask("Hello"), ask("how are you today " * 4)]
    sizes = [
        len(ids)
        for ids, _ in model.template.encode([model.template.render(p, add_generation_prompt=True) for p in prompts])
    ]
    short, long = model.generate(prompts, max_new_tokens=40)
    assert (short.n_tokens, short.stop_reason) == (min(40, 64 - sizes[0]), "length")
    assert (long.n_tokens, long.stop_reason) == (64 - sizes[1], "length")
    assert long.n_tokens < 40


def test_the_window_is_what_the_configuration_says_stretched_where_it_was(saved: Saved, tmp_path: Path) -> None:
    assert window_of(find_checkpoint(str(saved("llama", max_position_embeddings=512)))) == 512
    stretched = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "rope_theta": 10000.0}
    assert (
        window_of(find_checkpoint(str(saved("qwen3", max_position_embeddings=256, rope_parameters=stretched)))) == 1024
    )
    assert AutoConfig.from_pretrained(tmp_path / "qwen3").max_position_embeddings == 256


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        (("[THINK]", "[/THINK]"), "[THINK]the assistant[/THINK]you"),
        (("<|channel|>", "<|message|>", "<|start|>", "<|end|>"), HARMONY),
        (("<|START_THINKING|>", "<|END_THINKING|>"), "<|START_THINKING|>the assistant<|END_THINKING|>you"),
    ],
)
def test_marks_of_reasoning_stay_when_tokens_are_decoded_and_other_special_tokens_do_not(
    marks: tuple[str, ...], said: str
) -> None:
    tokenizer = byte_level(None, special=[*marks, "<|im_end|>"], eos_token="<|endoftext|>")
    ids = tokenizer(f"{said}<|im_end|>", add_special_tokens=False)["input_ids"]
    text = decode_turn(tokenizer, ids)
    assert text == said
    assert split_reasoning(text) == ("the assistant", "you")


def test_text_without_such_marks_is_decoded_as_the_library_does_it() -> None:
    tokenizer = byte_level(None, special=["<|im_end|>", "[THINK]"], eos_token="<|endoftext|>")
    ids = tokenizer("how are  you\n<|im_end|>", add_special_tokens=False)["input_ids"]
    assert decode_turn(tokenizer, ids) == tokenizer.decode(ids, skip_special_tokens=True)
