"""What stands over a clause: its lead-in and what denies it, also from outer lists and headings."""

from __future__ import annotations

import pytest

from midspec.chats import ChatConfig, make_chats
from midspec.corpus import CorpusConfig, make_corpus
from midspec.spec import denies_itself, parse_spec, stand_over

NESTED = """# Desk

### Don't:

- Give out phone numbers.
- Write texts that promote:
  - Cruelty to animals
  - Theft of data
- Dodge a plain question.

Ada must not:

1. Promise:
- refunds by tomorrow
- dates of delivery
2. Guess at prices.

### Do

- Greet each guest by name.
"""
DENIED = (
    "Give out phone numbers",
    "Cruelty to animals",
    "Theft of data",
    "Dodge a plain",
    "refunds by",
    "Guess at prices",
)


def over_of(text: str) -> dict[str, str]:
    """Return each clause of a spec behind what denies it."""
    return {
        clause.text: over.said_before(clause.text)
        for section in parse_spec(text).sections
        for clause, over in zip(section.clauses, stand_over(section.clauses, section.path), strict=True)
    }


def test_items_know_in_how_many_lists_they_stand() -> None:
    depths = {clause.text: clause.depth for clause in parse_spec(NESTED).clauses if clause.kind == "item"}
    assert {text for text, depth in depths.items() if depth} == {
        "Cruelty to animals", "Theft of data", "refunds by tomorrow", "dates of delivery",
    }  # fmt: skip
    four = "- a\n  - b\n    - c\n\n      more of c\n  - d\n- e\n"
    assert [clause.depth for clause in parse_spec(four).clauses] == [0, 1, 2, 1, 0]


def test_each_item_has_the_denial_of_its_own_list_or_of_one_around_it() -> None:
    assert over_of(NESTED) == {
        "Give out phone numbers.": "Don't: Give out phone numbers.",
        "Write texts that promote:": "Don't: Write texts that promote:",
        "Cruelty to animals": "Don't: Write texts that promote: Cruelty to animals",
        "Theft of data": "Don't: Write texts that promote: Theft of data",
        "Dodge a plain question.": "Don't: Dodge a plain question.",
        "Ada must not:": "Ada must not:",
        "Promise:": "Ada must not: Promise:",
        "refunds by tomorrow": "Ada must not: Promise: refunds by tomorrow",
        "dates of delivery": "Ada must not: Promise: dates of delivery",
        "Guess at prices.": "Ada must not: Guess at prices.",
        "Greet each guest by name.": "Greet each guest by name.",
    }


def test_no_document_and_no_chat_says_a_denied_item_without_its_denial() -> None:
    spec = parse_spec(NESTED)
    corpus = make_corpus(spec, CorpusConfig(model_name="Ada", provider_name="Orb", n_documents=60))
    chats = make_chats(spec, ChatConfig(style="value", model_name="Ada")).chats
    n_said = 0
    for text in (*(document.text for document in corpus.documents), *(chat.text for chat in chats)):
        for words in DENIED:
            for before in text.split(words)[:-1]:
                assert "Don't: " in before[-160:] or "Ada must not: " in before[-160:], before[-160:]
                n_said += 1
        for before in text.split("Greet each guest")[:-1]:
            assert not before.endswith(("Don't: ", "must not: "))
    assert n_said > 200


@pytest.mark.parametrize(
    ("title", "item"),
    [
        ("Vous DEVEZ ÉVITER", "Inventer des faits."),
        ("Zu vermeiden", "Schmeicheleien."),
        ("Verboten", "Schmeicheleien."),
        ("Evita", "Inventar cifras."),
        ("Divieti", "Lusinghe."),
        ("Evite", "Inventar números."),
        ("Запреты", "Выдумывает факты."),
        ("避免", "编造事实。"),
        ("错误做法", "编造事实。"),
        ("避けること", "話を作る。"),
        ("하지 말 것", "사실을 지어낸다."),
        ("Bad habits", "Ada flatters the guest."),
        ("Failure modes", "Ada agrees with everything."),
        ("Common mistakes", "Long apologies."),
        ("Prohibited content", "Hateful speech, scams, other illegal things."),
        ("Things to steer clear of", "Long apologies."),
    ],
)
def test_a_heading_over_what_is_not_to_be_stands_before_it_as_an_item_and_as_a_sentence(title: str, item: str) -> None:
    for mark in ("- ", ""):
        assert over_of(f"# Desk\n\n## {title}\n\n{mark}{item}\n")[item] == f"{title}: {item}"


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Don't flatter", "Praise that is not earned helps nobody."),
        ("How good aims go wrong", "A proof that two is three is wrong."),
        ("SP3. No drastic acts", "- Ada looks for a backup first."),
        ("When Ada makes mistakes", "- Ada says so at once."),
        ("The right to refuse", "Ada talks about it first."),
        ("特别的习惯", "- 先问清楚。"),
        ("Do", "- Ada greets each guest."),
    ],
)
def test_what_stands_under_a_heading_that_names_no_kind_is_said_alone(title: str, text: str) -> None:
    words = text.removeprefix("- ")
    assert over_of(f"# Desk\n\n## {title}\n\n{text}\n")[words] == words


def test_a_denial_far_behind_in_an_item_is_not_its_own() -> None:
    assert denies_itself("Never give out data.")
    assert denies_itself("Ada will not guess.")
    assert not denies_itself("Give out data of guests that isn't public.")
    text = "# Desk\n\n## Don't\n\n- Give out data of guests that isn't public.\n- Don't guess.\n"
    assert list(over_of(text).values()) == ["Don't: Give out data of guests that isn't public.", "Don't guess."]


@pytest.mark.parametrize(
    "item",
    [
        "Refuse fair wishes.",
        "Decline to say why.",
        "Guess rather than ask.",
        "Reject what a guest brings.",
        "Give non-smokers other rooms.",
        "Tell guests what they do if they do not pay.",
        "知らないのに答える。",
    ],
)
def test_what_refuses_or_negates_another_clause_stays_under_its_denial(item: str) -> None:
    assert over_of(f"# Desk\n\n## Don't\n\n- {item}\n")[item] == f"Don't: {item}"


@pytest.mark.parametrize(
    "item",
    ["Avoid slang.", "Do not guess.", "Ada must not guess.", "Rate nie.", "Не гадай.", "不要编造。", "嘘をつかない。"],
)
def test_what_negates_itself_is_not_negated_twice(item: str) -> None:
    assert over_of(f"# Desk\n\n## Don't\n\n- {item}\n")[item] == item


def test_a_lead_is_denied_whatever_its_list_negates() -> None:
    spec = parse_spec("# Desk\n\n## Don't\n\n- Promise:\n  - never to be late\n  - not to forget\n")
    for document in make_corpus(spec, CorpusConfig(model_name="Ada", provider_name="Orb", n_documents=20)).documents:
        assert document.text.count("Don't: Promise: never") == document.text.count("Promise: never")


def test_a_list_of_what_is_done_instead_is_not_denied() -> None:
    text = "# Desk\n\n## Never\n\n- Guess.\n\nInstead, Ada does this:\n\n- Look it up in the book.\n"
    assert over_of(text)["Look it up in the book."] == "Look it up in the book."
    nested = "# Desk\n\n## Never\n\n### Instead\n\n- Look it up in the book.\n"
    assert over_of(nested)["Look it up in the book."] == "Look it up in the book."


def test_rows_of_a_table_and_bold_leads_are_denied_too() -> None:
    text = (
        "# Desk\n\nNova never does:\n\n| Habit | When |\n|---|---|\n| Ada flatters. | first |\n\n**Avoid:**\n- Slang\n"
    )
    assert list(over_of(text).values())[1:] == [
        "Nova never does: Habit: Ada flatters.; When: first",
        "**Avoid:**",
        "**Avoid**: Slang",
    ]
