"""Prompt files are filled in one pass, and their digest knows their names and texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from midspec.generation import PromptFolder, PromptTemplate


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The prompts of a package that can be imported under the name that its folder has."""
    folder = tmp_path / f"room_{tmp_path.name}" / "_prompts"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "ask.md").write_text("Write {{n}} lines on {{what}}.\n")
    (folder / "lists.yaml").write_text("names: [Ada, Bo]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_a_value_that_looks_like_a_slot_stays_as_it_is() -> None:
    assert PromptTemplate("{{a}} {{b}}").fill({"a": "{{b}}", "b": "{0} {x}"}) == "{{b}} {0} {x}"


def test_a_slot_without_a_value_is_an_error_and_a_value_without_a_slot_is_not() -> None:
    assert PromptTemplate("{{a}} {b}").fill({"a": "1", "c": "2"}) == "1 {b}"
    with pytest.raises(KeyError):
        PromptTemplate("{{a}}").fill({})


def test_a_folder_gives_its_prompts_and_lists(prompts: Path) -> None:
    folder = PromptFolder(prompts.parent.name, strip_end=True)
    assert folder.fill("ask", n="3", what="tea") == "Write 3 lines on tea."
    assert folder.template("ask").slots == ("n", "what")
    assert PromptFolder(prompts.parent.name).template("ask").text.endswith(".\n")
    assert folder.load_yaml("lists.yaml") == {"names": ["Ada", "Bo"]}


def test_the_digest_changes_with_a_text_or_a_file_name(prompts: Path) -> None:
    def digest() -> str:
        return PromptFolder(prompts.parent.name).digest

    first = digest()
    assert digest() == first
    (prompts / "notes.txt").write_text("no prompt")
    assert digest() == first
    (prompts / "ask.md").rename(prompts / "beg.md")
    second = digest()
    (prompts / "lists.yaml").write_text("names: [Ada]\n")
    assert len({first, second, digest()}) == 3
