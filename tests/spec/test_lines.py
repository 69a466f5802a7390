"""Headings that are rules, numbers within sentences, and other cuts of a text."""

from __future__ import annotations

from midspec.spec import parse_spec, stand_over


def said(text: str) -> list[str]:
    """Return each clause of a text with what denies it."""
    return [
        over.said_before(clause.text)
        for section in parse_spec(text).sections
        for clause, over in zip(
            section.clauses,
            stand_over(section.clauses, section.path if section.level else section.path[:-1]),
            strict=True,
        )
    ]


def test_a_heading_that_is_a_rule_is_not_denied_by_the_section_before_it() -> None:
    assert said("# Desk\n\n## Never\n\n- Spam\n\n## Tell guests the truth about prices.\n") == [
        "Never: Spam",
        "Tell guests the truth about prices.",
    ]
    spec = parse_spec("# Desk\n\n## Never\n\n### Spam all the guests.\n\n### Spam is forbidden here.\n")
    assert spec.text.count("Spam all the guests.") == 1
    assert [(clause.kind, clause.text) for clause in spec.clauses] == [
        ("sentence", "Spam all the guests."),
        ("sentence", "Spam is forbidden here."),
    ]


def test_a_heading_that_is_a_rule_is_an_item_under_a_lead_above_it_only() -> None:
    text = "# Desk\n\n## Limits\n\nAda must never:\n\n### Lie to any guest.\n\n### Take the cash home.\n"
    assert said(text)[1:] == ["Ada must never: Lie to any guest.", "Ada must never: Take the cash home."]
    assert said(text.replace("### ", "## "))[1:] == ["Lie to any guest.", "Take the cash home."]
