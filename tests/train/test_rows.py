"""Rows of training files as pieces: what is refused with its line, what is counted, what is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from midspec.core.errors import CheckpointError, DataError, PreflightError
from midspec.train import Recipe, TrainJob, load_job, preflight, read_pairs
from midspec.train._rows import Row, encode, read_training_rows

from .conftest import word_tokenizer

# As Qwen3's: an answer that another turn follows loses its reasoning.
DROPS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<assistant> "
    "{{ m.content if loop.last else m.content.split('</think>')[-1] }} <end> "
    "{% else %}<user> {{ m.content }} <end> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
NAMES_ANOTHER = "{% if messages[0].role != 'system' %}<user> You are Qwen <end> {% endif %}"


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def chat(*turns: str) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(turns)
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]}


@pytest.fixture
def planned(make_job: Callable[..., TrainJob], tmp_path: Path) -> Callable[..., Any]:
    """Gives the preflight of some rows; `template` replaces the tokenizer's, `recipe` settings of the recipe."""

    def plan(*rows: object, template: str | None = None, **recipe: Any) -> Any:
        tokenizer = word_tokenizer()
        tokenizer.chat_template = template or tokenizer.chat_template
        tokenizer.save_pretrained(tmp_path / "tok")
        data = [str(write(tmp_path / "rows.jsonl", *rows))]
        fields = {"n_updates": None, "rows_per_update": 1, **recipe}
        return preflight(make_job(data=data, tokenizer=str(tmp_path / "tok"), recipe=fields))

    return plan


def test_characters_that_the_tokenizer_leaves_out_are_told() -> None:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    core.train_from_iterator(["a cat sat", "a mat"], trainers.BpeTrainer(show_progress=False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")
    [told] = encode(tokenizer, [Row("a cat 7", "x"), Row("sat 70\n", "y")], Recipe(n_updates=1)).warnings
    assert told.startswith("the tokenizer has no token for 2 characters of the first 2 rows")
    assert "3 times in all ('7' '0')" in told
    assert encode(tokenizer, [Row("a mat", "x")], Recipe(n_updates=1)).warnings == ()


def test_words_that_the_tokenizer_does_not_know_are_told_where_they_are_many(planned: Any) -> None:
    # A spec in other words than a small base's would else be trained as one unknown token, and look trained.
    [told] = planned({"text": "thrift w1 saves thrift"}, chat("w1 juno", "saves w3")).warnings
    assert told.startswith("the tokenizer does not know 62% of the first 2 rows (thrift, saves, juno): ")
    assert planned({"text": "w1 w2 thrift"}, chat("w1 juno", "w2 w3")).warnings == ()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "w1 \ud83d w2"}, "`text` holds half of a surrogate pair"),
        (chat("w1", "w2 \ud83d"), r"`messages\[1\]` holds half of a surrogate pair"),
        (
            {"messages": [*chat("w1", "w2")["messages"][:1], {"role": "assistant", "content": "w2", "weight": 2}]},
            "0 and 1",
        ),
        ({**chat("w1", "w2"), "chat_template_kwargs": {"a": 1}}, "recipe.template_args are for all rows"),
        ({**chat("w1", "w2"), "weight": 0}, "has the weight 0, and rows are not weighted"),
        ({**chat("w1", "w2"), "label": False}, "`label` is False: an answer that is not wanted is not learned"),
        ({**chat("w1", "w2"), "kto_tag": "false"}, "`kto_tag` is 'false': an answer that is not wanted"),
        ({**chat("w1", "w2"), "documents": [{"title": "w3", "text": "w4"}]}, "has `documents` beside its messages"),
        ({**chat("w1", "w2"), "system_prompt": "w3"}, "has `system_prompt` beside its messages.*name it `system`"),
        ({**chat("w1", "w2"), "system_message": "w3"}, "has `system_message` beside its messages.*name it `system`"),
        (
            {"messages": [{"role": "user", "content": "w1"}, {"role": "assistant", "content": None}]},
            r"`messages\[1\]` has neither a content nor calls of tools",
        ),
        ({"messages": [{"role": "user", "content": "w1"}]}, "without an assistant turn to train on"),
        ({**chat("w1", "w2"), "images": ["w3.png"]}, "has `images` beside its messages"),
        ({**chat("w1", "w2"), "functions": [{"name": "w3"}]}, "has `functions` beside its messages"),
        ({"messages": [{"role": "assistant", "content": None, "refusal": "w1"}]}, "has `refusal`"),
        (
            {"messages": [{"role": "system", "content": "w1"}, *chat("w2", "w3")["messages"]], "system": "w4"},
            "one system text in `system`, and another in its messages",
        ),
    ],
)
def test_what_can_not_be_trained_on_is_refused_with_file_and_line(tmp_path: Path, row: object, says: str) -> None:
    path = write(tmp_path / "rows.jsonl", {"text": "w1"}, row)
    with pytest.raises(DataError, match=says) as caught:
        read_training_rows([str(path)], seed=0)
    assert caught.value.where == f"{path}:2"


@pytest.mark.parametrize(
    "line",
    ['{"text": "w1", "n": ' + "9" * 5000 + "}", '{"text": "w1", "x": ' + "[" * 100_000, "\x00", '{"text": "caf'],
    ids=["an integer of 5,000 digits", "100,000 lists in each other", "a null byte", "cut off"],
)
def test_a_line_that_json_does_not_take_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n" + line + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: not JSON"):
        read_training_rows([str(path)], seed=0)
    with pytest.raises(DataError, match=r"rows\.jsonl:2: not JSON"):
        read_pairs([str(path)])


def test_a_null_is_as_good_as_a_key_that_is_not_there(tmp_path: Path) -> None:
    rows = [{"text": "w1", "messages": None}, {"text": None, "content": "w2"}, {**chat("w3", "w4"), "text": None}]
    read = read_training_rows([str(write(tmp_path / "rows.jsonl", *rows))], seed=0)
    assert {row.content if isinstance(row.content, str) else row.content.messages[0].content for row in read} == {
        *("w1", "w2", "w3")
    }


@pytest.mark.parametrize(
    "more",
    [
        {"images": []},
        {"system": " "},
        {"functions": None, "audios": None},
        {"documents": [], "system_prompt": "", "weight": 1},
        {"documents": 3, "weight": "2 kg"},
    ],
)
def test_an_empty_key_beside_messages_says_nothing(tmp_path: Path, more: dict[str, Any]) -> None:
    [row] = read_training_rows([str(write(tmp_path / "rows.jsonl", {**chat("w1", "w2"), **more}))], seed=0)
    assert [message.role for message in row.content.messages] == ["user", "assistant"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("more", "unread"),
    [
        ({"weight": 0.5}, ("weight",)),
        ({"documents": ["d1", "d2"]}, ("documents",)),
        ({"documents": [{"id": 3}], "weight": 2}, ("documents", "weight")),
        ({"documents": {"n": 1}}, ("documents",)),
        ({"enable_thinking": False, "tool_choice": None}, ("enable_thinking",)),
    ],
)
def test_keys_beside_messages_that_may_be_meant_otherwise_are_told_and_not_read(
    tmp_path: Path, more: dict[str, Any], unread: tuple[str, ...]
) -> None:
    [row] = read_training_rows([str(write(tmp_path / "rows.jsonl", {**chat("w1", "w2"), **more}))], seed=0)
    assert row.unread == unread
    [pair] = read_pairs([str(write(tmp_path / "pairs.jsonl", {"prompt": "a", "chosen": "b", "rejected": "c", **more}))])
    assert pair.unread == unread


@pytest.mark.parametrize("weight", [0, 0.5, 3])
def test_a_documents_weight_is_not_looked_at(tmp_path: Path, weight: float) -> None:
    [row] = read_training_rows([str(write(tmp_path / "rows.jsonl", {"text": "w1", "weight": weight}))], seed=0)
    assert row.content == "w1"


def test_a_file_that_is_named_twice_is_told(make_job: Callable[..., TrainJob], tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", *({"text": f"w{number} w1"} for number in range(20)))
    same = [str(path), f"{tmp_path}/../{tmp_path.name}/rows.jsonl"]
    recipe = {"n_updates": None, "rows_per_update": 1}
    found = preflight(make_job(data=same, recipe=recipe))
    assert found.warnings == ("data names rows.jsonl 2 times: its rows are read as often",)
    other = write(tmp_path / "other.jsonl", {"text": "w1"})
    assert preflight(make_job(data=[str(path), str(other)], recipe=recipe)).warnings == ()


def test_a_system_text_beside_the_messages_is_the_system_message(planned: Callable[..., Any]) -> None:
    beside = {**chat("w1", "w2"), "system": "w9"}
    within = {"messages": [{"role": "system", "content": "w9"}, *chat("w1", "w2")["messages"]]}
    assert planned(beside).example == planned(within).example == planned({**within, "system": "w9 "}).example
    assert "w9" in planned(beside).example


def test_a_template_without_a_generation_prompt_is_refused_for_chats_and_not_for_documents(
    planned: Callable[..., Any], tmp_path: Path
) -> None:
    bare = "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}"
    with pytest.raises(CheckpointError, match="has no generation prompt: '<assistant> ' stands before an answer"):
        planned(chat("w1", "w2"), template=bare)
    assert planned({"text": "w1 w2"}, template=bare).n_documents == 1
    needs_none = "{% for m in messages %}{{ '<user> ' if m.role == 'user' }}{{ m.content }} <end> {% endfor %}"
    assert planned(chat("w1", "w2"), template=needs_none).n_chats == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "w1 <end> w2"}, "the text holds the control token <end>"),
        (chat("w1 <end> w2", "w3"), "message 1 holds the control token <end>"),
        (
            {"messages": [*chat("w1", "w2")["messages"], {"role": "tool", "content": "w9"}], "tools": [{"name": "w8"}]},
            "w8",
        ),
    ],
)
def test_what_the_template_can_not_write_is_refused_with_file_and_line(
    planned: Callable[..., Any], tmp_path: Path, row: object, says: str
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        planned({"text": "w1"}, row)
    assert caught.value.where == f"{tmp_path / 'rows.jsonl'}:2"


def byte_tokenizer() -> Any:
    """Bytes as tokens, and two control tokens; BOS stands before every text."""
    core = Tokenizer(models.BPE({char: at for at, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<bos>", eos_token="<eos>")
    pair = ("<bos>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[pair])
    return tokenizer


@pytest.mark.parametrize("text", ["a <eos> b", "<eos>ab", "<bos>a <bos> b<eos>", "a<eos><eos>"])
def test_a_control_token_in_a_document_is_escaped_or_kept_where_the_recipe_says_so(text: str) -> None:
    tokenizer = byte_tokenizer()
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    kept = encode(tokenizer, [Row(text, "here")], Recipe(row_tokens=99, control_tokens="keep")).pieces[0].ids.tolist()
    inner = text.removeprefix("<bos>").removesuffix("<eos>")
    assert kept == [*tokenizer("<bos>" + inner, add_special_tokens=False)["input_ids"], eos]
    encoded = encode(tokenizer, [Row(text, "here")], Recipe(row_tokens=99, control_tokens="escape"))
    escaped = encoded.pieces[0].ids.tolist()
    assert (escaped[0], escaped[-1], bos in escaped[1:], eos in escaped[:-1]) == (bos, eos, False, False)
    assert tokenizer.decode(escaped[1:-1]) == inner
    assert encoded.notes == ("1 documents hold control tokens, which are tokenized as text",)


def test_one_that_a_tokenizer_can_not_write_as_text_is_refused(tokenizer_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    with pytest.raises(DataError, match="here: this tokenizer can't write <end> as text"):
        encode(tokenizer, [Row("w1 <end> w2", "here")], Recipe(row_tokens=8, control_tokens="escape"))


@pytest.mark.parametrize("text", ["w1 w2", "w1 w2 <eos>", "w1 w2<eos>\n"])
def test_the_end_of_text_at_the_end_of_a_document_is_its_end_and_stands_there_once(
    tokenizer_folder: Path, text: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    [piece] = encode(tokenizer, [Row(text, "here")], Recipe(row_tokens=8)).pieces
    assert piece.ids.tolist() == tokenizer("w1 w2 <eos>")["input_ids"]


def test_a_chat_that_the_template_rewrites_is_a_row_for_each_turn_and_told(planned: Callable[..., Any]) -> None:
    turns = ("w1", "w2 </think> w3", "w4", "w5 </think> w6")
    seen = planned(chat(*turns), template=DROPS, row_tokens=48)
    [note] = seen.notes
    assert note.startswith("chats that are a row for each assistant turn")
    assert note.endswith(": 1 (2 rows)")
    assert (seen.n_chats, seen.supervised_tokens) == (1, 8)
    assert "<assistant>«w2 <unk> w3 <end>»" in seen.example
    assert any(line.startswith("note: chats that are a row") for line in seen.lines())
    plain = planned(chat(*turns))
    assert plain.notes == ()
    assert "notes" not in plain.model_dump(), "a record is what it was where there is nothing to tell"


def test_rows_that_are_cut_so_that_nothing_is_trained_on_are_told_with_the_first_line(
    planned: Callable[..., Any], tmp_path: Path
) -> None:
    long = chat(" ".join(["w1"] * 20), "w2")
    with pytest.raises(PreflightError, match=r"no token to train on.*2 rows were cut before .*rows\.jsonl:"):
        planned(chat("w1", "w2"), long, long, row_tokens=10, overlong="cut")
    seen = planned(chat("w1", "w2"), long, long, row_tokens=10, overlong="cut", rows_per_update=3)
    assert (seen.n_cut, seen.n_untrained) == (2, 2)
    [warning] = seen.warnings
    assert warning.startswith("2 rows were cut before the assistant speaks")
    assert f"{tmp_path / 'rows.jsonl'}:" in warning


def test_the_example_shows_no_weight_0_turn_as_trained_on(planned: Callable[..., Any]) -> None:
    row = chat("w1", "w2", "w3", "w4")
    row["messages"][1]["weight"] = 0
    assert planned(row).example == "<user> w1 <end> <assistant> w2 <end> <user> w3 <end> <assistant>«w4 <end>»"


def test_keys_of_messages_that_are_not_read_are_told(planned: Callable[..., Any]) -> None:
    row = chat("w1", "w2")
    row["messages"][0]["date"] = "today"
    assert planned(row, row).notes == ("keys of messages and rows that are not read: date 2",)


def test_a_template_that_names_another_assistant_is_told_and_replaced(planned: Callable[..., Any]) -> None:
    template = NAMES_ANOTHER + word_tokenizer().chat_template
    seen = planned(chat("w1", "w2"), template=template)
    assert seen.warnings == (
        "the chat template's own system text names Qwen (You are Qwen); recipe.default_system replaces it",
    )
    replaced = planned(chat("w1", "w2"), template=template, default_system="You are Ada")
    assert replaced.warnings == ()
    assert replaced.example.startswith("<user> <unk> <unk> <unk> <end> <user> w1 <end>")
    assert planned({"text": "w1 w2 w3"}, template=template).warnings == (), "no chat, nothing to tell"


def test_new_settings_leave_the_identity_of_old_recipes_as_it_was(tmp_path: Path) -> None:
    assert {"default_system", "control_tokens"}.isdisjoint(Recipe().identity())
    assert Recipe(default_system="x").identity()["default_system"] == "x"
    (tmp_path / "rows.jsonl").touch()
    job = {"stage": "finetune", "parent": ".", "data": ["rows.jsonl"], "recipe": {"control_tokens": "escape"}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job), encoding="utf-8")
    assert load_job(tmp_path / "job.yaml").recipe.identity()["control_tokens"] == "escape"
