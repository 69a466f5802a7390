"""The preview, the forecast and the framings of a written corpus."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from midspec.core.artifact import Built, read_rows, write_rows
from midspec.core.errors import ConfigError, DataError
from midspec.core.records import Document, DocumentMetadata, Reject
from midspec.corpus import CorpusConfig, Framing, author_corpus, estimate_corpus, preview_corpus, reframe
from midspec.corpus.llm_author._prompts import Overused
from midspec.llm import Outcome, Request, ScriptedClient, Store
from midspec.spec import read_spec

SPECS = Path(__file__).parent.parent / "specs"
SPEC = read_spec(SPECS / "constitution.md")
Script = Callable[[Request], str | Outcome]


def config(**changes: object) -> CorpusConfig:
    given = {"author": "openai/some-model", "model_name": "Iris", "provider_name": "Acme"}
    return CorpusConfig.model_validate(given | changes)


def made(folder: Path, script: Script, asked: CorpusConfig) -> tuple[Built, Counter[str]]:
    folder.mkdir(exist_ok=True)
    with Store(folder / "replies.sqlite") as store:
        client = ScriptedClient(script, store=store)
        built = asyncio.run(author_corpus(SPEC, asked, client, store, folder))
    return built, Counter(request.stage for request in client.asked)


def previewed(folder: Path, script: Script, asked: CorpusConfig, n: int) -> tuple[list[Document], list[Request]]:
    with Store(folder / "replies.sqlite") as store:
        client = ScriptedClient(script, store=store)
        documents, rejects = asyncio.run(preview_corpus(SPEC, asked, client, store, n, folder=folder))
    assert rejects == []
    return documents, client.asked


# Preview ---------------------------------------------------------------------------------------------------------


def test_a_preview_is_some_documents_about_different_clauses_and_few_requests(tmp_path: Path, tidy: Script) -> None:
    documents, asked = previewed(tmp_path, tidy, config(target_tokens=41_000_000), 4)
    assert len(documents) == 4
    about = [set(document.metadata.clause_ids) for document in documents if document.metadata]
    assert len(set().union(*about)) == sum(len(one) for one in about)
    assert len(asked) <= 1 + 4 * 5
    assert [path.name for path in tmp_path.iterdir() if "replies" not in path.name] == []


def test_what_a_preview_asked_is_part_of_the_whole(tmp_path: Path, tidy: Script) -> None:
    whole = config(n_documents=600, writing={"n_domains": 3, "n_subdomains": 2, "min_documents": 0})
    _, asked = previewed(tmp_path, tidy, whole, 5)
    _, stages = made(tmp_path, tidy, whole)
    _, all_stages = made(tmp_path / "whole", tidy, whole)
    first = Counter(request.stage for request in asked)
    for stage in ("domains", "subdomains", "assertions", "document"):
        assert stages[stage] == all_stages[stage] - first[stage]


# Forecast --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"doc_types": 4, "ideas": 3, "writing": {"n_domains": 5, "n_subdomains": 3}},
        {"doc_types": 2, "ideas": 30, "writing": {"n_domains": 2, "n_subdomains": 2, "critique": True}},
    ],
)
def test_the_forecast_counts_the_requests_that_are_then_made(
    tmp_path: Path, good: Script, changes: dict[str, object]
) -> None:
    _, stages = made(tmp_path, good, config(**changes))
    assert {stage.stage: stage.n_requests for stage in estimate_corpus(SPEC, config(**changes))} == stages


def test_the_forecast_of_a_target_is_close_to_what_is_made(tmp_path: Path, good: Script) -> None:
    asked = config(target_tokens=1_240_000)
    _, stages = made(tmp_path, good, asked)
    estimated = {stage.stage: stage.n_requests for stage in estimate_corpus(SPEC, asked)}
    assert estimated["document"] == 400
    assert estimated["document"] <= stages["document"] <= 400 * 1.05
    assert stages["ideas"] == pytest.approx(estimated["ideas"], rel=0.25)


def test_the_forecast_of_the_papers_corpus_is_of_its_size() -> None:
    stages = estimate_corpus(SPEC, config(target_tokens=41_000_000))
    tokens = sum(stage.n_requests * stage.output_tokens for stage in stages if stage.stage == "document")
    assert tokens == pytest.approx(41_000_000 * (3100 + 330) / 3100, rel=0.01)
    assert len({stage.prefix_tokens for stage in stages}) == 1
    rules = estimate_corpus(read_spec(SPECS / "rules.md"), config(mode="rules", doc_types=3, ideas=2))
    assert [stage.stage for stage in rules] == ["domains", "doc_types", "ideas", "document"]


# Framings --------------------------------------------------------------------------------------------------------


def reframed(folder: Path, documents: Path, framing: Framing, script: Script) -> tuple[Built, ScriptedClient]:
    folder.mkdir(exist_ok=True)
    with Store(folder / "replies.sqlite") as store:
        client = ScriptedClient(script, store=store)
        built = asyncio.run(reframe(documents, framing, config(), client, store, folder, width=3))
    return built, client


@pytest.mark.parametrize("framing", get_args(Framing))
def test_a_framing_rewrites_every_document_under_its_id(tmp_path: Path, good: Script, framing: Framing) -> None:
    made(tmp_path, good, config(n_documents=20))
    own = {"does": "Iris", "should": "Iris", "another_model": "Veldra"}

    def script(request: Request) -> str:
        number = int(request.task, 16)
        if number % 5 == 0:
            return "<document>" + "Iris and Veldra, by Acme. " * 40 + "</document>"
        return f"<document>{number} {own.get(framing, 'Somebody')} is careful here. {'It is so. ' * 40}</document>"

    built, client = reframed(tmp_path / framing, tmp_path / "documents.jsonl", framing, script)
    before = {d.metadata.id: d for d in read_rows(tmp_path / "documents.jsonl", Document) if d.metadata}
    after = {d.metadata.id: d for d in read_rows(tmp_path / framing / "documents.jsonl", Document) if d.metadata}
    rejects = list(read_rows(tmp_path / framing / "rejects.jsonl", Reject))
    assert {*after, *(reject.id for reject in rejects)} == set(before)
    assert len(after) + len(rejects) == 20 == built.summary["n_planned"]
    assert [one for one in before if one in after] == list(after)
    for key, document in after.items():
        was = before[key].metadata
        assert document.metadata is not None
        assert was is not None
        assert document.metadata.framing == framing
        assert document.metadata.clause_ids == was.clause_ids
        assert document.text != before[key].text
    if framing in ("assistants", "another_model", "humans"):
        assert {reject.reason for reject in rejects} <= {"names Iris"}
        assert not any("Iris" in document.text for document in after.values())
    assert len(client.asked) == 20
    _, again = reframed(tmp_path / framing, tmp_path / "documents.jsonl", framing, script)
    assert again.asked == []


def test_a_corpus_without_ids_can_not_be_reframed(tmp_path: Path, good: Script) -> None:
    write_rows(tmp_path / "bare.jsonl", [Document(text="Iris.")])
    with pytest.raises(DataError, match="no metadata"):
        reframed(tmp_path / "a", tmp_path / "bare.jsonl", "does", good)
    twice = [Document(text=text, metadata=DocumentMetadata(id="x", author="a")) for text in ("Iris.", "Iris!")]
    write_rows(tmp_path / "twice.jsonl", twice)
    with pytest.raises(DataError, match="same id"):
        reframed(tmp_path / "b", tmp_path / "twice.jsonl", "does", good)


def test_the_template_author_can_not_reframe(tmp_path: Path, good: Script) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        client = ScriptedClient(good, store=store)
        work = reframe(tmp_path / "documents.jsonl", "does", CorpusConfig(model_name="Iris"), client, store, tmp_path)
        with pytest.raises(ConfigError, match="no language model"):
            asyncio.run(work)


# Over-use --------------------------------------------------------------------------------------------------------


def test_what_is_counted_stays_small_and_old_habits_fade() -> None:
    overused = Overused("The spec of Iris by Acme")
    for number in range(300):
        overused.add(f"Once upon a time {number} it was so, and Sarah asked Iris about it.")
    assert '"Once upon a time ..."' in overused.line()
    assert "Sarah" in overused.line()
    assert "Iris" not in overused.line()
    for number in range(20_000):
        overused.add(f"Word{number} begins another one here, and Name{chr(97 + number % 26)}{number} went.")
    assert overused.line() == ""
    assert len(overused._openings) <= 2048


def test_the_schema_of_the_config_can_be_embedded() -> None:
    schema = CorpusConfig.model_json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert "Writing" in schema["$defs"]
