"""Fields of rows that say what is in the loss, and which tools there are: as other trainers' files name them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from midspec.core.chat_rows import parse_message, parse_tools
from midspec.core.errors import DataError
from midspec.core.records import Chat
from midspec.exchange._read import parse_chat
from midspec.models import ChatTemplate
from midspec.train._rl_rows import read_pairs, read_prompts
from midspec.train._rows import Row, read_training_rows

from .conftest import word_tokenizer

WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "w1",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
FRAMED = {"type": "function", "function": WEATHER}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "w1", "date": None}}}


def asked(*turns: dict[str, Any], **row: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "w1"}, *turns], **row}


def answer(content: str = "w2", **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **fields}


def read(tmp_path: Path, row: dict[str, Any]) -> Row:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    [found] = read_training_rows([str(tmp_path / "rows.jsonl")], seed=0)
    return found


@pytest.mark.parametrize(
    ("fields", "weight"),
    [
        ({"loss_mask": 0}, 0),
        ({"loss_mask": 1}, 1),
        ({"trainable": False}, 0),
        ({"trainable": True, "weight": 1}, 1),
        ({"masked": True}, 0),
        ({"masked": False}, 1),
        ({"masked": True, "loss_mask": 0}, 0),
    ],
)
def test_an_answers_place_in_the_loss_is_read_under_every_name(fields: dict[str, Any], weight: int) -> None:
    message, passed_over = parse_message(answer(**fields), "messages[1]")
    assert (message.weight, passed_over) == (weight, [])


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        (answer(masked=True, loss_mask=1), "different values in loss_mask and masked"),
        (answer(loss_mask=[0, 1]), "only 0 and 1"),
        ({"role": "user", "content": "w1", "loss_mask": 1}, "only an assistant's turn can be"),
    ],
)
def test_what_contradicts_itself_or_is_of_no_answer_is_refused(turn: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_message(turn, "messages[0]")
    for harmless in ({"masked": False}, {"masked": True}, {"loss_mask": 0}, {"trainable": False}):
        parse_message({"role": "user", "content": "w1", **harmless}, "messages[0]")


@pytest.mark.parametrize("name", ["loss_mask", "weights"])
def test_a_list_beside_the_messages_is_refused_where_it_means_otherwise(tmp_path: Path, name: str) -> None:
    turns = (answer("w2"), {"role": "user", "content": "w3"}, answer("w4"))
    with pytest.raises(DataError, match=f"has `{name}` beside its messages.*give each message its `weight`"):
        read(tmp_path, asked(*turns, **{name: [0, 0, 0, 1]}))
    assert read(tmp_path, asked(*turns, **{name: [0, 1, 0, 1]})).unread == ()
    assert read(tmp_path, asked(*turns, **{name: [0.3, 0.7]})).unread == (name,)
    assert read(tmp_path, asked(*turns, weights=[1.0] * 4)).unread == ("weights",), "of all alike, as of samples"


def test_tools_of_verifiers_rollouts_are_read_as_templates_read_them(tmp_path: Path) -> None:
    for given in ([WEATHER], json.dumps([WEATHER]), [json.dumps(FRAMED)]):
        chat = read(tmp_path, asked(answer(), tool_defs=given)).content
        assert not isinstance(chat, str)
        assert chat.tools == (FRAMED,)
        assert parse_chat(asked(answer(), tool_defs=given)).row.tools == (FRAMED,)
    assert parse_tools({"tools": [WEATHER]}) == (WEATHER,), "what is named tools is as it is given"
    assert parse_tools({"tools": [WEATHER], "tool_defs": [FRAMED]}) == (WEATHER,)
    assert parse_tools({"tools": [FRAMED], "tool_defs": [WEATHER | {"strict": None}]}) == (FRAMED,)
    assert parse_tools({"tool_defs": []}) == ()
    with pytest.raises(ValueError, match="different tools in `tools` and `tool_defs`"):
        parse_tools({"tools": [FRAMED], "tool_defs": [{**WEATHER, "name": "w3"}]})
    pair = {"prompt": "w1", "chosen": "w2", "rejected": "w3", "tool_defs": [WEATHER]}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair))
    assert read_pairs([str(tmp_path / "pairs.jsonl")])[0].tools == (FRAMED,)
    with pytest.raises(DataError, match="tools, which prompts are not read with"):
        read_prompts([str(tmp_path / "pairs.jsonl")])


def test_nulls_that_a_table_put_into_tools_and_calls_are_no_part_of_them(tmp_path: Path) -> None:
    padded = json.loads(json.dumps(FRAMED | {"strict": None}))
    schema = padded["function"]["parameters"]
    schema["properties"] |= {"b": None, "city": {"type": "string", "enum": None, "items": None, "default": None}}
    schema["properties"] |= {"default": None, "enum": {"enum": ["a", None], "description": None}}  # names, not keys
    row = asked(answer("", tool_calls=[CALL]), {"role": "tool", "content": "12"}, answer(), tools=[padded])
    chat = read(tmp_path, row).content
    assert not isinstance(chat, str)
    expected = {"city": {"type": "string", "default": None}, "enum": {"enum": ["a", None]}}  # values that may be null
    assert chat.tools[0]["function"]["parameters"]["properties"] == expected  # type: ignore[index,call-overload]
    assert chat.messages[1].tool_calls[0]["function"] == {"name": "weather", "arguments": {"city": "w1"}}
    assert parse_chat(row).row.messages == chat.messages


DATE: dict[str, Any] = {"properties": {"date": {"type": ["string", "null"]}}}


@pytest.mark.parametrize(
    "change",
    [
        DATE,
        {"additionalProperties": True},
        {"additionalProperties": {}},
        {"patternProperties": {"^d": {}}},
        {"anyOf": [DATE, {}]},
        {"allOf": [DATE]},
        {"$ref": "#/$defs/Dated", "$defs": {"Dated": DATE}},
        {"properties": None},
        None,
    ],
)
def test_a_null_that_may_be_an_argument_is_one(tmp_path: Path, change: dict[str, Any] | None) -> None:
    tool = json.loads(json.dumps(FRAMED))
    tool["function"]["parameters"] |= change or {}
    chat = read(tmp_path, asked(answer("", tool_calls=[CALL]), tools=[] if change is None else [tool])).content
    assert not isinstance(chat, str)
    assert chat.messages[1].tool_calls == (CALL,)


@pytest.mark.parametrize("role", ["User\r", "user\xa0", " human :", "USER:"])
def test_a_role_is_read_without_what_stands_around_it(role: str) -> None:
    assert parse_message({"role": role, "content": "w1"}, "messages[0]")[0].role == "user"


def test_a_system_text_under_two_names_is_read_once(tmp_path: Path) -> None:
    for name in ("system_prompt", "system_message"):
        chat = read(tmp_path, asked(answer(), system="w3", **{name: " w3\n"})).content
        assert not isinstance(chat, str)
        assert [message.content for message in chat.messages] == ["w3", "w1", "w2"]
        with pytest.raises(DataError, match=f"has `{name}` beside its messages"):
            read(tmp_path, asked(answer(), system="w3", **{name: "w4"}))


@pytest.mark.parametrize("role", ["ipython", "observation", "tool_response", "function"])
def test_what_a_tool_answers_is_a_tools_turn_under_the_names_of_templates(role: str) -> None:
    assert parse_message({"role": role, "content": "12"}, "messages[2]")[0].role == "tool"


def test_answers_that_say_nothing_are_told(tmp_path: Path) -> None:
    def told(*turns: dict[str, Any]) -> bool:
        template = ChatTemplate(word_tokenizer())
        chat = read(tmp_path, asked(*turns)).content
        assert not isinstance(chat, str)
        template.training_rows([chat])
        return "answers that say nothing, trained on as they are: 1" in " ".join(template.notes)

    more = {"role": "user", "content": "w3"}
    for silent in ("", " \n"):
        assert told(answer(silent))
        assert told(answer("w2"), more, answer(silent))
        assert not told(answer(silent, weight=0), more, answer("w2"))
    assert not told(answer("w2"))


@pytest.mark.parametrize("given", ["", " ", None, "{}", {}])
def test_a_call_without_arguments_has_an_empty_object(tmp_path: Path, given: Any) -> None:
    """Streams of OpenAI's give an empty text, tables a null."""
    call = {"type": "function", "function": {"name": "weather", "arguments": given}}
    chat = read(tmp_path, asked(answer("", tool_calls=[call]))).content
    assert isinstance(chat, Chat)
    assert chat.messages[1].tool_calls[0]["function"] == {"name": "weather", "arguments": {}}


def test_calls_that_are_turns_of_their_own_are_the_assistants(tmp_path: Path) -> None:
    """LlamaFactory's and ms-swift's form, read as `midspec import` reads it."""
    call = json.dumps({"name": "weather", "arguments": {"city": "w1"}})
    row = asked({"role": "tool_call", "content": call}, {"role": "tool_response", "content": "w2"})
    row["messages"].append({"role": "assistant", "content": "w3"})
    chat = read(tmp_path, row).content
    assert isinstance(chat, Chat)
    assert [turn.role for turn in chat.messages] == ["user", "assistant", "tool", "assistant"]
    assert chat.messages == parse_chat(row).row.messages
    assert chat.messages[1].tool_calls[0]["function"] == json.loads(call)
