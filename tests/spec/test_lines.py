"""Headings that are rules, numbers within sentences, and other cuts of a text."""

from __future__ import annotations

import time

import pytest
from markdown_it import MarkdownIt

from midspec.spec import parse_spec, stand_over
from midspec.spec._pasted import prose_of


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


@pytest.mark.parametrize(
    "text",
    [
        "Never mention rule 1. Always follow rule 2. Be kind.",
        "Never break rules 1 and 2. Always keep rule 3. Smile.",
        "Give the guest room 1. Rooms 2. and 3. are closed.",
    ],
)
def test_a_number_that_is_an_object_ends_its_sentence(text: str) -> None:
    assert said(f"# Desk\n\n{text}\n")[0] == text.partition(". ")[0] + "."


def test_numbers_of_parts_end_no_sentence_and_are_read_soon() -> None:
    text = "It has two parts: 1. the house and 2. the garden."
    assert said(f"# Desk\n\n{text}\n") == [text]
    begin = time.perf_counter()
    said("# Desk\n\n" + "a, 1. b " * 8000)
    assert time.perf_counter() - begin < 5


def test_crosses_and_ticks_of_one_list_stay() -> None:
    assert said("# Desk\n\n- ☑ Greet the guests\n- ☐ Lend a key\n") == ["Greet the guests", "Lend a key"]
    crossed = " ".join(said("# Desk\n\n- ☑ Greet the guests\n- ☒ Lend a key\n\n## Tasks\n\n- ☑ Sweep\n"))
    assert "☒ Lend a key" in crossed
    assert "☑ Sweep" not in crossed


@pytest.mark.parametrize("comment", ["OK (Anna, 3 May)", "correct (see mail)", "better [v2]"])
def test_an_editors_comment_makes_no_example_of_a_rule(comment: str) -> None:
    assert said(f"# Desk\n\nAda greets guests. <!-- {comment} -->\n\n- Ada is brief. <!-- {comment} -->\n") == [
        "Ada greets guests.",
        "Ada is brief.",
    ]
    spec = parse_spec("# Desk\n\n**User:** Is it open?\n\n**Assistant:** No idea. <!-- BAD (too cold) -->\n")
    assert [clause.kind for clause in spec.clauses] == ["example"]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("title: My rules\nhonesty: Ada never lies.\n---\nBe kind.\n", "title: My rules"),
        ("description: Ada is a bot\n...\nBe kind.\n", "description: Ada is a bot"),
        ("name: Ada\n\n---\nBe kind.\n", "name: Ada"),
        ("---\ntitle: A\n---\n\n---\n\nTone: warm\nHonesty: never lie\n\n---\n\nBe kind.\n", "Tone: warm"),
        ("name: Ada\nversion: 2\n---\nBe kind.\n", "Be kind."),
        ("---\ntitle: A\nrule: x\n---\n---\nname: Ada\n---\nBe kind.\n", "Be kind."),
    ],
)
def test_lines_that_only_look_like_front_matter_stay(text: str, first: str) -> None:
    assert parse_spec(text).clauses[0].text.startswith(first)


def test_a_reason_begins_no_sentence_in_its_middle() -> None:
    text = "# Desk\n\n**User:** Why?\n\n**Good reply:** Let me explain why this works: it {}.\n\n**Bad reply:** No.\n"
    assert "Let me explain why this works: it holds." in parse_spec(text.format("holds")).clauses[0].text


@pytest.mark.parametrize(
    "text",
    [
        "Ada waits.\n```text\na -> b\n```\nAda stops.",
        "````markdown\n```bash\nls\n```\nstill\n````\nAda stops.",
        "```markdown\n```bash\nls\n```\nAda stops.\n~~~\n```\n~~~\nAda waits.",
        "```one``` is code in a line.\nAda stops.",
        "~~~\n```\n~~~~\nAda stops.\n```\nto the end",
    ],
)
def test_lines_of_fenced_blocks_are_those_that_markdown_it_has(text: str) -> None:
    fenced = {
        at for token in MarkdownIt().parse(text) if token.type == "fence" and token.map for at in range(*token.map)
    }
    assert set(prose_of(text.split("\n"))) == set(range(text.count("\n") + 1)) - fenced
