"""A clause is ambiguous where models read it differently; who they are is not shown to the one that compares."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from midspec.llm import ModelConfig, Outcome, Request, ScriptedClient, Store
from midspec.spec_tools import Ambiguities, ReadClause, ReadingSettings, read_ambiguities

CLEAR = ReadClause("clear", "It locks the door at ten.", "Night")
VAGUE = ReadClause("vague", "It locks the door when it is late.", "Night")


class Reader:
    """A model that locks at its own hour where the clause names none, and compares answers by their words."""

    def __init__(self, hour: str, store: Store) -> None:
        self.hour = hour
        self.refuses = ""
        self.client = ScriptedClient(self.say, store=store)

    def say(self, request: Request) -> str | Outcome:
        is_vague = "when it is late" in request.prompt
        if self.refuses and self.refuses in request.stage and is_vague:
            return Outcome(kind="refused", stop_reason="refusal", note="no")
        if request.stage == "spec.situations":
            return json.dumps({"situations": ["It is eleven.", "It is nine."]})
        if request.stage == "spec.readings":
            n = len(re.findall(r"^\d\. ", request.prompt, re.MULTILINE))
            return json.dumps({"answers": [f"It locks at {self.hour if is_vague else 'ten'}."] * n})
        blocks = re.split(r"(?m)^\d\. ", request.prompt.partition("situation.")[2])[1:]
        said = [set(re.findall(r"It locks at \w+\.", block)) for block in blocks]
        verdicts = [{"verdict": "same" if len(one) == 1 else "different", "about": "late"} for one in said]
        return json.dumps({"verdicts": verdicts})


def read(
    folder: Path, questions: dict[str, list[str]] | None = None, refuses: str = ""
) -> tuple[Ambiguities, Reader, Reader]:
    with Store(folder / "calls.sqlite") as store:
        one, other = Reader("nine", store), Reader("midnight", store)
        other.refuses = refuses
        readers = {
            "openai/one": (ModelConfig(model="openai/one"), one.client),
            "openai/other": (ModelConfig(model="openai/other"), other.client),
        }
        run = read_ambiguities("The spec.", (CLEAR, VAGUE), readers, store, ReadingSettings(), questions=questions)
        return asyncio.run(run), one, other


def test_a_clause_is_ambiguous_where_the_readings_differ(tmp_path: Path) -> None:
    found, one, other = read(tmp_path)
    (finding,) = found.findings
    assert (finding.kind, finding.clause_id) == ("ambiguous", "vague")
    assert "late" in finding.what
    assert "openai/one: It locks at nine." in finding.what
    assert [(row.clause_id, row.verdict) for row in found.readings] == [
        ("clear", "same"),
        ("clear", "same"),
        ("vague", "different"),
        ("vague", "different"),
    ]
    assert {request.stage for request in other.client.asked} == {"spec.readings"}
    compared = [request.prompt for request in one.client.asked if request.stage == "spec.compare"]
    assert len(compared) == 2
    assert not any("openai" in prompt for prompt in compared)


def test_questions_that_there_are_stand_in_for_situations(tmp_path: Path) -> None:
    found, one, _ = read(tmp_path, {"clear": ["Now?"], "vague": ["And now?"]})
    assert [row.situation for row in found.readings] == ["Now?", "And now?"]
    assert "spec.situations" not in {request.stage for request in one.client.asked}


def test_first_caps_fit_the_situations_that_are_asked_about(tmp_path: Path) -> None:
    _, one, other = read(tmp_path)
    assert ReadingSettings().max_tokens == 2048
    assert {request.max_tokens for request in (*one.client.asked, *other.client.asked)} <= set(range(600, 800))


def test_the_form_given_back_as_it_was_shown_is_no_reading(tmp_path: Path) -> None:
    with Store(tmp_path / "calls.sqlite") as store:
        form = {
            "spec.situations": '{"situations": ["...", "{<spec>}"]}',
            "spec.readings": '{"answers": ["...", "..."]}',
        }
        client = ScriptedClient(lambda request: form[request.stage], store=store)
        readers = {name: (ModelConfig(model=name), client) for name in ("openai/a", "openai/b")}
        for questions in (None, {"clear": ["Now?", "And now?"]}):
            run = read_ambiguities("The spec.", (CLEAR,), readers, store, ReadingSettings(), questions=questions)
            found = asyncio.run(run)
            assert found.readings == ()
            assert "unparsable: an entry holds no word: '...'" in found.rejects[0].reason


def test_a_clause_without_a_situation_is_accounted_for(tmp_path: Path) -> None:
    with Store(tmp_path / "calls.sqlite") as store:
        client = ScriptedClient(lambda _: '{"situations": []}', store=store)
        readers = {name: (ModelConfig(model=name), client) for name in ("openai/a", "openai/b")}
        found = asyncio.run(read_ambiguities("The spec.", (CLEAR,), readers, store, ReadingSettings()))
    assert [(reject.id, reject.reason) for reject in found.rejects] == [
        ("clear", "openai/a finds no situation in which it shows")
    ]


def test_a_clause_that_a_model_does_not_read_is_a_reject_with_the_reason(tmp_path: Path) -> None:
    found, _, _ = read(tmp_path, refuses="readings")
    assert found.findings == ()
    assert [(reject.id, reject.reason) for reject in found.rejects] == [
        ("vague", "openai/other gave no answers (refused: no)")
    ]
