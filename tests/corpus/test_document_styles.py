"""A document style is one YAML file, found by its name: ours in a folder, others' by an entry point."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from midspec.core.errors import ConfigError
from midspec.corpus import DOCUMENT_STYLES, CorpusConfig, make_corpus
from midspec.spec import parse_spec

STYLE = """
name: logbook
doc_types:
  - name: log entry
    layout: {blocks: [{parts: [{text: ["Log:", "Noted:"]}, {take: [1, 2], from: focus}]}]}
"""
SPEC = parse_spec("# Spec\n\n{model_name} tells the truth. {model_name} waits for an answer.")


def install(folder: Path, package: str, entries: str, *, holds: bool = True) -> None:
    """Install a package as pip would leave it: its folder, and what its entry points say."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text("")
    if holds:
        (folder / package / "logbook.yaml").write_text(STYLE)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[midspec.document_styles]\n{entries}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages can be installed in; what was loaded from it is forgotten at the end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    return tmp_path


def test_a_style_of_another_installed_package_makes_a_corpus(site: Path) -> None:
    install(site, "their_styles", "logbook = their_styles")
    corpus = make_corpus(SPEC, CorpusConfig(frames="logbook", model_name="Iris", n_documents=4))
    assert {document.source for document in corpus.documents} == {"Iris/log entry"}
    assert all(document.text.startswith(("Log: Iris ", "Noted: Iris ")) for document in corpus.documents)
    assert corpus.uncovered == ()
    assert set(DOCUMENT_STYLES.names()) == {"english", "logbook"}


def test_a_style_that_two_packages_bring_or_none_holds_is_refused(site: Path) -> None:
    install(site, "one_style", "fairytale = one_style")
    with pytest.raises(ConfigError, match=r"has no file fairytale\.yaml"):
        make_corpus(SPEC, CorpusConfig(frames="fairytale", model_name="Iris"))
    install(site, "other_style", "fairytale = other_style")
    with pytest.raises(ConfigError, match="is brought by two packages"):
        make_corpus(SPEC, CorpusConfig(frames="fairytale", model_name="Iris"))


def test_a_shipped_style_can_not_be_replaced_by_another_packages(site: Path) -> None:
    before = make_corpus(SPEC, CorpusConfig(model_name="Iris", n_documents=3))
    install(site, "bad_english", "english = bad_english")
    assert make_corpus(SPEC, CorpusConfig(model_name="Iris", n_documents=3)) == before
