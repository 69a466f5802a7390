"""A tiny byte-level tokenizer and tiny random models of real families, in folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

SPECIAL = [
    "<|pad|>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]
TEXTS = ["Hello there, how are you today?", "the assistant thinks about the question and answers", "user system think"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def byte_level(template: str | None, *, special: Sequence[str] = (), unnamed: Sequence[str] = (), **named: str) -> Any:
    """A byte-level BPE tokenizer of about 400 tokens, as real families use.

    Args:
        template: its chat template.
        special: tokens that it lists as special besides those with a name.
        unnamed: tokens that are special in tokenizer.json alone, as Gemma 3's end of turn is.
        named: `eos_token` and its like.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        TEXTS * 5,
        trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False),
    )
    tokens = dict.fromkeys([*named.values(), *special, *unnamed])
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, extra_special_tokens=list(special), **named)
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def byte_tokenizer() -> Any:
    """A byte-level BPE tokenizer of 400 tokens, as real families use; ChatML unless the test says otherwise."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        TEXTS * 5,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|endoftext|>",
        pad_token="<|pad|>",
        extra_special_tokens=SPECIAL[2:],
    )
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.fixture
def saved(tmp_path: Path, byte_tokenizer: Any) -> Callable[..., Path]:
    """Saves a random model of a family with the tokenizer; returns the folder."""

    def save(family: str = "llama", **sizes: Any) -> Path:
        torch.manual_seed(0)
        usual = {
            "vocab_size": len(byte_tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "initializer_range": 0.2,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": None,
        }
        config = AutoConfig.for_model(family, **usual | sizes)
        folder = tmp_path / family
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        byte_tokenizer.save_pretrained(folder)
        return folder

    return save
