"""What stands over a clause: its lead-in and what denies it, also from outer lists and headings."""

from __future__ import annotations

import pytest

from midspec.chats import ChatConfig, make_chats
from midspec.core.records import Section
from midspec.corpus import CorpusConfig, make_corpus
from midspec.spec import denies_itself, parse_spec, read_parts, stand_over

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


def headings_of(section: Section) -> tuple[str, ...]:
    """Return the headings over a section; the last of its path is no heading where it has none of its own."""
    return section.path if section.level else section.path[:-1]


def over_of(text: str, form: str = "") -> dict[str, str]:
    """Return each clause of a spec behind what denies it."""
    return {
        clause.text: over.said_before(clause.text)
        for section in read_parts(text, form=form)[0].sections
        for clause, over in zip(section.clauses, stand_over(section.clauses, headings_of(section)), strict=True)
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


@pytest.mark.parametrize(
    "lead",
    [
        "What Ada must never do",
        "Ada never does these",
        "Never do these (hard limits)",
        "❌ Don't",
        "**What Ada refuses to do** (no exceptions)",
        "Ada does none of the following.",
        "Ada must not do any of these things.",
        "Folgendes darf Ada niemals: siehe die folgenden Punkte.",
    ],
)
def test_a_lead_without_a_colon_denies_its_list(lead: str) -> None:
    said = over_of(f"# Desk\n\nAda is kind. {lead}\n\n- Shame anybody.\n- Guess.\n")
    for item in ("Shame anybody.", "Guess."):
        assert said[item].endswith(f": {item}")
        assert said[item].startswith(lead.rstrip(".")[:20])


@pytest.mark.parametrize("lead", ["Ada never lies.", "Ada is no judge!", "Nobody likes to be shamed."])
def test_a_whole_sentence_before_a_list_denies_nothing_of_it(lead: str) -> None:
    assert over_of(f"# Desk\n\n{lead}\n\n- Ask the guest.\n")["Ask the guest."] == "Ask the guest."


@pytest.mark.parametrize(
    ("do", "dont"),
    [
        ("Do:", "Don't:"),
        ("✅ Do:", "❌ Don't:"),
        ("✅ **Do**", "❌ **Don't**"),
        ("**Do:**", "**Don't:**"),
        ("Right:", "Wrong:"),
        ("**DO**", "**DO NOT**"),
    ],
)
def test_lists_of_what_to_do_and_not_to_do_are_rules_each_a_clause(do: str, dont: str) -> None:
    text = (
        f"# Desk\n\nAda helps.\n\n{do}\n\n- Ask the guest.\n- Name a source.\n\n{dont}\n\n- Shame anybody.\n- Guess.\n"
    )
    said = over_of(text)
    assert [said[item] for item in ("Ask the guest.", "Name a source.")] == ["Ask the guest.", "Name a source."]
    denial = dont.rstrip(":").replace(":**", "**")
    heading = denial.replace("**", "")
    for item in ("Shame anybody.", "Guess."):
        assert said[item] in (f"{denial}: {item}", f"{heading}: {item}")


def test_replies_in_quotation_marks_under_do_and_dont_stay_an_example() -> None:
    text = '# Desk\n\nDo:\n\n- "I am sure of it."\n\nDon\'t:\n\n- "Maybe."\n'
    assert [clause.kind for clause in parse_spec(text).clauses] == ["example"]


DATA = """title: The desk's charter
never:
  - Lie to a guest.
sections:
  - name: Forbidden topics
    rules:
      - Gossip about guests.
  - name: Care
    rules:
      - rule: Ask before you act.
        why: A guest knows best what helps.
        do: [Ask once.]
        don't: [Ask ten times.]
        behaviors: {required: [Knock first.], prohibited: [Enter at night.]}
        examples:
          positive: [{input: Is it ready?, expected: Let me ask.}]
          negative: [{input: Is it ready?, expected: Surely.}]
      - title: Prices
        rules: {always: [Name the total.], must_not: [Guess at prices.]}
"""


def test_data_keeps_what_denies_its_rules_and_the_reasons_beside_them() -> None:
    said = over_of(DATA, "YAML")
    assert said["Lie to a guest."] == "Never: Lie to a guest."
    assert said["Gossip about guests."] == "Forbidden topics: Gossip about guests."
    assert said["Ask ten times."] == "Don't: Ask ten times."
    assert said["Enter at night."] == "Prohibited: Enter at night."
    assert "User: Is it ready?\nReply marked GOOD: Let me ask.\nUser: Is it ready?\nReply marked BAD: Surely." in said
    assert said["Guess at prices."] == "Must not: Guess at prices."
    for bare in (
        "A guest knows best what helps.",
        "Ask once.",
        "Name the total.",
        "Ask before you act.",
        "Knock first.",
    ):
        assert said[bare] == bare


def test_the_text_of_data_stands_under_the_names_that_its_parts_have() -> None:
    lines = read_parts(DATA, form="YAML")[0].text.split("\n")
    assert lines.index("# The desk's charter") < lines.index("Never:") < lines.index("- Lie to a guest.")
    assert lines.index("# Forbidden topics") < lines.index("Gossip about guests.") < lines.index("# Care")


def test_documents_and_chats_deny_what_data_denies() -> None:
    spec = read_parts(DATA, form="YAML")[0]
    corpus = make_corpus(spec, CorpusConfig(model_name="Ada", provider_name="Oak", n_documents=60, seed=3))
    chats = make_chats(spec, ChatConfig(style="value", model_name="Ada")).chats
    texts = [*(document.text for document in corpus.documents), *(chat.text for chat in chats)]
    assert sum("Gossip about guests" in text for text in texts) > 5
    for text in texts:
        for item, denial in (("Gossip about guests", "Forbidden topics: "), ("Lie to a guest", "Never: ")):
            before = text.split(item)[:-1]
            assert all(denial in one[-40:] for one in before), text


@pytest.mark.parametrize(
    ("title", "item"),
    [
        ("Never", "Offer no reason."),
        ("Never", "Show no patience."),
        ("Never", "Cite sources not checked."),
        ("Never", "Claim skills it doesn't have."),
        ("Words to avoid", "slimming down (processes don't diet)"),
        ("Don't", "**Pushy** — No sales talk."),
        ("What Ada is not", "**Bossy** - It can't give orders."),
        ("Anti-patterns", '"Don\'t worry" to a sick guest'),
        ("À éviter", "Donner des chiffres non vérifiés."),
        ("Niveau 4 - Sources à éviter", "Avis de clients anonymes."),
        ("Stufe 4 - Quellen, die Ada vermeiden soll", "Karten von gestern."),
        ("Non-goals", "Hidden work at night."),
    ],
)
def test_a_negated_word_reason_or_quotation_is_no_denial_of_the_item(title: str, item: str) -> None:
    assert over_of(f"# Desk\n\n## {title}\n\n- {item}\n")[item] == f"{title}: {item}"


@pytest.mark.parametrize(
    "item",
    [
        "No shouting.",
        "Ada gives no refunds.",
        "Under no circumstances shall Ada open the door.",
        "Ada does **not** guess.",
        "Non indovinare mai.",
        "**No guessing** — facts only.",
        "**Prices:** never guess.",
    ],
)
def test_a_clause_that_denies_itself_is_said_alone(item: str) -> None:
    assert over_of(f"# Desk\n\n## Don't\n\n- {item}\n")[item] == item


@pytest.mark.parametrize(
    ("outer", "inner", "text"),
    [
        ("Do not lend banned keys", "Staff keys", "Ada may lend a staff key to anyone on the list."),
        ("Don't take sides", "Give both views", "- For a question of taste Ada asks back."),
        ("No topic is off limits", "Old quarrels", "Ada talks about them."),
        ("Non-negotiable care", "Guests", "- Ask each guest."),
        ("The right to refuse", "Staff", "- Say why."),
        ("Do's and Don'ts", "Do's", "- Ask first."),
        ("Good and bad habits", "Mornings", "- Greet each guest."),
        ("Don't shout", "Do", "- Speak low."),
    ],
)
def test_a_heading_that_forbids_one_thing_denies_nothing_under_another_heading(
    outer: str, inner: str, text: str
) -> None:
    words = text.removeprefix("- ")
    assert over_of(f"# Desk\n\n## {outer}\n\n### {inner}\n\n{text}\n")[words] == words


@pytest.mark.parametrize("outer", ["Prohibited content", "What Ada refuses", "Never", "Don'ts"])
def test_a_heading_that_names_a_kind_denies_what_stands_under_its_subheadings(outer: str) -> None:
    said = over_of(f"# Desk\n\n## {outer}\n\n### Doors\n\n- Opening a door for a stranger.\n")
    assert said["Opening a door for a stranger."] == f"{outer}: Opening a door for a stranger."


DENIED_LIST = """# Desk

Ada never does this:

- Tell a guest who else stays here.
- Hand out a spare key at night.
- Promise a room before it is free.

Example:

User: Which room is my friend in?
Good: I can ring her for you.
Bad: She is in 212.
"""


def test_denied_sentences_are_one_sentence_also_before_their_example() -> None:
    config = CorpusConfig(model_name="Ada", provider_name="Oak", n_documents=80)
    texts = [document.text for document in make_corpus(parse_spec(DENIED_LIST), config).documents]
    lists = [text for text in texts if "Hand out a spare key at night" in text]
    assert len(lists) > 10
    for text in lists:
        before = text.split("Hand out a spare key at night")[0]
        assert before.endswith(("this: ", "stays here; ")), before[-80:]
    for text in (text for text in texts if "She is in 212" in text):
        owner = text.split("User: Which room")[0].rstrip().rpartition("\n")[2]
        assert "Promise a room" not in owner or "Ada never does this: " in owner


def test_lines_without_an_end_under_a_lead_are_items_as_plain_text_has_them() -> None:
    plain = "Ada never does this:\n\nPromise a room before it is free\nName the other guests\n"
    plain += "\nAda always does this:\nGreet each guest\nSay when the pool closes\n"
    said = over_of(plain)
    assert said["Name the other guests"] == "Ada never does this: Name the other guests"
    assert said["Say when the pool closes"] == "Say when the pool closes"


def test_wrapped_prose_under_a_lead_stays_one_paragraph() -> None:
    text = "# Desk\n\nAda never does this:\n\nPromise a room to a guest, or give\nGuests a key at night.\n"
    assert [clause.text for clause in parse_spec(text).clauses][1] == (
        "Promise a room to a guest, or give Guests a key at night."
    )


def test_headings_that_are_sentences_with_nothing_under_them_are_rules_under_their_lead() -> None:
    text = "# Desk\n\n## Limits\n\nAda must never:\n\n### H1. Open a room for a stranger.\n\n### H2. Take cash home.\n"
    assert over_of(text)["H2. Take cash home."] == "Ada must never: H2. Take cash home."
    assert over_of("# Desk\n\n## Keys\n\n### Ada lends a key.\n\nTo its guest only.\n") == {
        "To its guest only.": "To its guest only."
    }


def test_fields_in_bold_on_lines_of_their_own_are_clauses_of_their_own() -> None:
    said = over_of("# Desk\n\n**Tone:** Calm and short  \n**Limits:** Quote no prices\n")
    assert list(said) == ["**Tone:** Calm and short", "**Limits:** Quote no prices"]


def test_a_name_in_bold_over_what_it_means_is_denied_by_its_name() -> None:
    text = "# Desk\n\n## DON'T\n\nThese:\n\n**Rush people**\nNever count the minutes aloud.\n"
    assert list(over_of(text).values())[-1] == "DON'T: These: **Rush people** Never count the minutes aloud."


@pytest.mark.parametrize(
    "title",
    [
        "Do not lie or cheat",
        "What Ada must never do or say",
        "Never do any of these, ever",
        "Do not discuss politics and religion",
        "Not allowed or restricted",
        "Prohibited and not allowed",
        "Never permitted, never offered",
    ],
)
def test_a_heading_that_denies_two_things_still_denies(title: str) -> None:
    assert over_of(f"# Desk\n\n## {title}\n\n- Lend keys\n")["Lend keys"] == f"{title}: Lend keys"


@pytest.mark.parametrize("item", ["Guess if not sure", "If not asked, talk", "Answer if no one asks"])
def test_a_condition_that_is_negated_is_no_denial_of_the_item(item: str) -> None:
    assert over_of(f"# Desk\n\n## Never\n\n- {item}\n")[item] == f"Never: {item}"


@pytest.mark.parametrize("item", ["**Secrets** — Never share them.", "**Pressure** Do not push guests."])
def test_an_order_behind_a_name_in_bold_is_the_items_own_denial(item: str) -> None:
    assert over_of(f"# Desk\n\n## Never\n\n- {item}\n")[item] == item


def test_items_that_deny_themselves_are_not_joined_under_what_denies_the_others() -> None:
    items = ("Lend keys to any strangers.", "Do not lie to the guests.", "Never curse at the guests.")
    text = "# Desk\n\nAda must never:\n\n" + "".join(f"- {item}\n" for item in items)
    config = CorpusConfig(model_name="Ada", provider_name="Oak", n_documents=60)
    texts = [document.text for document in make_corpus(parse_spec(text), config).documents]
    assert sum("Lend keys to any strangers" in one for one in texts) > 5
    for one in texts:
        assert "Ada must never: Do not lie" not in one
        assert "strangers; Do not lie" not in one
