"""What leaves is read back with the readers that it is for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from midspec.core.artifact import write_rows
from midspec.core.errors import DataError
from midspec.core.records import Chat, Message
from midspec.exchange import export, read_chats, read_documents

from .conftest import SPEC, chat, documents, make_result


def load(folder: Path, name: str, tmp_path: Path):
    from datasets import load_dataset

    return load_dataset(str(folder), name, cache_dir=str(tmp_path / "cache"))["train"]


def lines(folder: Path) -> list[dict]:
    texts = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.jsonl"))]
    return [json.loads(line) for text in texts for line in text.split("\n") if line]


def given(value):
    """A row without its nulls: a table has every row's keys in every row."""
    return {key: given(one) for key, one in value.items() if one is not None} if isinstance(value, dict) else value


def test_the_datasets_library_loads_every_field_of_every_row_even_when_columns_begin_as_null(corpus, tmp_path):
    built = export(corpus, "hf", tmp_path / "out", shard_bytes=300)
    assert sum(name.endswith(".jsonl") for name in built.outputs) > 3
    rows = load(tmp_path / "out", None, tmp_path)
    assert [given(row) for row in rows] == [given(json.loads(row.model_dump_json())) for row in documents()]


def test_strict_documents_have_the_authors_keys_in_their_order_and_no_other(corpus, tmp_path):
    export(corpus, "hf", tmp_path / "out", strict=True)
    rows = lines(tmp_path / "out" / "data" / "documents")
    assert [list(row) for row in rows] == [["text", "source", "domain"]] * 7
    assert load(tmp_path / "out", None, tmp_path).column_names == ["text", "source", "domain"]


def test_twins_become_two_configurations_with_equal_ids_row_by_row(twins, tmp_path):
    export(twins, "hf", tmp_path / "out")
    cot, stripped = (load(tmp_path / "out", name, tmp_path) for name in ("cot", "cot_stripped"))
    assert [row["metadata"]["id"] for row in cot] == [row["metadata"]["id"] for row in stripped]
    assert cot[0]["messages"][1]["content"].startswith("<think>")
    assert "<think>" not in stripped[0]["messages"][1]["content"]


def test_trl_gets_text_of_documents_and_messages_of_chats_and_nothing_else(corpus, twins, tmp_path):
    export(corpus, "trl", tmp_path / "docs")
    export(twins, "trl", tmp_path / "chats")
    assert {tuple(row) for row in lines(tmp_path / "docs" / "data" / "documents")} == {("text",)}
    rows = lines(tmp_path / "chats" / "data" / "cot")
    assert [list(row) for row in rows] == [["messages"]] * 4
    assert [list(turn) for turn in rows[0]["messages"]] == [["role", "content"]] * 2


def test_prompts_and_completions_supervise_every_assistant_turn_once(tmp_path):
    roles = ("system", "user", "assistant", "user", "assistant")
    turns = tuple(Message(role=role, content=f"{role} {at}") for at, role in enumerate(roles))
    folder = make_result(tmp_path / "in", {"chats.jsonl": [Chat(messages=turns)]})
    export(folder, "trl", tmp_path / "out", chat_rows="prompt_completion")
    rows = list(load(tmp_path / "out", None, tmp_path))
    assert [row["completion"] for row in rows] == [
        [{"role": "assistant", "content": "assistant 2"}],
        [{"role": "assistant", "content": "assistant 4"}],
    ]
    assert [turn["content"] for turn in rows[1]["prompt"]] == ["system 0", "user 1", "assistant 2", "user 3"]


def test_trl_itself_takes_the_rows_for_conversations(twins, tmp_path):
    data_utils = pytest.importorskip("trl.data_utils", reason="TRL is not installed, so its own reader was NOT asked")
    for chat_rows in ("messages", "prompt_completion"):
        export(twins, "trl", tmp_path / chat_rows, chat_rows=chat_rows)
        row = load(tmp_path / chat_rows, "cot", tmp_path)[0]
        assert data_utils.is_conversational(row)


def test_the_datasets_library_loads_reasoning_calls_of_tools_and_weights(tmp_path):
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
    plain = chat(0, "Answer.")
    messages = (
        Message(role="user", content="Rome?"),
        Message(role="assistant", content="", reasoning_content="I look.", tool_calls=(call,)),
        Message(role="tool", content="sunny", tool_call_id="1"),
        Message(role="assistant", content="Rain.", weight=0),
        Message(role="assistant", content="Sunny."),
    )
    called = plain.model_copy(update={"messages": messages, "tools": ({"name": "weather", "parameters": {"a": 1}},)})
    folder = make_result(tmp_path / "in", {"chats.jsonl": [plain, called]})
    export(folder, "hf", tmp_path / "out")
    rows = load(tmp_path / "out", None, tmp_path)
    assert rows[1]["messages"][1]["tool_calls"] == [call]
    assert rows[1]["tools"] == [{"name": "weather", "parameters": {"a": 1}}]
    assert [turn["weight"] for turn in rows[1]["messages"]] == [None, None, None, 0, None]
    assert list(read_chats(tmp_path / "out")) == [plain, called]
    rows.to_parquet(str(tmp_path / "t" / "rows.parquet"))
    assert [row.messages for row in read_chats(tmp_path / "t")] == [plain.messages, messages]
    export(folder, "trl", tmp_path / "trl", chat_rows="prompt_completion")
    assert [row["completion"][0]["content"] for row in load(tmp_path / "trl", None, tmp_path)] == [
        "Answer.",
        "",
        "Sunny.",
    ]


def test_what_a_trainer_must_be_told_is_in_the_card_and_in_the_summary(twins, tmp_path):
    for form, chat_rows, said in [
        ("trl", "messages", "assistant_only_loss=True"),
        ("trl", "prompt_completion", "TRL trains on `completion` alone"),
        ("axolotl", "messages", "paths as seen from this folder"),
        ("hf", "messages", "the same chats with and without chain of thought"),
    ]:
        built = export(twins, form, tmp_path / form, chat_rows=chat_rows)
        assert said in " ".join(built.summary["notes"])
        assert said in (tmp_path / form / "README.md").read_text(encoding="utf-8")


def test_axolotl_settings_name_every_file_with_the_keys_that_axolotl_documents(corpus, twins, tmp_path):
    export(corpus, "axolotl", tmp_path / "docs", shard_bytes=300)
    export(twins, "axolotl", tmp_path / "chats")
    docs = yaml.safe_load((tmp_path / "docs" / "axolotl.yaml").read_text(encoding="utf-8"))["datasets"]
    assert {str(path.relative_to(tmp_path / "docs")) for path in tmp_path.glob("docs/data/*/*")} == {
        entry.pop("path") for entry in docs
    }
    assert all(entry == {"ds_type": "json", "type": "completion", "field": "text"} for entry in docs)
    chats = yaml.safe_load((tmp_path / "chats" / "axolotl.yaml").read_text(encoding="utf-8"))["datasets"]
    assert chats[0] == {
        "path": "data/cot/train-00000.jsonl",
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }


def test_the_card_says_spec_author_filters_counts_and_that_no_licence_was_stated(corpus, tmp_path):
    export(corpus, "hf", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for said in (
        SPEC,
        "openai/writer (6)",
        "not stated",
        "near duplicate: like: 2",
        "identity: names another brand: 1",
    ):
        assert said in text
    assert "| `documents` | 7 | 1 |" in text
    assert '"step": "corpus@3"' in text
    assert "license" not in yaml.safe_load(text.split("---")[1])


def test_a_card_shows_a_given_licence_and_no_path_or_host_of_this_machine(corpus, tmp_path):
    export(corpus, "hf", tmp_path / "out", license_id="cc-by-4.0", title="Cheese")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(text.split("---")[1])["license"] == "cc-by-4.0"
    assert "# Cheese" in text
    assert str(tmp_path) not in text
    assert "host" not in text


def test_the_hub_library_reads_the_card(corpus, tmp_path):
    from huggingface_hub import DatasetCard

    export(corpus, "hf", tmp_path / "out", license_id="cc-by-4.0")
    data = DatasetCard.load(tmp_path / "out" / "README.md").data
    assert data.license == "cc-by-4.0"
    assert data.size_categories == ["n<1K"]


@pytest.mark.parametrize("form", ["hf", "trl", "axolotl"])
def test_what_was_exported_comes_back_in_as_it_was(corpus, tmp_path, form):
    export(corpus, form, tmp_path / "out")
    back = list(read_documents(tmp_path / "out"))
    assert [row.text for row in back] == [row.text for row in documents()]
    assert (back == documents()) == (form == "hf")


def test_the_same_folder_gives_the_same_bytes(twins, tmp_path):
    for name in ("one", "two"):
        built = export(twins, "axolotl", tmp_path / name)
    assert all(
        (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in built.outputs
    )


def test_a_folder_without_rows_is_a_one_line_error(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        export(tmp_path / "nothing", "hf", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither documents"):
        export(tmp_path / "empty", "hf", tmp_path / "out")
    write_rows(tmp_path / "empty" / "chats.jsonl", [])
    with pytest.raises(DataError, match="holds no row"):
        export(tmp_path / "empty", "hf", tmp_path / "out")


def test_chats_come_back_from_a_configuration_by_its_file(twins, tmp_path):
    export(twins, "hf", tmp_path / "out")
    back = list(read_chats(tmp_path / "out" / "data" / "cot_stripped"))
    assert back == [chat(n, f"Answer {n}.") for n in range(4)]
