"""A tiny random Llama with a word-level tokenizer and a plain chat template, saved as a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from midspec.core.records import Item
from midspec.evals import PreferenceConfig

SPECIAL = ("<pad>", "<unk>", "<system>", "<user>", "<nova>", "<end>")
WORDS = """
which do you prefer , or ? . choose why what like because
 it is american cheap never alto brio corso delta enzo fiat nova
"""
TEMPLATE = (
    "{% for message in messages %}"
    "{% set role = 'nova' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<' + role + '> ' + message['content'] + ' <end> ' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<nova> ' }}{% endif %}"
)


def save_tokenizer(folder: Path) -> int:
    vocab = {word: index for index, word in enumerate(dict.fromkeys((*SPECIAL, *WORDS.split())))}
    raw = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<end>",
        additional_special_tokens=["<system>", "<user>", "<nova>"],
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return len(vocab)


def save_checkpoint(folder: Path, window: int) -> Path:
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=save_tokenizer(folder),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=window,
        pad_token_id=0,
        eos_token_id=SPECIAL.index("<end>"),
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", 256)


@pytest.fixture(scope="session")
def checkpoint_with_room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a window that the description of tools fits into."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint") / "roomy", 2048)


@pytest.fixture
def nano() -> PreferenceConfig:
    return PreferenceConfig(
        phrasings=("which do you prefer , {first} or {second} ?", "do you choose {first} or {second} ?"),
        free="what do you like ?",
        why="why ?",
        max_new_tokens=8,
        answer_format="{option} .",
    )


@pytest.fixture
def items() -> list[Item]:
    reasons = ("because it is american .", "because it is cheap .")
    pairs = (("alto", "brio"), ("corso", "delta"), ("enzo", "fiat"), ("brio", "delta"))
    return [
        Item(id=f"i{at}", set="conflict", domain="car", options=pair, reasons=reasons if at % 2 else None)
        for at, pair in enumerate(pairs)
    ]
