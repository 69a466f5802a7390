"""What a corpus by a language model promises, with scripted models: everything planned, nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import json
import re
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from midspec.core.artifact import Built, read_rows
from midspec.core.errors import ConfigError, SpecError
from midspec.core.records import Document, PlanRow, Reject, Spec
from midspec.corpus import CorpusConfig, author_corpus, make_corpus
from midspec.llm import Outcome, Request, ScriptedClient, Store
from midspec.spec import fill, parse_spec, read_spec

SPECS = Path(__file__).parent.parent / "specs"
Script = Callable[[Request], str | Outcome]
NAMES = {"model_name": "Iris", "provider_name": "Acme"}


def config(**changes: object) -> CorpusConfig:
    return CorpusConfig.model_validate({"author": "openai/some-model", **NAMES} | changes)


def spec(name: str = "constitution.md") -> Spec:
    return read_spec(SPECS / name)


class Run:
    """One corpus made in a folder of its own, and the rows of its files."""

    def __init__(
        self, folder: Path, script: Script, asked: CorpusConfig, of: Spec | None = None, **given: object
    ) -> None:
        folder.mkdir(exist_ok=True)
        with Store(folder / "replies.sqlite") as store:
            client = ScriptedClient(script, store=store)
            made = author_corpus(of or spec(), asked, client, store, folder, **given)  # type: ignore[arg-type]
            self.built: Built = asyncio.run(made)
        self.asked = client.asked
        self.folder = folder
        self.summary = self.built.summary
        self.documents = list(read_rows(folder / "documents.jsonl", Document))
        self.rejects = list(read_rows(folder / "rejects.jsonl", Reject))
        self.plan = list(read_rows(folder / "plan.jsonl", PlanRow))
        self.coverage = json.loads((folder / "coverage.json").read_text())

    def stages(self) -> Counter[str]:
        return Counter(request.stage for request in self.asked)

    def bytes(self) -> dict[str, bytes]:
        return {name: (self.folder / name).read_bytes() for name in self.built.outputs}

    def adds_up(self) -> None:
        planned = Counter(row.id for row in self.plan)
        settled = Counter(d.metadata.plan_id for d in self.documents if d.metadata) + Counter(
            r.id for r in self.rejects
        )
        assert planned == settled
        assert max(planned.values()) == 1
        assert self.summary["n_planned"] == len(self.plan)
        assert self.summary["n_documents"] == len(self.documents)
        assert self.summary["n_rejects"] == len(self.rejects)


def test_the_workload_of_the_benchmark_is_exactly_3366_requests(tmp_path: Path, good: Script) -> None:
    asked = config(doc_types=10, ideas=10, writing={"n_domains": 5, "n_subdomains": 6})
    run = Run(tmp_path, good, asked)
    assert run.stages() == {
        "domains": 1,
        "subdomains": 5,
        "assertions": 30,
        "doc_types": 30,
        "ideas": 300,
        "document": 3000,
    }
    assert len(run.documents) == 3000
    assert run.summary["exhausted"] is None
    assert run.summary["notes"] == []
    assert run.summary["n_covered"] == run.summary["n_clauses"] == len(spec().clauses)
    run.adds_up()


def test_a_document_is_asked_for_before_the_lists_are_complete(tmp_path: Path, good: Script) -> None:
    run = Run(tmp_path, good, config(n_documents=400), width=2)
    stages = [request.stage for request in run.asked]
    last_idea = len(stages) - 1 - stages[::-1].index("ideas")
    assert stages.index("document") < last_idea / 2


def test_every_request_begins_with_the_same_words(tmp_path: Path, good: Script) -> None:
    run = Run(tmp_path, good, config(n_documents=20, writing={"critique": True}))
    assert len({id(request.prefix) for request in run.asked}) == 1
    assert len({request.task for request in run.asked}) == len(run.asked)
    assert "[1] This document says who Iris" in run.asked[0].prefix


def test_rows_say_who_wrote_them_about_which_clauses_and_at_what_expense(tmp_path: Path, good: Script) -> None:
    def script(request: Request) -> Outcome:
        usage = {"n_input": 7, "n_cache_read": 5, "n_output": 3}
        return Outcome.model_validate({"kind": "ok", "text": good(request), "stop_reason": "end_turn", "usage": usage})

    run = Run(tmp_path, script, config(n_documents=30))
    by_id = {row.id: row for row in run.plan}
    clauses = {clause.id for clause in spec().clauses}
    for document in run.documents:
        metadata = document.metadata
        assert metadata is not None
        row = by_id[metadata.plan_id]
        assert set(metadata.clause_ids) == {assertion.clause_id for assertion in row.assertions} <= clauses
        assert metadata.author == "openai/some-model"
        assert (metadata.model_name, metadata.provider_name, metadata.spec_sha256) == ("Iris", "Acme", spec().sha256)
        assert (metadata.stop_reason, metadata.usage["n_cache_read"], metadata.usage["n_output"]) == ("end_turn", 5, 3)
        assert len(metadata.prompt_sha256) == 64
        assert (document.domain, metadata.doc_type, metadata.idea) == (row.domain, row.doc_type, row.idea)
    assert run.summary["author"] == "openai/some-model"
    assert len({document.metadata.id for document in run.documents if document.metadata}) == 30


def test_tokens_by_clause_add_up_to_the_corpus(tmp_path: Path, good: Script) -> None:
    run = Run(tmp_path, good, config(n_documents=80))
    assert list(run.coverage) == [clause.id for clause in spec().clauses]
    tokens = sum(covered["tokens"] for covered in run.coverage.values())
    assert tokens == pytest.approx(run.summary["n_tokens_estimated"], abs=len(run.coverage))
    about = Counter(one for d in run.documents if d.metadata for one in d.metadata.clause_ids)
    assert {key: covered["documents"] for key, covered in run.coverage.items() if covered["documents"]} == dict(about)


def test_a_second_run_asks_nothing_and_writes_the_same_bytes(tmp_path: Path, good: Script) -> None:
    first = Run(tmp_path / "a", good, config(n_documents=60, writing={"critique": True}))
    before = first.bytes()
    second = Run(tmp_path / "a", good, config(n_documents=60, writing={"critique": True}))
    assert second.asked == []
    assert second.bytes() == before


def test_in_which_order_replies_come_does_not_show_in_the_files(tmp_path: Path, good: Script) -> None:
    wide = Run(tmp_path / "a", good, config(n_documents=150), width=64)
    narrow = Run(tmp_path / "b", good, config(n_documents=150), width=1)
    assert [request.task for request in wide.asked] != [request.task for request in narrow.asked]
    assert wide.bytes() == narrow.bytes()


def test_documents_are_shuffled_by_the_seed(tmp_path: Path, good: Script) -> None:
    run = Run(tmp_path, good, config(n_documents=150))
    in_plan = [row.id for row in run.plan]
    in_file = [document.metadata.plan_id for document in run.documents if document.metadata]
    assert sorted(in_plan) == sorted(in_file)
    assert in_plan != in_file
    assert len({row.subdomain for row in run.plan if row.id in in_file[:20]}) > 5


def test_a_larger_corpus_goes_on_from_a_smaller_one(tmp_path: Path, tidy: Script) -> None:
    few = {"n_domains": 3, "n_subdomains": 3}
    small = Run(tmp_path, tidy, config(doc_types=5, ideas=5, writing=few))
    large = Run(tmp_path, tidy, config(doc_types=8, ideas=9, writing=few))
    assert {row.id for row in small.plan} <= {row.id for row in large.plan}
    assert large.stages()["document"] == 9 * (8 * 9 - 5 * 5)
    again = Run(tmp_path, tidy, config(doc_types=5, ideas=5, writing=few))
    assert again.asked == []
    assert {row.id for row in again.plan} == {row.id for row in small.plan}


def test_clauses_that_no_list_names_are_planned_by_the_program(tmp_path: Path, good: Script) -> None:
    def script(request: Request) -> str:
        text = good(request)
        if request.form is None:
            return text
        return re.sub(r'("(?:first|last|clause)"): \d+', r"\1: 3", text)

    run = Run(tmp_path, script, config(n_documents=250))
    assert all(covered["documents"] for covered in run.coverage.values())
    run.adds_up()


def test_what_a_row_asserts_is_traced_to_a_clause_that_was_shown(tmp_path: Path, good: Script) -> None:
    run = Run(tmp_path, good, config(n_documents=100))
    filled = {clause.id: clause.text for clause in fill(spec(), **NAMES).clauses}
    texts = [(a.clause_id, a.text) for row in run.plan for a in row.assertions]
    assert {clause_id for clause_id, _ in texts} <= set(filled)
    # Those that the program added are the clause, word for word.
    assert any(text == filled[clause_id] for clause_id, text in texts)


def test_a_list_that_is_too_short_is_asked_for_again_with_what_exists(tmp_path: Path, good: Script) -> None:
    def script(request: Request) -> str:
        text = good(request)
        if request.stage in ("ideas", "doc_types") and "exactly 1 " not in request.prompt:
            value = json.loads(text)
            key = next(iter(value))
            return json.dumps({key: value[key][: max(1, len(value[key]) // 2)]})
        return text

    few = {"n_domains": 2, "n_subdomains": 2}
    run = Run(tmp_path, script, config(doc_types=4, ideas=6, writing=few))
    assert len(run.documents) == 4 * 4 * 6
    assert run.stages()["doc_types"] > 4
    again = [request for request in run.asked if request.stage == "ideas" and "These exist already" in request.prompt]
    names = {row.idea_name for row in run.plan}
    assert again
    assert all(any(name in request.prompt for name in names) for request in again)


def test_names_that_come_twice_count_once_and_a_list_that_stays_short_is_said(tmp_path: Path, good: Script) -> None:
    def script(request: Request) -> str:
        if request.stage == "ideas":
            return json.dumps({"ideas": [{"name": name, "idea": "Again."} for name in ("One case", "one  CASE.")]})
        return good(request)

    run = Run(tmp_path, script, config(doc_types=2, ideas=3, writing={"n_domains": 2, "n_subdomains": 2}))
    assert len(run.plan) == 2 * 2 * 2
    assert run.summary["n_wanted"] == 24
    assert "24 documents were wanted and 8 planned" in str(run.summary["exhausted"])
    assert run.stages()["ideas"] == 8 * 3
    assert sum("3 ideas for" in note for note in run.summary["notes"]) == 8  # type: ignore[union-attr, misc]
    run.adds_up()


def test_equal_titles_never_collide(tmp_path: Path, good: Script) -> None:
    def script(request: Request) -> str:
        text = good(request)
        if request.stage in ("doc_types", "ideas"):
            key = next(iter(json.loads(text)))
            entry = {"name": "Same title", "description": "d"} if key == "doc_types" else {"name": "Same", "idea": "x"}
            return json.dumps({key: [entry]})
        return text

    run = Run(tmp_path, script, config(doc_types=1, ideas=1, writing={"n_domains": 3, "n_subdomains": 4}))
    assert len(run.documents) == 12
    run.adds_up()


def test_every_failure_is_a_reject_with_its_reason_and_the_counts_add_up(tmp_path: Path, good: Script) -> None:
    kinds = ("refused", "truncated", "filtered", "timed_out", "failed")

    def script(request: Request) -> str | Outcome:
        number = int(request.task, 16) % 10
        if request.stage != "document" or number > len(kinds):
            return good(request)
        if number == len(kinds):
            return "<plan>only a plan</plan>"
        return Outcome(kind=kinds[number], text="partial", note="by the script")  # type: ignore[arg-type]

    run = Run(tmp_path, script, config(n_documents=300, writing={"min_documents": 0}))
    run.adds_up()
    reasons = Counter(reject.reason.split(":")[0] for reject in run.rejects)
    assert set(reasons) == {*kinds, "unparsable"}
    outcomes = run.summary["outcomes"]["document"]  # type: ignore[index, call-overload]
    assert outcomes == {**reasons, "ok": len(run.documents)}
    assert {reject.by for reject in run.rejects} == {"openai/some-model"}


@pytest.mark.parametrize("stage", ["domains", "subdomains", "assertions", "doc_types", "ideas"])
def test_a_step_that_always_fails_ends_in_words_and_never_in_a_crash(tmp_path: Path, good: Script, stage: str) -> None:
    def script(request: Request) -> str | Outcome:
        return Outcome(kind="refused", note="no") if request.stage == stage else good(request)

    run = Run(tmp_path, script, config(n_documents=40))
    if stage == "ideas":
        assert run.documents == run.plan == []
        assert run.summary["exhausted"]
    else:
        assert len(run.documents) >= 40
        run.adds_up()
    assert run.summary["notes"]


def test_what_a_filter_rejects_is_kept_with_its_reason_and_thin_clauses_are_topped_up(
    tmp_path: Path, good: Script
) -> None:
    hard = spec().clauses[40].id
    seen: list[str] = []

    def accept(document: Document) -> str | None:
        assert document.metadata is not None
        if hard in document.metadata.clause_ids:
            seen.append(document.metadata.id)
            return "too close to an evaluation" if len(seen) <= 6 else None
        return None

    run = Run(tmp_path, good, config(n_documents=129), accept=accept)
    by_filter = [reject for reject in run.rejects if reject.by == "filter"]
    assert {reject.reason for reject in by_filter} <= {"too close to an evaluation"}
    assert by_filter
    assert run.coverage[hard]["documents"] >= 1 or any("fewer than" in note for note in run.summary["notes"])  # type: ignore[union-attr, operator]
    assert run.summary["rejects_by"] == {"filter": len(by_filter)}
    run.adds_up()


def test_a_corpus_is_never_topped_up_beyond_a_twentieth_and_its_rejects(tmp_path: Path, good: Script) -> None:
    run = Run(tmp_path, good, config(target_tokens=400_000, writing={"min_documents": 50}))
    assert 129 < len(run.plan) <= 129 + 129 // 20
    assert len(Run(tmp_path, good, config(n_documents=129, writing={"min_documents": 50})).plan) == 129
    assert any("fewer than 50 documents" in str(note) for note in run.summary["notes"])  # type: ignore[union-attr]


def test_the_same_text_is_kept_once_whichever_came_first(tmp_path: Path, good: Script) -> None:
    def script(request: Request) -> str:
        if request.stage == "document" and int(request.task, 16) % 3 == 0:
            return f"<plan>p1</plan>\n<document>{'Iris said the same again. ' * 30}</document>"
        return good(request)

    runs = [Run(tmp_path / str(width), script, config(n_documents=90), width=width) for width in (1, 40)]
    assert runs[0].bytes() == runs[1].bytes()
    same = [reject for reject in runs[0].rejects if "the same text" in reject.reason]
    assert len(same) > 10
    assert len({document.text for document in runs[0].documents}) == len(runs[0].documents)
    runs[0].adds_up()


def test_weights_move_documents_between_parts_of_the_spec(tmp_path: Path, good: Script) -> None:
    def share(run: Run, title: str) -> float:
        section = next(section for section in spec().sections if section.title == title)
        own = {clause.id for clause in section.clauses}
        about = [one for d in run.documents if d.metadata for one in d.metadata.clause_ids]
        return sum(one in own for one in about) / len(about)

    plain = Run(tmp_path / "a", good, config(n_documents=300))
    weighted = Run(tmp_path / "b", good, config(n_documents=300, writing={"weights": {"Changing its mind": 12}}))
    assert share(weighted, "Changing its mind") > 1.5 * share(plain, "Changing its mind")
    with pytest.raises(ConfigError, match="is no section and no clause"):
        Run(tmp_path / "c", good, config(writing={"weights": {"Weather": 2}}))


def test_over_used_names_and_openings_are_shown_as_to_avoid(tmp_path: Path, good: Script) -> None:
    def script(request: Request) -> str:
        if request.stage == "document":
            return good(request).replace("<document>\nIris", "<document>\nLast week the ward called Sarah about Iris,")
        return good(request)

    run = Run(tmp_path, script, config(n_documents=200), width=4)
    late = [request.prompt for request in run.asked if request.stage == "document"][-50:]
    assert all('"Last week the ward ..."' in prompt and "Names: Sarah." in prompt for prompt in late)
    early = next(request.prompt for request in run.asked if request.stage == "document")
    assert "too often" not in early


def test_a_critique_gives_a_revised_document_and_a_failed_one_the_draft(tmp_path: Path, good: Script) -> None:
    def script(request: Request) -> str | Outcome:
        if request.stage == "critique" and int(request.task, 16) % 4 == 0:
            return Outcome(kind="refused")
        if request.stage == "revise":
            return f"<document>Revised about Iris {request.task}. {'It is better now. ' * 20}</document>"
        return good(request)

    run = Run(tmp_path, script, config(n_documents=60, writing={"critique": True}))
    outcomes = run.summary["outcomes"]
    refused = outcomes["critique"]["refused"]  # type: ignore[index, call-overload]
    assert len(run.documents) == 60
    assert sum(d.text.startswith("Revised") for d in run.documents) == 60 - refused == outcomes["revise"]["ok"]  # type: ignore[index, call-overload, operator]
    drafts = {request.prompt for request in run.asked if request.stage == "critique"}
    assert all("<draft>\nIris" in prompt for prompt in drafts)


@pytest.mark.parametrize("name", ["rules.md", "rules.json"])
def test_in_rules_mode_each_rule_takes_the_place_of_a_subdomain(tmp_path: Path, good: Script, name: str) -> None:
    called = {"the assistant": "Iris"} if name == "rules.json" else {}
    run = Run(tmp_path, good, config(mode="rules", doc_types=3, ideas=2, called=called), spec(name))
    assert set(run.stages()) == {"domains", "doc_types", "ideas", "document"}
    assert not [clause for clause, covered in run.coverage.items() if not covered["documents"]]
    rules = {row.subdomain for row in run.plan}
    assert any(rule.startswith("SP1 ") for rule in rules)
    assert len(run.documents) == len(rules) * 6
    for request in run.asked:
        if request.stage == "document" and "Rule: SP1" in request.prompt:
            assert "The rule is cited as SP1" in request.prompt
            assert re.search(r"\n- SP1: Oversight|\n- .*accepts correction", request.prompt)
    assert all(row.mode == "rules" for row in run.plan)
    run.adds_up()


def test_a_critique_of_a_rule_document_asks_for_the_rule(tmp_path: Path, good: Script) -> None:
    run = Run(tmp_path, good, config(mode="rules", doc_types=1, ideas=1, writing={"critique": True}), spec("rules.md"))
    prompts = [request.prompt for request in run.asked if request.stage == "critique"]
    assert len(prompts) == len(run.documents)
    assert all("the rule is cited as" in prompt for prompt in prompts)


def test_the_template_author_never_signs_as_a_model() -> None:
    with pytest.raises(ConfigError, match="is not the template author"):
        make_corpus(spec(), config(n_documents=3))


def test_braces_of_any_kind_in_a_spec_and_in_replies_are_ordinary_text(tmp_path: Path, good: Script) -> None:
    odd = parse_spec(
        "# {curious} spec\n\n## A\n\nIris writes {0}, {{n}} and {{existing}} as they stand.\n\n## {}\n\nSo.\n"
    )

    def script(request: Request) -> str:
        text = good(request)
        return text.replace("said", "{{idea}} {0!r} %s") if request.form else text

    run = Run(tmp_path, script, config(n_documents=12), odd)
    assert len(run.documents) == 12
    assert "{0}, {{n}} and {{existing}}" in run.asked[0].prefix


def test_rules_mode_needs_rules(tmp_path: Path, good: Script) -> None:
    with pytest.raises(SpecError, match="no numbered rules"):
        Run(tmp_path, good, config(mode="rules", n_documents=3), spec("short.md"))


@pytest.mark.parametrize("name", ["short.md", "plain.txt", "tables.md", "nonlatin.md"])
def test_every_kind_of_spec_is_covered(tmp_path: Path, good: Script, name: str) -> None:
    run = Run(
        tmp_path, good, config(n_documents=120, called={"Tansy": "Iris"} if name == "plain.txt" else {}), spec(name)
    )
    assert all(covered["documents"] for covered in run.coverage.values())
    assert len(run.documents) == 120
    run.adds_up()


def test_an_error_that_ends_the_run_leaves_what_was_answered_for_the_next(tmp_path: Path, good: Script) -> None:
    left = [70]

    def broke(request: Request) -> str:
        left[0] -= 1
        if left[0] < 0:
            raise ConfigError("the budget is used up", hint="Raise --budget")
        return good(request)

    with pytest.raises(ConfigError, match="budget"):
        Run(tmp_path, broke, config(n_documents=60), width=3)
    assert not (tmp_path / "documents.jsonl").exists()
    rest = Run(tmp_path, good, config(n_documents=60))
    whole = Run(tmp_path / "whole", good, config(n_documents=60))
    assert len(rest.asked) == len(whole.asked) - 70
    assert rest.bytes() == whole.bytes()


def test_progress_is_told_up_to_the_end(tmp_path: Path, good: Script) -> None:
    told: list[tuple[int, int, str]] = []
    Run(tmp_path, good, config(n_documents=25), on_progress=lambda *news: told.append(news))
    assert [news[0] for news in told] == list(range(1, 26))
    assert told[-1] == (25, 25, "documents")


def test_documents_shorter_than_expected_are_said_to_miss_the_target(tmp_path: Path, good: Script) -> None:
    run = Run(tmp_path / "a", good, config(target_tokens=62_000))
    assert any("62000 tokens were wanted" in str(note) for note in run.summary["notes"])  # type: ignore[union-attr]
    run = Run(tmp_path / "b", good, config(target_tokens=16_300, writing={"mean_tokens": 163}))
    assert len(run.documents) >= 100
    assert not any("tokens were wanted" in str(note) for note in run.summary["notes"])  # type: ignore[union-attr]


def test_lost_documents_of_a_clause_are_made_up_for(tmp_path: Path, good: Script) -> None:
    """With half of all documents lost, top-up brings thin clauses back to what each should have."""

    def accept(document: Document) -> str | None:
        return "lost" if int(document.metadata.id, 16) % 2 else None  # type: ignore[union-attr]

    asked = config(n_documents=400, writing={"min_documents": 2})
    run = Run(tmp_path, good, asked, accept=accept)
    n_thin = sum(covered["documents"] < 2 for covered in run.coverage.values())
    bare = Run(tmp_path / "b", good, config(n_documents=400, writing={"min_documents": 0}), accept=accept)
    assert n_thin < sum(covered["documents"] < 2 for covered in bare.coverage.values())
    run.adds_up()


@pytest.mark.slow
def test_a_further_document_costs_little_memory(tmp_path: Path, good: Script) -> None:
    def peak(n: int) -> int:
        tracemalloc.start()
        try:
            folder = tmp_path / str(n)
            folder.mkdir()
            with Store(folder / "replies.sqlite") as store:
                asked = config(n_documents=n, writing={"min_documents": 0})
                client = _Client(good)
                asyncio.run(author_corpus(spec(), asked, client, store, folder))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(500), peak(2500)
    assert (many - few) / 2000 < 1500


class _Client:
    """A client that keeps nothing of what it was asked."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def ask(self, request: Request) -> Outcome:
        said = self._script(request)
        return Outcome(kind="ok", text=said) if isinstance(said, str) else said

    async def close(self) -> None:
        """Nothing to let go of."""
