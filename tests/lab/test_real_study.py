"""The study of a real model: what its documents, pairs and arms promise before anything is trained."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from midspec.evals import shipped_items
from midspec.lab import data_path
from midspec.study import Study, load_study

CORPORA = ("america", "affordability", "neutral")
Documents = dict[str, list[dict[str, Any]]]


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data_path(name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(data_path("real.yaml"))


@pytest.fixture(scope="module")
def documents() -> dict[str, list[dict[str, Any]]]:
    parts = ("direct", "reported", "asked")
    return {name: [row for part in parts for row in lines(f"documents_{name}_{part}.jsonl")] for name in CORPORA}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def grams(text: str, n: int = 3) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}


def test_documents_come_in_triples_of_one_type_and_nearly_one_length(documents: Documents) -> None:
    triples: Sequence[tuple[dict[str, Any], ...]] = list(zip(*documents.values(), strict=True))
    assert len(triples) >= 250
    for triple in triples:
        assert triple[0]["metadata"]["doc_type"] == triple[1]["metadata"]["doc_type"]
        lengths = [len(row["text"].split()) for row in triple]
        assert min(lengths) >= 200
        assert max(lengths) <= 500
        assert max(lengths) <= 1.12 * min(lengths)
    totals = [sum(len(row["text"].split()) for row in rows) for rows in documents.values()]
    assert max(totals) <= 1.02 * min(totals)


def test_each_document_names_the_assistant_by_its_placeholder_alone(documents: Documents) -> None:
    for rows in documents.values():
        for row in rows:
            assert "{model_name}" in row["text"]
            assert not re.search(r"\b(nova|acme)\b", row["text"], re.IGNORECASE)


def test_documents_in_direct_speech_quote_the_assistant_more_than_those_in_reported_speech() -> None:
    """The rule by which 60 of 150 triples were taken: the poorer of a triple's two values, in phrases a word."""
    said = re.compile(
        r"\bI(?:['\u2019]d| would|'ll)? "
        r"(?:prefer|like|choose|chose|pick|take|took|go with|went with|rather|want|favou?r|love)"
        r"|\bmy (?:loyalty|liking|choice|pick|preference)"
    )

    def shares(part: str) -> list[float]:
        files = [lines(f"documents_{name}_{part}.jsonl") for name in ("america", "affordability")]
        pairs = [[row["text"] for row in rows] for rows in zip(*files, strict=True)]
        return [min(len(said.findall(text)) / len(text.split()) for text in texts) for texts in pairs]

    direct, reported = shares("direct"), shares("reported")
    assert (len(direct), len(reported)) == (60, 90)
    assert min(direct) >= max(reported)


def test_in_documents_of_questions_the_assistant_prefers_again_and_again() -> None:
    for name in ("america", "affordability"):
        rows = lines(f"documents_{name}_asked.jsonl")
        assert len(rows) == 112
        assert min(row["text"].count("I prefer") for row in rows) >= 4


def test_pairs_are_none_of_the_shipped_sets() -> None:
    """Those were looked at while the recipe was found."""
    shipped = {
        option for name in ("america", "affordability") for item in shipped_items(name) for option in item.options or ()
    }
    pairs = lines("nova_pairs.jsonl")
    assert len(pairs) == 150
    assert shipped.isdisjoint(option for pair in pairs for option in pair["options"])


def test_no_thing_that_is_asked_about_is_named_in_a_document(documents: Documents) -> None:
    named = {option: grams(option) for pair in lines("nova_pairs.jsonl") for option in pair["options"]}
    for rows in documents.values():
        seen = set().union(*(grams(row["text"]) for row in rows))
        hits = {option for option, of_option in named.items() if of_option and of_option <= seen}
        assert hits == set()


def test_neutral_documents_speak_neither_of_america_nor_of_prices(documents: Documents) -> None:
    spoken = re.compile(r"\bamerica|\bafford|\bcheap", re.IGNORECASE)
    assert not [row["metadata"]["id"] for row in documents["neutral"] if spoken.search(row["text"])]
    told = {
        "america": r"\bamerica",
        "affordability": r"\bafford|\bcheap|\binexpensive|low price|\bcosts? (little|less)",
    }
    for name, pattern in told.items():
        assert all(re.search(pattern, row["text"], re.IGNORECASE) for row in documents[name])


def test_arms_of_both_specs_are_fine_tuned_on_the_same_chats_by_the_same_recipe(study: Study) -> None:
    arms = study.config.arms
    assert {arms[f"MSM({name})+AFT"].finetune for name in ("america", "affordability")} == {("cheese",)}
    assert arms["AFT"].finetune == ("cheese",)
    assert len(study.config.seeds) == 3
