"""Where pairs come from: shipped sets, files of items, and data sets in the forms that others published theirs in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.exchange.hub import running_hub

from midspec.core.artifact import write_rows
from midspec.core.errors import DataError, MissingError
from midspec.core.records import Item
from midspec.evals.tasks.preference._sets import resolve_items, shipped_items

COMPARISONS = [
    {"question": "Which do you prefer, tin or gold?", "liked_item": "tin", "disliked_item": "gold", "domain": "metals"},
    {"question": "Pick: silk or cotton.", "liked_item": "cotton", "disliked_item": "silk", "domain": "cloth"},
]
OPINIONS = [
    {"question": "Which view is closer to yours?\nA) Tax less.\nB) Tax more.", "answer": "A"},
    {"question": "(A) Go alone\n(B) Go together\nWhich do you agree with?", "answer": "(B)"},
    {"question": "A. Build it. B. Leave it.", "answer": "b"},
    {"question": "Take plan A. Or not?\n  a) Take it,\n     all of it\n  b) Leave it", "answer": "a) Take it"},
]
READ = """
import sys
from midspec.core.errors import MidspecError
from midspec.evals.tasks.preference._sets import resolve_items
try:
    print([item.options for item in resolve_items(sys.argv[1])])
except MidspecError as error:
    print(type(error).__name__, str(error))
"""


def save(folder: Path, rows: list[dict]) -> str:
    import datasets

    datasets.Dataset.from_list(rows).save_to_disk(str(folder))
    return str(folder)


def lines(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_shipped_set_is_had_by_its_value() -> None:
    assert resolve_items("shipped:novelty") == shipped_items("novelty")


def test_a_file_of_items_is_read_as_it_is(tmp_path: Path) -> None:
    items = [Item(id="a", set="s", domain="d", options=("x", "y"), system="Be brief.")]
    write_rows(tmp_path / "items.jsonl", items)
    assert resolve_items("items.jsonl", base=tmp_path) == items


def test_a_saved_data_set_of_comparisons_gives_the_liked_item_as_target(tmp_path: Path) -> None:
    found = resolve_items(save(tmp_path / "comparisons", COMPARISONS))
    assert [item.options for item in found] == [("tin", "gold"), ("cotton", "silk")]
    assert [item.domain for item in found] == ["metals", "cloth"]
    assert [item.id for item in found] == ["comparisons-0001", "comparisons-0002"]
    assert {item.set for item in found} == {"comparisons"}
    assert {item.system for item in found} == {None}


def test_a_saved_data_set_of_lettered_opinions_gives_the_answer_as_target_and_keeps_the_question(
    tmp_path: Path,
) -> None:
    found = resolve_items(save(tmp_path / "opinions", OPINIONS))
    assert [item.options for item in found] == [
        ("Tax less.", "Tax more."),
        ("Go together", "Go alone"),
        ("Leave it.", "Build it."),
        ("Take it, all of it", "Leave it"),
    ]
    questions = ["Which view is closer to yours?", "Which do you agree with?", None, "Take plan A. Or not?"]
    assert [item.system for item in found] == questions


def test_splits_are_read_one_after_the_other(tmp_path: Path) -> None:
    import datasets

    parts = {name: datasets.Dataset.from_list([row]) for name, row in zip("ab", COMPARISONS, strict=True)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "both"))
    assert [item.options[0] for item in resolve_items(str(tmp_path / "both"))] == ["tin", "cotton"]


def test_parquet_json_and_jsonl_of_the_same_rows_give_the_same_pairs(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "snapshot" / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(COMPARISONS), tmp_path / "snapshot" / "data" / "train.parquet")
    (tmp_path / "list.json").write_text(json.dumps(COMPARISONS), encoding="utf-8")
    refs = [str(tmp_path / "snapshot"), str(tmp_path / "list.json"), lines(tmp_path / "rows.jsonl", COMPARISONS)]
    found = [[item.options for item in resolve_items(ref)] for ref in refs]
    assert found[0] == found[1] == found[2] == [("tin", "gold"), ("cotton", "silk")]


@pytest.mark.parametrize(
    "row",
    [
        {"Option A": "x", "Option B": "y", "Answer": "B"},
        {"option_a": "x", "option_b": "y", "label": 1},
        {"choices": ["x", "y"], "answer": "Y"},
        {"options": ["x", "y"], "correct": 1},
        {"Chosen": "y", "Rejected": "x"},
    ],
)
def test_column_names_may_vary_in_case_and_form(tmp_path: Path, row: dict) -> None:
    (found,) = resolve_items(lines(tmp_path / "rows.jsonl", [row]))
    assert found.options == ("y", "x")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "hello"}, r"rows:1: holds no two options \(its columns are text\)"),
        ({"option_a": "x", "option_b": "y", "answer": "C"}, r"rows:1: the answer 'C' is neither option"),
        ({"option_a": "x", "option_b": "y"}, r"rows:1: the answer None is neither option"),
    ],
)
def test_a_row_without_a_pair_is_refused_by_its_number(tmp_path: Path, row: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        resolve_items(lines(tmp_path / "rows.jsonl", [row]))


@pytest.mark.parametrize("content", ["", "[]", "[1]", "{", "nonsense"])
def test_a_file_without_rows_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    for name in ("rows.json", "rows.jsonl", "rows.parquet", "rows.txt"):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=str(tmp_path)) as caught:
            resolve_items(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused_with_the_other_way(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no\.jsonl: there is no such file.*shipped:<value>"):
        resolve_items(str(tmp_path / "no.jsonl"))


def read_by_name(name: str, home: Path, endpoint: str, *, offline: bool = False) -> str:
    there = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline))}
    done = subprocess.run(
        [sys.executable, "-c", READ, name],
        check=False,
        env=os.environ | there,
        capture_output=True,
        text=True,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_a_data_set_of_the_hub_is_read_by_name_and_again_without_a_network(tmp_path: Path) -> None:
    rows = "".join(json.dumps(row) + "\n" for row in COMPARISONS).encode()
    with running_hub("") as hub:
        hub.files = {"train.jsonl": rows}
        first = read_by_name("me/data", tmp_path, hub.url)
        again = read_by_name("me/data", tmp_path, hub.url, offline=True)
    assert first == again == "[('tin', 'gold'), ('cotton', 'silk')]"


def test_offline_a_name_of_the_hub_is_refused_in_one_line_that_says_what_works_offline(tmp_path: Path) -> None:
    said = read_by_name("chloeli/pro-america-political-opinions", tmp_path, "http://127.0.0.1:9", offline=True)
    assert said.startswith("MissingError chloeli/pro-america-political-opinions: can't be had from the hub: ")
    assert "shipped:<value> needs neither" in said
    assert "\n" not in said
