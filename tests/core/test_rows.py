"""JSONL rows: what is written comes back, and a bad line is named by file, line and field."""

from __future__ import annotations

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.artifact import read_rows, row_lines, write_json, write_rows, write_text
from midspec.core.errors import DataError, MissingError
from midspec.core.records import Document, Message, ScoreRow

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(TEXT, max_size=5))
def test_rows_come_back_as_they_were(texts: list[str]) -> None:
    rows = [Document(text=text, source="s") for text in texts]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        assert write_rows(path, rows) == len(rows)
        assert list(read_rows(path, Document)) == rows
        assert [entry.name for entry in Path(folder).iterdir()] == ["rows.jsonl"]


def test_line_separators_of_unicode_do_not_cut_a_row(tmp_path: Path) -> None:
    rows = [Document(text="a\u2028b\u2029c\u0085d\x0be\r\nf")]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert list(read_rows(tmp_path / "rows.jsonl", Document)) == rows
    assert len(row_lines(tmp_path / "rows.jsonl")) == 1


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('\n{"text": "a"}\r\n  \n{"text": "b"}')
    assert [row.text for row in read_rows(tmp_path / "rows.jsonl", Document)] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "kind", "field"),
    [
        (b'{"role": "user"}', Message, "content"),
        (b'{"role": "boss", "content": ""}', Message, "role"),
        (b'{"role": "user", "content": "", "extra": 1}', Message, "extra"),
        (b'{"text": "a", "metadata": {"id": "1", "author": 3}}', Document, "metadata.author"),
        (b'{"text": "a"', Document, "the line"),
        (b'"text"', Document, "the line"),
        (b'{"text": "\xff"}', Document, "the line"),
        (b'{"value": "high"}', ScoreRow, "task"),
    ],
)
def test_a_bad_line_is_named_by_file_line_and_field(tmp_path: Path, line: bytes, kind: type, field: str) -> None:
    path = tmp_path / "rows.jsonl"
    good = b'{"role": "user", "content": "x"}' if kind is Message else b'{"text": "x"}'
    if kind is ScoreRow:
        good = b'{"task":"t","set":"s","item":"i","domain":"d","measure":"m","value":1}'
    path.write_bytes(good + b"\n" + line + b"\n")
    rows = read_rows(path, kind)
    next(rows)
    with pytest.raises(DataError) as caught:
        next(rows)
    said = str(caught.value)
    assert said.startswith(f"{path}:2: not a row of kind {kind.__name__}: {field}: ")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ('{"text": "a"}\n'.encode("utf-16"), "is text in UTF-16"),
        (gzip.compress(b'{"text": "a"}\n'), "is a gzip file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
        (b'[{"text": "a"}, {"text": "b"}]', "is one JSON list"),
    ],
)
def test_a_file_of_another_form_is_told_as_what_it_is(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"rows\.jsonl: {what}"):
        next(read_rows(path, Document))


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        list(read_rows(tmp_path / "absent.jsonl", Document))
    with pytest.raises(FileNotFoundError):
        list(read_rows(tmp_path, Document))


def test_json_is_indented_readable_and_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": "é", "a": [1]})
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n  "b": "é",\n  "a": [\n    1\n  ]\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", float("nan"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_text_keeps_its_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", "a\r\nb\n")
    assert (tmp_path / "x.txt").read_bytes() == b"a\r\nb\n"


def test_a_byte_order_mark_before_the_first_row_is_no_part_of_it(tmp_path: Path) -> None:
    row = Document(text="a", source="", domain="")
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + row.model_dump_json().encode() + b"\r\n")
    assert list(read_rows(tmp_path / "rows.jsonl", Document)) == [row]
