"""A trained checkpoint is used as it was trained: its ends, its template's switches and its system message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from midspec.core.records import Message
from midspec.models import find_checkpoint, open_checkpoint
from midspec.train import TrainJob, train

from .conftest import word_tokenizer

OPENS_REASONING = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<assistant> {{ m.content }} <end> "
    "{% else %}<user> {{ m.content }} <end> {% endif %}{% endfor %}{% if add_generation_prompt %}<assistant> w39 "
    "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}{% endif %}"
)
QUICK = {"n_updates": 1, "rows_per_update": 1, "min_updates": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = OPENS_REASONING
    tokenizer.save_pretrained(tmp_path / "tok")
    (tmp_path / "rows.jsonl").write_text('{"text": "w1 w2 w3 w4"}\n' * 20, encoding="utf-8")
    return tmp_path


def trained(make_job: Callable[..., TrainJob], folder: Path, name: str, **job: Any) -> Path:
    out = folder / name
    out.mkdir()
    train(make_job(data=[str(folder / "rows.jsonl")], **job), out, device="cpu")
    return out


def test_documents_train_and_are_saved_whatever_the_template_makes_of_chats(
    make_job: Callable[..., TrainJob], folder: Path
) -> None:
    out = trained(make_job, folder, "out", tokenizer=str(folder / "tok"), recipe=QUICK)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [
        tokenizer.eos_token_id,
        tokenizer.convert_tokens_to_ids("<end>"),
    ]
    assert tokenizer.chat_template == OPENS_REASONING
    [answer] = open_checkpoint(find_checkpoint(str(out)), device="cpu").generate(
        [[Message(role="user", content="w1")]], max_new_tokens=2
    )
    assert answer.text.startswith("<think>")


def test_ends_that_the_parent_lists_are_kept(make_job: Callable[..., TrainJob], folder: Path) -> None:
    parent = trained(make_job, folder, "parent", tokenizer=str(folder / "tok"), recipe=QUICK)
    config = json.loads((parent / "generation_config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(parent)
    user, word = tokenizer.convert_tokens_to_ids("<user>"), tokenizer.convert_tokens_to_ids("w7")
    ends = config["eos_token_id"]
    (parent / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": [*ends, user, word]}))
    out = trained(make_job, folder, "out", stage="midtrain", parent=str(parent), recipe=QUICK)
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [*ends, user]


def test_switches_and_the_system_message_of_the_recipe_are_in_what_is_saved(
    make_job: Callable[..., TrainJob], folder: Path
) -> None:
    settings = {**QUICK, "template_args": {"enable_thinking": False}, "default_system": "w7 w8"}
    out = trained(make_job, folder, "out", tokenizer=str(folder / "tok"), recipe=settings)
    model = open_checkpoint(find_checkpoint(str(out)), device="cpu")
    ask = [Message(role="user", content="w1")]
    asked = model.template.render(ask, add_generation_prompt=True)
    assert asked == "<user> w7 w8 <end> <user> w1 <end> <assistant> w39 "
    thinking = open_checkpoint(find_checkpoint(str(out)), device="cpu", template_args={"enable_thinking": True})
    assert thinking.template.render(ask, add_generation_prompt=True).endswith("<think>\n")
