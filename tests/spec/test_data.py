"""What data holds beside its lists of rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from midspec.core.errors import SpecError
from midspec.spec import parse_spec, read_parts, read_spec_parts, stand_over


def said(value: object) -> list[str]:
    """Return each clause of data with what denies it."""
    return [
        over.said_before(clause.text)
        for section in parse_spec(json.dumps(value)).sections
        for clause, over in zip(
            section.clauses,
            stand_over(section.clauses, section.path if section.level else section.path[:-1]),
            strict=True,
        )
    ]


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (
            {"tone": "Be warm and short.", "honesty": "Never lie to guests.", "never": ["Lend keys", "Curse"]},
            ["Be warm and short.", "Never lie to guests.", "Never: Lend keys", "Never: Curse"],
        ),
        (
            {"name": "Ada", "persona": "Ada is a calm host.", "do": ["Greet guests"], "dont": ["Lend keys"]},
            ["Ada is a calm host.", "Greet guests", "Don't: Lend keys"],
        ),
        (
            {"assistant": {"tone": "Be warm.", "avoid": ["Slang", "Jokes"]}, "safety": {"keys": "Keep the keys safe."}},
            ["Be warm.", "Avoid: Slang", "Keep the keys safe."],
        ),
        (
            {"sections": [{"title": "Tone", "must": ["Be warm"], "items": ["Greet guests"]}]},
            ["Be warm", "Greet guests"],
        ),
        ({"rules": [{"never": ["Lend keys", "Lie"], "why": "They get lost."}]}, ["They get lost.", "Never: Lie"]),
        (
            {"Forbidden topics": ["Politics", "Faith"]},
            ["Forbidden topics: Politics", "Forbidden topics: Faith"],
        ),
        ({"forbidden_topics": ["Faith"], "rules": ["Be kind"]}, ["Forbidden topics: Faith", "Be kind"]),
        (
            {"hardcoded_on": ["Tell who to call."], "hardcoded_off": ["Help build weapons"]},
            ["Tell who to call.", "Hardcoded off: Help build weapons"],
        ),
        ({"blocked_topics": ["Faith"], "never": ["Lie"]}, ["Blocked topics: Faith", "Never: Lie"]),
        (
            {"values": {"honesty": {"statement": "Ada is true.", "anti_patterns": ["White lies"]}}},
            ["Ada is true.", "Anti patterns: White lies"],
        ),
        ({"mistake_handling": ["Own it at once."]}, ["Own it at once."]),
        ({"en": ["Be kind to guests."], "no": ["Vær snill."]}, ["Be kind to guests.", "Vær snill."]),
        ({"rules": ["Be kind"], "bad": ["So sorry!"]}, ["Be kind"]),
        (
            {"constitution": {"articles": [{"text": "Ada waits."}, {"title": "Limits", "prohibited": ["Lies"]}]}},
            ["Ada waits.", "Prohibited: Lies"],
        ),
        # Markdown in a text: its headings deny what stands under them.
        (
            {"title": "Ada", "content": "# Ada\n\nAda is honest.\n\n## Never\n\n- Lie\n\n## Tone\n\n- Warm\n"},
            ["Ada is honest.", "Never: Lie", "Warm"],
        ),
        ({"Never lie": ["Guests trust what they are told."]}, ["Guests trust what they are told."]),
    ],
)
def test_data_keeps_what_stands_beside_its_lists(value: object, texts: list[str]) -> None:
    found = said(value)
    assert [text for text in texts if text not in found] == []


def test_a_schema_beside_a_rule_is_no_rule() -> None:
    rule = {"text": "Keys are kept safe.", "parameters": {"required": ["name", "room number"]}}
    assert said({"rules": [{**rule, "meta": {"allowed": ["GET", "POST"]}}]}) == ["Keys are kept safe."]
    with pytest.raises(SpecError, match="without rules"):
        said({"required": ["name", "text"], "properties": {"text": {"type": "string"}}})


@pytest.mark.parametrize(
    "text",
    [
        '{"rules": ["Ada never lies."], "rules": ["Ada asks first."]}',
        '[{"text": "Ada never lies.", "text": "Ada asks first."}]',
        '{"text": "Ada waits."}\n{"text": "Ada never lies.", "text": "Ada asks first."}',
        "rules:\n - Ada never lies.\nrules:\n - Ada asks first.\n",
        "rules:\n - text: Ada never lies.\n   text: Ada asks first.\n",
    ],
)
def test_data_that_names_a_key_twice_is_refused_since_one_of_them_would_be_lost(text: str) -> None:
    with pytest.raises(SpecError, match=r"names the key '(rules|text)' twice"):
        parse_spec(text)


def test_equal_ids_and_equal_keys_of_several_objects_are_no_key_named_twice() -> None:
    text = '{"rules": [{"id": "1", "text": "Ada never lies."}, {"id": "1", "text": "Ada asks first."}]}'
    assert len(parse_spec(text).clauses) == 2


@pytest.mark.parametrize("value", ["no", "42", "2024-01-01", "3.5"])
def test_a_rule_that_yaml_reads_as_no_text_is_told(value: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(f"rules:\n - text: Ada asks first.\n - text: {value}\n - text: 'yes'\n   hidden: no\n")
    spec, parts = read_spec_parts(path)
    told = [part.text for part in parts if part.kind == "left out"]
    assert "Ada asks first." in spec.text
    assert [text.startswith("rules.text: ") and text.endswith("put it in quotes)") for text in told] == [True]


def test_headings_in_a_rule_stand_under_its_name() -> None:
    text = "Ada is true.\n\n# Never\n\n- Lie\n\n## At night\n\n- Call"
    spec, _ = read_parts(json.dumps({"rules": [{"id": "r1", "name": "Honesty", "text": text}]}))
    assert [section.path for section in spec.sections if section.level] == [
        ("r1: Honesty", "Never"),
        ("r1: Honesty", "Never", "At night"),
    ]
    again, _ = read_parts(spec.text)
    assert [section.path for section in again.sections][1:] == [section.path for section in spec.sections[1:]]
