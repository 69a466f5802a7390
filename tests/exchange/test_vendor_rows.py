"""Rows in the forms of vendors and trainers, tables with other signs, archives, and chats that stand in a text."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile

import pytest

from midspec.core.errors import DataError, MidspecError
from midspec.exchange import import_folder, read_chats, read_documents
from midspec.exchange._formats import file_rows

HI = [("user", "Hi"), ("assistant", "Hello")]
VENDORS = {
    "Gemini": {
        "systemInstruction": {"role": "system", "parts": [{"text": "S"}]},
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Hello"}]}],
    },
    "Bedrock": {
        "system": [{"text": "S"}],
        "messages": [
            {"role": "user", "content": [{"text": "Hi"}]},
            {"role": "assistant", "content": [{"text": "Hello"}]},
        ],
    },
    "Cohere": {
        "messages": [
            {"role": "System", "content": "S"},
            *({"role": r, "content": c} for r, c in (("User", "Hi"), ("Chatbot", "Hello"))),
        ]
    },
    "Responses": {
        "system": "S",
        "messages": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
        ],
    },
    "XTuner": {"conversation": [{"system": "S", "input": "Hi", "output": "Hello"}]},
    "LangChain": {
        "messages": [{"type": t, "content": c} for t, c in (("system", "S"), ("human", "Hi"), ("ai", "Hello"))]
    },
    "parts": {
        "system": "S",
        "messages": [
            {"role": "user", "id": "1", "parts": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "parts": [{"type": "step-start"}, {"type": "text", "text": "Hello"}]},
        ],
    },
    "distilabel": {"system_prompt": "S", "instruction": "Hi", "generation": "Hello", "model_name": "m"},
    "turns and an answer": {"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}]}
    | {"response": "Hello"},
    "three columns": {"system": "S", "user": "Hi", "assistant": "Hello"},
}


@pytest.mark.parametrize("row", VENDORS.values(), ids=VENDORS)
def test_rows_of_vendors_and_trainers_are_chats(tmp_path, row):
    assert said_in(tmp_path, [row]) == [[("system", "S"), *HI]]


@pytest.mark.parametrize("keys", [("input", "output"), ("inputs", "targets"), ("problem", "solution")])
def test_a_question_and_an_answer_by_other_names_are_a_chat(tmp_path, keys):
    assert said_in(tmp_path, [dict(zip(keys, ("Hi", "Hello"), strict=True))]) == [HI]


def said_in(tmp_path, rows):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_folder(file, tmp_path / "out")
    return [[(message.role, message.content) for message in chat.messages] for chat in read_chats(tmp_path / "out")]


USE = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "Sun."}]}
SAID, CALLING = RESULT["content"], {"role": "assistant", "recipient": "functions.weather"}
ASKED, CALL = {"role": "user", "content": "Hi"}, {"name": "weather", "arguments": {"city": "Rome"}}
TURNS = [
    # Anthropic's parts.
    (
        [
            ASKED,
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "A"}]},
        ],
        [("user", "Hi"), ("assistant", "A", "Hm.", [])],
    ),
    (
        [
            ASKED,
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, USE]},
            {"role": "user", "content": [RESULT, {"type": "text", "text": "Well?"}]},
            {"role": "assistant", "content": "Sun."},
        ],
        [
            *[("user", "Hi"), ("assistant", "I look.", None, [CALL]), ("tool", "Sun."), ("user", "Well?")],
            ("assistant", "Sun.", None, []),
        ],
    ),
    # Harmony's channels.
    (
        [
            ASKED,
            {"role": "assistant", "channel": "analysis", "content": "Hm."},
            {**CALLING, "channel": "commentary", "content": '{"city": "Rome"}'},
            {"role": "tool", "name": "functions.weather", "content": "Sun."},
            {"role": "assistant", "channel": "analysis", "content": "Good."},
            {"role": "assistant", "channel": "final", "content": "Sun."},
        ],
        [
            *[("user", "Hi"), ("assistant", "", "Hm.", [CALL]), ("tool", "Sun.")],
            ("assistant", "Sun.", "Good.", []),
        ],
    ),
    # The same as openai-harmony writes it, and Mistral's thoughts: in parts.
    (
        [
            ASKED,
            {"role": "assistant", "channel": "analysis", "content": SAID, "weight": 0},
            {**CALLING, "channel": "analysis", "content": [{"type": "text", "text": '{"city": "Rome"}'}], "weight": 0},
            {"role": "tool", "name": "functions.weather", "content": SAID},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": SAID}, {"type": "text", "text": "A"}]},
        ],
        [("user", "Hi"), ("assistant", "", "Sun.", [CALL]), ("tool", "Sun."), ("assistant", "A", "Sun.", [])],
    ),
    # LangChain keeps a call in both places.
    (
        [ASKED, {"role": "assistant", "content": [USE], "tool_calls": [{"name": "weather", "args": {}}]}],
        [("user", "Hi"), ("assistant", "", None, [CALL])],
    ),
    # Of a messenger: a channel that is none of these.
    (
        [{**ASKED, "channel": "general"}, {"role": "assistant", "channel": "general", "content": "A"}],
        [("user", "Hi"), ("assistant", "A", None, [])],
    ),
]


@pytest.mark.parametrize(("turns", "read"), TURNS)
def test_reasoning_and_calls_in_parts_and_channels_are_the_assistants(tmp_path, turns, read):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"messages": turns}) + "\n")
    import_folder(file, tmp_path / "out")
    (chat,) = read_chats(tmp_path / "out")
    assert read == [
        (one.role, one.content, one.reasoning_content, [call["function"] for call in one.tool_calls])
        if one.role == "assistant"
        else (one.role, one.content)
        for one in chat.messages
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": [ASKED, {"role": "assistant", "channel": "analysis", "content": "Hm."}]}, "no answer behind it"),
        ({"messages": [ASKED, {"role": "assistant", "content": [{"type": "image"}, USE]}]}, "no text (image)"),
        ({"conversations": [{"from": "human", "value": "Hi"}], "chosen": {}, "rejected": {}}, "pair of answers"),
        ({"messages": [ASKED], "rejected": "A"}, "has no turn of an assistant"),
        ({"messages": [ASKED, {**CALLING, "channel": "analysis", "recipient": "python", "content": "1"}]}, "'python'"),
        (
            {
                "messages": [
                    {"role": "assistant", "channel": "analysis", "content": "Hm.", "weight": 0},
                    {"role": "assistant", "channel": "final", "content": "A"},
                ]
            },
            "analysis not, which are one turn",
        ),
        ({"messages": [{"role": "assistant", "content": [USE], "tool_calls": [{"name": "b"}]}]}, "some calls in"),
        ({"input": [ASKED], "context": "It rains.", "output": "A"}, "has a `context`"),
    ],
)
def test_a_row_without_an_answer_to_learn_is_told(tmp_path, row, words):
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=re.escape(words)):
        import_folder(tmp_path / "rows.jsonl", tmp_path / "out")


def test_turns_in_input_with_an_output_are_a_chat(tmp_path):
    assert said_in(tmp_path, [{"input": [ASKED], "output": "Hello", "reasoning": "on"}]) == [HI]


CARD = "---\nconfigs:\n{}---\n"
ROW = '{{"text": "{}"}}\n'
LAYOUTS = [
    # A configuration that is a folder, alone and with files named from there; braces; splits as the Hub names them.
    ("- {config_name: a, data_dir: a}\n- {config_name: b, data_dir: b}\n", {"subset": "b"}, ["b/x.jsonl"]),
    ("- {config_name: default, data_dir: a, data_files: '*.jsonl'}\n", {}, ["a/x.jsonl"]),
    ("- {config_name: default, data_files: '{a,b}/x.jsonl'}\n", {}, ["a/x.jsonl", "b/x.jsonl"]),
    ("- {config_name: default, data_files: '{a,[a]}/x.jsonl'}\n", {}, ["a/x.jsonl"]),
    ("", {"split": "train_sft"}, ["data/train_sft-00000-of-00001.jsonl"]),
]


@pytest.mark.parametrize(("card", "options", "read"), LAYOUTS)
def test_folders_of_configurations_and_parts_are_read_as_the_datasets_library_does(tmp_path, card, options, read):
    names = [
        "a/x.jsonl",
        "b/x.jsonl",
        "x.jsonl",
        *(f"data/{one}_sft-00000-of-00001.jsonl" for one in ("train", "test")),
    ]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(ROW.format(name))
    if card:
        (tmp_path / "in" / "README.md").write_text(CARD.format(card))
    import_folder(tmp_path / "in", tmp_path / "out", **options)
    assert [document.text for document in read_documents(tmp_path / "out")] == read


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"README.md": CARD.format("- {config_name: default, data_files: t.jsonl}\n"), "a.jsonl": ROW}, "(t.jsonl)"),
        ({"README.md": CARD.format("- {config_name: default, data_dir: t}\n"), "a.jsonl": ROW}, "that are not there"),
        ({"shard.tar": ""}, "(1 .tar)"),
        ({"rows.txt": ROW.format("a") + ROW.format("b")}, "name it .jsonl"),
    ],
)
def test_files_that_are_not_there_or_not_what_they_are_called_are_told(tmp_path, files, words):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(MidspecError, match=re.escape(words)):
        import_folder(tmp_path, tmp_path / "out")


TWO = [{"text": "Ada waits."}, {"text": "Ada asks."}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", json.dumps(TWO)),
        ("rows.jsonl", "[" + ",\n".join(map(json.dumps, TWO)) + "]\n"),
        ("rows.jsonl", ",\n".join(map(json.dumps, TWO)) + ",\n"),
        (
            "rows.json",
            json.dumps(
                {
                    "features": [],
                    "rows": [{"row_idx": at, "row": row, "truncated_cells": []} for at, row in enumerate(TWO)],
                }
            ),
        ),
        ("rows.csv", "sep=;\ntext;source\nAda waits.;a\nAda asks.;b\n"),
        ("rows.csv", "text|source\nAda waits.|a\nAda asks.|b\n"),
        ("rows.csv", "text\tsource\nAda waits.\ta\nAda asks.\tb\n"),
    ],
)
def test_rows_are_read_in_lists_that_are_called_lines_and_in_tables_with_other_signs(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    import_folder(tmp_path / name, tmp_path / "out")
    assert [document.text for document in read_documents(tmp_path / "out")] == ["Ada waits.", "Ada asks."]


def test_quotation_marks_of_texts_in_a_table_of_tabs_are_the_texts(tmp_path):
    (tmp_path / "a.tsv").write_text('text\tsource\n"Hi" said Ada.\ta\nShe said "yes".\tb\n')
    import_folder(tmp_path / "a.tsv", tmp_path / "out")
    assert [one.text for one in read_documents(tmp_path / "out")] == ['"Hi" said Ada.', 'She said "yes".']
    (tmp_path / "b.tsv").write_text('text\tsource\n"Hi ""Ada""\n, wait."\ta\n')
    import_folder(tmp_path / "b.tsv", tmp_path / "quoted")
    assert [one.text for one in read_documents(tmp_path / "quoted")] == ['Hi "Ada"\n, wait.']


def test_a_table_of_tabs_that_is_cut_off_is_told(tmp_path):
    (tmp_path / "a.tsv").write_text('text\tsource\nAda waits.\ta\n"Ada asks\nand')
    with pytest.raises(DataError, match="or cut off"):
        import_folder(tmp_path / "a.tsv", tmp_path / "out")


def test_a_preference_beside_a_question_by_another_name_is_no_chat(tmp_path):
    row = {"input": "Hi", "output": "Hello", "chosen": "Hello", "rejected": "Go"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match="a preference"):
        import_folder(tmp_path / "rows.jsonl", tmp_path / "out")


def test_cells_that_the_hubs_viewer_cut_off_are_rejected(tmp_path):
    rows = [
        {"row_idx": 0, "row": TWO[0], "truncated_cells": []},
        {"row_idx": 1, "row": {"text": "Ada as"}, "truncated_cells": ["text"]},
    ]
    (tmp_path / "rows.json").write_text(json.dumps({"rows": rows}))
    built = import_folder(tmp_path / "rows.json", tmp_path / "out")
    assert (built.summary["n_documents"], built.summary["n_rejects"]) == (1, 1)
    assert "cut off its cells text" in (tmp_path / "out" / "rejects.jsonl").read_text()


def test_turns_of_one_chat_are_no_rows_and_a_column_may_be_named_row(tmp_path):
    for names in (("role", "content"), ("from", "value")):
        turns = [dict(zip(names, turn, strict=True)) for turn in (("user", "Hi"), ("assistant", "Hello"))]
        (tmp_path / "rows.jsonl").write_text(f"{json.dumps(turns)}\n" * 2)
        found = [raw.fault for raw in file_rows(tmp_path / "rows.jsonl", tmp_path)]
        assert found == ["a row is a JSON object, not a list"] * 2
    (tmp_path / "rows.json").write_text(json.dumps([{"row_idx": 1, "row": "Ada waits."}]))
    assert [raw.row for raw in file_rows(tmp_path / "rows.json", tmp_path)] == [{"row_idx": 1, "row": "Ada waits."}]


RENDERED = [
    "### Human: Hi### Assistant: Hello",
    "<s>[INST] Hi [/INST] Hello </s>",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>",
    "Below is an instruction that describes a task.\n\n### Instruction:\nHi\n\n### Response:\nHello",
    "USER: Hi ASSISTANT: Hello</s>",
    "Human: Hi\n\nAssistant: Hello",
]
NOT_RENDERED = [
    "Memo. A user wrote: Human: Hi\n\nAssistant: Hello",
    "### Human resources\n\nWe wait. ### Notes",
    "User: a word for whoever uses a tool.",
    "[INST] is a mark of a template.",
]


def test_documents_that_are_chats_with_their_marks_are_told(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in RENDERED + NOT_RENDERED))
    built = import_folder(tmp_path / "rows.jsonl", tmp_path / "out")
    assert built.summary["n_documents"] == len(RENDERED + NOT_RENDERED)
    assert str(built.summary["chats_as_text"]).startswith(f"{len(RENDERED)} documents are chats")
    (tmp_path / "others.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in NOT_RENDERED))
    assert "chats_as_text" not in import_folder(tmp_path / "others.jsonl", tmp_path / "other").summary


def call(name: str, **arguments: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


WEATHER = json.dumps({"name": "look", "arguments": {"at": "Rome"}})
BOTH = json.dumps([{"name": "look", "arguments": {"at": "Rome"}}, {"name": "look", "arguments": {"at": "Oslo"}}])
OSLO = json.dumps({"name": "look", "arguments": '{"at": "Oslo"}'})
ROME_AND_OSLO = [call("look", at="Rome"), call("look", at="Oslo")]


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (
            [("function_call", WEATHER), ("observation", "Sun.")],
            [("assistant", "", [call("look", at="Rome")]), ("tool", "Sun.", [])],
        ),
        ([("function_call", BOTH), ("observation", "Sun.")], [("assistant", "", ROME_AND_OSLO), ("tool", "Sun.", [])]),
        (
            [("tool_call", WEATHER), ("tool_call", OSLO), ("tool_response", "Sun."), ("tool_response", "")],
            [("assistant", "", ROME_AND_OSLO), ("tool", "Sun.", []), ("tool", "", [])],
        ),
        (
            [("assistant", "I look."), ("tool_call", WEATHER), ("tool_response", "Sun.")],
            [("assistant", "I look.", [call("look", at="Rome")]), ("tool", "Sun.", [])],
        ),
    ],
)
@pytest.mark.parametrize(("role", "text"), [("role", "content"), ("from", "value")])
def test_calls_that_are_turns_of_their_own_are_the_assistants(tmp_path, turns, expected, role, text):
    said = [("user", "Weather?"), *turns, ("assistant", "Sun it is.")]
    row = {"conversations": [{role: who, text: what} for who, what in said], "tools": '[{"name": "look"}]'}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    assert import_folder(tmp_path / "rows.jsonl", tmp_path / "out").summary["n_rejects"] == 0
    [chat] = read_chats(tmp_path / "out")
    found = [(turn.role, turn.content, list(turn.tool_calls)) for turn in chat.messages]
    assert found == [("user", "Weather?", []), *expected, ("assistant", "Sun it is.", [])]
    assert chat.tools == ({"name": "look"},)


def test_a_turn_of_calls_that_holds_none_or_is_weighed_is_not_joined_to_another(tmp_path):
    rows = [
        [{"role": "tool_call", "content": "look"}],
        [{"role": "tool_call", "content": json.dumps({"arguments": {}})}],
        [{"role": "assistant", "content": "I look."}, {"role": "tool_call", "content": WEATHER, "loss": False}],
    ]
    ask, end = {"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "Sun."}
    lines = [json.dumps({"messages": [ask, *turns, end]}) + "\n" for turns in rows]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    assert import_folder(tmp_path / "rows.jsonl", tmp_path / "out").summary["n_rejects"] == 2
    [chat] = read_chats(tmp_path / "out")
    assert [(turn.content, len(turn.tool_calls), turn.weight) for turn in chat.messages[1:]] == [
        ("I look.", 0, 1),
        ("", 1, 0),
        ("Sun.", 0, 1),
    ]


def packed_tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("rows.jsonl"))
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.tar.gz", packed_tar(), "is a tar archive of files. Unpack it"),
        ("a.jsonl.gz", packed_tar(), "is a tar archive of files. Unpack it"),
        ("a.jsonl.gz", gzip.compress(gzip.compress(b"{}")), "is packed twice, with gzip and gzip. Unpack it once"),
        ("a.jsonl.lz4", b"\x04\x22\x4d\x18", "is a .lz4 file, which is not read. Unpack it, or pack it with gzip"),
        ("a.warc.gz", gzip.compress(b"WARC/1.0"), "is a .warc file, which is not read. Write JSONL"),
        ("a.html", b"<p>Ada waits.</p>", "is a .html file, which is not read. Write its text as .txt"),
        ("a.yaml", b"- text: Ada waits.", "is a .yaml file, which is not read. Write JSONL"),
    ],
)
def test_archives_and_files_of_other_kinds_are_told_in_one_line(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        import_folder(tmp_path / name, tmp_path / "out")
    assert says in str(caught.value)
