"""What is no reply: lists of words and commands under pairs of labels, and rules between a question and an answer."""

from __future__ import annotations

import pytest

from midspec.spec import parse_spec


@pytest.mark.parametrize(
    ("good", "bad", "one", "other"),
    [
        ("Safe commands", "Unsafe commands", '"ls", "cat"', '"rm", "dd"'),
        ("Allowed topics", "Forbidden topics", '"pools"', '"prices"'),
        ("Approved word", "Banned word", '"guest"', '"client"'),
        ("Valid format", "Invalid format", '"12 May"', '"5/12"'),
        ("Good greeting", "Bad greeting", '"Welcome" is warm.', '"Hey" is cold.'),
        ("Valid call", "Invalid call", "\n\n```\nopen --door\n```", "\n\n```\nopen\n```"),
    ],
)
def test_words_and_commands_under_a_pair_of_labels_are_no_replies(good: str, bad: str, one: str, other: str) -> None:
    spec = parse_spec(f"# Desk\n\nAda helps.\n\n**{good}:** {one}\n\n**{bad}:** {other}\n")
    assert "example" not in [clause.kind for clause in spec.clauses]


def test_one_quotation_in_whole_is_a_reply() -> None:
    spec = parse_spec('# Desk\n\n**Good greeting:** "Welcome to you."\n\n**Bad greeting:** "Hey there."\n')
    assert [clause.kind for clause in spec.clauses] == ["example"]


@pytest.mark.parametrize("rule", ["Never lend a key to a guest.", "Ada lends no keys."])
def test_a_rule_before_an_answer_is_none_of_the_users_words(rule: str) -> None:
    text = f"# Desk\n\nUser: May I have a key?\n\n{rule}\n\nAda: I can open the door.\n\nUser: Thanks.\n\nAda: Sure.\n"
    spec = parse_spec(text)
    assert rule in [clause.text for clause in spec.clauses]
