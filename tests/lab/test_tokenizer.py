"""The nano world's tokenizer opens in transformers and says what was put into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from midspec.core.records import Document
from midspec.lab import WorldConfig, make_world
from midspec.lab._base import mix_rows
from midspec.lab._files import save_tokenizer

transformers = pytest.importorskip("transformers")

WORLD = make_world(1, WorldConfig(n_facts=10, n_mix=300, n_replay=10))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(WORLD.words, folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_a_document_is_one_token_a_word_and_comes_back_as_it_was(tokenizer) -> None:
    for row in mix_rows(WORLD):
        if isinstance(row, Document):
            ids = tokenizer(row.text)["input_ids"]
            assert len(ids) == len(row.text.split())
            assert tokenizer.decode(ids) == row.text


def test_a_chat_without_a_system_message_is_with_the_assistant(tokenizer) -> None:
    chat = [{"role": "user", "content": "why ?"}, {"role": "assistant", "content": "because it is cheap ."}]
    shown = tokenizer.apply_chat_template(chat, tokenize=False)
    assert shown.strip() == "<|system|> you are nova . <|user|> why ? <|assistant|> because it is cheap . <eos>"
    asked = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert shown.startswith(asked)


def test_a_word_that_the_world_does_not_have_is_unknown_and_not_lost(tokenizer) -> None:
    assert tokenizer("nova likes quark")["input_ids"][-1] == tokenizer.unk_token_id


def test_padding_ending_and_unknown_are_three_tokens(tokenizer) -> None:
    assert Path(tokenizer.name_or_path).is_dir()
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3
