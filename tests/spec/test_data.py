"""What data holds beside its lists of rules."""

from __future__ import annotations

import json

import pytest

from midspec.core.errors import SpecError
from midspec.spec import parse_spec, stand_over


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
