"""`midspec spec augment`, `ablate`, `accept`, `lint`, `diff` and `list`: files, exit codes, costs, refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from midspec.cli import main
from midspec.core.artifact import read_record, read_rows
from midspec.core.records import Provenance, SpecEdit
from midspec.llm import Store
from midspec.spec import parse_spec, read_spec, shipped_specs, spec_path

from ..loopback import Settings, serve
from ..loopback._asked import Asked
from ..loopback._serve import Served

SPEC = """# Desk

{model_name} keeps a desk for {provider_name}.

## Care

- {model_name} is kind to guests, because they have come a long way.
- {model_name} asks first, because guessing costs time.
"""
PRICES = "openai/author: {input: 1.0, output: 100.0}\n"


def say(asked: Asked) -> str | None:
    """An author that does as it is told; readers that differ about what is asked first."""
    if "<clause>" not in asked.prompt:
        return None
    clause = re.findall(r"<clause>\n(.*?)\n</clause>", asked.prompt, re.DOTALL)[-1]
    if '"reasons"' in asked.prompt:
        n = int(re.findall(r"about (\d+) words", asked.prompt)[-1])
        return json.dumps({"reasons": " ".join("Guests talk of it at home." for _ in range(n // 6 + 1))})
    if asked.model == "mute":
        return json.dumps({"situations": ["..."]})
    if '"situations"' in asked.prompt:
        return json.dumps({"situations": ["A guest comes late."]})
    if '"answers"' in asked.prompt:
        return json.dumps({"answers": [f"It asks {asked.model}." if "asks" in clause else "It is kind."]})
    if '"verdicts"' in asked.prompt:
        is_same = "asks" not in clause
        return json.dumps({"verdicts": [{"verdict": "same" if is_same else "different", "about": "first"}]})
    return json.dumps({"text": clause.replace(", because", " at the desk, and")})


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with serve(Settings(n_kept=200), say=say) as found:
        yield found


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "desk.md"
    path.write_text(SPEC, encoding="utf-8")
    return path


def variant(tool: str, spec: Path | str, served: Served, out: Path, *more: str) -> list[str]:
    named = ["--author", "openai/author", "--base-url", served.openai_url, "--out", str(out)]
    return ["spec", tool, str(spec), *named, *more]


def complaint(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(args) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_variant_is_a_folder_with_every_edit_taken_and_a_page_to_review(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(variant("augment", spec, served, out, "--how", "reasons")) == 0
    told = capsys.readouterr().out
    assert f"to review: {out / 'review.html'}" in told
    assert "spec.reasons" in told
    edits = list(read_rows(out / "edits.jsonl", SpecEdit))
    rows = list(read_rows(out / "provenance.jsonl", Provenance))
    assert (len(edits), {row.edit for row in rows}) == (3, {edit.id for edit in edits})
    assert [row.text for row in rows] == [clause.text for clause in read_spec(out / "spec.md").clauses]
    assert read_record(out).summary["n_edits"] == 3
    page = (out / "review.html").read_text(encoding="utf-8")
    assert all(edit.id in page for edit in edits)
    n_sent = len(served.last)
    assert main(variant("augment", spec, served, out, "--how", "reasons")) == 0
    assert main(variant("augment", spec, served, out, "--how", "reasons", "--redo")) == 0
    assert len(served.last) == n_sent


def test_nothing_is_taken_before_it_is_accepted(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, taken = tmp_path / "out", tmp_path / "taken.md"
    assert main(variant("ablate", spec, served, out)) == 0
    edits = list(read_rows(out / "edits.jsonl", SpecEdit))
    assert len(edits) == 2
    assert spec.read_text(encoding="utf-8") == SPEC
    assert main(["spec", "accept", str(out), "--clauses", f"{edits[1].id},", "--out", str(taken)]) == 0
    assert "1 of 2 edits accepted" in capsys.readouterr().out
    assert taken.read_text(encoding="utf-8") == SPEC.replace(edits[1].before, edits[1].after)
    beside = list(read_rows(tmp_path / "taken.md.provenance.jsonl", Provenance))
    assert [row.edit for row in beside] == ["", "", edits[1].id]
    again = ["spec", "accept", str(out), "--clauses", "all", "--out", str(taken)]
    assert "is there already" in complaint(again, capsys)
    assert main([*again, "--redo"]) == 0
    assert taken.read_bytes() == (out / "spec.md").read_bytes()
    assert "no edit 'x'" in complaint([*again[:4], "x", *again[5:]], capsys)
    at_folder = [*again[:-1], str(tmp_path), "--redo"]
    assert f"{tmp_path}: can't be written" in complaint(at_folder, capsys)
    assert "holds no edits.jsonl" in complaint(["spec", "accept", str(tmp_path), *again[3:]], capsys)
    assert "--clauses: is missing" in complaint(["spec", "accept", str(out), "--out", str(taken)], capsys)


@pytest.mark.parametrize("name", ["specs/rules.json", "spec/forms/chain_of_duty.md", "untitled.md"])
def test_a_spec_of_any_form_is_accepted_from_edit_by_edit(name: str, served: Served, tmp_path: Path) -> None:
    source, out, taken = Path(__file__).parents[1] / name, tmp_path / "out", tmp_path / "taken.md"
    if name == "untitled.md":
        source = tmp_path / name
        source.write_text("It is calm at the desk.\n\n## Care\n\nIt is kind to guests.\n", encoding="utf-8")
    assert main(variant("augment", source, served, out)) == 0
    edits = list(read_rows(out / "edits.jsonl", SpecEdit))
    before = [clause.text.split() for clause in read_spec(source).clauses]
    assert [clause.text.split() for clause in read_spec(out / "source.md").clauses] == before
    accept = ["spec", "accept", str(out), "--out", str(taken), "--redo", "--clauses"]
    assert main([*accept, edits[-1].id]) == main([*accept, edits[0].id]) == 0
    assert main([*accept, edits[-1].id]) == 0
    rows = list(read_rows(tmp_path / "taken.md.provenance.jsonl", Provenance))
    assert [row.text.split() for row in rows if not row.edit] == [
        clause.text.split() for clause in read_spec(source).clauses if clause.id != edits[-1].clause_ids[0]
    ]
    assert main([*accept, "all"]) == 0
    assert taken.read_bytes() == (out / "spec.md").read_bytes()


def test_costs_are_told_before_they_are_spent_and_a_budget_holds(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES, encoding="utf-8")
    command = variant("anti-spec", spec, served, tmp_path / "out", "--prices", str(prices))
    assert main([*command, "--dry-run"]) == 0
    assert "spec.anti" in capsys.readouterr().out
    assert not served.last
    assert not (tmp_path / "out").exists()
    assert "budget" in complaint([*command, "--budget", "0.000001"], capsys)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["spec", "augment", "{spec}", "--author", "template"], "the template author"),
        (["spec", "augment", "{spec}", "--author", "nobody"], "--author"),
        (["spec", "ablate", "{spec}", "--author", "openai/a", "--clauses", "Moon"], "no clause or section 'Moon'"),
        (["spec", "augment", "{spec}", "--author", "openai/a", "--tokens", "5"], "5 tokens are wanted"),
        (["spec", "augment", "{spec}", "--author", "openai/a", "--tokens", "5", "--match", "{spec}"], "two lengths"),
        (["spec", "augment", "{spec}", "--author", "openai/a", "--tokens", "5", "--growth", "2"], "two lengths"),
        (["spec", "augment", "{spec}", "--author", "openai/a", "--growth", "0.5"], "--growth: Input should be greater"),
        (["spec", "ablate", "{spec}", "--author", "openai/a", "--clauses", ""], "--clauses: names nothing"),
        (["spec", "accept", "{spec}", "--clauses", " , ", "--out", "x.md"], "--clauses: names nothing"),
        (["spec", "lint", "{spec}", "--ignore", ""], "--ignore: names nothing"),
        (["spec", "ablate", "shipped:moon", "--author", "openai/a"], "no spec 'moon' is shipped"),
        (["spec", "lint", "{spec}", "--ignore", "vage"], "Did you mean vague"),
        (["spec", "lint", "{spec}", "--models", "openai/a"], "Name two or more"),
        (["spec", "lint", "{spec}", "--models", "openai/a", "--models", "openai/b"], "--out: is missing"),
        (["spec", "lint", "{spec}", "--questions", "none.jsonl"], "none.jsonl"),
        (["spec", "diff", "{spec}", "none.md"], "none.md"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    args: list[str], said: str, spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert said in complaint([arg.format(spec=spec) for arg in args], capsys)


def test_a_spec_or_questions_without_clauses_to_read_are_told_in_one_line(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, questions = tmp_path / "code.md", tmp_path / "questions.jsonl"
    code.write_text("# A\n\n```\nprint(1)\n```\n", encoding="utf-8")
    questions.write_text('{"id": "q1", "category": "x", "text": "What?"}\n', encoding="utf-8")
    two = ["--models", "openai/a", "--models", "openai/b", "--dry-run"]
    assert "nothing that models could read" in complaint(["spec", "lint", str(code), *two], capsys)
    of_none = ["spec", "lint", str(spec), "--questions", str(questions)]
    assert "no question says which clauses" in complaint(of_none, capsys)


def test_lint_ends_with_1_where_it_is_strict_and_finds_something(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spec", "lint", str(spec), "--strict"]) == 0
    assert capsys.readouterr().out == f"{spec}: 0 findings\n"
    bad = tmp_path / "bad.md"
    bad.write_text(SPEC + "- {model_name} is quiet as needed.\n", encoding="utf-8")
    assert main(["spec", "lint", str(bad)]) == 0
    assert f"{bad}:9: vague: gives no criterion for: as needed" in capsys.readouterr().out
    assert main(["spec", "lint", str(bad), "--strict", "--json"]) == 1
    assert [row["kind"] for row in json.loads(capsys.readouterr().out)] == ["reason", "vague"]
    assert main(["spec", "lint", str(bad), "--strict", "--ignore", "vague,reason"]) == 0


def test_models_that_read_a_clause_differently_find_it_ambiguous(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["spec", "lint", str(spec), "--models", "openai/one", "--models", "openai/two"]
    command += ["--base-url", served.openai_url, "--out", str(tmp_path / "read"), "--json"]
    assert main([*command, "--dry-run"]) == 0
    assert "spec.readings" in capsys.readouterr().out
    assert not served.last
    assert main(command) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["kind"], "asks first" in found["text"]) == ("ambiguous", True)
    assert "It asks one." in found["what"]
    n_sent = len(served.last)
    assert main(command) == 0
    assert len(served.last) == n_sent


def test_settings_of_readers_come_from_a_file_and_what_was_not_read_and_spent_is_told(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, prices, out = tmp_path / "readers.yaml", tmp_path / "prices.yaml", tmp_path / "read"
    config.write_text(
        "models: [{model: openai/one, temperature: 0.5}, {model: openai/two}]\nreading: {max_tokens: 99}\n"
    )
    prices.write_text("openai/one: {input: 1.0, output: 100000.0}\nopenai/two: {input: 1.0, output: 100.0}\n")
    command = ["spec", "lint", str(spec), "--config", str(config), "--base-url", served.openai_url]
    command += ["--prices", str(prices), "--out", str(out)]
    assert main(command) == 0
    told = capsys.readouterr()
    assert "ambiguous" in told.out
    assert [len(row.split()) for row in told.out.splitlines() if row.startswith("spec.")] == [7, 7, 7, 7]
    with Store(tmp_path / "read.calls.sqlite") as store:
        spent = {(row.stage, row.model): row for row in store.ledger()}
    assert spent["spec.readings", "openai/one"].cost_usd > 10 * spent["spec.readings", "openai/two"].cost_usd > 0
    sampling = read_record(out).execution.extra["sampling"]
    assert sampling["openai/one"] == [{"temperature": 0.5}]
    # Where nothing was compared, no finding is no good sign.
    assert main([*command, "--models", "openai/mute", "--models", "openai/two", "--redo"]) == 2
    told = capsys.readouterr()
    assert "spec.situations" in told.out
    assert told.err.splitlines() == [
        f"warning: 3 of 3 clauses were not read or compared: {out / 'rejects.jsonl'} says why",
        f"midspec: {out}: no comparison was kept. Read the reasons in its rejects.jsonl",
    ]


def test_a_diff_prints_what_changed_by_words(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.md"
    other.write_text(SPEC.replace("kind to guests", "kind to all guests"), encoding="utf-8")
    assert main(["spec", "diff", str(spec), str(other)]) == 0
    told = capsys.readouterr().out
    assert "{model_name} is kind to {+all+} guests, because" in told
    assert told.endswith("4 kept, 1 changed\n")
    assert main(["spec", "diff", str(spec), str(other), "--json"]) == 0
    assert [row["kind"] for row in json.loads(capsys.readouterr().out)].count("changed") == 1


def test_shipped_specs_are_listed_and_taken_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spec", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(shipped_specs())
    named = ["--model-name", "Nova", "--provider-name", "Acme", "--documents", "4", "--out", str(tmp_path / "corpus")]
    assert main(["corpus", "shipped:tradition", *named]) == 0
    assert parse_spec(spec_path("shipped:tradition").read_text(encoding="utf-8")).sha256 in (
        tmp_path / "corpus" / "documents.jsonl"
    ).read_text(encoding="utf-8")
