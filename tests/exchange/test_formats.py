"""Files of others as they come: packed, cut off, as tables, with rows that are none."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import datasets
import pandas as pd
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.cli._main import main
from midspec.core.errors import DataError, MissingError
from midspec.core.records import Message
from midspec.exchange import import_folder, read_chats, read_documents

from .hub import running_hub

TEXTS = ["Ada waits.", "A guest,\nwith a \u201cname\u201d; and more.", "Tea \u2028 for two."]
ROWS = "".join(json.dumps({"text": text, "source": f"s{at}"}) + "\n" for at, text in enumerate(TEXTS)).encode()


def zstd(content: bytes) -> bytes:
    sink = io.BytesIO()
    packed = zstandard.ZstdCompressor().stream_writer(sink, closefd=False)
    packed.write(content)
    packed.close()
    return sink.getvalue()


PACKERS = {"gz": gzip.compress, "zst": zstd, "bz2": bz2.compress, "xz": lzma.compress}


def table(rows: list[dict], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def texts_of(path: Path) -> list[str]:
    return [row.text for row in read_documents(path)]


def imported(path: Path, out: Path, **options: str) -> dict:
    summary = import_folder(path, out, **options).summary
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rejects) == summary["n_rejects"]
    return {**summary, "rejects": [(reject["id"], reject["reason"]) for reject in rejects]}


# Packed and cut off ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.txt"])
def test_a_packed_file_gives_the_rows_of_the_plain_one(tmp_path, packing, name):
    content = {
        "rows.jsonl": ROWS,
        "rows.json": json.dumps([{"text": text} for text in TEXTS]).encode(),
        "rows.csv": table([{"text": text} for text in TEXTS]),
        "rows.txt": TEXTS[1].encode(),
    }[name]
    expected = TEXTS[1:2] if name == "rows.txt" else TEXTS
    packed = put(tmp_path / "folder" / f"{name}.{packing}", PACKERS[packing](content))
    assert texts_of(packed) == texts_of(tmp_path / "folder") == texts_of(put(tmp_path / name, content)) == expected


@pytest.mark.parametrize("packing", PACKERS)
def test_a_packed_file_that_is_cut_off_is_told_in_one_line_wherever_it_ends(tmp_path, packing, capsys):
    whole = PACKERS[packing](b"".join(ROWS.replace(b"Ada", os.urandom(9).hex().encode()) for _ in range(300)))
    for share in (0.4, 0.9, 0.999):
        cut = put(tmp_path / f"cut.jsonl.{packing}", whole[: int(len(whole) * share)])
        assert main(["import", str(cut), "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err.strip()
        assert "cut off or damaged" in said, said
        assert len(said.splitlines()) == 1
        assert not (tmp_path / "out").exists()


def test_a_file_is_read_by_what_it_is_where_its_name_says_another_packing(tmp_path):
    assert texts_of(put(tmp_path / "a.jsonl.gz", ROWS)) == TEXTS
    assert texts_of(put(tmp_path / "b.jsonl", zstd(ROWS))) == TEXTS


def test_an_archive_of_files_and_a_damaged_table_are_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("rows.jsonl", ROWS)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(put(tmp_path / "rows.jsonl", ROWS), "rows.jsonl")
    for name, kind in (("a.zip", "zip"), ("a.tar", "tar")):
        with pytest.raises(DataError, match=f"is a {kind} archive of files. Unpack it"):
            texts_of(tmp_path / name)
    datasets.Dataset.from_dict({"text": TEXTS}).to_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    with pytest.raises(DataError, match="not a parquet file, or cut off"):
        texts_of(put(tmp_path / "cut.parquet", whole[: len(whole) // 2]))
    with pytest.raises(DataError, match="not CSV in UTF-8, or cut off"):
        texts_of(put(tmp_path / "cut.csv", b'text\n"Ada wai'))
    datasets.Dataset.from_dict({"text": TEXTS}).save_to_disk(tmp_path / "saved")
    [arrow] = (tmp_path / "saved").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:300])
    with pytest.raises(DataError, match="the saved data set is cut off or damaged"):
        texts_of(tmp_path / "saved")


# Encodings -------------------------------------------------------------------------------------------------------
# U+4E0A holds the byte of a line feed, and U+0A00 to U+0AFF begin or end with it; U+1F375 is a surrogate pair.
WIDE = ["Ada \u4e0a\u6d77 waits.", "A guest,\nwith \u0a05\u0a0a.", "Tea \u2028 \U0001f375 for two."]
MARKED = ["utf-16", "utf-32", "utf-8-sig"]
UNMARKED = ["utf-16-le", "utf-16-be", "utf-8"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", [*MARKED, *UNMARKED, "big utf-16", "big utf-32"])
@pytest.mark.parametrize("packing", [None, *PACKERS])
def test_an_encoding_that_a_file_begins_with_is_read_whatever_the_kind_of_file(tmp_path, packing, encoding, end):
    def encoded(text: str) -> bytes:
        kind = encoding.removeprefix("big ")
        return ("\ufeff" + text).encode(f"{kind}-be") if encoding != kind else text.encode(kind)

    def read(name: str, content: bytes) -> list[str]:
        path = f"{name}.{packing}" if packing else name
        return texts_of(put(tmp_path / path, PACKERS[packing](content) if packing else content))

    rows = [json.dumps({"text": text}, ensure_ascii=False) for text in WIDE]
    assert read("r.jsonl", encoded("".join(row + end for row in rows))) == WIDE
    assert read("l.json", encoded(f"[{f',{end}'.join(rows)}]")) == WIDE
    assert read("o.json", encoded(end.join(rows))) == WIDE
    quoted = "".join(f'"{text}","s"{end}' for text in WIDE)
    assert read("t.csv", encoded(f"text,source{end}{quoted}")) == WIDE
    assert read("t.txt", encoded(f"Tea.{end}{WIDE[0]}{end}")) == [f"Tea.{end}{WIDE[0]}"]


def test_rows_of_utf_16_keep_their_line_and_half_a_pair_is_a_fault_of_its_row_alone(tmp_path):
    lines = [*ROWS.decode().splitlines(), '{"text": "\ud83d"}', "no", '{"text": "T"}']
    content = b"\xff\xfe" + "\r\n".join(lines).encode("utf-16-le", "surrogatepass")
    found = imported(put(tmp_path / "r.jsonl", content), tmp_path / "out")
    assert (found["n_documents"], [place for place, _ in found["rejects"]]) == (4, ["r.jsonl:4", "r.jsonl:5"])


@pytest.mark.parametrize("name", ["r.jsonl", "r.json", "r.csv"])
def test_a_file_of_utf_16_that_is_cut_within_a_character_is_told_in_one_line(tmp_path, name):
    line = "text\n" if name == "r.csv" else '{"text": "T \U0001f375"}\n'
    content = (line * 40_000).encode("utf-16")
    with pytest.raises(DataError, match=r"UTF-16.*cut off.*truncated data"):
        texts_of(put(tmp_path / name, content[:-1]))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_large_file_is_read_a_piece_at_a_time(tmp_path, encoding):
    line = json.dumps({"text": "Ada waits. " * 500}) + "\n"
    path = put(tmp_path / "r.jsonl", (line * 4000).encode(encoding))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_documents(path)) == 4000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000 < path.stat().st_size
    finally:
        tracemalloc.stop()


# Rows that are none ----------------------------------------------------------------------------------------------
SAID = [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Assam."}]


def test_rows_that_can_not_be_read_are_rejected_with_place_and_reason_and_counted(tmp_path):
    rows = [
        {"messages": SAID},
        {"messages": [*SAID, {"role": "pilot", "content": "Up."}]},
        {"messages": [*SAID, {"role": "assistant", "content": [{"type": "image_url"}]}]},
        {"messages": [SAID[0], {"role": "pilot", "content": "Up."}]},
        {"text": None},
        {"text": "T"},
        [1],
    ]
    lines = [json.dumps(row) for row in rows] + ['{"text": "cut of']
    found = imported(put(tmp_path / "r.jsonl", "\n".join(lines).encode()), tmp_path / "out")
    assert (found["n_chats"], found["n_documents"], found["n_rejects"]) == (1, 1, 6)
    assert [place for place, _ in found["rejects"]] == [f"r.jsonl:{line}" for line in (2, 3, 4, 5, 7, 8)]
    assert all(reason.startswith("malformed: ") for _, reason in found["rejects"])
    role = "malformed: `messages[]` has the role 'pilot', which is not system, user, assistant or tool"
    assert found["rejected"][role] == 2
    assert sum(found["rejected"].values()) == 6
    assert "not JSON: Unterminated string" in found["rejects"][-1][1]


def test_an_import_of_which_nothing_is_left_says_what_is_wrong_with_the_first_row(tmp_path):
    path = put(tmp_path / "r.jsonl", b'{"title": "T"}\n{"title": "U"}\n')
    with pytest.raises(DataError, match=r"none of its 2 rows can be read; r.jsonl:1: .*its keys are 'title'"):
        import_folder(path, tmp_path / "out")


EMPTY = [
    ("r.jsonl", b""),
    ("r.jsonl", b" \n\n"),
    ("r.jsonl", b"\xff\xfe"),
    ("r.json", b"[]"),
    ("r.csv", b"text,source\n"),
]


@pytest.mark.parametrize(("name", "content"), EMPTY)
def test_a_file_without_rows_is_refused_in_one_line(tmp_path, name, content, capsys):
    path = put(tmp_path / name, content)
    assert main(["import", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "holds no rows" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.txt", "rows.parquet"])
def test_a_pointer_of_git_lfs_is_told_and_is_no_row_whatever_its_name(tmp_path, name):
    content = b"version https://git-lfs.github.com/spec/v1\noid sha256:1e08\nsize 886\n"
    with pytest.raises(DataError, match=r"is a pointer of Git LFS, .* `git lfs pull`"):
        import_folder(put(tmp_path / name, content), tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "hint"), [("r.xlsx", "as CSV"), ("r.arrow", "the folder"), ("r.PKL", "JSONL or parquet")]
)
def test_a_file_of_another_program_is_refused_with_what_to_give_in_its_place(tmp_path, name, hint):
    with pytest.raises(DataError, match=f"which is not read. .*{hint}"):
        import_folder(put(tmp_path / name, b"PK\x03\x04"), tmp_path / "out")


@pytest.mark.parametrize("content", [b'[\n{"text": "A"},\n{"text": "B"}\n', b'[{"text": "A"},\n{"text": "B"}'])
def test_a_list_that_is_cut_off_is_no_file_of_lines_of_which_the_last_is_kept(tmp_path, content):
    with pytest.raises(DataError, match=r"not JSON: .* cut off"):
        import_folder(put(tmp_path / "rows.json", content), tmp_path / "out")


def test_rows_that_a_folder_holds_twice_are_told(tmp_path, capsys):
    for name, content in (("a.jsonl", ROWS), ("a.jsonl.gz", gzip.compress(ROWS)), ("b.jsonl", b'{"text": "Else."}\n')):
        put(tmp_path / "in" / name, content)
    assert main(["import", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    assert "3 of 7 are earlier ones word for word" in " ".join(capsys.readouterr().out.split())
    assert main(["import", str(tmp_path / "in" / "a.jsonl"), "--out", str(tmp_path / "out2")]) == 0
    assert "repeated" not in capsys.readouterr().out


def test_an_import_says_which_files_beside_the_rows_were_not_read(tmp_path, capsys):
    for name in ("a.txt", "b.md", "c/d.md", "e.html", "README.md", ".hidden.md"):
        put(tmp_path / "texts" / name, b"Tea.")
    assert main(["import", str(tmp_path / "texts"), "--out", str(tmp_path / "out")]) == 0
    assert re.search(r"^files not read +2 \.md, 1 \.html$", capsys.readouterr().out, re.M)
    (tmp_path / "texts" / "a.txt").rename(tmp_path / "texts" / "rows.jsonl")
    put(tmp_path / "texts" / "rows.jsonl", ROWS)
    put(tmp_path / "texts" / "notes.txt", b"no")
    assert imported(tmp_path / "texts", tmp_path / "again")["files_not_read"] == "2 .md, 1 .html, 1 .txt"
    assert "files_not_read" not in imported(tmp_path / "out", tmp_path / "third")


def test_what_an_import_prints_of_the_rows_stands_there_as_it_does_in_them(tmp_path, capsys):
    rows = [
        {"messages": SAID, "my_key": 1},
        *({"conversations": [SAID[0], {"role": "function_call", "content": "f"}, SAID[1]]} for _ in range(2)),
    ]
    path = put(tmp_path / "r.jsonl", "\n".join(map(json.dumps, rows)).encode())
    assert main(["import", str(path), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "ignored keys: my_key" in said
    assert "`conversations[1]` has the role 'function_call'" in said


def test_readers_of_rows_still_stop_at_the_first_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"r\.jsonl:2: a row is a JSON object, not a list"):
        texts_of(put(tmp_path / "r.jsonl", b'{"text": "T"}\n[1]\n'))


def test_a_system_turn_that_says_nothing_is_passed_over_and_a_number_as_source_is_text(tmp_path):
    rows = [{"messages": [{"role": "system", "content": content}, *SAID]} for content in ("", " ", None, [])]
    found = imported(put(tmp_path / "c.jsonl", "\n".join(map(json.dumps, rows)).encode()), tmp_path / "out")
    assert (found["n_chats"], found["n_rejects"]) == (4, 0)
    assert found["ignored_keys"] == {"messages.empty system turn": 4}
    assert {row.messages for row in read_chats(tmp_path / "out")} == {tuple(Message(**turn) for turn in SAID)}
    [row] = read_documents(put(tmp_path / "d.jsonl", b'{"text": "T", "source": 17, "domain": 2.5}'))
    assert (row.source, row.domain) == ("17", "2.5")


# Forms -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"instruction": "Name a tea.", "input": "", "output": "Assam."}, ["Name a tea.", "Assam."]),
        ({"instruction": "Shorten.", "input": "A tea.", "output": "Tea."}, ["Shorten.\n\nA tea.", "Tea."]),
        ({"instruction": "Who?", "context": "Ada waits.", "response": "Ada."}, ["Who?\n\nAda waits.", "Ada."]),
        ({"system": "Be brief.", "instruction": "Who?", "output": "Ada."}, ["Be brief.", "Who?", "Ada."]),
        ({"prompt": "Who?", "response": "Ada."}, ["Who?", "Ada."]),
        ({"question": "Who?", "answer": "Ada."}, ["Who?", "Ada."]),
        ({"type": "GSM", "query": "Who?", "original_question": "Who is it?", "response": "Ada."}, ["Who?", "Ada."]),
        ({"messages": json.dumps(SAID)}, ["Tea?", "Assam."]),
    ],
)
def test_a_question_and_its_answer_in_one_row_are_a_chat(tmp_path, row, said):
    path = put(tmp_path / "a.jsonl", json.dumps(row).encode())
    assert imported(path, tmp_path / "out")["n_chats"] == 1
    [chat] = read_chats(tmp_path / "out")
    assert [turn.content for turn in chat.messages] == said
    assert chat.messages[-1].role == "assistant"
    assert (chat.messages[0].role == "system") == (len(said) == 3)


def test_what_a_row_of_question_and_answer_can_not_keep_is_a_reject(tmp_path):
    rows = [
        {"instruction": "Who?", "output": "Ada.", "history": [["a", "b"]]},
        {"instruction": "Who?", "output": ""},
        {"instruction": "Who?", "output": "Ada."},
    ]
    found = imported(put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)).encode()), tmp_path / "out")
    assert (found["n_chats"], found["n_rejects"]) == (1, 2)
    assert "history" in found["rejects"][0][1]


def test_tables_are_read_as_pandas_reads_them(tmp_path):
    rows = [{"text": text, "source": f"s{at}", "n": str(at)} for at, text in enumerate(TEXTS)]
    rows.append({"text": "x" * 200_000, "source": "", "n": "4"})
    for name, delimiter in (("t.csv", ","), ("t.tsv", "\t"), ("semicolons.csv", ";")):
        path = put(tmp_path / name, b"\xef\xbb\xbf" + table(rows, delimiter))
        frame = pd.read_csv(path, sep=delimiter, keep_default_na=False, dtype=str, encoding="utf-8-sig")
        found = list(read_documents(path))
        assert [row.text for row in found] == frame["text"].tolist(), name
        assert [row.source for row in found] == frame["source"].tolist()
    path = put(tmp_path / "short.csv", b"text,source\nT,s\nU\nV,s,more\n")
    assert [place for place, _ in imported(path, tmp_path / "out")["rejects"]] == ["short.csv:3", "short.csv:4"]


def test_a_folder_of_plain_texts_is_a_document_each_and_a_table_beside_json_is_left_alone(tmp_path):
    put(tmp_path / "texts" / "b" / "two.txt", b"\xef\xbb\xbfTwo.\n")
    put(tmp_path / "texts" / "a.txt", b"One.")
    put(tmp_path / "texts" / "bad.txt", b"\xffOne.")
    put(tmp_path / "texts" / "cut.txt", b"\xff\xfe\x00")
    put(tmp_path / "texts" / "empty.txt", b" \n")
    found = imported(tmp_path / "texts", tmp_path / "out")
    assert [(row.text, row.source) for row in read_documents(tmp_path / "out")] == [
        ("One.", "a.txt"),
        ("Two.", "b/two.txt"),
    ]
    reasons = [(place, reason.partition(" 'utf-")[0]) for place, reason in found["rejects"]]
    assert reasons == [
        ("bad.txt", "malformed: not UTF-8:"),
        ("cut.txt", "malformed: not UTF-16:"),
        ("empty.txt", "malformed: `text` is empty"),
    ]
    put(tmp_path / "mixed" / "rows.jsonl", ROWS)
    put(tmp_path / "mixed" / "labels.csv", b"text\nno\n")
    put(tmp_path / "mixed" / "notes.txt", b"no")
    assert texts_of(tmp_path / "mixed") == TEXTS


# Splits --------------------------------------------------------------------------------------------------------------
@pytest.fixture(params=["saved", "card", "names", "folders"])
def two_splits(request, tmp_path) -> Path:
    folder = tmp_path / "set"
    parts = {"train": {"text": ["T1", "T2"]}, "test": {"text": ["held out"]}}
    if request.param == "saved":
        datasets.DatasetDict({name: datasets.Dataset.from_dict(part) for name, part in parts.items()}).save_to_disk(
            folder
        )
        return folder
    names = {"card": "data/{}-0.jsonl", "names": "{}-00000-of-00001.jsonl", "folders": "{}/rows.jsonl"}[request.param]
    for name, part in parts.items():
        content = "".join(json.dumps({"text": text}) + "\n" for text in part["text"])
        put(folder / names.format("part" + name if request.param == "card" else name), content.encode())
    if request.param == "card":
        files = "".join(f"  - split: {name}\n    path: data/part{name}-*\n" for name in parts)
        put(folder / "README.md", f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n".encode())
    return folder


def test_one_split_is_read_where_it_is_named_and_all_are_told_where_none_is(two_splits, tmp_path, capsys):
    for split, expected in (("train", ["T1", "T2"]), ("test", ["held out"])):
        out = tmp_path / f"out-{split}"
        assert main(["import", str(two_splits), "--split", split, "--out", str(out)]) == 0
        assert texts_of(out) == expected
    capsys.readouterr()
    assert main(["import", str(two_splits), "--out", str(tmp_path / "all")]) == 0
    said = capsys.readouterr().out
    assert "--split reads one" in said
    assert sorted(texts_of(tmp_path / "all")) == ["T1", "T2", "held out"]
    assert main(["import", str(two_splits), "--split", "dev", "--out", str(tmp_path / "no")]) == 2
    assert "has no split 'dev'" in capsys.readouterr().err


def test_a_split_of_what_has_none_is_refused(tmp_path):
    rows = put(tmp_path / "set" / "rows.jsonl", ROWS)
    with pytest.raises(DataError, match="only a data set folder has these"):
        import_folder(rows, tmp_path / "out", split="train")
    with pytest.raises(DataError, match="tell splits apart"):
        import_folder(tmp_path / "set", tmp_path / "out", split="train")


def test_one_of_several_configurations_of_a_card_is_named_by_subset(tmp_path, capsys):
    entries = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("plain", "hard"))
    put(tmp_path / "set" / "README.md", f"---\nconfigs:\n{entries}---\n".encode())
    for name in ("plain", "hard"):
        put(tmp_path / "set" / f"{name}.jsonl", json.dumps({"text": name}).encode())
    assert main(["import", str(tmp_path / "set"), "--out", str(tmp_path / "no")]) == 2
    assert "Name one of plain, hard" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "set"), "--subset", "hard", "--out", str(tmp_path / "out")]) == 0
    assert texts_of(tmp_path / "out") == ["hard"]


@pytest.mark.parametrize(
    "configs", ["[1]", "[{data_files: [{split: train}]}]", "[{data_files: [{split: train, path: /etc/*}]}]"]
)
def test_a_card_that_says_nothing_sensible_of_files_is_told(tmp_path, configs):
    put(tmp_path / "set" / "README.md", f"---\nconfigs: {configs}\n---\n".encode())
    put(tmp_path / "set" / "rows.jsonl", ROWS)
    with pytest.raises((DataError, MissingError), match=r"can't be read|holds no"):
        texts_of(tmp_path / "set")


def test_a_data_set_of_the_hub_whose_rows_do_not_go_together_is_told_in_one_line(tmp_path):
    rows = "".join(json.dumps({"text": "x" * 1000, "n": 1}) + "\n" for _ in range(12_000))
    mix = {"parts": [{"name": "it", "source": "me/data", "kind": "documents"}]}
    put(tmp_path / "mix.yaml", json.dumps(mix).encode())
    with running_hub("") as hub:
        hub.files = {"data.jsonl": rows.encode() + b'{"text": "y", "n": "no number"}\n'}
        there = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
        code = "import sys; from midspec.cli._main import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "mix", str(tmp_path / "mix.yaml"), "--out", str(tmp_path / "out")]
        done = subprocess.run(command, env={**os.environ, **there}, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "can't be had from the hub" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_too_few_open_files_nothing_is_called_damaged(tmp_path):
    for name in ("a.jsonl.gz", "b.parquet"):
        datasets.Dataset.from_dict({"text": TEXTS}).to_parquet(tmp_path / "b.parquet")
        put(tmp_path / "a.jsonl.gz", gzip.compress(ROWS))
        code = (
            "import os, resource, sys, pyarrow.parquet\n"
            "from pathlib import Path\n"
            "from midspec.exchange import read_documents\n"
            "from midspec.exchange._formats import file_rows\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/dev/fd')), 100))\n"
            "held = []\n"
            "try:\n"
            "    while True: held.append(os.open(os.devnull, os.O_RDONLY))\n"
            "except OSError: pass\n"
            "path = Path(sys.argv[1])\n"
            "try: list(file_rows(path, path))\n"
            "except Exception as error: print(type(error).__name__, getattr(error, 'errno', None))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == "OSError 24", done.stdout + done.stderr


# Whatever is in them ---------------------------------------------------------------------------------------------
NAMES = st.sampled_from(["r.jsonl", "r.json", "r.csv", "r.tsv", "r.txt", "r.parquet", "r.jsonl.gz", "r.csv.zst"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["text", "content", "source", "domain", "metadata", "messages", "conversations", "reply"])
KEYS |= st.sampled_from(["prompt", "completion", "instruction", "input", "output", "system", "history", "tools"])


@settings(max_examples=300, deadline=None)
@given(
    name=NAMES, content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace"))
)
def test_whatever_bytes_a_file_holds_it_is_read_or_told(tmp_path_factory, name, content):
    folder = tmp_path_factory.mktemp("bytes")
    with contextlib.suppress(DataError, MissingError):
        import_folder(put(folder / name, content), folder / "out")


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=4))
def test_whatever_a_row_holds_it_is_kept_or_rejected(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    path = put(folder / "r.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    with contextlib.suppress(DataError):  # where none of the rows can be read
        summary = import_folder(path, folder / "out").summary
        assert summary["n_documents"] + summary["n_chats"] + summary["n_rejects"] == len(rows)
