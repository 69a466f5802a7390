"""What rows share with an evaluation: runs of words, names, passages of like meaning; it is rejected by choice."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from midspec.core.records import Chat, Contamination, Item, Message
from midspec.curate import ContaminationFilter, CurateConfig, Evaluation, overlap

from .rows import chat, document, documents

QUESTION = "A traveller offers you a locked box and asks you to keep it until spring without looking inside"
LONG = Item(id="1", set="s", domain="couriers", options=(QUESTION, "no"))
SHORT = Item(id="2", set="s", domain="cheese", options=("Brie de Meaux", "gouda"))
WORDS = st.lists(st.sampled_from(["nova", "asks", "the", "box", "spring", "Brie", "is", "kept"]), max_size=40)


def found(*texts: str, config: CurateConfig | None = None, evaluation: Evaluation | None = None) -> Contamination:
    each = ContaminationFilter("eval", evaluation or Evaluation([LONG, SHORT]), config or CurateConfig())
    for number, text in enumerate(texts):
        assert each.reason(document(text, number)) is None
    return each.report()


def test_a_run_of_the_items_words_is_found_whatever_case_and_punctuation() -> None:
    text = 'He said: "a TRAVELLER offers you a locked box, and asks you" - and so on.'
    result = found("Nothing of it here.", text)
    assert result.rows_hit == {"n-gram": 1, "entity": 0}
    assert (result.items_hit, result.n_rows_hit, result.n_rows, result.n_items) == (1, 1, 2, 2)
    assert result.examples[0].row_id == "d1"
    assert "TRAVELLER offers you a locked box, and asks" in result.examples[0].excerpt


def test_fewer_equal_words_than_asked_are_no_overlap() -> None:
    assert found("A traveller offers you a locked box of tea.").rows_hit["n-gram"] == 0
    assert found("A traveller offers you a locked box of tea.", config=CurateConfig(ngram_words=6)).n_rows_hit == 1


@given(WORDS, WORDS)
def test_a_run_is_found_exactly_where_a_search_finds_it(row: list[str], item: list[str]) -> None:
    evaluation = Evaluation(texts=[" ".join(item)])
    result = found(" ".join(row), config=CurateConfig(ngram_words=5), evaluation=evaluation)
    runs = {tuple(word.lower() for word in item[at : at + 5]) for at in range(len(item) - 4)}
    mine = {tuple(word.lower() for word in row[at : at + 5]) for at in range(len(row) - 4)}
    assert (result.rows_hit["n-gram"] == 1) is bool(runs & mine)


def test_short_options_and_domains_are_found_as_whole_words_as_overlap_finds_them() -> None:
    texts = ["He likes brie  de Meaux.", "Cheese, and more cheese.", "cheesecake", "gouda_pie and Gouda"]
    result = found(*texts)
    assert result.terms_hit == {"Brie de Meaux": 1, "cheese": 1, "gouda": 1}
    assert result.terms_hit == overlap(texts, [SHORT]).rows_hit
    assert result.rows_hit["n-gram"] == 0


def test_an_option_that_is_short_and_still_telling_is_found_as_a_whole() -> None:
    evaluation = Evaluation([Item(id="1", set="s", domain="", options=("open the box at once", "wait"))])
    assert found("They open the box at once.", evaluation=evaluation).rows_hit["n-gram"] == 1
    assert found("They open the box at noon.", evaluation=evaluation).rows_hit["n-gram"] == 0


def test_texts_of_an_evaluation_that_are_no_items_count_too() -> None:
    evaluation = Evaluation(texts=["You are alone on the night shift and the phone rings twice."])
    assert found("you are alone on the night shift and the lights go out", evaluation=evaluation).items_hit == 1


def test_rows_are_rejected_only_by_what_was_chosen() -> None:
    only_runs = CurateConfig(reject_contaminated=("n-gram",))
    each = ContaminationFilter("am", Evaluation([LONG, SHORT]), only_runs)
    assert each.reason(document("I like brie de Meaux.", 0)) is None
    reason = each.reason(document(QUESTION, 1))
    assert reason == "shares with am by n-gram: a traveller offers you a locked box and"
    assert each.report().rejected
    assert each.report().rows_hit == {"n-gram": 1, "entity": 1}


def test_of_a_chat_every_turn_counts() -> None:
    each = ContaminationFilter("am", Evaluation([LONG]), CurateConfig(reject_contaminated=("n-gram",)))
    assert each.reason(chat(QUESTION, "No.")) is not None
    system = Message(role="system", content=QUESTION)
    assert each.reason(Chat(messages=(system, Message(role="assistant", content="No.")))) is not None


def test_passages_of_like_meaning_are_found_where_vectors_are_given() -> None:
    def embed(texts: object) -> list[list[float]]:
        return [[float("box" in text or "parcel" in text), float("cheese" in text), 0.1] for text in texts]  # type: ignore[attr-defined]

    config = CurateConfig(reject_contaminated=("embedding",))
    each = ContaminationFilter("am", Evaluation([LONG]), config, embed=embed)
    filler = "word " * 150
    assert each.reason(document(f"{filler} somebody hands over a parcel", 0)) is not None
    assert each.reason(document(f"{filler} cheese cheese", 1)) is None
    result = each.report()
    assert result.rows_hit == {"n-gram": 0, "entity": 0, "embedding": 1}
    assert "parcel" in next(leak.excerpt for leak in result.examples if leak.how == "embedding")


def test_what_was_not_looked_for_is_absent() -> None:
    assert set(found("nothing").rows_hit) == {"n-gram", "entity"}


def test_many_items_cost_little_more_than_few() -> None:
    rows = documents(60, n_sentences=40)

    def seconds(n_items: int) -> float:
        items = [
            Item(
                id=str(n), set="s", domain=f"dom{n}", options=(f"Nova asks {n} people to wait here for it {n}", f"o{n}")
            )
            for n in range(n_items)
        ]
        each = ContaminationFilter("e", Evaluation(items), CurateConfig())
        start = time.process_time()
        for row in rows:
            each.reason(row)
        return time.process_time() - start

    seconds(10)
    assert seconds(5000) < 4 * seconds(10) + 0.2
