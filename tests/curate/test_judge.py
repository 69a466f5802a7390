"""A judge that holds when it is unclear, and whose errors are measured on violations that were planted."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.loopback import Settings, serve

from midspec.core.errors import DataError
from midspec.core.records import Calibration, Document, Share
from midspec.curate import (
    VIOLATIONS,
    DocumentVerdict,
    Judge,
    Planter,
    calibrate,
    judge_documents,
    judge_prefix,
)
from midspec.llm import ModelConfig, Outcome, Request, ScriptedClient, Store

from .rows import constitution, document, documents

SPEC = constitution()
CLAUSES = {clause.id: clause.text for clause in SPEC.clauses}
MODEL = ModelConfig(model="openai/judge", temperature=0.0)
KEEP = "<verdict>keep</verdict>\n<reason>All four hold.</reason>"


def judge(store: Store, script: Callable[[Request], str | Outcome], *, width: int = 4) -> Judge:
    client = ScriptedClient(script, store=store)
    return Judge(client, store, MODEL, SPEC.text, CLAUSES, "Nova", width)


def judged(path: Path, rows: list[Document], script: Callable[[Request], str | Outcome]) -> dict[str, DocumentVerdict]:
    found: dict[str, DocumentVerdict] = {}

    def settle(row: Document, judgement: DocumentVerdict) -> None:
        assert row.metadata is not None
        assert row.metadata.id not in found
        found[row.metadata.id] = judgement

    with Store(path / "calls.sqlite") as store:
        asyncio.run(judge_documents(rows, judge(store, script), settle))
    return found


def candidate(request: Request) -> str:
    return request.prompt.split("<candidate>\n")[1].split("\n</candidate>")[0]


# Verdicts ------------------------------------------------------------------------------------------------------


def test_every_document_gets_one_verdict_in_whatever_order(tmp_path: Path) -> None:
    rows = documents(50)
    found = judged(tmp_path, rows, lambda request: KEEP)
    assert len(found) == 50
    assert {each.verdict for each in found.values()} == {"keep"}


@pytest.mark.parametrize(
    "reply",
    [
        Outcome(kind="refused", text="I can't judge this.", stop_reason="refusal", note="the model refused"),
        Outcome(kind="filtered", stop_reason="content_filter", note="filtered"),
        Outcome(kind="failed", note="bad request"),
        "",
        "I think it is fine, keep it.",
        "<verdict>keep|reject|hold</verdict><reason>...</reason>",
        "<verdict>keep or reject</verdict><reason>Both are possible.</reason>",
        "<verdict>do not keep</verdict><reason>It invents a rule.</reason>",
        "<verdict>keep</verdict>",
        "<verdict>keep</verdict><verdict>reject</verdict><reason>Hm, wait.</reason>",
    ],
)
def test_what_is_no_plain_verdict_is_held_and_never_kept(tmp_path: Path, reply: str | Outcome) -> None:
    found = judged(tmp_path, documents(1), lambda request: reply)["d0"]
    assert (found.verdict, found.answered) == ("hold", False)
    assert found.reason.startswith("no verdict (")


def test_a_truncated_verdict_is_asked_again_with_a_higher_cap(tmp_path: Path) -> None:
    def script(request: Request) -> str | Outcome:
        cut = Outcome(kind="truncated", text="First, contradic", stop_reason="length")
        return cut if request.max_tokens < 5000 else KEEP

    assert judged(tmp_path, documents(1), script)["d0"].verdict == "keep"


def test_verdicts_are_read_whatever_their_case(tmp_path: Path) -> None:
    script = "It bends clause 3.\n<verdict> Reject </verdict>\n<reason>It says\n'never'.</reason>"
    assert judged(tmp_path, documents(1), lambda _: script)["d0"] == DocumentVerdict(
        verdict="reject", reason="It says 'never'."
    )


def test_a_second_run_asks_nothing_that_is_answered_and_an_id_is_no_part_of_the_question(tmp_path: Path) -> None:
    asked: list[str] = []

    def script(request: Request) -> str:
        asked.append(request.task)
        return KEEP

    rows = documents(6)
    first = judged(tmp_path, rows, script)
    again = [row.model_copy(update={"metadata": None}) for row in rows]
    assert len({row.text for row in again}) == 6
    assert judged(tmp_path, rows, script) == first
    assert len(asked) == len(set(asked)) == 6


def test_the_request_begins_with_the_spec_and_holds_the_clauses_and_the_document_as_they_are(tmp_path: Path) -> None:
    clause = SPEC.clauses[5]
    row = document("Nova keeps {braces} and {{candidate}} and <tags> as they are.", 1, clause.id)
    with Store(tmp_path / "calls.sqlite") as store:
        request = judge(store, lambda _: KEEP).request(row)
    assert request.prefix == SPEC.text
    assert f"- {' '.join(clause.text.split())}\n" in request.prompt
    assert candidate(request) == row.text
    assert request.prompt.rstrip().endswith("<verdict>keep|reject|hold</verdict>\n<reason>...</reason>")
    assert "{{" not in request.prompt.replace(row.text, "")


def test_the_prompt_is_the_one_that_was_read_and_approved(tmp_path: Path) -> None:
    row = document("Nova says so.", 1)
    with Store(tmp_path / "calls.sqlite") as store:
        prompt = judge(store, lambda _: KEEP).request(row).prompt
    golden = Path(__file__).parent / "golden" / "faithful.txt"
    assert prompt == golden.read_text(encoding="utf-8")


def test_the_prefix_is_the_spec_word_for_word_between_words_that_never_change() -> None:
    prefix = judge_prefix(SPEC)
    assert SPEC.text.strip() in prefix
    golden = Path(__file__).parent / "golden" / "spec.txt"
    assert prefix.replace(SPEC.text.strip(), "(the spec)") == golden.read_text(encoding="utf-8")


def test_no_more_documents_are_taken_than_are_being_judged(tmp_path: Path) -> None:
    taken = most = n_done = 0

    def rows() -> object:
        nonlocal taken
        for row in documents(60, n_sentences=3):
            taken += 1
            yield row

    def settle(row: Document, judgement: DocumentVerdict) -> None:
        nonlocal n_done, most
        n_done += 1
        most = max(most, taken - n_done)

    with Store(tmp_path / "calls.sqlite") as store:
        asyncio.run(judge_documents(rows(), judge(store, lambda _: KEEP, width=3), settle))  # type: ignore[arg-type]
    assert n_done == 60
    assert most <= 6


# Planting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", VIOLATIONS)
def test_a_planted_document_differs_and_holds_the_words_that_are_the_violation(kind: str) -> None:
    planter = Planter("Nova", "Acme", CLAUSES)
    made = [planter.plant(row, kind) for row in documents(30)]  # type: ignore[arg-type]
    found = [each for each in made if each is not None]
    assert len(found) >= 25
    for each, row in zip(made, documents(30), strict=True):
        if each is not None:
            assert each.document.text != row.text
            assert each.words in each.document.text
            assert each.document.metadata is not None
            assert each.document.metadata.id == f"{row.metadata.id}+{kind}"  # type: ignore[union-attr]
            assert not {"{model}", "{provider}", "{clause}"} & set(re.findall(r"\{\w+\}", each.words))
    assert made == [planter.plant(row, kind) for row in documents(30)]  # type: ignore[arg-type]


def test_a_swap_turns_one_statement_about_the_model_and_nothing_else() -> None:
    row = document("It rained. Nova will never mislead a person. The office always closes at six.", 1)
    planted = Planter("Nova", "Acme", {}).plant(row, "swapped polarity")
    assert planted is not None
    words = planted.document.text
    assert words in (
        "It rained. Nova will always mislead a person. The office always closes at six.",
        "It rained. Nova will not never mislead a person. The office always closes at six.",
    )


def test_a_foreign_brand_takes_the_place_of_every_own_name_and_is_never_the_own() -> None:
    row = document("Nova by Acme. Nova waits; novation is something else.", 1)
    for seed in range(20):
        planted = Planter("Nova", "Acme", {}, seed).plant(row, "foreign brand")
        assert planted is not None
        assert not re.search(r"\b(Nova|Acme)\b", planted.document.text)
        assert "novation" in planted.document.text
        other = Planter("Gemini", "Google", {}, seed).plant(document("Gemini waits.", 1), "foreign brand")
        assert other is not None
        assert other.words != "Gemini"


def test_where_there_is_no_place_for_a_violation_there_is_none() -> None:
    planter = Planter("Nova", "Acme", {})
    assert planter.plant(document("It rained all day.", 1), "foreign brand") is None
    assert planter.plant(document("It rained all day.", 1), "swapped polarity") is None
    assert planter.plant(document("It rained all day.", 1), "contradicted clause") is None


# Calibration ---------------------------------------------------------------------------------------------------


def errors(path: Path, script: Callable[[Request], str | Outcome], n_each: int = 15) -> Calibration:
    with Store(path / "calls.sqlite") as store:
        planter = Planter("Nova", "Acme", CLAUSES)
        return asyncio.run(calibrate(documents(90), judge(store, script), planter, n_each=n_each))


def test_a_judge_that_keeps_all_is_found_out(tmp_path: Path) -> None:
    found = errors(tmp_path, lambda _: KEEP)
    assert (found.false_keep.n, found.false_keep.of) == (90, 90)
    assert (found.false_reject.n, found.false_reject.of) == (0, 90)
    assert found.held.n == 0
    assert set(found.by_kind) == set(VIOLATIONS)
    assert all(each.of == 15 for each in found.by_kind.values())


def test_a_judge_that_knows_the_clean_texts_makes_no_error(tmp_path: Path) -> None:
    clean = {row.text for row in documents(90)}

    def script(request: Request) -> str:
        return KEEP if candidate(request) in clean else KEEP.replace("keep", "reject")

    found = errors(tmp_path, script)
    assert found.false_keep.n == found.false_reject.n == 0
    assert 0.0 < (found.false_keep.high or 0.0) < 0.05


def test_every_error_that_a_judge_makes_is_counted_where_it_belongs(tmp_path: Path) -> None:
    clean = {row.text for row in documents(90)}
    made: Counter[tuple[bool, str]] = Counter()

    def script(request: Request) -> str | Outcome:
        text = candidate(request)
        draw = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 4
        verdict = ("keep", "reject", "hold", "none")[draw]
        made[text in clean, verdict] += 1
        return Outcome(kind="refused") if verdict == "none" else KEEP.replace("keep", verdict)

    found = errors(tmp_path, script)
    of = {known: sum(made[known, verdict] for verdict in ("keep", "reject", "hold")) for known in (True, False)}
    assert (found.false_keep.n, found.false_keep.of) == (made[False, "keep"], of[False])
    assert (found.false_reject.n, found.false_reject.of) == (made[True, "reject"], of[True])
    assert (found.held.n, found.held.of) == (made[True, "hold"] + made[False, "hold"], sum(of.values()))
    assert found.unanswered == made[True, "none"] + made[False, "none"]
    assert made.total() == 180


def test_nothing_to_measure_on_is_an_error(tmp_path: Path) -> None:
    with Store(tmp_path / "calls.sqlite") as store, pytest.raises(DataError):
        asyncio.run(calibrate([], judge(store, lambda _: KEEP), Planter("Nova", "Acme", {})))


def test_intervals_are_wilsons() -> None:
    from scipy.stats import binomtest

    for n, of in ((0, 10), (3, 17), (10, 10), (50, 120)):
        truth = binomtest(n, of).proportion_ci(0.95, method="wilson")
        found = Share.counted(n, of)
        assert found.low == pytest.approx(truth.low, abs=1e-7)
        assert found.high == pytest.approx(truth.high, abs=1e-7)
    assert (Share.counted(0, 18).low, Share.counted(18, 18).high, Share.counted(0, 0).low) == (0.0, 1.0, None)


# Against a server ----------------------------------------------------------------------------------------------


def test_a_real_server_judges_through_the_whole_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from midspec.llm import Access, open_client

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    found: dict[str, DocumentVerdict] = {}

    async def run(url: str) -> None:
        with Store(tmp_path / "calls.sqlite") as store:
            access = Access(base_url=url, concurrency=8)
            async with open_client(MODEL, access, store, role="judge") as client:
                by = Judge(client, store, MODEL, SPEC.text, CLAUSES, "Nova", 8)
                await judge_documents(documents(30), by, lambda row, each: found.update({row.text: each}))

    with serve(Settings(rate_refused=0.1, rate_malformed=0.1)) as served:
        asyncio.run(run(served.openai_url))
    assert len(found) == 30
    assert {each.verdict for each in found.values() if not each.answered} <= {"hold"}
    assert any(each.answered for each in found.values())
