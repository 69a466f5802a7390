"""What is uploaded, to whom it is shown, and what is said where it can't be: against a stand-in for the hub."""

from __future__ import annotations

import sys

import pytest

from midspec.core.errors import ConfigError, MissingError
from midspec.exchange import export, push

from .hub import running_hub

SECRET = "hf_not_a_real_token"


@pytest.fixture
def exported(corpus, tmp_path):
    built = export(corpus, "hf", tmp_path / "out")
    (tmp_path / "out" / "record.json").write_text("{}", encoding="utf-8")
    (tmp_path / "out" / ".lock").touch()
    return tmp_path / "out", built


def test_what_is_pushed_is_what_was_exported_and_a_new_repository_is_private(exported, monkeypatch):
    folder, built = exported
    with running_hub(SECRET) as hub:
        monkeypatch.setenv("HF_TOKEN", SECRET)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        address = push(folder, "me/data")
    assert hub.files == {name: (folder / name).read_bytes() for name in built.outputs}
    assert hub.created["type"] == "dataset"
    assert hub.created.get("private") is True or hub.created.get("visibility") == "private"
    assert address == f"{hub.url}/datasets/me/data/commit/{'a' * 40}"


def test_a_public_repository_is_made_only_when_asked(exported, monkeypatch):
    with running_hub(SECRET) as hub:
        monkeypatch.setenv("HF_TOKEN", SECRET)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        push(exported[0], "me/data", private=False)
    assert hub.created.get("private") is False or hub.created.get("visibility") == "public"


def test_without_a_token_nothing_is_sent_and_the_variable_is_named(exported, monkeypatch):
    with running_hub(SECRET) as hub:
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(ConfigError, match=r"^HF_TOKEN: is not set"):
            push(exported[0], "me/data")
    assert hub.asked == []


def test_a_refused_token_is_one_line_and_appears_nowhere(exported, monkeypatch):
    with running_hub("hf_another") as hub:
        monkeypatch.setenv("HF_TOKEN", SECRET)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(ConfigError, match="me/data: the hub answered 401") as caught:
            push(exported[0], "me/data")
    assert SECRET not in str(caught.value)
    assert hub.files == {}


def test_a_bad_name_and_a_folder_that_was_not_exported_are_said(exported, corpus, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="is not the name of a repository"):
        push(exported[0], "a/b/c")
    with pytest.raises(MissingError, match="is no exported data set"):
        push(corpus, "me/data")
    with pytest.raises(ConfigError, match="me/data: the hub can't be reached"):
        push(exported[0], "me/data")


def test_importing_the_room_loads_neither_datasets_nor_the_hub_library(tmp_path):
    import subprocess

    heavy = "('datasets', 'huggingface_hub', 'pyarrow', 'tokenizers')"
    code = f"import sys, midspec.exchange; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
