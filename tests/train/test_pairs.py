"""Pairs of replies: the forms in which they are read, what is counted and told of them, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.train.conftest import PAIR_RECIPE, pair_rows, write_lines
from transformers import AutoTokenizer

from midspec.core.errors import DataError, PreflightError
from midspec.core.records import Message
from midspec.train import TrainJob, preflight
from midspec.train._checkpoint import open_tokenizer
from midspec.train._rl_plan import plan_dpo
from midspec.train._rl_rows import read_pairs

MakeJob = Callable[..., TrainJob]


def test_preflight_counts_pairs_passes_and_reply_lengths(make_dpo: MakeJob) -> None:
    job = make_dpo()
    facts = preflight(job)
    assert facts.n_pairs == 15
    assert facts.n_passes == pytest.approx(24 / 15)
    # A word is a token here, and each reply ends with one of its own.
    lengths = [len(row["chosen"].split()) + 1 for row in pair_rows(15)]
    assert min(lengths) <= facts.mean_chosen_tokens <= max(lengths)
    assert "15 pairs" in facts.lines()[0]
    assert "«" in facts.lines()[-1]


def test_every_pass_uses_every_pair_once_in_another_order(make_dpo: MakeJob) -> None:
    job = make_dpo(recipe={"n_updates": 15})
    pairs = plan_dpo(job, open_tokenizer(job)).pairs
    passes = [pairs[at : at + 15] for at in range(0, 60, 15)]
    assert all(sorted(each) == sorted(passes[0]) for each in passes)
    assert passes[0] != passes[1]


FORMS: list[dict[str, Any]] = [
    {"prompt": "w1 w2", "chosen": "w3", "rejected": "w4"},
    {"prompt": [{"role": "user", "content": "w1 w2"}], "chosen": "w3", "rejected": "w4"},
    {
        "prompt": [{"role": "user", "content": "w1 w2"}],
        "chosen": [{"role": "assistant", "content": "w3"}],
        "rejected": [{"role": "assistant", "content": "w4"}],
    },
    {
        "chosen": [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3"}],
        "rejected": [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w4"}],
        "score_chosen": 7.5,
    },
    {
        "prompt": "w1 w2",
        "chosen": [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3"}],
        "rejected": [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w4"}],
    },
    {
        "prompt": None,
        "chosen": [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3"}],
        "rejected": [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w4"}],
    },
    {
        "prompt": {"role": "user", "content": "w1 w2"},
        "chosen": {"role": "assistant", "content": "w3"},
        "rejected": {"from": "gpt", "value": "w4"},
    },
    {
        "prompt": [{"role": "user", "content": [{"type": "text", "text": "w1 "}, {"type": "text", "text": "w2"}]}],
        "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "w3"}]}],
        "rejected": "w4",
    },
    {
        "prompt": [{"role": "user", "content": "w1 w2", "tool_calls": None, "name": None}],
        "chosen": [{"role": "assistant", "content": "w3", "tool_calls": None, "weight": None}],
        "rejected": [{"role": "assistant", "content": "w4", "weight": 1}],
    },
]


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_a_pair_are_read_as_the_same(tmp_path: Path, form: dict[str, Any]) -> None:
    (pair,) = read_pairs([str(write_lines(tmp_path / "pairs.jsonl", [form]))])
    assert pair.prompt == (Message(role="user", content="w1 w2"),)
    assert (pair.chosen, pair.rejected) == (
        Message(role="assistant", content="w3"),
        Message(role="assistant", content="w4"),
    )


def test_a_system_text_beside_a_pair_heads_its_prompt(tmp_path: Path) -> None:
    row = {"system": "w9", "prompt": "w1", "chosen": "w2", "rejected": "w3"}
    (pair,) = read_pairs([str(write_lines(tmp_path / "pairs.jsonl", [row]))])
    assert [(message.role, message.content) for message in pair.prompt] == [("system", "w9"), ("user", "w1")]


def test_a_developers_message_is_the_system_message_as_in_fine_tuning(tmp_path: Path) -> None:
    prompt = [{"role": "developer", "content": "w9"}, {"role": "user", "content": "w1"}]
    row = {"prompt": prompt, "chosen": "w2", "rejected": "w3"}
    (pair,) = read_pairs([str(write_lines(tmp_path / "pairs.jsonl", [row]))])
    assert [(message.role, message.content) for message in pair.prompt] == [("system", "w9"), ("user", "w1")]


def test_replies_that_the_template_makes_the_same_are_refused_as_equal_ones_are(
    make_dpo: MakeJob, tmp_path: Path
) -> None:
    rows = [*pair_rows(5), {"prompt": "w1", "chosen": "w2", "rejected": "w2 \n"}]
    data = write_lines(tmp_path / "pairs.jsonl", rows)
    with pytest.raises(DataError, match="chosen and rejected are the same tokens") as caught:
        preflight(make_dpo(data=[str(data)]))
    assert caught.value.where == f"{data}:6"


def test_what_fine_tuning_tells_of_rows_and_template_is_told_of_pairs_and_prompts(base: Path, tmp_path: Path) -> None:
    model = shutil.copytree(base, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(model)
    # The template's own system text names another assistant, and its marks are no tokens of this tokenizer.
    tokenizer.chat_template = (
        "{% if messages[0].role != 'system' %}<|sys|> You are Qwen <|end|> {% endif %}"
        "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} <|end|> {% endfor %}"
        "{% if add_generation_prompt %}<|assistant|> {% endif %}"
    )
    tokenizer.save_pretrained(model)
    asked = {"role": "user", "content": "w1 w2", "date": "today"}
    rows: dict[str, dict[str, Any]] = {
        "finetune": {"messages": [asked, {"role": "assistant", "content": "w3"}]},
        "dpo": {"prompt": [asked], "chosen": "w3", "rejected": "w4"},
        "grpo": {"prompt": [asked]},
    }
    grpo = {"rewards": [{"rule": "contains", "settings": {"text": "w3"}}], "group_size": 4, "max_new_tokens": 8}
    told = {}
    for stage, row in rows.items():
        data = [str(write_lines(tmp_path / f"{stage}.jsonl", [row] * 30))] * 2
        recipe = PAIR_RECIPE | {"row_tokens": 64, "n_updates": 2} | ({"grpo": grpo} if stage == "grpo" else {})
        job = TrainJob.model_validate({"stage": stage, "parent": str(model), "data": data, "recipe": recipe})
        facts = preflight(job)
        told[stage] = (facts.warnings, [note.partition(" date ")[0] for note in facts.notes if " date " in note])
        assert all(f"warning: {warning}" in facts.lines() for warning in facts.warnings)
    warnings, notes = told["finetune"]
    assert notes == ["keys of messages and rows that are not read:"]
    for expected in ("no token of this tokenizer", "names Qwen", "data names finetune.jsonl 2 times"):
        assert any(expected in warning for warning in warnings), expected
    for stage in ("dpo", "grpo"):
        assert told[stage] == (tuple(one.replace("finetune.jsonl", f"{stage}.jsonl") for one in warnings), notes)


ANSWER = [{"role": "assistant", "content": "w3"}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON"),
        ('"text"', "not an object"),
        ({**FORMS[0], "tools": "w1"}, "`tools` is not a list of objects"),
        ({**FORMS[0], "images": ["w1.png"]}, "`images` beside its messages"),
        ({**FORMS[0], "weight": 0}, "has the weight 0"),
        ({**FORMS[0], "documents": [{"text": "w1"}]}, "has `documents`"),
        ({**FORMS[0], "system_prompt": "w1"}, "has `system_prompt`"),
        ({**FORMS[0], "chosen": [{"role": "assistant", "content": "w3", "weight": 0}]}, "chosen has weight 0"),
        ({**FORMS[0], "chosen": None}, "a pair without chosen"),
        ({"prompt": "w1", "chosen": "w2"}, "without rejected"),
        ({"chosen": "w1", "rejected": "w2"}, "without a prompt"),
        ({"prompt": "w1", "chosen": "w2", "rejected": "w2"}, "the same reply"),
        ({"prompt": "w1", "chosen": " ", "rejected": "w2"}, "chosen is empty"),
        ({"prompt": "w1", "chosen": 3, "rejected": "w2"}, "neither text nor a list"),
        ({"prompt": ANSWER, "chosen": "w1", "rejected": "w2"}, "does not end with the user's turn"),
        (
            {"prompt": "w1", "chosen": [*ANSWER, {"role": "user", "content": "w1"}], "rejected": "w2"},
            "assistant's turn",
        ),
        (
            {"prompt": "w1", "chosen": [{"role": "judge", "content": "w1"}], "rejected": "w2"},
            r"`chosen\[0\]` has the role 'judge'",
        ),
        (
            {
                "chosen": [{"role": "user", "content": "w1"}, *ANSWER],
                "rejected": [{"role": "user", "content": "w2"}, *ANSWER],
            },
            "different conversations",
        ),
        ('{"prompt": "\\ud83d", "chosen": "w1", "rejected": "w2"}', "surrogate"),
    ],
)
def test_a_line_that_is_no_pair_is_refused_with_its_place(tmp_path: Path, row: object, message: str) -> None:
    path = tmp_path / "pairs.jsonl"
    line = row if isinstance(row, str) else json.dumps(row)
    path.write_text(json.dumps(FORMS[0]) + "\n\n" + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_pairs([str(path)])
    assert caught.value.where == f"{path}:3"


@pytest.mark.parametrize(("overlong", "n_pairs"), [("drop", 1), ("cut", 2)])
def test_a_pair_longer_than_a_row_is_refused_dropped_or_cut(
    make_dpo: MakeJob, tmp_path: Path, overlong: str, n_pairs: int
) -> None:
    long = {"prompt": "w1", "chosen": "w2 " * 60, "rejected": "w3"}
    data = [str(write_lines(tmp_path / "pairs.jsonl", [FORMS[0], long]))]
    with pytest.raises(PreflightError, match=r"does not fit a row of 48.*row_tokens") as caught:
        preflight(make_dpo(data=data))
    assert caught.value.where.endswith(":2")
    facts = preflight(make_dpo(data=data, recipe={"overlong": overlong}))
    assert (facts.n_pairs, facts.n_cut + facts.n_dropped) == (n_pairs, 1)
    assert facts.longest_tokens <= 48


TOOLS = (  # what they are, calls of them and what they answer
    "{% for t in tools or [] %}<user> {{ t.function.name }} <end> {% endfor %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}<assistant> {{ m.content }} "
    "{% for c in m.tool_calls or [] %}{{ c.function.name }} {{ c.function.arguments.at }} {% endfor %}<end> "
    "{% else %}<user> {{ m.content }} <end> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def test_pairs_are_read_with_tools_and_refused_where_the_template_leaves_them_out(
    base: Path, make_dpo: MakeJob, tmp_path: Path
) -> None:
    def call(name: str) -> dict[str, Any]:
        return {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": name, "arguments": {"at": "w2"}}}],
        }

    asked = [{"role": "user", "content": "w1"}, call("w9"), {"role": "tool", "content": "w7"}]
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("w8", "w9")]
    row = {"prompt": asked, "chosen": [call("w8")], "rejected": "w5", "tools": tools}
    data = [str(write_lines(tmp_path / "pairs.jsonl", [row]))]
    job = make_dpo("full", data=data)
    with pytest.raises(DataError, match="the chat template leaves out the tool w8"):
        preflight(job)
    parent = shutil.copytree(base, tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(parent)
    tokenizer.chat_template = TOOLS
    tokenizer.save_pretrained(parent)
    job = make_dpo("full", data=data, parent=str(parent))
    pair = plan_dpo(job, open_tokenizer(job)).pairs[0]
    texts = [" ".join(tokenizer.decode(ids).split()) for ids in pair]
    assert texts == [
        "<user> w8 <end> <user> w9 <end> <user> w1 <end> <assistant> w9 w2 <end> <user> w7 <end> <assistant>",
        "w8 w2 <end>",
        "w5 <end>",
    ]
