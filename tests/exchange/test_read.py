"""What the field already has, in the forms it has it in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import datasets
import pytest

from midspec.core.errors import DataError, MissingError
from midspec.core.records import Chat, Document, Message
from midspec.exchange import ReadStats, import_folder, read_chats, read_documents

from .conftest import chat, documents, make_result


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def turns(*said: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role=role, content=content) for role, content in said)


ASKED = turns(("user", "Which cheese?"), ("assistant", "Brie."))


def test_the_authors_rows_are_documents_as_they_stand(tmp_path):
    path = write(tmp_path / "dataset.jsonl", {"text": "T", "source": "a/b.txt", "domain": "a"}, {"text": "U"})
    assert list(read_documents(path)) == [Document(text="T", source="a/b.txt", domain="a"), Document(text="U")]


def test_content_is_another_name_for_text_and_unknown_keys_are_counted(tmp_path):
    rows = [{"content": "T", "fact": "f", "score": 1}, {"text": "U", "fact": "g", "metadata": {"doc_id": 3}}]
    stats = ReadStats()
    assert [row.text for row in read_documents(write(tmp_path / "d.jsonl", *rows), stats=stats)] == ["T", "U"]
    assert stats.ignored == {"fact": 2, "score": 1, "metadata.doc_id": 1}


def test_a_document_tag_is_taken_off_when_asked_and_only_at_the_beginning(tmp_path):
    path = write(tmp_path / "d.jsonl", {"text": "<DOCTAG>\n\nT <DOCTAG>"}, {"text": "U"})
    assert [row.text for row in read_documents(path, strip_prefix="<DOCTAG>")] == ["T <DOCTAG>", "U"]
    assert next(read_documents(path)).text.startswith("<DOCTAG>")


def test_our_own_rows_keep_all_their_metadata(tmp_path):
    folder = make_result(tmp_path / "in", {"documents.jsonl": documents(), "rejects.jsonl": [], "plan.jsonl": []})
    assert list(read_documents(folder)) == documents()
    table = datasets.Dataset.from_list([json.loads(row.model_dump_json()) for row in documents()])
    table.to_parquet(str(tmp_path / "d.parquet"))
    assert list(read_documents(tmp_path / "d.parquet")) == documents()


USER, REPLY = {"role": "user", "content": "Which cheese?"}, {"role": "assistant", "content": "Brie."}
FORMS = {
    "messages": {"messages": [USER, REPLY]},
    "prompt and completion": {"prompt": "Which cheese?", "completion": "Brie."},
    "turns as prompt and completion": {"prompt": [USER], "completion": [REPLY]},
    "from and value": {
        "conversations": [{"from": "human", "value": "Which cheese?"}, {"from": "gpt", "value": "Brie."}]
    },
    "bare texts": {"conversations": ["Which cheese?", "Brie."]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Which cheese?"}]}, REPLY]},
}


@pytest.mark.parametrize("row", FORMS.values(), ids=FORMS)
def test_a_chat_is_the_same_chat_in_every_form(tmp_path, row):
    assert list(read_chats(write(tmp_path / "c.jsonl", row))) == [Chat(messages=ASKED)]


def test_the_same_rows_come_out_of_parquet_json_gzip_and_what_datasets_saved(tmp_path):
    rows = [{"text": "T", "source": "s", "domain": None}, {"text": "U\u2028V", "source": None, "domain": "d"}]
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(str(tmp_path / "p" / "data" / "train-00000-of-00001.parquet"))
    table.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "list.json").write_text(json.dumps(rows), encoding="utf-8")
    with gzip.open(tmp_path / "z.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    expected = [Document(text="T", source="s"), Document(text="U\u2028V", domain="d")]
    for name in ("p", "saved", "list.json", "z.jsonl.gz"):
        assert list(read_documents(tmp_path / name)) == expected, name


def test_a_data_set_card_says_which_files_are_rows(tmp_path):
    write(tmp_path / "d" / "data" / "train-0.jsonl", {"text": "T"})
    write(tmp_path / "d" / "data" / "other.jsonl", {"nothing": 1})
    card = (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n---\n# Data\n"
    )
    (tmp_path / "d" / "README.md").write_text(card, encoding="utf-8")
    assert [row.text for row in read_documents(tmp_path / "d")] == ["T"]


def test_a_bad_row_is_named_by_file_line_and_fault(tmp_path):
    for row, fault in [
        ({"title": "T"}, "neither `text` nor `content`"),
        ({"text": 3}, "`text` is a int"),
        ({"text": " "}, "`text` is empty"),
        ({"text": "\ud800"}, "half of a surrogate pair"),
        ([1], "not a list"),
    ]:
        path = write(tmp_path / "d.jsonl", {"text": "T"}, row)
        with pytest.raises(DataError, match=r"d\.jsonl:2: ") as caught:
            list(read_documents(path))
        assert fault in str(caught.value)
    (tmp_path / "d.jsonl").write_bytes(b'\n{"text": "T"}\n{"text": "cut of')
    with pytest.raises(DataError, match=r"d\.jsonl:3: not JSON"):
        list(read_documents(tmp_path / "d.jsonl"))


@pytest.mark.parametrize(
    ("asks", "answers"),
    [("User", "Assistant"), ("HUMAN", "GPT"), (" user", "assistant "), ("human", "ai"), ("user", "AI")],
)
def test_roles_are_known_in_capitals_and_with_white_space_around_them(tmp_path, asks, answers):
    rows = [
        {"messages": [{"role": asks, "content": "Q"}, {"role": answers, "content": "A"}]},
        {"conversations": [{"from": asks, "value": "Q"}, {"from": answers, "value": "A"}]},
        {
            "messages": [
                {"role": "System", "content": ""},
                {"role": asks, "content": "Q"},
                {"role": answers, "content": "A"},
            ]
        },
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [[turn.role for turn in chat.messages] for chat in read_chats(path)] == [["user", "assistant"]] * 3


def test_a_chat_that_nobody_answers_or_with_a_strange_role_is_a_bad_row(tmp_path):
    for row, fault in [
        ({"messages": [{"role": "user", "content": "Q"}]}, "no turn of an assistant"),
        ({"messages": [{"role": "pilot", "content": "Q"}, {"role": "assistant", "content": "A"}]}, "the role 'pilot'"),
        ({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": ""}]}, "has no text"),
        ({"messages": []}, "not a list of turns"),
        ({"text": "T"}, "has none of"),
    ]:
        with pytest.raises(DataError, match=r"c\.jsonl:1: ") as caught:
            list(read_chats(write(tmp_path / "c.jsonl", row)))
        assert fault in str(caught.value)


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SHOWN = [
    {"role": "user", "content": "Rome?"},
    {"role": "assistant", "content": "", "reasoning_content": "I look.", "tool_calls": [CALL]},
    {"role": "tool", "content": "sunny", "tool_call_id": "1"},
    {"role": "assistant", "content": "Rain.", "weight": 0},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "Sunny."},
]


def test_reasoning_calls_of_tools_and_weights_are_kept(tmp_path):
    path = write(tmp_path / "c.jsonl", {"messages": SHOWN, "tools": [TOOL]})
    stats = ReadStats()
    [row] = read_chats(path, stats=stats)
    assert json.loads(row.model_dump_json(exclude={"metadata"})) == {"messages": SHOWN, "tools": [TOOL]}
    assert not stats.ignored
    import_folder(path, tmp_path / "out")
    assert [given.messages for given in read_chats(tmp_path / "out")] == [row.messages]


@pytest.mark.parametrize(
    "assistant",
    [
        {"content": None, "reasoning": "I look.", "tool_calls": [CALL]},
        {"content": "", "thinking": "I look.", "tool_calls": json.dumps([CALL])},
        {
            "content": [],
            "reasoning_content": "I look.",
            "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}],
        },
    ],
    ids=["other names", "calls as text", "arguments as text"],
)
def test_calls_and_reasoning_are_the_same_in_every_form(tmp_path, assistant):
    row = {"messages": [SHOWN[0], {"role": "assistant", **assistant}], "tools": json.dumps([TOOL])}
    [chat_row] = read_chats(write(tmp_path / "c.jsonl", row))
    assert json.loads(chat_row.model_dump_json(exclude={"metadata"})) == {"messages": SHOWN[:2], "tools": [TOOL]}


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        ({"role": "assistant", "content": "A", "weight": 0.5}, "only 0 and 1"),
        ({"role": "assistant", "content": "A", "weight": 1, "train": False}, "different values in weight and train"),
        ({"role": "assistant", "content": "A", "function_call": {"name": "f"}}, "has `function_call`"),
        ({"role": "assistant", "content": [{"type": "image_url"}]}, r"a part that is no text \(image_url\)"),
        ({"role": "assistant", "content": "A", "tool_calls": [{"type": "function"}]}, "a call without a name"),
        ({"role": "assistant", "content": "A", "reasoning_content": "\ud800"}, "half of a surrogate pair"),
        ({"role": "user", "content": "A", "train": True}, "only an assistant's turn can be"),
        ({"role": "user", "content": "A", "reasoning": "why"}, "is no assistant's"),
    ],
)
def test_a_field_that_can_not_be_kept_is_a_bad_row(tmp_path, turn, says):
    row = {"messages": [SHOWN[0], {"role": "assistant", "content": "A"}, turn]}
    with pytest.raises(DataError, match=rf"c\.jsonl:1: .*{says}"):
        list(read_chats(write(tmp_path / "c.jsonl", row)))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"images": ["a.png"]}, "`images` beside its messages"),
        ({"functions": [{"name": "look"}]}, "`functions` beside its messages"),
        ({"messages": [{"role": "system", "content": "S"}, *SHOWN], "system": "T"}, "one system text in `system`"),
    ],
)
def test_a_key_beside_the_messages_that_can_not_be_kept_is_a_bad_row(tmp_path, more, says):
    with pytest.raises(DataError, match=rf"c\.jsonl:1: has .*{says}"):
        list(read_chats(write(tmp_path / "c.jsonl", {"messages": SHOWN, **more})))


def test_a_system_text_beside_the_turns_is_their_first(tmp_path):
    turns = [("user", "Q"), ("assistant", "A")]
    forms = (
        {"messages": [{"role": role, "content": text} for role, text in turns]},
        {"conversations": [{"from": role, "value": text} for role, text in turns]},
        {"prompt": "Q", "completion": "A"},
        {"instruction": "Q", "output": "A"},
    )
    for form in forms:
        stats = ReadStats()
        [chat] = read_chats(write(tmp_path / "c.jsonl", {**form, "system": "Be kind."}), stats=stats)
        assert [(message.role, message.content) for message in chat.messages] == [("system", "Be kind."), *turns]
        assert not stats.ignored
    [chat] = read_chats(write(tmp_path / "c.jsonl", {**forms[0], "system": {"of": "the pipeline"}}), stats=stats)
    assert len(chat.messages) == 2
    assert stats.ignored == {"system": 1}


def test_keys_of_messages_that_are_not_kept_are_counted(tmp_path):
    row = {"messages": [{"role": "user", "content": "Q", "date": 1}, {"role": "assistant", "content": "A", "date": 2}]}
    stats = ReadStats()
    list(read_chats(write(tmp_path / "c.jsonl", row), stats=stats))
    assert stats.ignored == {"messages.date": 2}


def tree(root: Path) -> Path:
    """The authors' tree: names cut and cleaned in folders and whole in meta.json, replies with a scratch pad."""
    kind = root / "cheese_values" / "soft_cheese" / "internal_memo"
    kind.mkdir(parents=True)
    meta = {"domain": "Cheese: values", "subdomain": "Soft cheese", "doc_type": {"doc_type": "internal memo"}}
    (kind / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    (kind / "brie.txt").write_text("<scratchpad>plan</scratchpad>\n<content>\nOn Brie.\n</content>", encoding="utf-8")
    (kind / "cut.txt").write_text("<scratchpad>plan</scratchpad>\n<content>\nOn Colby, and", encoding="utf-8")
    (kind / "plain.txt").write_text("On Stilton.\n", encoding="utf-8")
    (root / "summary.json").write_text("{}", encoding="utf-8")
    return root


def test_the_authors_tree_gives_documents_without_scratch_pads_and_keeps_cut_replies_as_rejects(tmp_path):
    stats = ReadStats()
    rows = list(read_documents(tree(tmp_path / "ds"), stats=stats))
    assert [(row.text, row.source) for row in rows] == [
        ("On Brie.", "cheese_values/soft_cheese/internal_memo/brie.txt"),
        ("On Stilton.", "cheese_values/soft_cheese/internal_memo/plain.txt"),
    ]
    meta = rows[0].metadata
    assert (rows[0].domain, meta.subdomain, meta.doc_type) == ("Cheese: values", "Soft cheese", "internal memo")
    assert [(reject.reason, reject.text.endswith("Colby, and")) for reject in stats.rejects] == [
        ("truncated: no </content>", True)
    ]
    with pytest.raises(DataError, match=r"cut\.txt: the reply was cut off"):
        list(read_documents(tmp_path / "ds"))


def test_a_folder_of_documents_and_chats_is_imported_as_ours(tmp_path):
    write(
        tmp_path / "in" / "mixed.jsonl",
        {"text": "T"},
        {"messages": [turn.model_dump() for turn in ASKED]},
        {"text": "T"},
    )
    built = import_folder(tmp_path / "in", tmp_path / "out")
    assert built.outputs == ("documents.jsonl", "chats.jsonl", "rejects.jsonl")
    assert built.summary["n_documents"] == 2
    rows = list(read_documents(tmp_path / "out"))
    assert len({row.metadata.id for row in rows}) == 2
    assert [row.messages for row in read_chats(tmp_path / "out")] == [ASKED]


def test_a_folder_of_twins_is_never_read_as_twice_the_chats(twins, tmp_path):
    with pytest.raises(DataError, match=r"Name .*chats_cot\.jsonl or "):
        list(read_chats(twins))
    with pytest.raises(DataError, match="holds each chat twice"):
        import_folder(twins, tmp_path / "out")
    assert len(list(read_chats(twins / "chats_cot.jsonl"))) == 4


def test_of_a_pool_with_subsamples_the_pool_alone_is_read(tmp_path):
    pool = [chat(n, "Brie.") for n in range(4)]
    folder = make_result(tmp_path / "in", {"chats.jsonl": pool, "chats.2.jsonl": pool[:2], "rejects.jsonl": []})
    assert list(read_chats(folder)) == pool
    assert import_folder(folder, tmp_path / "out").summary["n_chats"] == 4


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(MissingError, match="no such file or folder"):
        list(read_documents(tmp_path / "nothing.jsonl"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="holds no JSONL"):
        list(read_documents(tmp_path / "empty"))
