"""A folder in, a folder out: nothing gets lost, twins stay twins, and what is said of the rows is true."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pytest

from midspec.chats import ChatConfig, make_chats, save_chats
from midspec.core.artifact import Built, read_rows, write_json, write_rows
from midspec.core.errors import ConfigError, DataError, MissingError
from midspec.core.records import Chat, ChatMetadata, Document, Health, Item, Message, Reject
from midspec.core.text import estimate_tokens
from midspec.corpus import CorpusConfig, make_corpus, save_corpus
from midspec.curate import CurateConfig, Evaluation, Judge, JudgedSize, curate_folder, estimate_judge, judge_folder
from midspec.llm import ModelConfig, Request, ScriptedClient, Store

from .rows import chat, constitution, document, documents, prose

NOVA = CurateConfig(model_name="Nova", provider_name="Acme")
KEEP = "<verdict>keep</verdict><reason>Good.</reason>"


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    made = make_corpus(constitution(), CorpusConfig(n_documents=150, model_name="Nova", provider_name="Acme"))
    path = folder(tmp_path / "corpus")
    save_corpus(made, path)
    return path


def spoilt(path: Path) -> dict[str, str]:
    """Put rows of known faults among the documents; returns id -> who must reject it."""
    rows = list(read_rows(path / "documents.jsonl", Document))
    faults = [
        document("Too short for Nova.", "short"),
        document(rows[0].text.upper(), "copy"),
        document(rows[1].text + " One more word.", "near"),
        document(rows[2].text.replace("Nova", "Orion"), "nameless"),
        document(rows[3].text + " Nova beats ChatGPT.", "brand"),
        document(rows[4].text + "\n\n[Your Name]", "gap"),
    ]
    write_rows(path / "documents.jsonl", [*rows, *faults])
    by = ("length", "exact duplicate", "near duplicate", "identity", "identity", "frame leak")
    return {row.metadata.id: name for row, name in zip(faults, by, strict=True) if row.metadata}


def health(built: Built, path: Path) -> Health:
    assert "health.json" in built.outputs
    return Health.model_validate_json((path / "health.json").read_bytes())


def test_every_document_is_kept_or_rejected_by_the_one_that_must(corpus: Path, tmp_path: Path) -> None:
    faults, out = spoilt(corpus), folder(tmp_path / "out")
    built = curate_folder(corpus, NOVA, out, spec_text=constitution().text)
    kept = [row.metadata.id for row in read_rows(out / "documents.jsonl", Document) if row.metadata]
    rejects = {row.id: row for row in read_rows(out / "rejects.jsonl", Reject)}
    assert {key: row.by for key, row in rejects.items()} == faults
    before = [row.metadata.id for row in read_rows(corpus / "documents.jsonl", Document) if row.metadata]
    assert kept == [key for key in before if key not in faults]
    assert built.summary["n_documents"] == 150
    assert built.summary["n_rejects"] == 6
    assert not list(out.glob(".*"))
    assert set(built.outputs) == {path.name for path in out.iterdir()}


def test_health_says_what_the_rows_show(corpus: Path, tmp_path: Path) -> None:
    spoilt(corpus)
    out = folder(tmp_path / "out")
    found = health(curate_folder(corpus, NOVA, out), out)
    rows = list(read_rows(out / "documents.jsonl", Document))
    assert (found.before.documents, found.after.documents) == (156, 150)
    assert (found.n_exact, found.n_near) == (1, 1)
    assert found.duplicates[0][0] == "dnear"
    assert found.rejects["identity"] == 2
    assert found.reasons["identity: names another assistant: ChatGPT"] == 1
    assert sum(found.types.values()) == sum(found.domains.values()) == sum(found.languages.values()) == 150
    assert found.lengths is not None
    assert sum(each.n for each in found.lengths.bins) == 150
    assert found.lengths.most == max(len(row.text.split()) for row in rows)
    assert found.share_distinct == 1.0
    assert 0 < found.mean_overlap < 0.5
    assert {sample.id for sample in found.samples} <= {row.metadata.id for row in rows if row.metadata}
    assert len({sample.doc_type for sample in found.samples}) == min(len(found.samples), len(found.types))
    nova = found.names["Nova"]
    assert nova.rows <= 150 <= nova.times
    opening, n = next(iter(found.openings.items()))
    assert n == sum(
        row.text.translate(str.maketrans("", "", "#:,")).lower().split()[:4] == opening.split() for row in rows
    )


def test_coverage_is_stated_before_and_after_for_every_clause(corpus: Path, tmp_path: Path) -> None:
    given = json.loads((corpus / "coverage.json").read_bytes())
    victim = next(key for key, covered in given.items() if covered["documents"])
    rows = list(read_rows(corpus / "documents.jsonl", Document))
    holds = {row.metadata.id for row in rows if row.metadata and victim in row.metadata.clause_ids}
    edited = [
        row.model_copy(update={"text": f"{row.text} TODO"}) if row.metadata and row.metadata.id in holds else row
        for row in rows
    ]
    write_rows(corpus / "documents.jsonl", edited)
    out = folder(tmp_path / "out")
    found = health(curate_folder(corpus, NOVA, out), out)
    assert list(found.coverage) == list(found.coverage_before) == list(given)
    assert found.coverage_before[victim].documents == len(holds)
    assert found.coverage[victim].documents == found.coverage[victim].tokens == 0
    assert json.loads((out / "coverage.json").read_bytes())[victim] == {"documents": 0, "tokens": 0}
    total = sum(size.tokens for size in found.coverage_before.values())
    assert total == pytest.approx(found.before.tokens, abs=len(given))
    assert any("have none now" in note and victim in note for note in found.notes)
    assert found.clause_texts[victim]


def test_the_same_rows_give_the_same_files(corpus: Path, tmp_path: Path) -> None:
    spoilt(corpus)
    for name in ("one", "two"):
        curate_folder(corpus, NOVA, folder(tmp_path / name), evaluations={"e": Evaluation(texts=[prose(1)])})
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_what_was_not_measured_is_said_and_never_zero(corpus: Path, tmp_path: Path) -> None:
    out = folder(tmp_path / "out")
    built = curate_folder(corpus, CurateConfig(), out)
    found = health(built, out)
    assert (found.judged, found.calibration, found.contamination, found.cost_usd) == ("not judged", None, (), None)
    assert any("not measured" in note for note in found.notes)
    assert "no evaluation" in str(built.summary["contamination"])
    assert any("no model name" in note for note in found.notes)


def test_contamination_is_reported_and_rejects_by_choice(corpus: Path, tmp_path: Path) -> None:
    row = next(read_rows(corpus / "documents.jsonl", Document))
    item = Item(id="1", set="s", domain="none of it", options=(" ".join(row.text.split()[40:60]), "zzz"))
    out = folder(tmp_path / "out")
    found = health(curate_folder(corpus, NOVA, out, evaluations={"am": Evaluation([item])}), out)
    (leaks,) = found.contamination
    assert leaks.rows_hit["n-gram"] >= 1
    assert found.after.documents == 150
    out = folder(tmp_path / "strict")
    strict = NOVA.model_copy(update={"reject_contaminated": ("n-gram",)})
    found = health(curate_folder(corpus, strict, out, evaluations={"am": Evaluation([item])}), out)
    assert found.rejects == {"contamination: am": leaks.rows_hit["n-gram"]}


def test_rows_that_repeat_another_in_meaning_are_rejected_where_vectors_are_given(corpus: Path, tmp_path: Path) -> None:
    rows = list(read_rows(corpus / "documents.jsonl", Document))[:5]
    path = tmp_path / "rows.jsonl"
    write_rows(path, [*rows, rows[1].model_copy(update={"text": rows[1].text.replace("Nova", "The assistant Nova")})])
    place = {row.text[:200]: number for number, row in enumerate(rows)}

    def embed(texts: Sequence[str]) -> list[list[float]]:
        near = [place.get(text.replace("The assistant Nova", "Nova")[:200], 1) for text in texts]
        return [[float(number == at) for at in range(5)] for number in near]

    config = NOVA.model_copy(update={"meaning_threshold": 0.9, "near_threshold": None})
    out = folder(tmp_path / "out")
    found = health(curate_folder(path, config, out, embed=embed, spec_text=constitution().text), out)
    assert found.rejects == {"near duplicate in meaning": 1}
    (reject,) = read_rows(out / "rejects.jsonl", Reject)
    assert reject.reason == f"means nearly the same as: {rows[1].metadata.id}"  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="embedding model"):
        curate_folder(path, config, folder(tmp_path / "none"))


def test_a_file_of_rows_will_do_and_anything_else_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, documents(20))
    built = curate_folder(path, NOVA, folder(tmp_path / "out"), spec_text=constitution().text)
    assert built.summary["n_documents"] == 20
    write_rows(path, [chat("Which?", "Brie.")])
    assert curate_folder(path, CurateConfig(), folder(tmp_path / "chats")).summary["n_chats"] == 1
    path.write_text("", encoding="utf-8")
    assert curate_folder(path, NOVA, folder(tmp_path / "none")).summary["n_documents"] == 0
    path.write_text('{"neither": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match="neither a document nor a chat"):
        curate_folder(path, NOVA, folder(tmp_path / "bad"))
    with pytest.raises(MissingError):
        curate_folder(tmp_path / "out" / "nothing", NOVA, folder(tmp_path / "worse"))
    with pytest.raises(MissingError, match="holds neither"):
        curate_folder(folder(tmp_path / "empty"), NOVA, tmp_path / "worse")


# Chats ---------------------------------------------------------------------------------------------------------


def twins(path: Path, cot: list[Chat], stripped: list[Chat]) -> Path:
    write_rows(folder(path) / "chats_cot.jsonl", cot)
    write_rows(path / "chats_cot_stripped.jsonl", stripped)
    return path


def ids(path: Path) -> list[str]:
    return [row.metadata.id for row in read_rows(path, Chat) if row.metadata]


def test_twins_are_kept_or_rejected_together(tmp_path: Path) -> None:
    cot = [chat(f"What about {n}?", f"<think>Because of {n}.</think>I would say {n}.", n) for n in range(8)]
    stripped = [chat(f"What about {n}?", f"I would say {n}.", n) for n in range(8)]
    cot[1] = chat("What about 1?", "<think>Because it was cut", 1)
    stripped[2] = chat("What about 2?", "Because</think> I would say 2.", 2)
    cot[3] = chat("What about 3?", "<think>Fine.</think>As an AI language model, I don't say.", 3)
    del stripped[4]
    source, out = twins(tmp_path / "in", cot, stripped), folder(tmp_path / "out")
    found = health(curate_folder(source, NOVA, out), out)
    assert ids(out / "chats_cot.jsonl") == ids(out / "chats_cot_stripped.jsonl") == ["c0", "c5", "c6", "c7"]
    assert found.kind == "chats"
    assert found.rejects == {"twins": 3, "frame leak": 1}
    rejects = {row.id: row.by for row in read_rows(out / "rejects.jsonl", Reject)}
    assert rejects == {"c1": "twins", "c2": "twins", "c3": "frame leak", "c4": "twins"}


def test_twins_need_ids_that_are_their_own(tmp_path: Path) -> None:
    one = chat("Which?", "<think>a</think>Brie.", 1)
    source = twins(tmp_path / "same", [one], [chat("Which?", "Brie.", 1), chat("Which?", "Gouda.", 1)])
    with pytest.raises(DataError, match="two chats have the id"):
        curate_folder(source, NOVA, folder(tmp_path / "out"))
    nameless = Chat(messages=(Message(role="user", content="Which?"), Message(role="assistant", content="Brie.")))
    with pytest.raises(DataError, match="no id"):
        curate_folder(twins(tmp_path / "none", [one], [nameless]), NOVA, tmp_path / "out")


@pytest.mark.parametrize("style", ["value", "rule", "opaque"])
def test_chats_of_the_quoting_author_pass(tmp_path: Path, style: str) -> None:
    from midspec.spec import fill, read_spec

    spec = constitution()
    if style == "opaque":
        path = next((Path(__file__).parents[2] / "examples" / "specs").glob("*"))
        spec = fill(read_spec(path), model_name="Nova", provider_name="Acme")
    made = make_chats(spec, ChatConfig(style=style, n_samples=60, model_name="Nova"))  # type: ignore[arg-type]
    save_chats(made, folder(tmp_path / "in"))
    out = folder(tmp_path / "out")
    built = curate_folder(tmp_path / "in", NOVA, out, spec_text=spec.text)
    assert built.summary["n_chats"] == len(made.chats)
    if style != "opaque":
        assert ids(out / "chats_cot.jsonl") == ids(out / "chats_cot_stripped.jsonl")


def test_kinds_of_questions_are_types_of_chats(tmp_path: Path) -> None:
    metadata = ChatMetadata(id="1", author="test", question_kind="direct")
    write_rows(tmp_path / "chats.jsonl", [chat("Which?", "Brie.").model_copy(update={"metadata": metadata})])
    out = folder(tmp_path / "out")
    assert health(curate_folder(tmp_path, CurateConfig(), out), out).types == {"direct": 1}


# With a judge --------------------------------------------------------------------------------------------------


def with_judge(corpus: Path, out: Path, config: CurateConfig, calls: Path, script: object) -> Built:
    async def run() -> Built:
        with Store(calls) as store:
            clauses = {clause.id: clause.text for clause in constitution().clauses}
            model = ModelConfig(model="openai/judge", temperature=0.0)
            client = ScriptedClient(script, store=store)  # type: ignore[arg-type]
            judge = Judge(client, store, model, constitution().text, clauses, "Nova", 4)
            return await judge_folder(corpus, config, out, judge)

    return asyncio.run(run())


def test_what_the_judge_does_not_clearly_keep_is_rejected_and_a_hold_is_no_keep(corpus: Path, tmp_path: Path) -> None:
    verdicts = {"keep": 0, "reject": 0, "hold": 0, "none": 0}

    def script(request: Request) -> str:
        verdict = list(verdicts)[int(request.task[-4:], 16) % 4]
        verdicts[verdict] += 1
        return KEEP.replace("keep", verdict) if verdict != "none" else "I can't tell."

    out = folder(tmp_path / "out")
    found = health(with_judge(corpus, out, NOVA, tmp_path / "calls.sqlite", script), out)
    # Replies without a verdict are asked once more, and give none again.
    unread = found.before.documents - verdicts["keep"] - verdicts["reject"] - verdicts["hold"]
    assert found.after.documents == verdicts["keep"]
    assert found.rejects == {"faithfulness": 150 - verdicts["keep"]}
    assert found.held == verdicts["hold"] + unread
    assert found.judged == "openai/judge"
    assert found.calibration is None
    assert len(list(read_rows(out / "rejects.jsonl", Reject))) == 150 - verdicts["keep"]
    assert found.coverage_before != found.coverage


def test_a_judge_is_measured_on_demand_and_a_second_run_pays_nothing(corpus: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def script(request: Request) -> str:
        asked.append(request.task)
        return KEEP

    config = NOVA.model_copy(update={"calibrate_each": 5})
    calls = tmp_path / "calls.sqlite"
    out = folder(tmp_path / "out")
    found = health(with_judge(corpus, out, config, calls, script), out)
    assert found.calibration is not None
    assert (found.calibration.false_keep.n, found.calibration.false_keep.of) == (30, 30)
    assert any("upper bound" in note for note in found.notes)
    assert len(asked) == 150 + 30
    again = folder(tmp_path / "again")
    with_judge(corpus, again, config, calls, script)
    assert len(asked) == 180
    for path in out.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_a_forecast_foresees_every_request_of_a_judge_and_its_length(corpus: Path, tmp_path: Path) -> None:
    asked: dict[str, list[Request]] = {}

    def script(request: Request) -> str:
        asked.setdefault(request.stage, []).append(request)
        return "<asserts>yes</asserts><as_reason>no</as_reason>" if request.stage == "claims" else KEEP

    config, rows = NOVA.model_copy(update={"calibrate_each": 5, "judge_claims": 7}), tmp_path / "rows.jsonl"
    write_rows(rows, list(read_rows(corpus / "documents.jsonl", Document))[:40])
    with_judge(rows, folder(tmp_path / "out"), config, tmp_path / "calls.sqlite", script)
    clauses = {clause.id: clause.text for clause in constitution().clauses}
    stages = estimate_judge(JudgedSize.of_folder(rows, config, clauses), config, constitution().text)
    expected = {"faithfulness": 40, "faithfulness calibration": 6 * 5, "claims": 7}
    assert {stage.stage: stage.n_requests for stage in stages} == expected
    assert {stage: len(requests) for stage, requests in asked.items()} == expected
    for stage in stages:
        real = fmean(estimate_tokens(request.prompt) for request in asked[stage.stage])
        assert stage.prompt_tokens == pytest.approx(real, rel=0.1), stage.stage
        assert {estimate_tokens(request.prefix) for request in asked[stage.stage]} == {stage.prefix_tokens}


def test_chats_are_not_judged_and_calibration_needs_a_name(corpus: Path, tmp_path: Path) -> None:
    write_rows(folder(tmp_path / "chats") / "chats.jsonl", [chat("Which?", "Brie.")])
    with pytest.raises(ConfigError, match="judged where they are written"):
        with_judge(tmp_path / "chats", tmp_path / "out", NOVA, tmp_path / "calls.sqlite", lambda _: KEEP)
    with pytest.raises(ConfigError, match="model_name"):
        with_judge(corpus, tmp_path / "out", CurateConfig(calibrate_each=3), tmp_path / "calls.sqlite", lambda _: KEEP)
    with pytest.raises(ConfigError, match="judged where they are written"):
        JudgedSize.of_folder(tmp_path / "chats", NOVA, {})
    with pytest.raises(ConfigError, match="model_name"):
        JudgedSize.of_folder(corpus, CurateConfig(calibrate_each=3), {})


def test_a_coverage_that_is_none_is_an_error(corpus: Path, tmp_path: Path) -> None:
    write_json(corpus / "coverage.json", [1, 2])
    with pytest.raises(DataError, match="no coverage"):
        curate_folder(corpus, NOVA, folder(tmp_path / "out"))
