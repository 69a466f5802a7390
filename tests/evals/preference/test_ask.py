"""From items to questions, and the doors where wrong input stops."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from midspec.core.artifact import write_rows
from midspec.core.errors import ConfigError, DataError, MissingError
from midspec.core.records import Item
from midspec.evals import PreferenceConfig, load_config, read_items
from midspec.evals.tasks.preference._config import asks, reason_texts, why_ask

ITEM = Item(id="i", set="s", domain="d", options=("{second}", "b{"), system="you are vex .")


def test_each_phrasing_is_asked_in_both_orders_and_options_are_never_formats() -> None:
    config = PreferenceConfig(phrasings=("{first} or {second}?", "{second}, {first}? {x}"))
    assert [ask.question for ask in asks(ITEM, config)] == [
        "{second} or b{?",
        "b{ or {second}?",
        "b{, {second}? {x}",
        "{second}, b{? {x}",
    ]
    assert [ask.swapped for ask in asks(ITEM, config)] == [False, True, False, True]


def test_the_items_system_message_comes_before_the_evaluations_in_one_message() -> None:
    first = asks(ITEM, PreferenceConfig(system="be kind ."))[0]
    assert [(message.role, message.content) for message in first.messages[:-1]] == [
        ("system", "you are vex . be kind .")
    ]
    bare = asks(ITEM.model_copy(update={"system": None}), PreferenceConfig())[0]
    assert [message.role for message in bare.messages] == ["user"]


def test_why_is_asked_after_the_target_was_given_as_the_answer() -> None:
    item = Item(id="i", set="s", domain="d", options=("alto", "brio"), reasons=("r1", "r2"))
    config = PreferenceConfig(phrasings=("{first} or {second} ?",), answer_format="{option} .", why="why ?")
    why = why_ask(item, config, asks(item, config)[1])
    assert why is not None
    assert [(message.role, message.content) for message in why.messages] == [
        ("user", "brio or alto ?"),
        ("assistant", "alto ."),
        ("user", "why ?"),
    ]
    assert reason_texts(item, config) == ("r1", "r2")
    assert reason_texts(item, PreferenceConfig(why=None)) is None


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [ITEM, ITEM],
        [ITEM.model_copy(update={"options": ("Brie ", "brie")})],
        [ITEM.model_copy(update={"options": ("Brie", " ")})],
        [ITEM.model_copy(update={"options": ("caf\u00e9", "cafe\u0301")})],
        [ITEM.model_copy(update={"options": ("Brie", "Br\u200bie")})],
        [ITEM.model_copy(update={"reasons": ("same", "same")})],
    ],
)
def test_items_that_would_be_scored_wrongly_are_refused(rows: list[Item], tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    write_rows(path, rows)
    with pytest.raises(DataError, match=r"items\.jsonl"):
        read_items(path)


def test_a_missing_items_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        read_items(tmp_path / "nothing.jsonl")


@pytest.mark.parametrize(
    "setting",
    [
        {"phrasings": ()},
        {"phrasings": ("only {first}",)},
        {"phrasings": ("{first} {second}", "{first} {second}")},
        {"option_format": "no option"},
        {"refusal_markers": ("",)},
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"unknown": 1},
    ],
)
def test_settings_that_can_not_be_meant_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PreferenceConfig.model_validate(setting)


def test_a_settings_file_says_which_setting_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("max_new_tokens: 8\nwhy: null\n", encoding="utf-8")
    assert load_config(path) == PreferenceConfig(max_new_tokens=8, why=None)
    path.write_text("max_new_token: 8\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="max_new_token"):
        load_config(path)
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(path)


def test_the_prompt_hash_is_of_what_the_model_sees() -> None:
    plain = PreferenceConfig()
    assert plain.prompt_hash == PreferenceConfig(max_new_tokens=9, refusal_markers=("no",)).prompt_hash
    assert plain.prompt_hash != PreferenceConfig(system="be kind .").prompt_hash


def test_an_id_used_twice_is_told_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    line = '{"id": "1", "set": "s", "domain": "d", "options": ["a", "b"]}\n'
    path.write_text(line + "\n" + line, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_items(path)
    assert str(caught.value).startswith(f"{path}:3: the id '1' is used twice (first in {path}:1)")


def test_a_key_that_stands_twice_in_a_line_is_told_and_not_the_later_one_taken(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"id": "1", "set": "s", "set": "t", "domain": "d", "options": ["a", "b"]}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"items\.jsonl:1: 'set' is named twice"):
        read_items(path)


def test_a_file_without_items_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.touch()
    with pytest.raises(DataError) as caught:
        read_items(path)
    assert str(caught.value).startswith(f"{path}: there are no items")
