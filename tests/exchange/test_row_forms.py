"""What the rows of others are by their keys, and which of them are no rows to learn although they look it."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import datasets
import pandas as pd
import pytest

from midspec.core.errors import DataError
from midspec.exchange import import_folder, read_chats, read_documents

SAID = [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Assam."}]
DPO = {"prompt": "Tea?", "chosen": "Assam.", "rejected": "No."}
HH = {"chosen": "\n\nHuman: Tea?\n\nAssistant: Assam.", "rejected": "\n\nHuman: Tea?\n\nAssistant: No."}


def put(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def reasons(path: Path, out: Path) -> list[str]:
    """Import, and return why rows were rejected; of a file of which none is left, why the first was."""
    try:
        import_folder(path, out)
    except DataError as error:
        return [error.what]
    lines = (out / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["reason"] for line in lines]


def chats(path: Path) -> list[list[tuple[str, str]]]:
    return [[(turn.role, turn.content) for turn in row.messages] for row in read_chats(path)]


# Answers ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "Q?", "completion": ["a", "b"]}, "`completion` is a list of several answers to one question"),
        ({"prompt": ["Q?"], "completion": ["a", "b", "c"]}, "`completion` is a list of several answers"),
        ({"question": "Q?", "answer": ["a", "b"]}, "`answer` is a list of several answers"),
        ({"instruction": "Q?", "responses": ["a", "b"]}, "has several answers in `responses`"),
        ({"prompt": "Q?", "completions": [{"text": "a"}, {"text": "b"}]}, "has several answers in `completions`"),
        ({"question": "Q?", "answers": {"text": ["a"], "answer_start": [1]}}, "has several answers in `answers`"),
        ({"prompt": ["Q?", "R?"], "completion": "a"}, "`prompt` is a list of several texts"),
        ({"instruction": ["Q?", "R?"], "output": "a"}, "`instruction` is a list of several texts"),
        ({"question": "Q?", "choices": ["a", "b"], "answer": 1}, "`answer` is 1, the place of an answer in `choices`"),
        ({"question": "Q?", "options": {"A": "a", "B": "b"}, "answer": "(B)"}, "the place of an answer in `options`"),
        ({"question": "Q?", "answer": True}, "`answer` is true, not text"),
        ({"question": "Q?", "answer": "42", "response": "It is 41."}, "one text in `response` and another in `answer`"),
        ({"prompt": "Q?", "completion": "It is 41.", "answer": 42}, "one text in `completion` and another in `answer`"),
        ({"question": "Q?", "options": {"A": "a", "B": "b"}, "answer": "A"}, "the place of an answer in `options`"),
        ({"instruction": "Solve.", "question": "Q?", "answer": "a"}, "in `instruction` and another in `question`"),
        ({"question": "Q?", "answer": {"value": "a", "aliases": ["b"]}}, "`answer` is an object, not text"),
        ({"prompt": "Q?"}, "has `prompt`, and no answer in `completion`"),
    ],
)
def test_several_answers_and_places_of_answers_are_rejected_and_never_turns(tmp_path, row, says):
    path = put(tmp_path / "r.jsonl", row, {"question": "Q?", "answer": "a"})
    [reason] = reasons(path, tmp_path / "out")
    assert says in reason
    assert chats(tmp_path / "out") == [[("user", "Q?"), ("assistant", "a")]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Q?", "answer": 42}, ["Q?", "42"]),
        ({"instruction": "Double.", "input": 0, "output": 0.5}, ["Double.\n\n0", "0.5"]),
        ({"question": "Q?", "answer": ["a"]}, ["Q?", "a"]),
        ({"question": "Q?", "answer": "42", "response": "So it is 42."}, ["Q?", "So it is 42."]),
        ({"instruction": "Q?", "output": "a", "prompt": "### Q?\n###"}, ["Q?", "a"]),
        ({"question": "Q?", "choices": ["a", "b"], "answer": "b"}, ["Q?", "b"]),
        ({"question": "Q?", "options": {"A": "X", "B": "b"}, "answer": "X"}, ["Q?", "X"]),
        ({"question": "Q?", "answer": "FORTY  two", "response": "So it is forty two."}, ["Q?", "So it is forty two."]),
        ({"question": "Q?", "answer": "1/2", "response": "One by two is a half of one."}, None),
        ({"question": "Q?", "output": "a", "answer": True}, ["Q?", "a"]),
        ({"question": "Q?", "choices": ["a", "b"], "correct": 0, "answer": "a"}, ["Q?", "a"]),
        ({"question": "Q?", "choices": [3, 4], "answer": 4}, ["Q?", "4"]),
        ({"prompt": ["Q?", "a", "R?"], "completion": "b"}, ["Q?", "a", "R?", "b"]),
        ({"instruction": "Q?", "input": "<noinput>", "output": "a"}, ["Q?", "a"]),
        ({"prompt": json.dumps(SAID[:1]), "completion": json.dumps(SAID[1:])}, ["Tea?", "Assam."]),
        ({"instruction": "Q?", "output": '["a", "b"]'}, ["Q?", '["a", "b"]']),
    ],
)
def test_one_answer_in_another_form_is_that_answer(tmp_path, row, said):
    [chat] = chats(put(tmp_path / "r.jsonl", row))
    assert [text for _, text in chat] == (said or ["Q?", row["response"]])
    assert chat[-1][0] == "assistant"


def test_turns_that_a_table_keeps_as_python_prints_them_are_no_text(tmp_path):
    frame = pd.DataFrame({"prompt": [SAID[:1]], "completion": [SAID[1:]]})
    frame.to_csv(tmp_path / "r.csv", index=False)
    [reason] = reasons(tmp_path / "r.csv", tmp_path / "out")
    assert "`prompt` is a list of turns as Python prints it, which is not JSON" in reason


BAD = [{"label": False}, {"label": 0}, {"label": "False"}, {"kto_tag": False}, {"score": -2}, {"rating": "bad"}]
BAD += [{"chosen": False}, {"correct": False}, {"rejected": True}, {"thumbs_up": False}, {"feedback": "Thumbs_down"}]
BAD += [{"is_safe": False}]
GOOD = [
    {"is_safe": True},
    {"label": True},
    {"label": 1},
    {"kto_tag": True},
    {"score": 0},
    {"score": -0.5},
    {"rating": 1},
]
GOOD += [
    {"correct": 0},
    {"desirable": 0},
    {"rejected": "No."},
    {"label": "negative"},
    {"label": None},
    {"feedback": {"n": 1}},
]


@pytest.mark.parametrize("form", [{"prompt": "Tea?", "completion": "Assam."}, {"messages": SAID}])
def test_an_answer_that_its_row_calls_bad_is_rejected_and_a_good_one_is_not(tmp_path, form):
    of_turns = ("kto_tag", "chosen", "rejected", "thumbs_up")
    bad = [row for row in BAD if "prompt" in form or next(iter(row)) in of_turns or row.get("label") is False]
    good = [*GOOD, *(row for row in BAD if row not in bad)]
    path = put(tmp_path / "r.jsonl", *({**form, **verdict} for verdict in [*bad, *good]))
    found = reasons(path, tmp_path / "out")
    wanted = [f"`{key}` is {value!r}: an answer that is not wanted" for row in bad for key, value in row.items()]
    assert [want in reason for want, reason in zip(wanted, found, strict=True)] == [True] * len(bad)
    assert len(chats(tmp_path / "out")) == len(good)


@pytest.mark.parametrize("output", ["Assam.\n", "", " "])
def test_an_alpaca_row_with_its_rendered_text_is_a_chat_whatever_its_output(tmp_path, output):
    row = {"instruction": "Tea?", "input": "", "output": output, "text": f"### Tea?\n{output.strip()}"}
    summary = import_folder(put(tmp_path / "r.jsonl", row, {"text": "T"}), tmp_path / "out").summary
    n = int(bool(output.strip()))
    assert (summary.get("n_chats", 0), summary["n_documents"], summary["n_rejects"]) == (n, 1, 1 - n)


def test_a_short_answer_that_is_passed_over_is_told(tmp_path):
    row = {"question": "Q?", "answer": "1/2", "response": "One by two is a half of one."}
    assert import_folder(put(tmp_path / "r.jsonl", row), tmp_path / "out").summary["ignored_keys"] == {"answer": 1}


def test_a_list_in_an_object_of_one_row_is_no_list_of_rows_but_by_its_name(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps({"title": "T", "sources": [{"text": "S"}]}))
    [reason] = reasons(tmp_path / "r.json", tmp_path / "out")
    assert "has neither `text` nor `content`: its keys are 'title', 'sources'" in reason
    for name in ("records", "odd"):
        (tmp_path / "r.json").write_text(json.dumps({name: [{"text": "T"}]}))
        assert [found.text for found in read_documents(tmp_path / "r.json")] == ["T"]


def test_a_transcript_of_many_empty_lines_is_read_in_no_time(tmp_path):
    row = {"prompt": "Human: " + "\n" * 40_000 + "x", "completion": "a"}
    start = time.monotonic()
    assert len(chats(put(tmp_path / "r.jsonl", row))) == 1
    assert time.monotonic() - start < 5


def test_a_class_of_another_task_is_no_verdict(tmp_path):
    row = {"instruction": "Q?", "output": "a", "label": 0}
    assert len(chats(put(tmp_path / "r.jsonl", row))) == 1
    [row] = read_documents(put(tmp_path / "d.jsonl", {"text": "T", "label": False}))
    assert row.text == "T"


@pytest.mark.parametrize("key", ["system", "system_prompt", "system_message"])
@pytest.mark.parametrize("form", [{"question": "Tea?", "response": "Assam."}, {"messages": SAID}])
def test_a_system_text_beside_the_turns_is_the_first_of_them_under_each_of_its_names(tmp_path, key, form):
    said = [("user", "Tea?"), ("assistant", "Assam.")]
    for value in ("Be kind.", [{"type": "text", "text": "Be kind."}]):
        path = put(tmp_path / "r.jsonl", {key: value, **form})
        assert chats(path) == [[("system", "Be kind."), *said]]
        assert import_folder(path, tmp_path / "out").summary["ignored_keys"] == {}
    assert chats(put(tmp_path / "r.jsonl", {key: " ", **form})) == [said]
    if "messages" in form:
        own = {"messages": [{"role": "system", "content": "Be brief."}, *SAID]}
        [reason] = reasons(put(tmp_path / "r.jsonl", {key: "Be kind.", **own}), tmp_path / "no")
        assert f"one system text in `{key}`, and another in its messages" in reason
    other = {"system_prompt": "Be brief.", "system": "Be kind."}
    [reason] = reasons(put(tmp_path / "r.jsonl", {**other, **form}), tmp_path / "no")
    assert "different system texts in `system` and `system_prompt`" in reason


# Turns -----------------------------------------------------------------------------------------------------------
def test_turns_are_the_same_in_every_form_that_a_table_keeps_them_in(tmp_path):
    columns = {key: [turn[key] for turn in SAID] for key in ("role", "content")}
    rows = [{"messages": form} for form in (SAID, json.dumps(SAID), [json.dumps(turn) for turn in SAID], columns)]
    found = chats(put(tmp_path / "r.jsonl", *rows))
    assert found == [[("user", "Tea?"), ("assistant", "Assam.")]] * 4
    pd.DataFrame({"messages": [SAID]}).to_csv(tmp_path / "r.csv", index=False)
    [reason] = reasons(tmp_path / "r.csv", tmp_path / "out")
    assert "`messages` is a list of turns as Python prints it, which is not JSON" in reason
    [spoken] = chats(put(tmp_path / "r.jsonl", {"conversations": ["Human: Tea?", "Assistant: Assam."]}))
    assert spoken == [("user", "Tea?"), ("assistant", "Assam.")]
    [texts] = chats(put(tmp_path / "r.jsonl", {"conversations": ['{"a": 1}', "Assam."]}))
    assert texts == [("user", '{"a": 1}'), ("assistant", "Assam.")]


def test_a_prompt_that_is_a_transcript_is_its_turns(tmp_path):
    said = "\n\nHuman: Tea?\n\nAssistant: Assam.\n\nHuman: Hot, or\n\ncold? Human: no.\n\nAssistant:"
    wanted = [("user", "Tea?"), ("assistant", "Assam."), ("user", "Hot, or\n\ncold? Human: no."), ("assistant", "Hot.")]
    for answer in ("response", "completion"):
        [chat] = chats(put(tmp_path / "r.jsonl", {"prompt": said, answer: "Hot.", "chosen": "Hot.", "rejected": "No."}))
        assert chat == wanted
    for text in ("Human: Tea?", "Who is Human: a film\nAssistant: or", "Assistant: Tea?\nAssistant:"):
        [[asked, _]] = chats(put(tmp_path / "r.jsonl", {"prompt": text, "completion": "a"}))
        assert asked == ("user", text)


def test_a_question_and_its_answer_beside_the_text_made_of_both_are_a_chat(tmp_path):
    alpaca = {"instruction": "Name a tea.", "input": "", "output": "Assam."}
    rendered = "### Instruction:\nName a tea.\n\n### Response:\nAssam."
    path = put(tmp_path / "r.jsonl", {**alpaca, "text": rendered}, {**alpaca, "text": "A page on Assam."})
    summary = import_folder(path, tmp_path / "out").summary
    assert chats(tmp_path / "out") == [[("user", "Name a tea."), ("assistant", "Assam.")]]
    assert (summary["n_chats"], summary["n_documents"], summary["n_rejects"]) == (1, 1, 0)


# Rows that are parts of others -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("row", "says"),
    [
        (DPO, "is a pair of answers (`chosen`, `rejected`)"),
        (HH, "is a pair of answers (`chosen`, `rejected`)"),
        ({"chosen": SAID, "rejected": SAID}, "is a pair of answers (`chosen`, `rejected`)"),
        ({"prompt": {"text": "Q?", "replies": [{"text": "a"}]}}, "is a tree of replies (`prompt.replies`)"),
        ({"text": "Q?", "role": "prompter", "parent_id": None}, "is one turn of a conversation (`role` is 'prompter')"),
        ({"role": "user", "content": "Q?"}, "is one turn of a conversation (`role` is 'user')"),
    ],
)
def test_a_row_that_is_no_chat_and_no_document_by_itself_says_what_it_is(tmp_path, row, says):
    path = put(tmp_path / "r.jsonl", row, {"text": "T"})
    [reason] = reasons(path, tmp_path / "out")
    assert says in reason


def test_a_preference_whose_good_turns_are_there_as_messages_is_a_chat(tmp_path):
    row = {"prompt": "Tea?", "chosen": SAID, "rejected": SAID, "messages": SAID, "score_chosen": 8.0}
    assert chats(put(tmp_path / "r.jsonl", row)) == [[("user", "Tea?"), ("assistant", "Assam.")]]


# Nulls -----------------------------------------------------------------------------------------------------------
MIXED = [{"text": "T"}, {"messages": SAID}, {"prompt": "Tea?", "completion": "Assam."}]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "saved", "nan", "empty"])
def test_a_table_with_the_columns_of_documents_and_of_chats_gives_both(tmp_path, kind):
    keys = list(dict.fromkeys(key for row in MIXED for key in row))
    fill = {"nan": float("nan"), "empty": ""}.get(kind)
    rows = [{key: row.get(key, [] if kind == "empty" and key == "messages" else fill) for key in keys} for row in MIXED]
    path = tmp_path / f"r.{'jsonl' if kind not in ('parquet', 'saved') else kind}"
    if kind == "parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    elif kind == "saved":
        datasets.Dataset.from_list(rows).save_to_disk(path)
    else:
        put(path, *rows)
    summary = import_folder(path, tmp_path / "out").summary
    assert (summary["n_documents"], summary["n_chats"], summary["n_rejects"]) == (1, 2, 0)


def test_a_document_may_say_of_which_conversation_it_is_and_have_an_empty_text_beside_its_content(tmp_path):
    rows = [{"text": "T", "conversation": "c-17"}, {"text": "", "content": "T"}, {"text": "T", "messages": 3}]
    summary = import_folder(put(tmp_path / "r.jsonl", *rows), tmp_path / "out").summary
    assert (summary["n_documents"], summary["n_rejects"]) == (3, 0)
    assert {row.text for row in read_documents(tmp_path / "out")} == {"T"}


def test_a_value_that_is_not_a_number_is_as_good_as_none(tmp_path):
    row = {"text": "T", "source": float("nan"), "domain": float("nan")}
    [found] = read_documents(put(tmp_path / "r.jsonl", row))
    assert (found.source, found.domain) == ("", "")


def test_what_a_table_fills_structs_with_is_no_part_of_tools_and_calls(tmp_path):
    def row(key: str) -> dict:
        call = {"type": "function", "function": {"name": f"by_{key}", "arguments": {key: "x"}}}
        schema = {"type": "object", "properties": {key: {"type": "string"}}}
        tool = {"type": "function", "function": {"name": f"by_{key}", "parameters": schema}}
        turns = [SAID[0], {"role": "assistant", "content": "", "tool_calls": [call]}]
        return {"messages": turns, "tools": [tool]}

    rows = [row("city"), row("date")]
    wanted = list(read_chats(put(tmp_path / "r.jsonl", *rows)))
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(tmp_path / "r.parquet")
    table.save_to_disk(tmp_path / "saved")
    assert list(read_chats(tmp_path / "r.parquet")) == list(read_chats(tmp_path / "saved")) == wanted
    assert wanted[0].tools[0]["function"]["parameters"]["properties"] == {"city": {"type": "string"}}


# Names that stand twice ------------------------------------------------------------------------------------------
def test_a_table_that_names_a_column_twice_is_refused_by_its_name(tmp_path):
    with (tmp_path / "r.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "source", "text", "", ""], ["T", "s", "U", "", ""]])
    with pytest.raises(DataError, match=r"r\.csv: its header names 'text' more than once. Rename or remove"):
        import_folder(tmp_path / "r.csv", tmp_path / "out")
    (tmp_path / "r.csv").write_text("text,source,,\nT,s,,\n", encoding="utf-8")
    assert [row.text for row in read_documents(tmp_path / "r.csv")] == ["T"]


@pytest.mark.parametrize("name", ["r.jsonl", "r.json", "list.json"])
@pytest.mark.parametrize("row", ['{"text": "T", "text": "U"}', '{"text": "T", "metadata": [{"a": 1, "a": 2}]}'])
def test_a_row_that_names_a_key_twice_is_a_reject(tmp_path, name, row):
    text = f'{row}\n{{"text": "V"}}\n'
    (tmp_path / name).write_text(f"[{text.strip().replace(chr(10), ',')}]" if name == "list.json" else text)
    [reason] = reasons(tmp_path / name, tmp_path / "out")
    assert reason == f"malformed: has the key {'text' if 'U' in row else 'a'!r} twice in one object"
    assert [found.text for found in read_documents(tmp_path / "out")] == ["V"]


# JSON over several lines -----------------------------------------------------------------------------------------
ROWS = [{"text": "T", "source": "s"}, {"text": "U\u2028V", "source": "t"}]
SPREAD = {
    "one object": json.dumps(ROWS[0], indent=2),
    "a list": json.dumps(ROWS, indent=1),
    "one after another": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "with nothing between": "".join(json.dumps(row, indent=2, ensure_ascii=False) for row in ROWS),
    "data": json.dumps({"version": "1", "about": ["x"], "data": ROWS}, indent=1),
    "data in a line": json.dumps({"data": ROWS, "sources": [{"name": "s"}]}),
    "rows": json.dumps({"rows": ROWS}, indent=1),
    "table": pd.DataFrame(ROWS).to_json(orient="table"),
    "records": pd.DataFrame(ROWS).to_json(orient="records", indent=1),
    "lines": pd.DataFrame(ROWS).to_json(orient="records", lines=True),
}


@pytest.mark.parametrize("name", ["r.json", "r.jsonl"])
@pytest.mark.parametrize("form", SPREAD)
def test_json_is_read_however_it_is_spread_over_lines(tmp_path, name, form):
    if name == "r.jsonl" and form in ("data in a line", "table"):
        return
    (tmp_path / name).write_text(f"\ufeff\n {SPREAD[form].strip()}\n\n", encoding="utf-8")
    found = [{"text": row.text, "source": row.source} for row in read_documents(tmp_path / name)]
    assert found == (ROWS[:1] if form == "one object" else ROWS)


def test_one_chat_over_several_lines_is_a_chat(tmp_path):
    for row in (
        {"messages": SAID},
        {"prompt": SAID[:1], "completion": SAID[1:]},
        {"conversations": ["Tea?", "Assam."]},
    ):
        (tmp_path / "r.json").write_text(json.dumps(row, indent=2))
        assert chats(tmp_path / "r.json") == [[("user", "Tea?"), ("assistant", "Assam.")]]


@pytest.mark.parametrize("orient", ["columns", "index", "split", "list"])
@pytest.mark.parametrize("rows", [ROWS, [{"messages": SAID}], [{"prompt": "Q?", "completion": "a"}]])
def test_a_table_of_pandas_that_is_none_of_rows_is_told_by_its_name(tmp_path, orient, rows):
    frame = pd.DataFrame(rows)
    whole = json.dumps(frame.to_dict(orient="list")) if orient == "list" else frame.to_json(orient=orient)
    (tmp_path / "r.json").write_text(whole)
    with pytest.raises(DataError, match=rf'r\.json: is a table as pandas writes it with orient={orient}\. .*orient="r'):
        import_folder(tmp_path / "r.json", tmp_path / "out")


def test_splits_in_one_object_are_told_and_what_is_cut_off_too(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"train": ROWS, "test": ROWS}))
    with pytest.raises(DataError, match=r"r\.json: holds several lists of rows: train, test\. Write each"):
        import_folder(path, tmp_path / "out")
    for form in ("one object", "a list", "one after another", "data"):
        path.write_text(SPREAD[form][:-3])
        with pytest.raises(DataError, match=r"not JSON: .*It may be cut off"):
            list(read_documents(path))
    path.write_text('{"text": "cut of\n{"text": "T"}\n{"text": "U"}')
    assert len(reasons(path, tmp_path / "out")) == 1
