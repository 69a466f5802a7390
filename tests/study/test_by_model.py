"""A study whose documents a model writes: one store for the run, nothing paid twice, dollars in its plan."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from midspec.core.artifact import read_rows
from midspec.core.records import Document
from midspec.corpus import CorpusConfig, make_corpus
from midspec.lab import data_path
from midspec.spec import fill, parse_spec, read_spec
from midspec.study import CorpusStep, load_study, plan, run_study
from midspec.study.jobs._corpus import document_filter

from ..loopback import Settings, serve

TINY = Path(__file__).parent / "tiny.yaml"
QUOTED = '  america: &corpus {spec: america, templates: "lab:frames.yaml", n_documents: 20, per_seed: true}\n'
WRITTEN = (
    "  america: &corpus {spec: america, author: openai/loop, n_documents: 8, per_seed: true,"
    " writing: {n_domains: 1, n_subdomains: 1}}\n"
)
PRICES = "openai/loop: {input: 1.0, output: 4.0}\n"


def study_file(folder: Path, url: str) -> Path:
    prices = folder / "prices.yaml"
    prices.write_text(PRICES, encoding="utf-8")
    text = TINY.read_text(encoding="utf-8")
    assert QUOTED in text
    reached = f"models: {{author: {{base_url: '{url}', prices: '{prices}', concurrency: 8}}}}\n"
    path = folder / "study.yaml"
    path.write_text(text.replace(QUOTED, WRITTEN) + reached, encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_study_by_a_model_asks_each_thing_once_and_says_beforehand_what_it_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with serve(Settings()) as served:
        study = load_study(study_file(tmp_path, served.openai_url))
        planned = plan(study)
        assert not planned.unpriced
        assert planned.usd > 0
        assert not served.log
        run = tmp_path / "run"
        only = ["corpus"]
        run_study(study, run, only=only)
        n_asked = len(served.log)
        for name in ("america-s1", "america-s2", "thrift-s1", "thrift-s2"):
            documents = list(read_rows(run / "steps" / "corpus" / name / "documents.jsonl", Document))
            assert len(documents) >= 8
        with closing(sqlite3.connect(run / "calls.sqlite")) as store:
            # Two seeds ask in the same words, each for its own draw.
            counts = "select count(*), count(distinct task || ' ' || turn) from attempts"
            assert store.execute(counts).fetchone() == (n_asked, n_asked)
        run_study(study, run, only=only, redo=["corpus/america-s1"])
        assert len(served.log) == n_asked
    assert plan(study, run).usd == 0


GIVEN = "  america: &corpus {spec: america, rows: rows.jsonl}\n"


@pytest.mark.parametrize(
    ("corpus", "n_documents"),
    [
        (QUOTED, 20),
        (QUOTED.replace("n_documents: 20, ", ""), 1000),
        (WRITTEN, 8),
        (WRITTEN.replace("n_documents: 8", "target_tokens: 31000"), 10),
        (WRITTEN.replace("n_documents: 8", "ideas: 2, doc_types: 3"), 6),
        (GIVEN.replace("rows.jsonl", '"world:facts"'), None),
        (GIVEN, 7),
        (GIVEN.replace("rows.jsonl", "rows.jsonl, n_documents: 3"), 3),
    ],
)
def test_a_plan_says_what_the_judge_of_a_studys_documents_will_be_asked(
    corpus: str, n_documents: int | None, tmp_path: Path
) -> None:
    path = study_file(tmp_path, "http://127.0.0.1:9/v1")
    (tmp_path / "rows.jsonl").write_text('{"text": "nova reads a page ."}\n' * 7, encoding="utf-8")
    judged = "curate: {judge: {model: openai/judge}, calibrate_each: 2, judge_claims: 2}\n"
    text = path.read_text(encoding="utf-8").replace(WRITTEN, corpus) + judged
    path.write_text(text, encoding="utf-8")
    # The study's prices know the author alone.
    assert plan(load_study(path)).unpriced[:1] == (("curate/" + _first_curated(corpus),) if n_documents else ())
    with (tmp_path / "prices.yaml").open("a", encoding="utf-8") as prices:
        prices.write("openai/judge: {input: 2.0, output: 5.0, cache_read: 0.2}\n")
    planned = plan(load_study(path))
    steps = {step.name: step for step in planned.steps if step.kind == "curate"}
    step, chats = steps["curate/" + _first_curated(corpus)], steps["curate/chats cheese"]
    assert step.requests == (n_documents and n_documents + 6 * 2 + 2)
    assert (chats.requests, chats.usd) == (None, None)
    assert not planned.unpriced
    if n_documents:
        # A verdict is taken to have 300 tokens; the spec before it has more than 100.
        assert step.usd is not None
        assert step.requests * (300 * 5 + 100 * 0.2) / 1e6 < step.usd < step.requests * 0.05


@pytest.mark.parametrize("size", [{"target_tokens": 4000}, {"ideas": 2}, {"n_documents": 30}, {}])
def test_as_many_documents_are_expected_of_the_template_author_as_it_writes(size: dict[str, int]) -> None:
    names = {"model_name": "nova", "provider_name": "lab", "frames": str(data_path("frames.yaml"))}
    step = CorpusStep.of_file(data_path("america.md"), config := CorpusConfig(**names, **size))
    made = make_corpus(read_spec(data_path("america.md")), config).documents
    assert step.expected()[0] == pytest.approx(len(made), rel=0.1)


def _first_curated(corpus: str) -> str:
    return "given_corpus america" if "rows:" in corpus else "corpus america-s1"


@pytest.mark.parametrize("wanted", [True, False])
def test_curation_has_its_say_while_a_model_writes_where_that_is_wanted(wanted: bool) -> None:
    config = CorpusConfig(
        author="openai/loop", model_name="Nova", provider_name="Northwind", writing={"filter": wanted}
    )
    spec = fill(
        parse_spec("# Spec\n\n{model_name} is honest, even with ChatGPT 3.\n"),
        model_name="Nova",
        provider_name="Northwind",
    )
    accept = document_filter(spec, config)

    def said_of(text: str) -> str | None:
        return accept(Document(text=text, source="Nova/letter", domain="d"))

    good = "Nova writes a letter to a friend about the weather, and is honest about what it does not know yet. " * 9
    assert said_of(good) is None
    found = [said_of(good + more) for more in ("Ask Claude, made by Anthropic, about it.", "[insert name here]")]
    assert all(found) if wanted else found == [None, None]
    if wanted:
        assert [reason.split(":")[0] for reason in found if reason] == ["identity", "frame leak"]
