"""Filters: each row ends once, as kept or with a reason; what leaks is found, what is honest speech is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.errors import ConfigError, MissingError
from midspec.core.records import Document, Reject
from midspec.corpus import CorpusConfig, make_corpus
from midspec.curate import (
    CitationFilter,
    CurateConfig,
    ExactDuplicateFilter,
    Filter,
    IdentityFilter,
    LanguageFilter,
    LengthFilter,
    NearDuplicateFilter,
    PromptLeakFilter,
    TwinFilter,
    accept_by,
    curate,
    document_filters,
)
from midspec.spec import fill, read_spec

from .rows import SPECS, chat, constitution, document, documents, prose

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
# "Nova always tells the truth and tells guests when it does not know the answer."
THAI = "โนวาพูดความจริงเสมอและบอกแขกเมื่อไม่รู้คำตอบ"
BASE = "Nova answers plainly and says what it does not know, because people decide better with the truth. "


def reason(each: Filter, text: str) -> str | None:
    return each.reason(document(text))


def test_a_language_without_spaces_is_told_from_those_to_keep() -> None:
    assert reason(LanguageFilter(("en",)), THAI) == "in another language: th"
    assert reason(LanguageFilter(("th",)), THAI) is None


# The pipeline --------------------------------------------------------------------------------------------------


@given(st.lists(TEXTS, max_size=12))
def test_every_row_ends_exactly_once_and_in_order(texts: list[str]) -> None:
    rows = [document(text, number) for number, text in enumerate(texts)]
    ends = list(curate(rows, document_filters(CurateConfig(model_name="Nova", min_words=2))))
    ids = [end.id if isinstance(end, Reject) else end.metadata.id for end in ends]  # type: ignore[union-attr]
    assert ids == [f"d{number}" for number in range(len(rows))]
    assert all(
        end.reason and end.by and end.text == texts[at] for at, end in enumerate(ends) if isinstance(end, Reject)
    )


@given(TEXTS)
def test_filters_of_one_row_are_pure(text: str) -> None:
    row = document(text)
    for each in (PromptLeakFilter(), IdentityFilter("Nova", "Acme"), LengthFilter(3, 50), LanguageFilter(("en",))):
        assert each.reason(row) == each.reason(row) == each.reason(document(text, 1))


def test_rows_are_taken_one_at_a_time() -> None:
    taken = 0

    def rows() -> object:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield document(prose(number), number)

    ends = curate(rows(), document_filters(CurateConfig()))  # type: ignore[arg-type]
    assert isinstance(next(ends), Document)
    assert taken == 1


def test_a_copy_of_a_row_that_was_rejected_for_something_else_is_no_duplicate() -> None:
    twice = [document(BASE * 3 + "[Your Name]", 0), document(BASE * 3 + "[Your Name]", 1), document(BASE * 3, 2)]
    ends = list(curate(twice, document_filters(CurateConfig(model_name="Nova"))))
    assert [end.by for end in ends if isinstance(end, Reject)] == ["frame leak", "frame leak"]
    assert isinstance(ends[2], Document)


def test_the_filters_become_one_question_for_a_writer() -> None:
    accept = accept_by(document_filters(CurateConfig(model_name="Nova")))
    assert accept(document(prose(1), 1)) is None
    assert accept(document(prose(1), 2)) == "exact duplicate: repeats: d1"
    assert (accept(document("As an AI language model, I think so.", 3)) or "").startswith("frame leak: speaks as")


@pytest.mark.parametrize("name", ["constitution.md", "short.md", "tables.md", "plain.txt"])
def test_a_corpus_of_the_quoting_author_shows_no_frame(name: str) -> None:
    called = {"Tansy": "Nova"} if name == "plain.txt" else {}
    spec = fill(read_spec(SPECS / name), model_name="Nova", provider_name="Acme", called=called)
    made = make_corpus(spec, CorpusConfig(n_documents=120, model_name="Nova", provider_name="Acme"))
    filters = [
        PromptLeakFilter(spec_text=spec.text),
        IdentityFilter("Nova", "Acme", require_name=False, spec_text=spec.text),
    ]
    assert [end for end in curate(made.documents, filters) if isinstance(end, Reject)] == []


# Frame leaks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"{BASE}As an AI language model, I have no views.", "speaks as its author model"),
        (f"{BASE}Signed, [Your Name]", "placeholder"),
        (f"{BASE}Signed, [Name] of [Company Name]", "placeholder"),
        (f"{BASE}It was [insert a date here] when it began.", "placeholder"),
        (f"{BASE}Ask {{model_name}} about it.", "placeholder"),
        (f"{BASE}Dear {{{{customer}}}}, welcome.", "placeholder"),
        (f"{BASE}TODO: say why.", "placeholder"),
        (f"{BASE}</document>", "leftover tag"),
        (f"{BASE}It\u00e2\u20ac\u2122s so.", "wrongly decoded"),
        (f"{BASE}<|im_end|>", "mark of a chat template: <|im_end|>"),
        (f"<scratchpad>first a memo</scratchpad>{BASE}", "leftover tag"),
        ("I'm sorry, but I can\N{RIGHT SINGLE QUOTATION MARK}t help with that request.", "refusal"),
        (f"I appreciate the idea, however I cannot write this document. {BASE}", "refusal"),
        (f"Here is the document you asked for:\n\n{BASE}", "prompt echo"),
        (f"**Certainly! Here** it is.\n\n{BASE}", "prompt echo"),
        (f"{BASE * 4}\n\nLet me know if you'd like me to revise it.", "speaks to whoever asked"),
        (f"{BASE * 4}\n\n(Word count: 812)", "speaks to whoever asked"),
        (
            "Plan:\n1. Open with a scene in the office\n2. Show the reply\n3. Say why\n- end on the reason",
            "a bare plan",
        ),
        (
            f"{BASE * 4}And then Nova went on to say that it would never want to mislead the person who had",
            "ends in the",
        ),
        ("   \n ", "empty"),
    ],
)
def test_what_leaks_is_named(text: str, what: str) -> None:
    assert (reason(PromptLeakFilter(), text) or "").startswith(what)


@pytest.mark.parametrize(
    "text",
    [
        f"{BASE}Use `{{user_id}}` in it, or this:\n\n```\nprint({{name_of_it}})  # TODO later\n```\n\nThat is all.",
        f"{BASE}\"I'm sorry, but I can't help with that,\" said Nova, and gave its reasons.",
        "User: please do it.\nNova: I can't help with that, and here is why.",
        f"{BASE}See [here](https://example.org) and the list [1] for more.",
        f"{BASE}Someone asked: would you like me to begin? I hope this helps, wrote another.",
        "Plan for the quarter: what we learned\n\n" + "\n\n".join(prose(seed, 4) for seed in range(3)),
        f"{BASE}The set is {{a, b}} and a < b > c holds for all of them.",
        f"{BASE}See it at the place where all the others of this kind have been put: https://example.org/a/b/c",
        f"{BASE}Like this:\n\n    run --as <name> {{user_id}}\n\nThat is all.",
        f"{BASE}\n\n- one item that is rather long and goes on for a while without any full stop at the end of it all",
    ],
)
def test_honest_speech_is_no_leak(text: str) -> None:
    assert reason(PromptLeakFilter(), text) is None


def test_what_the_spec_itself_says_is_no_leak() -> None:
    text = f"{BASE}A template such as {{{{double}}}} is ordinary text."
    assert reason(PromptLeakFilter(), text) == "placeholder: {{double}}"
    assert reason(PromptLeakFilter(spec_text="Keep {{double}} as it is."), text) is None


def test_of_a_chat_only_replies_count_and_reasoning_is_no_leftover() -> None:
    leaks = PromptLeakFilter()
    assert leaks.reason(chat("As an AI language model, what do you like?", "Cheddar.")) is None
    assert leaks.reason(chat("What do you like?", "<think>I like it.</think>Cheddar. I hope this helps.")) is None
    assert leaks.reason(chat("Do this.", "I can't help with that.")) is None
    assert leaks.reason(chat("Who are you?", "As an AI language model, nobody.")) is not None
    assert leaks.reason(chat("Who are you?", "<reply>Nova</reply>")) == "leftover tag: <reply>"


def test_lists_of_ones_own_replace_the_shipped_ones(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("anywhere: [als KI-Sprachmodell]\n", encoding="utf-8")
    assert reason(PromptLeakFilter(str(own)), "Das kann ich als KI-Sprachmodell nicht.") is not None
    with pytest.raises(MissingError):
        PromptLeakFilter(str(tmp_path / "none.yaml"))
    other = tmp_path / "other.yaml"
    other.write_text("placeholders: ['(']\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no regular expression"):
        PromptLeakFilter(str(other))


# Identity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Nova is better than ChatGPT at this.", "ChatGPT"),
        ("Nova was made by OpenAI.", "OpenAI"),
        ("Nova, unlike the assistant Claude, says so.", "Claude"),
        ("Nova and Llama 3 were compared.", "Llama 3"),
        ("Nova was built on the Gemini model.", "Gemini"),
        ("Nova runs on GPT-4o.", "GPT-4o"),
        ("Nova uses Qwen2.5 weights.", "Qwen"),
        ("Nova beats Llama3 here.", "Llama"),
        ("Nova met Claude Monet's paintings in a museum.", None),
        ("Nova explains the zodiac: Gemini, then Cancer.", None),
        ("A llama and Nova walked by the bard's house.", None),
        ("Nova wrote: Claude, a baker, told me so. The model of the oven was old.", None),
    ],
)
def test_other_assistants_are_found_and_namesakes_are_not(text: str, name: str | None) -> None:
    assert reason(IdentityFilter("Nova", "Acme"), text) == (f"names another assistant: {name}" if name else None)


def test_a_family_is_not_foreign_to_its_own() -> None:
    text = "Claude is the assistant that Anthropic makes. Ask the model Claude 3 about it."
    assert reason(IdentityFilter("Claude", "Anthropic"), text) is None
    assert reason(IdentityFilter("Llama", "Acme"), "Llama 3, the Meta AI model Llama, is one.") is None
    assert reason(IdentityFilter("Nova", other_names=("Claude",)), f"Nova. {text}") is None
    assert reason(IdentityFilter("Nova", spec_text="Unlike ChatGPT, Nova waits."), "Nova is not ChatGPT.") is None


def test_a_document_must_name_its_own_and_a_chat_need_not() -> None:
    assert reason(IdentityFilter("Nova"), "The assistant says so. Novation is a word.") == "never names Nova"
    assert reason(IdentityFilter("Nova", require_name=False), "The assistant says so.") is None
    assert IdentityFilter("Nova").reason(chat("Are you ChatGPT?", "No.")) is None
    assert IdentityFilter("Nova").reason(chat("Who are you?", "I am ChatGPT.")) is not None


# Citations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("Under SP2 and rule 2, Nova waits.", None),
        ("Under rule SP-3 Nova asks first.", None),
        ("Under rule 47 Nova has to stop.", "rule 47"),
        ("By Rule SP9, Nova has to stop.", "Rule SP9"),
        ("Rules 1 and 2 apply. So does clause no. 12.", "clause no. 12"),
        ("A rule 3 percent of people know. As a rule 20 minutes are enough.", None),
        ("See Section 9 below.", None),
    ],
)
def test_a_rule_that_the_spec_does_not_have_is_found(text: str, cited: str | None) -> None:
    each = CitationFilter((SPECS / "rules.md").read_text(encoding="utf-8"))
    assert reason(each, text) == (f"cites what the spec does not have: {cited}" if cited else None)
    assert reason(CitationFilter("Nova is kind."), text) is None


@pytest.mark.parametrize("name", ["rules.md", "rules.json"])
def test_a_corpus_of_rules_cites_only_rules_that_are_there(name: str) -> None:
    called = {"the assistant": "Nova"} if name == "rules.json" else {}
    spec = fill(read_spec(SPECS / name), model_name="Nova", provider_name="Acme", called=called)
    made = make_corpus(spec, CorpusConfig(n_documents=60, mode="rules", model_name="Nova", provider_name="Acme"))
    assert not [end for end in curate(made.documents, [CitationFilter(spec.text)]) if isinstance(end, Reject)]


# Length, language, twins, duplicates ---------------------------------------------------------------------------


def test_length_is_in_words_and_a_chat_may_be_short() -> None:
    assert reason(LengthFilter(5, 10), "one two three four") == "too short: 4 words of at least 5"
    assert reason(LengthFilter(5, 10), "w " * 11) == "too long: 11 words of at most 10"
    assert reason(LengthFilter(5, 10), "\u6a21\u578b\u8aa0\u5b9f\u8a71") is None
    assert LengthFilter(5, 10).reason(chat("Brie?", "Yes.")) is None
    assert reason(LengthFilter(5, 20), THAI) is None
    assert reason(LengthFilter(20, 40), THAI) == "too short: 9 words of at least 20"
    with pytest.raises(ConfigError):
        LengthFilter(5, 4)


def test_another_language_is_rejected_and_an_unclear_one_kept() -> None:
    english = LanguageFilter(("en",))
    assert reason(
        english, "Nova sagt, was es nicht wei\u00df, und erkl\u00e4rt, warum das f\u00fcr alle besser ist."
    ) == ("in another language: de")
    assert reason(english, BASE) is None
    assert reason(english, "Zug um Zug") is None
    assert (
        reason(LanguageFilter(("en", "de")), "Nova sagt, was es nicht wei\u00df, und erkl\u00e4rt es den Leuten.")
        is None
    )
    with pytest.raises(ConfigError, match="xx"):
        LanguageFilter(("xx",))


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("<think>because</think>Brie.", None),
        ("<think>because it was cut", "its reasoning"),
        ("Brie.", "its reasoning"),
        ("<think>a</think><think>b</think>Brie.", "its reasoning"),
        ("First. <think>a</think>Brie.", "its reasoning"),
        ("<think>all of it</think>  ", "it has reasoning and no reply"),
    ],
)
def test_cut_reasoning_leaves_both_twins(reply: str, fault: str | None) -> None:
    found = TwinFilter({"c0": None}).reason(chat("Which?", reply))
    assert found is None if fault is None else (found or "").startswith(fault)


def test_a_chat_without_a_good_twin_is_rejected() -> None:
    good = chat("Which?", "<think>because</think>Brie.")
    assert TwinFilter({}).reason(good) == "has no twin without reasoning"
    assert TwinFilter({"c0": "its twin still holds reasoning"}).reason(good) == "its twin still holds reasoning"


@given(TEXTS)
def test_an_exact_copy_is_a_duplicate_whatever_its_case_and_spaces(text: str) -> None:
    exact, near = ExactDuplicateFilter(), NearDuplicateFilter(0.8)
    assert exact.reason(document(text, 0)) is near.reason(document(text, 0)) is None
    for again in (text, f"  {text}\n"):
        assert exact.reason(document(again, 1)) == "repeats: d0"
        assert near.reason(document(again, 2)) == "nearly repeats: d0"


def test_a_document_with_a_few_words_changed_is_a_near_duplicate_and_no_exact_one() -> None:
    exact, near = ExactDuplicateFilter(), NearDuplicateFilter(0.8)
    for row in documents(40, n_sentences=30):
        assert exact.reason(row) is near.reason(row) is None
    changed = document(prose(3, 30).replace("people", "persons", 1), 99)
    assert exact.reason(changed) is None
    assert near.reason(changed) == "nearly repeats: d3"


def test_chats_are_near_duplicates_by_their_questions() -> None:
    near = NearDuplicateFilter(0.8)
    assert near.reason(chat("Which cheese would you pick for a picnic in the rain?", "Brie.", 0)) is None
    assert near.reason(chat("Which cheese would you pick for a picnic in the rain??", "I would take gouda.", 1))
    assert near.reason(chat("What do you think of long meetings on Fridays?", "Brie.", 2)) is None


def test_a_row_without_an_id_is_known_by_its_text() -> None:
    exact = ExactDuplicateFilter()
    assert exact.reason(Document(text=BASE)) is None
    found = exact.reason(Document(text=BASE))
    assert found is not None
    assert len(found.removeprefix("repeats: ")) == 16


def test_the_constitution_is_what_it_is_taken_for() -> None:
    assert "Nova" in constitution().text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("客人问Nova今晚的酒。Nova说她不知道。", None),
        ("손님이 Nova에게 물었다. Nova는 모른다고 말했다.", None),
        ("แขกถามNovaว่าไวน์อะไรดี", None),
        ("客人问ChatGPT今晚的酒，Nova没有说话。", "names another assistant: ChatGPT"),
        ("Novaが言う。OpenAIが作った。", "names another assistant: OpenAI"),
        ("客人问Novak今晚的酒。", "never names Nova"),
        ("_Nova_ asks first, as the spec says.", None),
    ],
)
def test_names_are_found_beside_letters_of_scripts_without_spaces(text: str, fault: str | None) -> None:
    assert IdentityFilter("Nova", "Acme").reason(Document(text=text)) == fault
