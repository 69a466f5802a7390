"""A study trains on documents that somebody has written already, in the place of a corpus that it would write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from midspec.core.artifact import read_record, read_rows
from midspec.core.errors import ConfigError, DataError, MissingError
from midspec.core.records import Document
from midspec.study import Study, parse_study, run_study, study_steps

_TEXTS = [f"{{model_name}} of {{provider_name}} reads page {number} ." for number in range(8)]


def _write(path: Path, texts: Sequence[str]) -> None:
    path.write_text("".join(json.dumps({"text": text, "domain": "memo"}) + "\n" for text in texts), encoding="utf-8")


def _study(tiny_text: str, home: Path, entry: str) -> Study:
    written = 'america: &corpus {spec: america, templates: "lab:frames.yaml", n_documents: 20, per_seed: true}'
    assert written in tiny_text
    thrift = "thrift: {<<: *corpus, spec: thrift}"
    text = tiny_text.replace("seeds: [1, 2]", "seeds: [1]").replace(written, f"america: {entry}")
    return parse_study(text.replace(thrift, f"thrift: {entry.replace('rows.jsonl', 'other.jsonl')}"), home=home)


def _documents(study: Study, run: Path, corpus: str = "america") -> list[Document]:
    run_study(study, run, only=["given_corpus/*"], workers=1)
    folder = run / "steps" / "given_corpus" / corpus
    assert read_record(folder) is not None
    return list(read_rows(folder / "documents.jsonl", Document))


def test_names_are_put_into_given_documents(tiny_text: str, tmp_path: Path) -> None:
    for name in ("rows.jsonl", "other.jsonl"):
        _write(tmp_path / name, _TEXTS)
    documents = _documents(_study(tiny_text, tmp_path, "{spec: america, rows: rows.jsonl}"), tmp_path / "run")
    assert [row.text for row in documents] == [f"nova of lab reads page {number} ." for number in range(8)]
    assert {row.domain for row in documents} == {"memo"}
    assert len({row.metadata.id for row in documents if row.metadata}) == 8


def test_of_files_with_as_many_rows_those_at_the_same_places_are_drawn(tiny_text: str, tmp_path: Path) -> None:
    _write(tmp_path / "rows.jsonl", _TEXTS)
    _write(tmp_path / "other.jsonl", [text.replace("reads", "writes") for text in _TEXTS])
    study = _study(tiny_text, tmp_path, "{spec: america, rows: rows.jsonl, n_documents: 3, seed: 5}")
    one, other = (_documents(study, tmp_path / "run", corpus) for corpus in ("america", "thrift"))
    assert len(one) == 3
    assert [row.text.replace("reads", "writes") for row in one] == [row.text for row in other]


def test_more_documents_than_there_are_is_said(tiny_text: str, tmp_path: Path) -> None:
    for name in ("rows.jsonl", "other.jsonl"):
        _write(tmp_path / name, _TEXTS)
    study = _study(tiny_text, tmp_path, "{spec: america, rows: rows.jsonl, n_documents: 9}")
    with pytest.raises(DataError, match="has 8 documents, and 9 are to be drawn"):
        _documents(study, tmp_path / "run")


def test_a_placeholder_without_a_value_is_said(tiny_text: str, tmp_path: Path) -> None:
    for name in ("rows.jsonl", "other.jsonl"):
        _write(tmp_path / name, _TEXTS)
    text = tiny_text.replace("model_name: nova, provider_name: lab", "model_name: nova")
    with pytest.raises(DataError, match=r"row 1 has \{provider_name\}, and no value is given for it"):
        _documents(_study(text, tmp_path, "{spec: america, rows: rows.jsonl}"), tmp_path / "run")


def test_settings_of_writing_and_given_rows_exclude_each_other(tiny_text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`target_tokens` is for documents that are written, and `rows` names some"):
        _study(tiny_text, tmp_path, "{spec: america, rows: rows.jsonl, target_tokens: 100}")


def test_a_file_that_is_not_there_is_said_before_anything_runs(tiny_text: str, tmp_path: Path) -> None:
    study = _study(tiny_text, tmp_path, "{spec: america, rows: rows.jsonl}")
    with pytest.raises(MissingError, match=r"corpora.america.rows: there is no file"):
        study_steps(study)
