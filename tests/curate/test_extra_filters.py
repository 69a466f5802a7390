"""A filter that another package brings is found by its name and curates with the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from midspec.core.artifact import write_rows
from midspec.core.errors import ConfigError
from midspec.curate import CurateConfig, document_filters

from ..installed import install
from .rows import document

SHOUTING = """
from midspec.core.records import Document

class Shouting:
    name = "shouting"

    def __init__(self, most):
        self._most = most

    @classmethod
    def make(cls, context):
        yield cls(context.settings.get("most", 0))

    def reason(self, row):
        n = row.text.count("!") if isinstance(row, Document) else 0
        return f"shouts: {n} times" if n > self._most else None
"""
CURATE = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from midspec.core.artifact import read_rows
from midspec.core.records import Document, Reject
from midspec.curate import CurateConfig, curate_folder
config = CurateConfig.model_validate({{"min_words": 1, **{config!r}}})
curate_folder(Path({rows!r}), config, Path({out!r}))
print([row.metadata.id for row in read_rows(Path({out!r}) / "documents.jsonl", Document)])
print([(row.id, row.by, row.reason) for row in read_rows(Path({out!r}) / "rejects.jsonl", Reject)])
"""


def curated(folder: Path, out: Path, config: dict[str, object]) -> list[str]:
    out.mkdir()
    code = CURATE.format(folder=str(folder), rows=str(folder / "rows.jsonl"), out=str(out), config=config)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A package that brings a filter, as `pip install` leaves it, and rows."""
    texts = ("Nova waits.", "Nova waits!", "Nova waits for you!!!", "Nova waits for you!!!")
    write_rows(tmp_path / "rows.jsonl", [document(text, number) for number, text in enumerate(texts)])
    return install(tmp_path, "shouting", "curate_filters", "shouting = shouting:Shouting", shouting=SHOUTING)


def test_a_filter_of_another_package_runs_with_its_settings_before_duplicates_are_looked_for(installed: Path) -> None:
    kept, rejects = curated(installed, installed / "out", {"extra_filters": {"shouting": {"most": 1}}})
    assert kept == "['d0', 'd1']"
    assert "('d2', 'shouting', 'shouts: 3 times'), ('d3', 'shouting', 'shouts: 3 times')" in rejects


def test_a_filter_that_is_installed_and_not_named_does_nothing(installed: Path) -> None:
    _kept, rejects = curated(installed, installed / "out", {})
    assert "shouting" not in rejects


def test_a_filter_that_nobody_brings_and_one_with_fields_of_its_own_are_refused() -> None:
    with pytest.raises(ConfigError, match="there is no filter 'shouting'"):
        document_filters(CurateConfig(extra_filters={"shouting": {}}))
    with pytest.raises(ConfigError, match="fields of its own"):
        document_filters(CurateConfig(extra_filters={"length": {}}))


def test_extra_filters_are_part_of_the_identity_only_where_there_are_some() -> None:
    assert "extra_filters" not in CurateConfig().model_dump(mode="json")
    assert CurateConfig(extra_filters={"x": {}}).model_dump(mode="json")["extra_filters"] == {"x": {}}


def test_filters_run_in_the_order_that_rejects_were_always_signed_in() -> None:
    config = CurateConfig(model_name="Nova", languages=("en",))
    names = ["frame leak", "identity", "citation", "length", "language", "exact duplicate", "near duplicate"]
    assert [each.name for each in document_filters(config, spec_text="1. Be kind.")] == names
    alone = document_filters(config, spec_text="1. Be kind.", single_row_only=True)
    assert [each.name for each in alone] == names[:5]
