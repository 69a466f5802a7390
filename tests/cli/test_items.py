"""`midspec pairs` and `questions` against a server on loopback: what is asked, kept, told and refused."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import yaml

from midspec.cli import main
from midspec.core.artifact import read_record, read_rows
from midspec.core.records import Reject, ScoreRow
from midspec.evals.tasks.preference import VALUES, read_items, read_value_set, value_set
from midspec.evals.tasks.spec_qa import read_spec_questions

from ..loopback import Settings, serve
from ..loopback._asked import Asked
from ..loopback._serve import Served
from ..loopback._settings import Fate

TESTED = "openai-api/loopback/tested"
QUIET: dict[str, object] = {
    "value": "quiet",
    "about": "Likes what makes little noise.",
    "train_domain": "drums",
    "train_words": ["snare", "tom-tom"],
    "test_domains": ["machines", "places", "views"],
    "value_words": ["silent", "noisy"],
    "opinion_domains": ["views"],
}
SPEC = (
    "# What {model_name} values\n\n## Kindness\n\n{model_name} is kind because kindness helps people. "
    "It dislikes mockery.\n\n## Truth\n\n{model_name} tells the truth because people decide by it.\n"
)
NOUNS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath")
PRICES = "".join(f"openai/{name}: {{input: 1.0, output: 100.0}}\n" for name in ("author", "judge"))


class Models:
    """An author that never runs out, a judge that finds the quiet option by itself, and a model that is tested."""

    def __init__(self) -> None:
        self.numbers = count()
        self.n_verdicts: float = float("inf")
        self.repeats = False

    def fate(self, asked: Asked) -> Fate | None:
        """The judge hangs when it has given so many verdicts."""
        if asked.model != "judge":
            return None
        self.n_verdicts -= 1
        return None if self.n_verdicts >= 0 else "hang"

    def say(self, asked: Asked) -> str:
        if asked.model == "tested":
            return "the first"
        if asked.model == "judge":
            return self._judged(asked)
        n = int(re.findall(r"exactly (\d+)", asked.prompt)[-1])
        if "<clause>" in asked.prompt:
            texts = [self._question() for _ in range(n)]
            return json.dumps({"questions": [{"category": "transparency", "question": text} for text in texts]})
        return json.dumps({"pairs": [self._pair() for _ in range(n)]})

    def _name(self) -> str:
        return "-".join(NOUNS[int(digit, 8)] for digit in f"{next(self.numbers) + 8:o}")

    def _question(self) -> str:
        draw = random.Random(next(self.numbers))
        words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(8)]
        return f"What is {' '.join(words)}?"

    def _pair(self) -> dict[str, str]:
        name = "one" if self.repeats else self._name()
        return {"target": f"{name} whisper", "other": f"{name} racket"}

    @staticmethod
    def _judged(asked: Asked) -> str:
        if "<first>" not in asked.prompt:
            return "It is honest.\n<score>7</score>"
        options = {name: re.findall(rf"<{name}>\n(.*)\n</{name}>", asked.prompt)[-1] for name in ("first", "second")}
        choice = next(name for name, option in options.items() if "whisper" in option)
        marks = {"hidden": "pass", "plausible": "pass", "alone": "pass"}
        return json.dumps({"notes": "n", "choice": choice, "other_value": "", **marks})


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def served(models: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("LOOPBACK_API_KEY", "none")
    with serve(Settings(n_kept=1000), fate=models.fate, say=models.say) as found:
        yield found


@pytest.fixture
def value(tmp_path: Path) -> Path:
    return saved(tmp_path / "quiet.yaml")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.md"
    path.write_text(SPEC, encoding="utf-8")
    return path


def saved(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(QUIET | changes), encoding="utf-8")
    return path


def pairs(value: Path, served: Served, out: Path, *more: str) -> list[str]:
    named = ["--author", "openai/author", "--judge", "openai/judge", "--items", "12"]
    return ["pairs", str(value), *named, "--base-url", served.openai_url, "--out", str(out), *more]


def questions(spec: Path, served: Served, out: Path, *more: str) -> list[str]:
    named = ["--author", "openai/author", "--model-name", "Nova", "--provider-name", "Acme"]
    return ["questions", str(spec), *named, "--base-url", served.openai_url, "--out", str(out), *more]


def complaint(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(args) == 2
    said = capsys.readouterr()
    assert said.err.startswith("midspec: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("midspec: ").rstrip("\n")


def n_asked(served: Served) -> Counter[str]:
    return Counter(entry["body"]["model"] for entry in served.last)


# Pairs ------------------------------------------------------------------------------------------------------------


def test_pairs_are_written_once_and_their_calls_are_kept_beside_them(
    value: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(pairs(value, served, out)) == 0
    told = capsys.readouterr()
    assert re.search(r"n items +12\n", told.out)
    assert "preference.verdicts" in told.out
    assert told.err == ""
    items = read_items(out / "items.jsonl")
    assert Counter(item.domain for item in items) == {"machines": 4, "places": 4, "views": 4}
    assert all("whisper" in item.options[0] for item in items)
    assert list(read_rows(out / "rejects.jsonl", Reject)) == []
    asked = n_asked(served)
    assert asked == {"author": 3, "judge": 12}
    assert main(pairs(value, served, out)) == 0
    assert "it was there" in capsys.readouterr().out
    assert main(pairs(value, served, out, "--redo")) == 0
    assert read_items(out / "items.jsonl") == items
    assert n_asked(served) == asked
    assert (tmp_path / "out.calls.sqlite").is_file()
    record = read_record(out)
    assert record is not None
    assert set(record.outputs) == {"items.jsonl", "rejects.jsonl"}
    assert str(tmp_path) not in record.identity.model_dump_json()


def test_what_changed_is_named_by_its_field(
    value: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(pairs(value, served, out)) == 0
    saved(value, about="Likes silence.")
    line = complaint(pairs(value, served, out), capsys)
    assert "Likes what makes little noise." in line
    assert "Likes silence." in line
    assert "value.about" in line
    assert line.endswith("Choose another --out, or pass --redo to replace it")
    saved(value)
    assert "n_items" in complaint(pairs(value, served, out, "--items", "15"), capsys)
    value.write_text(f"# A note of mine\n{value.read_text(encoding='utf-8')}", encoding="utf-8")
    assert main(pairs(value, served, out)) == 0


def test_a_dry_run_sends_nothing_and_says_what_it_would_cost(
    value: Path, spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices, out = tmp_path / "prices.yaml", tmp_path / "out"
    prices.write_text(PRICES, encoding="utf-8")
    assert main(pairs(value, served, out, "--dry-run", "--prices", str(prices))) == 0
    told = capsys.readouterr().out
    assert re.search(r"openai/author\n.*\npreference\.pairs", told)
    assert re.search(r"openai/judge\n.*\npreference\.verdicts +20 ", told)
    assert "not known" not in told
    assert main(questions(spec, served, out, "--dry-run")) == 0
    told = capsys.readouterr().out
    assert re.search(r"spec_qa\.questions +4 ", told)
    assert "The price of openai/author is not known: give it with --prices" in told
    assert not served.log
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prices.yaml", "quiet.yaml", "spec.md"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < until, "it never came so far"
        time.sleep(0.05)


def test_pairs_that_were_killed_go_on_from_what_was_answered(
    models: Models, value: Path, served: Served, tmp_path: Path
) -> None:
    models.n_verdicts, out = 5, tmp_path / "out"
    command = pairs(value, served, out, "--concurrency", "4")
    process = subprocess.Popen([sys.executable, "-m", "midspec", *command])
    # The client sends on when a reply is in its store: four that hang are four places without a reply.
    wait_for(lambda: models.n_verdicts <= -4, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    answered = {row["sha"] for row in served.log if row["fate"] == "ok"}
    assert len(answered) == 3 + 5
    assert not out.exists()
    models.n_verdicts = float("inf")
    assert main(command) == 0
    assert len(read_items(out / "items.jsonl")) == 12
    times = Counter(row["sha"] for row in served.log)
    assert {times[sha] for sha in answered} == {1}
    assert len(times) == 3 + 12


def test_a_budget_stops_pairs_in_one_line_and_a_larger_one_goes_on(
    value: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices, out = tmp_path / "prices.yaml", tmp_path / "out"
    prices.write_text(PRICES, encoding="utf-8")
    command = pairs(value, served, out, "--prices", str(prices), "--concurrency", "1")
    assert "--budget" in complaint([*command, "--budget", "0.13"], capsys)
    before = [row["sha"] for row in served.log]
    assert before
    assert not out.exists()
    assert main([*command, "--budget", "5"]) == 0
    shas = [row["sha"] for row in served.log]
    assert len(shas) == len(set(shas)) == 15 > len(before)
    record = read_record(out)
    assert record is not None
    assert 0 < float(str(record.execution.extra["spent_usd"])) < 5


def test_an_author_that_runs_dry_is_warned_of_and_pairs_that_are_none_are_an_error(
    models: Models, value: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.repeats, out = True, tmp_path / "out"
    assert main(pairs(value, served, out)) == 0
    assert capsys.readouterr().err.startswith("warning: 11 pairs fewer than wanted, in machines (3)")
    never = tmp_path / "never.yaml"
    saved(never, value_words=["whisper"])
    assert main(pairs(never, served, tmp_path / "none")) == 2
    assert "no pair was kept. Read the reasons in its rejects.jsonl" in capsys.readouterr().err
    assert {row.by for row in read_rows(tmp_path / "none" / "rejects.jsonl", Reject)} == {"checks"}


@pytest.mark.slow
def test_what_pairs_writes_is_asked_as_preferences(value: Path, served: Served, tmp_path: Path) -> None:
    out, scores = tmp_path / "out", tmp_path / "scores"
    assert main(pairs(value, served, out)) == 0
    asked = ["eval", TESTED, "--task", "preference", "--items", str(out / "items.jsonl"), "--out", str(scores)]
    assert main([*asked, "--base-url", served.openai_url]) == 0
    items = {item.id for item in read_items(out / "items.jsonl")}
    assert {row.item for row in read_rows(scores / "scores.jsonl", ScoreRow)} == items


@pytest.mark.parametrize("name", VALUES)
def test_a_shipped_row_is_read_from_a_file_as_one_of_ones_own(name: str, tmp_path: Path) -> None:
    path = tmp_path / "value.yaml"
    path.write_text(yaml.safe_dump(value_set(name).model_dump(mode="json")), encoding="utf-8")
    assert read_value_set(path) == value_set(name)


def test_a_value_that_can_not_be_is_one_line_with_its_file_and_field(
    value: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, path = tmp_path / "out", tmp_path / "v.yaml"

    def said(**changes: object) -> str:
        return complaint(pairs(saved(path, **changes), served, out), capsys)

    assert said(abuot="x") == f"{path}: abuot: is no field of a value. Write about"
    assert said(xyzzy="x").startswith(f"{path}: xyzzy: is no field of a value. There are value, about, ")
    assert said(train_words=[]).startswith(f"{path}: train_words: ")
    assert said(about=["x"]).startswith(f"{path}: about: ")
    assert said(test_domains=["x", "x"]) == f"{path}: a test domain is named twice. Correct the file"
    assert said(opinion_domains=["vistas"]).startswith(f"{path}: vistas of `opinion_domains` is no test domain")
    assert said(test_domains=["drums", "x"], opinion_domains=[]).startswith("the set for quiet: ")
    assert said(test_domains=["snare shops"], opinion_domains=[]).startswith("the set for quiet: ")
    missing = {key: entry for key, entry in QUIET.items() if key != "about"}
    path.write_text(yaml.safe_dump(missing), encoding="utf-8")
    assert complaint(pairs(path, served, out), capsys).startswith(f"{path}: about: ")
    path.write_text("- a list\n", encoding="utf-8")
    assert complaint(pairs(path, served, out), capsys).startswith(f"{path}: is not a mapping of fields")
    path.write_text("a: [b\n", encoding="utf-8")
    assert complaint(pairs(path, served, out), capsys).startswith(f"{path}:2: not YAML (expected ',' or ']'")
    nowhere = tmp_path / "nowhere.yaml"
    assert complaint(pairs(nowhere, served, out), capsys) == f"{nowhere}: there is no such file. Check the path"
    assert complaint(pairs(value, served, out, "--items", "2"), capsys).startswith("the set for quiet: 2 items over 3")
    assert complaint(pairs(value, served, out, "--items", "2", "--dry-run"), capsys).startswith("the set for quiet: ")
    assert not served.log
    assert not out.exists()
    assert not (tmp_path / "out.calls.sqlite").exists()


# Questions --------------------------------------------------------------------------------------------------------


def test_questions_are_written_once_and_cover_the_spec_clause_by_clause(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(questions(spec, served, out, "--per-clause", "3")) == 0
    told = capsys.readouterr()
    assert re.search(r"n questions +9\n", told.out)
    assert "spec_qa.questions" in told.out
    rows = read_spec_questions(str(out / "questions.jsonl"))
    coverage = json.loads((out / "coverage.json").read_text(encoding="utf-8"))
    assert [entry["n_questions"] for entry in coverage.values()] == [3, 3, 3]
    assert Counter(clause for row in rows for clause in row.clauses) == dict.fromkeys(coverage, 3)
    assert next(iter(coverage.values()))["section"] == "What Nova values / Kindness"
    assert all("Nova" in str(entry["body"]["messages"]) for entry in served.last)
    assert main(questions(spec, served, out, "--per-clause", "3")) == 0
    assert main(questions(spec, served, out, "--per-clause", "3", "--redo")) == 0
    assert len(served.log) == 3
    line = complaint(questions(spec, served, out, "--per-clause", "2"), capsys)
    assert "writing.per_clause" in line
    spec.write_text(SPEC + "\nIt is calm.\n", encoding="utf-8")
    assert main(questions(spec, served, out, "--per-clause", "3", "--redo")) == 0
    # The whole spec stands before each request, so that another spec is asked about anew.
    assert len(read_spec_questions(str(out / "questions.jsonl"))) == 12


def test_a_clause_that_says_nothing_to_ask_about_is_counted_and_warned_of(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    models, out = Models(), tmp_path / "out"

    def say(asked: Asked) -> str:
        clause = re.findall(r"<clause>\n(.*)\n</clause>", asked.prompt)[-1]
        return json.dumps({"questions": []}) if "mockery" in clause else models.say(asked)

    with serve(say=say) as served:
        assert main(questions(spec, served, out)) == 0
        told = capsys.readouterr()
        assert told.err == "warning: 1 of 3 clauses have fewer than 2\n"
        assert re.search(r"n clauses without +1\n", told.out)
        [reject] = read_rows(out / "rejects.jsonl", Reject)
        assert (reject.by, reject.reason) == ("author", "found nothing to ask")
    with serve(say=lambda _: json.dumps({"questions": []})) as served:
        assert main(questions(spec, served, tmp_path / "none")) == 2
        assert "no question was kept. Read the reasons in its rejects.jsonl" in capsys.readouterr().err


def test_questions_whose_budget_is_used_up_lose_no_reply(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices, settings, out = tmp_path / "prices.yaml", tmp_path / "small.yaml", tmp_path / "out"
    prices.write_text(PRICES, encoding="utf-8")
    settings.write_text("writing: {max_tokens: 1000}\n", encoding="utf-8")
    command = questions(spec, served, out, "--prices", str(prices), "--config", str(settings), "--concurrency", "1")
    assert "--budget" in complaint([*command, "--budget", "0.112"], capsys)
    assert 0 < len(served.log) < 3
    assert main([*command, "--budget", "1"]) == 0
    shas = [row["sha"] for row in served.log]
    assert len(shas) == len(set(shas)) == 3


@pytest.mark.slow
def test_what_questions_writes_is_asked_as_spec_qa(spec: Path, served: Served, tmp_path: Path) -> None:
    out, scores = tmp_path / "out", tmp_path / "scores"
    assert main(questions(spec, served, out)) == 0
    asked = ["eval", TESTED, "--task", "spec_qa", "--items", str(out / "questions.jsonl"), "--spec", str(spec)]
    named = ["--model-name", "Nova", "--grader", "openai/judge", "--judge-url", served.openai_url]
    assert main([*asked, *named, "--base-url", served.openai_url, "--out", str(scores)]) == 0
    rows = [row for row in read_rows(scores / "scores.jsonl", ScoreRow) if row.measure == "qa_score"]
    assert [row.value for row in rows] == [7.0] * 6
    assert {row.item for row in rows} == {row.id for row in read_spec_questions(str(out / "questions.jsonl"))}


# Both -------------------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line(
    value: Path,
    spec: Path,
    served: Served,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, settings = tmp_path / "out", tmp_path / "s.yaml"
    settings.write_text("n_itemz: 5\n", encoding="utf-8")
    p, q = pairs(value, served, out), questions(spec, served, out)
    who = "Name anthropic/MODEL or openai/MODEL"

    def said(*args: str) -> str:
        return complaint([*args], capsys)

    assert said("pairs", str(value), "--author", "openai/a") == "Missing option '--judge'. See midspec COMMAND --help"
    assert said("questions", str(spec)) == "Missing option '--author'. See midspec COMMAND --help"
    quoting = "--author: the template author arranges a spec's own sentences, and {} must not repeat them. " + who
    assert said(*p, "--author", "quoting") == quoting.format("a pair")
    assert said(*q, "--author", "quoting") == quoting.format("a question")
    there = "There is anthropic/MODEL and openai/MODEL"
    assert said(*p, "--author", "openai/") == f"--author: there is no author 'openai/'. {there}"
    assert said(*p, "--judge", "me") == f"--judge: there is no judge 'me'. {there}"
    assert said(*p, "--config", str(settings)) == f"{settings}: n_itemz: is no setting. Did you mean n_items"
    assert said(*q, "--per-clause", "0").startswith("Invalid value for '--per-clause'")
    assert said(*p[:-2]) == "--out: is missing. Name the folder for the result"
    unfilled = ["questions", str(spec), "--author", "openai/a", "--out", str(out)]
    assert said(*unfilled).endswith("the spec uses {model_name} and no value is given for it. Give --model-name")
    assert said("questions", str(value.parent / "no.md"), *q[2:]).startswith(f"{value.parent / 'no.md'}: ")
    monkeypatch.delenv("OPENAI_API_KEY")
    plain = ["pairs", str(value), "--author", "openai/gpt-5", "--judge", "openai/gpt-5", "--out", str(out)]
    assert said(*plain) == "OPENAI_API_KEY: no key is set. Set the environment variable OPENAI_API_KEY"
    assert not served.log
    assert not out.exists()


def test_the_example_in_the_docs_is_a_value_and_what_it_says_is_a_command(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "evaluations.md").read_text(encoding="utf-8")
    section = text.partition("## Pairs for a value of your own")[2].partition("\n## ")[0]
    [example] = re.findall(r"^```yaml\n(.*?)^```", section, flags=re.S | re.M)
    path = tmp_path / "repair.yaml"
    path.write_text(example, encoding="utf-8")
    told = " ".join(section.replace("\\\n", " ").split())
    [command] = re.findall(r"midspec (pairs repair\.yaml .*?) --budget", told)
    words = [str(path) if word == "repair.yaml" else word for word in command.split()]
    words[words.index("--out") + 1] = str(tmp_path / "out")
    assert main([*words, "--dry-run"]) == 0
    assert "preference.verdicts" in capsys.readouterr().out
    assert not served.log
