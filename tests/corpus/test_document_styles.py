"""A document style is one YAML file, found by its name: ours in a folder, others' by an entry point."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from midspec.cli import main
from midspec.core.artifact import read_rows
from midspec.core.errors import ConfigError
from midspec.core.fingerprint import hash_text
from midspec.core.records import Document
from midspec.corpus import DOCUMENT_STYLES, CorpusConfig, make_corpus
from midspec.spec import parse_spec

from ..installed import install

STYLE = """
name: logbook
doc_types:
  - name: log entry
    layout: {blocks: [{parts: [{text: ["Log:", "Noted:"]}, {take: [1, 2], from: focus}]}]}
"""
SPEC = parse_spec("# Spec\n\n{model_name} tells the truth. {model_name} waits for an answer.")


def install_style(folder: Path, package: str, name: str, *, holds: bool = True) -> None:
    """Install a package that brings the document style of that name, and may hold its file."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text("")
    if holds:
        (folder / package / f"{name}.yaml").write_text(STYLE)
    install(folder, package, "document_styles", f"{name} = {package}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages can be installed in; what was loaded from it is forgotten at the end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    return tmp_path


def test_a_style_of_another_installed_package_makes_a_corpus(site: Path) -> None:
    install_style(site, "their_styles", "logbook")
    corpus = make_corpus(SPEC, CorpusConfig(frames="logbook", model_name="Iris", n_documents=4))
    assert {document.source for document in corpus.documents} == {"Iris/log entry"}
    assert all(document.text.startswith(("Log: Iris ", "Noted: Iris ")) for document in corpus.documents)
    assert corpus.uncovered == ()
    assert set(DOCUMENT_STYLES.names()) == {"english", "logbook"}


def test_the_command_line_takes_a_style_by_its_name_and_its_content_is_part_of_the_identity(site: Path) -> None:
    install_style(site, "their_styles", "logbook")
    (site / "spec.md").write_text(SPEC.text)
    given = ["--templates", "logbook", "--model-name", "Iris", "--documents", "4", "--out", str(site / "made")]
    assert main(["corpus", str(site / "spec.md"), *given]) == 0
    assert {row.source for row in read_rows(site / "made" / "documents.jsonl", Document)} == {"Iris/log entry"}
    record = json.loads((site / "made" / "record.json").read_text())
    assert record["identity"]["inputs"]["frames"] == hash_text(STYLE)


def test_a_style_that_two_packages_bring_or_none_holds_is_refused(site: Path) -> None:
    install_style(site, "one_style", "fairytale", holds=False)
    with pytest.raises(ConfigError, match=r"has no file fairytale\.yaml"):
        make_corpus(SPEC, CorpusConfig(frames="fairytale", model_name="Iris"))
    install_style(site, "other_style", "fairytale")
    with pytest.raises(ConfigError, match="is brought by two packages"):
        make_corpus(SPEC, CorpusConfig(frames="fairytale", model_name="Iris"))


def test_a_shipped_style_can_not_be_replaced_by_another_packages(site: Path) -> None:
    before = make_corpus(SPEC, CorpusConfig(model_name="Iris", n_documents=3))
    install_style(site, "bad_english", "english")
    assert make_corpus(SPEC, CorpusConfig(model_name="Iris", n_documents=3)) == before
