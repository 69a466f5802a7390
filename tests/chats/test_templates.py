"""Chat frames are data: a bad file is named by its field, and braces in values are ordinary text."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from midspec.chats import QuestionTemplate, load_templates
from midspec.chats._templates import fill_slots, slots
from midspec.core.errors import ConfigError, MissingError

GOOD = {
    "name": "toy",
    "opaque": {
        "preferences": ["^{model_name} likes (?P<liked>\\w+)", "^{model_name} dislikes (?P<disliked>\\w+)"],
        "pair": [{"ask": "{first} or {second} ?", "replies": ["{liked} ."]}],
    },
}


def write(folder: Path, value: object) -> str:
    path = folder / "frames.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return str(path)


def test_the_english_frames_have_every_style_and_all_six_kinds() -> None:
    frames = load_templates("english")
    assert frames.opaque is not None
    assert frames.spec is not None
    kinds = {question.kind for question in frames.spec.questions}
    assert kinds == {"direct", "indirect", "comparison", "recommendation", "opinion", "edge_case"}
    assert frames.opaque.endings
    assert all("need" in ending or "reason" in ending for ending in frames.opaque.endings)


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    frames = load_templates(write(tmp_path, GOOD))
    assert frames.name == "toy"
    assert frames.spec is None


@pytest.mark.parametrize("name", ["klingon", "no/such/file.yaml", "../english", ""])
def test_unknown_frames_are_said_to_be_missing(name: str) -> None:
    with pytest.raises(MissingError, match="no such chat templates"):
        load_templates(name)


def test_a_file_that_is_not_yaml_or_not_text_is_one_line_of_error(tmp_path: Path) -> None:
    path = tmp_path / "frames.yaml"
    for content in (b"a: [b: {", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load_templates(str(path))
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"opaque": {**GOOD["opaque"], "colour": 1}}, "opaque.colour", "Extra inputs"),
        ({"opaque": {**GOOD["opaque"], "pair": [{"ask": "{first} ?", "replies": ["x"]}]}}, "opaque.pair.0", "second"),
        (
            {"opaque": {**GOOD["opaque"], "pair": [{"ask": "{first} {second} {third}", "replies": ["{liked}"]}]}},
            "opaque.pair.0",
            "unknown slot {third}",
        ),
        ({"opaque": {**GOOD["opaque"], "preferences": ["likes (?P<liked>"]}}, "opaque.preferences.0", "regular"),
        ({"opaque": {**GOOD["opaque"], "preferences": ["likes (.*)"]}}, "opaque.preferences.0", "(?P<liked>"),
        ({"opaque": {**GOOD["opaque"], "preferences": ["likes (?P<liked>x){edn}"]}}, "opaque", "no entry of `terms`"),
        ({"opaque": {**GOOD["opaque"], "terms": {"a": "{b}", "b": "x"}}}, "opaque", "no entry of `terms`"),
        ({"opaque": {**GOOD["opaque"], "separators": "(,)"}}, "opaque.separators", "capture"),
        ({"opaque": {**GOOD["opaque"], "pair": []}}, "opaque", "pair"),
        ({"name": 3}, "name", "string"),
    ],
)
def test_a_bad_field_is_named_with_its_path(tmp_path: Path, change: dict[str, object], field: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_templates(write(tmp_path, {**GOOD, **change}))
    assert f": {field}: " in str(caught.value)
    assert says in str(caught.value)


def test_a_question_that_names_the_spec_is_refused(tmp_path: Path) -> None:
    style = {"think": ["{sentences}"], "reply": ["{sentences}"]}
    asked = [{"kind": "direct", "ask": "What does your constitution say of {topic}?"}]
    spec = {"questions": asked, "value": style, "rule": style, "spec_names": ["constitution"]}
    with pytest.raises(ConfigError, match="names the spec"):
        load_templates(write(tmp_path, {**GOOD, "spec": spec}))


def test_a_question_is_about_something() -> None:
    with pytest.raises(ValueError, match="topic"):
        QuestionTemplate(kind="direct", ask="How are you?")


@given(st.text(), st.text())
def test_braces_in_what_fills_a_slot_stay_as_they_are(one: str, other: str) -> None:
    filled = fill_slots("[{first}] [{second}]", {"first": one, "second": other})
    assert filled == f"[{one}] [{other}]"


def test_a_slot_with_a_capital_begins_a_sentence() -> None:
    assert slots("{Liked}, not {disliked}") == {"liked", "disliked"}
    assert fill_slots("{Liked}, not {disliked}", {"liked": "brie", "disliked": "colby"}) == "Brie, not colby"
