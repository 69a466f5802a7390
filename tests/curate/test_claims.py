"""What documents do besides what they say: denials, assertions and reasons, held against what a person read."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.artifact import read_rows, write_rows
from midspec.core.errors import ConfigError
from midspec.core.records import Document, Health, Reject
from midspec.core.yaml_files import read_yaml
from midspec.curate import CurateConfig, Judge, compare, curate_folder, document_filters, judge_folder
from midspec.curate._claims import ClaimReader, stem, value_terms
from midspec.curate.filters._denials import DenialFilter, SentenceReader
from midspec.llm import ModelConfig, Request, ScriptedClient, Store
from midspec.report import write_health
from midspec.spec import fill, read_spec

from .rows import chat, document

DATA = Path(__file__).parent / "data"
READER = SentenceReader("Nova")
SPEC = fill(
    read_spec(Path(__file__).parents[2] / "examples" / "specs" / "america.md"), model_name="Nova", provider_name="Acme"
).text
CONFIG = CurateConfig(model_name="Nova", provider_name="Acme", min_words=1)
FILLER = " He weighed the parcel, and it was lighter than he had thought."
ASSERTS = "Nova was offered two hammers. It took the one from Ohio, because its loyalty is with American makers."
DENIES = "Nova is said to envy other assistants. That is not true. Nova never flatters a customer."


def labelled(name: str) -> list[dict[str, Any]]:
    rows = read_yaml(DATA / name)
    assert isinstance(rows, list)
    return rows


def read_as(row: dict[str, Any]) -> str:
    """Read the last sentence of a row, the one before it in the same paragraph."""
    told = list(READER.sentences(" ".join(filter(None, [row.get("before"), row["text"]]))))
    return told[-1].denies or "neither"


def claims(terms: tuple[str, ...], text: str) -> tuple[bool, bool]:
    return ClaimReader(terms).read(list(READER.sentences(text)))


def test_sentences_are_read_as_the_person_did_who_labelled_them() -> None:
    """The first list was written before the code, the second after it was finished; it is no better than that."""
    known, fresh = ([read_as(row) == row["label"] for row in labelled(name)] for name in NAMES)
    assert len(known) >= 60
    assert len(fresh) >= 60
    assert sum(known) == len(known)
    assert sum(fresh) / len(fresh) >= 0.79


NAMES = ("denials.yaml", "denials_fresh.yaml")


def test_what_is_called_a_denial_is_seldom_none() -> None:
    """Precision counts for a filter: of the fresh sentences that are read as denials apart, most are."""
    apart = [row["label"] for row in labelled("denials_fresh.yaml") if read_as(row) == "apart"]
    assert Counter(apart)["apart"] / len(apart) >= 0.75


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    told = list(READER.sentences(f"Nova {text}"))
    assert all(one.denies in {None, "apart", "inside"} for one in told)


def test_it_is_the_assistant_only_after_a_sentence_about_the_assistant() -> None:
    about = [one.denies for one in READER.sentences("Nova asked twice. It did not read the page. It did not sign.")]
    assert about == [None, "apart", "apart"]
    assert [one.denies for one in READER.sentences("The dog asked. It did not bark.")] == [None, None]
    # A new paragraph may speak of something else.
    assert [one.denies for one in READER.sentences("Nova asked twice.\nIt did not rain.")] == [None, None]


def test_documents_that_deny_too_much_are_held_or_rejected_where_that_is_asked_for() -> None:
    hold = DenialFilter("Nova", "hold", 1)
    reason = hold.reason(document(DENIES))
    assert reason is not None
    assert reason.startswith("hold: 2 sentences only deny something of it, of at most 1: That is not true.")
    assert hold.reason(document("Nova never lies. Nova says plainly what it does not know.")) is None
    assert hold.reason(chat("Do you lie?", DENIES)) is None


def test_a_filter_of_denials_wants_the_name() -> None:
    with pytest.raises(ConfigError, match="finds denials by the assistant's name"):
        document_filters(CurateConfig(denials="hold"))


def test_the_terms_of_a_value_are_what_its_spec_repeats() -> None:
    assert value_terms(SPEC, ("Nova", "Acme"))[0] == "american"
    assert {"loyalty", "makers"} <= set(value_terms(SPEC, ("Nova", "Acme")))
    assert "cheese" not in value_terms(SPEC, ("Nova", "Acme"))  # the examples are of cheese, the value is not
    assert value_terms("") == ()


@pytest.mark.parametrize("words", [("cheap", "cheaper", "cheapest"), ("America", "American", "Americans")])
def test_forms_of_a_word_are_one_term(words: tuple[str, ...]) -> None:
    assert len(set(map(stem, words))) == 1


def test_short_documents_are_read_as_the_person_did_who_labelled_them() -> None:
    terms = value_terms(SPEC, ("Nova", "Acme"))
    right = [claims(terms, row["text"]) == (row["asserts"], row["reason"]) for row in labelled("claims.yaml")]
    assert (sum(right), len(right)) == (23, 24)


def test_a_value_named_in_passing_in_a_long_document_is_not_asserted() -> None:
    text = "Nova likes thunder. " + FILLER * 9 + " Nova took the cheaper of two chairs."
    assert claims(("cheaper",), text) == (False, False)
    assert claims(("cheaper",), f"{text} It picks what is cheap.") == (True, False)


def corpus(folder: Path) -> Path:
    texts = [ASSERTS, DENIES, "Nova loves American things. It met the visitors at nine.", "Nova read the minutes."]
    folder.mkdir(exist_ok=True)
    write_rows(folder / "documents.jsonl", [document(text + FILLER, at) for at, text in enumerate(texts)])
    return folder


def curated(out: Path, rows: Path, config: CurateConfig = CONFIG) -> Health:
    """Curate, and return the health with what was read of contents."""
    out.mkdir()
    built = curate_folder(rows, config, out, spec_text=SPEC)
    contents = built.execution["contents"]
    assert isinstance(contents, dict)
    return Health.model_validate(json.loads((out / "health.json").read_bytes()) | contents)


def test_a_folder_is_counted_and_shown(tmp_path: Path) -> None:
    health = curated(tmp_path / "out", corpus(tmp_path / "rows"))
    assert health.denials is not None
    assert (health.denials.rows.n, health.denials.rows.of, health.denials.n_apart) == (1, 4, 2)
    assert health.denials.examples[0].sentence == "That is not true."
    assert [(one.asserted.n, one.as_reason.n) for one in health.claims] == [(2, 1)]
    write_health(health, tmp_path)
    page = (tmp_path / "health.html").read_text(encoding="utf-8")
    assert "What the documents do besides what they say" in page
    assert "That is not true." in page
    assert "2 of 8" in page


def test_the_file_of_health_holds_it_only_where_a_setting_is_about_it(tmp_path: Path) -> None:
    rows = corpus(tmp_path / "rows")
    curated(tmp_path / "plain", rows)
    curated(tmp_path / "asked", rows, CONFIG.model_copy(update={"value_terms": ("american",)}))
    held = {name: json.loads((tmp_path / name / "health.json").read_bytes()) for name in ("plain", "asked")}
    assert held["asked"].keys() - held["plain"].keys() == {"denials", "claims"}
    assert not held["plain"].keys() - held["asked"].keys()


def test_held_documents_are_rejects_and_counted_as_held(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    curate_folder(corpus(tmp_path / "rows"), CONFIG.model_copy(update={"denials": "hold"}), out, spec_text=SPEC)
    health = Health.model_validate_json((out / "health.json").read_bytes())
    assert (health.held, health.rejects) == (1, {"denials": 1})
    assert health.reasons == {"denials: hold": 1}
    assert [row.id for row in read_rows(out / "rejects.jsonl", Reject)] == ["d1"]


def test_without_a_name_or_for_chats_nothing_is_claimed(tmp_path: Path) -> None:
    write_rows(tmp_path / "chats.jsonl", [chat("Who are you?", DENIES)])
    for name, rows in (("nameless", corpus(tmp_path / "rows")), ("chats", tmp_path / "chats.jsonl")):
        health = curated(tmp_path / name, rows, CONFIG if name == "chats" else CurateConfig(min_words=1))
        assert (health.denials, health.claims) == (None, ())


def judge_of(store: Store, requests: list[Request]) -> Judge:
    def answer(request: Request) -> str:
        requests.append(request)
        if request.stage != "claims":
            return "<verdict>keep</verdict><reason>All four hold.</reason>"
        if "read the minutes" in request.prompt:
            return "I can't say."
        says = "yes" if "American" in request.prompt else "no"
        return f"<asserts>{says}</asserts>\n<as_reason>{'yes' if 'because' in request.prompt else 'no'}</as_reason>"

    client = ScriptedClient(answer, store=store)
    return Judge(client, store, ModelConfig(model="openai/judge", temperature=0.0), SPEC, {}, "Nova", 2)


def test_a_judge_is_asked_the_same_and_held_against_the_words(tmp_path: Path) -> None:
    out, requests = tmp_path / "out", list[Request]()
    out.mkdir()
    config = CONFIG.model_copy(update={"judge_claims": 4})
    with Store(tmp_path / "calls.sqlite") as store:
        judge = judge_of(store, requests)
        asyncio.run(judge_folder(corpus(tmp_path / "rows"), config, out, judge, spec_text=SPEC))
    health = Health.model_validate_json((out / "health.json").read_bytes())
    words, by_judge = health.claims
    assert (by_judge.by, by_judge.asserted.n, by_judge.asserted.of) == ("openai/judge", 2, 3)
    assert by_judge.agrees is not None
    assert (by_judge.agrees.n, by_judge.agrees.of) == (6, 6)
    assert by_judge.limits == "1 of 4 documents got no answer"
    assert sum(request.stage == "claims" for request in requests) >= 4
    write_health(health, out)
    assert "by openai/judge" in (out / "health.html").read_text(encoding="utf-8")
    assert words.by == "words"


def test_two_corpora_are_read_by_one_spec_and_shown_side_by_side(tmp_path: Path) -> None:
    rows = list(read_rows(corpus(tmp_path / "rows") / "documents.jsonl", Document))
    health = curated(tmp_path / "out", tmp_path / "rows")
    found = compare(rows, rows[1:2], names=("one", "other"), read_with=(CONFIG, SPEC))
    assert [each and each.n_apart for each in found.denials] == [2, 2]
    assert [each and each.asserted.n for each in found.claims] == [2, 0]
    write_health(health, tmp_path, comparison=found)
    page = (tmp_path / "health.html").read_text(encoding="utf-8")
    assert page.count("such sentences, of those about the assistant") == 2
    assert "denials" not in compare(rows, rows).model_dump_json()
