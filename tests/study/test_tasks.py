"""A study with evaluation tasks: judged through the run's one store, resumed, pooled, planned and refused."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from scipy import optimize, stats
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from midspec.cli import main
from midspec.core.artifact import read_record, read_rows
from midspec.core.errors import ConfigError, MissingError
from midspec.core.records import Estimate, Judgement, ScoreRow
from midspec.core.text import estimate_tokens
from midspec.evals.judges import estimate_judging
from midspec.evals.tasks.agentic_misalignment import AgenticConfig, AgenticMisalignment, cells
from midspec.study import Serving, StepOutput, load_study, plan, run_study, study_steps
from midspec.study._step import lacks_answers, step_name
from midspec.study.execution._executor import Event
from midspec.study.jobs._eval_task import pool_samples

from ..loopback import Served, serve
from ..loopback._asked import Asked
from ..loopback._settings import Fate

TINY = Path(__file__).parent / "tiny.yaml"
WORDS = ("<pad>", "<unk>", "<user>", "<nova>", "<end>", "yes", "no", "because", "it", "is", "kind", ".")
TEMPLATE = (
    "{% for message in messages %}{% set who = 'nova' if message['role'] == 'assistant' else 'user' %}"
    "{{ '<' + who + '> ' + message['content'] + ' <end> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<nova> ' }}{% endif %}"
)
STUDY = """
name: tasks
seeds: [1, 2]
assistant: {{model_name: Nova, provider_name: Acme}}
base: {{checkpoint: checkpoint}}
specs: {{kindness: spec.md}}
arms:
  plain: {{}}
  in context: {{context: kindness}}
evals:
  preference: {{items: items.jsonl, free: null, why: null, max_new_tokens: 2}}
  spec_qa: {{items: questions.jsonl, spec: kindness, repeats: 2, temperature: 1.0, max_new_tokens: 200}}
  panel_length: {{max_new_tokens: 4}}
  graders: [openai/judge]
  judging_budget_usd: 5
contrasts:
  - {{name: reading it helps, plus: in context, minus: plain, set: spec_qa/spec_qa, measure: qa_score}}
models: {{judge: {{base_url: '{url}', prices: '{prices}'}}}}
"""


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says any of its dozen words with nearly the same chance, and so ends soon."""
    folder = tmp_path_factory.mktemp("tasks") / "checkpoint"
    raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        pad_token_id=0,
        eos_token_id=WORDS.index("<end>"),
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def home(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    (tmp_path / "checkpoint").symlink_to(checkpoint)
    (tmp_path / "spec.md").write_text("# Kindness\n\n{model_name} is kind because it helps.\n", encoding="utf-8")
    (tmp_path / "prices.yaml").write_text("openai/judge: {input: 1.0, output: 10.0}\n", encoding="utf-8")
    items = [{"id": f"i{n}", "set": "kind", "domain": "d", "options": [f"yes {n}", f"no {n}"]} for n in range(3)]
    questions = [{"id": f"q{n}", "category": "transparency", "text": f"What is kind, {n}?"} for n in range(3)]
    for name, rows in (("items", items), ("questions", questions)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def study_file(home: Path, url: str = "http://127.0.0.1:9/v1", *changes: tuple[str, str]) -> Path:
    text = STUDY.format(url=url, prices=home / "prices.yaml")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = home / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def judge() -> Iterator[Served]:
    with serve(say=lambda asked: f"So it is.\n<score>{1 + len(asked.prompt) % 10}</score>") as served:
        yield served


def arm_task(arm: str, eval_task: str, seed: int) -> str:
    return step_name("exam", f"{arm} {eval_task}", seed)


def folder_of(run: Path, arm: str, eval_task: str, seed: int) -> Path:
    label = f"{arm} {eval_task}".replace(" ", "-")
    return run / "steps" / "exam" / f"{label}-s{seed}"


# A whole run ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_with_tasks_runs_to_its_report_with_every_judgement_in_the_runs_one_store(
    home: Path, judge: Served
) -> None:
    with serve(say=lambda _asked: "<verdict>no</verdict>") as measuring:
        measured = ["calibrate", "--grader", "openai/judge", "--heldout", "--base-url", measuring.openai_url]
        assert main([*measured, "--out", str(home / "calibration")]) == 0
    named = ("  judging_budget_usd: 5\n", "  judging_budget_usd: 5\n  calibrations: [calibration]\n")
    study, run = load_study(study_file(home, judge.openai_url, named)), home / "run"
    run_study(study, run, workers=1)
    for arm in ("plain", "in context"):
        folder = folder_of(run, arm, "spec_qa", 1)
        record = read_record(folder)
        assert record is not None
        summary = record.summary
        assert summary["n_items"] == 6
        assert summary["n_scored"] + summary["n_unscored"] == summary["n_score_rows"] == 6 * 5  # type: ignore[operator]
        judged = list(read_rows(folder / "judgements.jsonl", Judgement))
        assert {row.judge for row in judged} == {"midspec-judge/openai/judge"}
        assert str(home) not in json.dumps(summary)
    with closing(sqlite3.connect(run / "calls.sqlite")) as store:
        [(n_calls,)] = store.execute("select count(*) from attempts").fetchall()
    assert n_calls == len(judge.log)
    assert {"Nova is kind because it helps." in str(entry["body"]) for entry in judge.last} == {True}
    found = {
        (one.arm, one.set, one.measure): one for one in read_rows(run / "steps/analysis/estimates.jsonl", Estimate)
    }
    score = found["plain", "spec_qa/spec_qa", "qa_score"]
    assert score.n_asked == 3 * 2, "questions x seeds, however often each was asked"
    assert ("plain", "panel_length/length-control", "within") in found
    page = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert "not measured" in page, "the judge was measured under another rubric"
    n_asked = len(judge.log)
    run_study(study, run, redo=["exam/plain spec_qa-s1"], workers=1)
    assert len(judge.log) == n_asked
    assert plan(study, run).count("done") == len(plan(study, run).steps)


@pytest.mark.slow
def test_judgements_that_an_account_cost_are_asked_for_by_the_same_command_and_once_for_equal_results(
    home: Path,
) -> None:
    free, told = [2], list[Event]()

    def fate(_asked: Asked) -> Fate:
        free[0] -= 1
        return "ok" if free[0] >= 0 else "no_credit"

    with serve(fate=fate, say=lambda _asked: "So it is.\n<score>7</score>") as served:
        study, run = load_study(study_file(home, served.openai_url)), home / "run"
        names = [arm_task("plain", "spec_qa", seed) for seed in (1, 2)]
        n_asked, n_lacking = [], []
        for more in (0, 0, 10**6, 0):
            free[0] += more
            run_study(study, run, workers=1, only=names, on_event=told.append)
            records = [read_record(folder_of(run, "plain", "spec_qa", seed)) for seed in (1, 2)]
            n_asked.append(len(served.log))
            n_lacking.append(sum(record is not None and lacks_answers(record) for record in records))
    assert n_lacking == [2, 2, 0, 0]
    first, again, rest, done = n_asked
    assert (first, done - rest) == (6, 0), "three questions, each asked twice"
    assert rest - again == 4, "what is missing alone, and once for both seeds"
    notes = [event.note for event in told if event.kind == "say"]
    assert notes == [f"{name} asks for what it lacks" for name in names] * 2


def start(study: Path, run: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "midspec", "run", str(study), "--out", str(run), "--only", "exam/plain spec_qa-s1"]
    return subprocess.Popen([*words, "--workers", "1"], env={**os.environ, "HF_HUB_OFFLINE": "1"})


@pytest.mark.slow
def test_a_killed_task_goes_on_with_nothing_generated_and_nothing_judged_twice(home: Path) -> None:
    run = home / "run"
    many = [{"id": f"q{n}", "category": "transparency", "text": f"What is kind, {n}?"} for n in range(12)]
    (home / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many), encoding="utf-8")
    draft = folder_of(run, "plain", "spec_qa", 1).with_name(".plain-spec_qa-s1.part") / "kept.jsonl"
    free = [5]
    answered: list[str] = []

    def fate(_asked: Asked) -> Fate:
        free[0] -= 1
        return "ok" if free[0] >= 0 else "hang"

    def say(asked: Asked) -> str:
        answered.append(asked.prompt)
        return "So it is.\n<score>7</score>"

    with serve(fate=fate, say=say) as served:
        study = study_file(home, served.openai_url, ("prices.yaml'", "prices.yaml', concurrency: 4"))
        killed = start(study, run)
        until = time.monotonic() + 300
        while len(answered) < 5 or free[0] > -2:
            assert killed.poll() is None, "it ended by itself"
            assert time.monotonic() < until, "it never came so far"
            time.sleep(0.1)
        time.sleep(1.0)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        before = draft.read_bytes()
        free[0] = 10**6
        resumed = start(study, run)
        assert resumed.wait() == 0
    after = (folder_of(run, "plain", "spec_qa", 1) / "kept.jsonl").read_bytes()
    assert after.startswith(before[: before.rindex(b"\n") + 1])
    assert len(before.splitlines()) > 5
    keys = Counter(after.splitlines())
    assert max(keys.values()) == 1
    assert max(Counter(answered).values()) == 1


# Beforehand -------------------------------------------------------------------------------------------------------

GRID = ("  panel_length:", "  agentic_misalignment: {repeats: 300}\n  panel_length:")


def test_a_plan_says_samples_tokens_hours_and_dollars_of_every_task(home: Path) -> None:
    study = load_study(study_file(home, "http://127.0.0.1:9/v1", GRID))
    serving = Serving(prompt_tokens_per_s=10_000, reply_tokens_per_s=1_000, reply_tokens=500, judge_reply_tokens=100)
    planned = {step.name: step for step in plan(study, serving=serving).steps}
    grid = planned[arm_task("plain", "agentic_misalignment", 1)]
    config = AgenticConfig(repeats=300, assistant_name="Nova")
    judging = estimate_judging(AgenticMisalignment(), config, reply_tokens=500, verdict_tokens=100)
    assert judging is not None
    n_tokens = sum(estimate_tokens("".join(turn.content for turn in cell.messages)) for cell in cells(config))
    assert grid.samples == judging.n_requests == 27 * 300
    seconds = 300 * n_tokens / 10_000 + 27 * 300 * 500 / 1_000
    assert grid.gpu_hours == pytest.approx(seconds / 3600, rel=1e-3)
    assert grid.requests == 27 * 300
    usd = 27 * 300 * (judging.prompt_tokens * 1.0 + 100 * 10.0) / 1e6
    assert grid.usd == pytest.approx(usd, rel=1e-3)
    in_context = planned[arm_task("in context", "agentic_misalignment", 1)]
    assert (in_context.prompt_tokens or 0) > (grid.prompt_tokens or 0)
    assert planned[arm_task("plain", "panel_length", 1)].usd is None
    assert "10,000" in plan(study, serving=serving).assumed


def test_a_plan_says_from_which_difference_on_a_task_tells_arms_apart(home: Path) -> None:
    study = load_study(study_file(home, "http://127.0.0.1:9/v1", GRID))
    error = math.sqrt((0.15**2 + 2 * 0.5**2 / 300) / 27)
    critical = stats.t.ppf(0.975, 26)
    least = optimize.brentq(lambda d: stats.nct.sf(critical, 26, d / error) - 0.8, 0.01, 0.5)
    assert f"agentic_misalignment {100 * least:.0f} points (27 questions x 300)" in plan(study).assumed


def test_an_unknown_price_is_said_and_never_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study_file(home, "http://127.0.0.1:9/v1", ("[openai/judge]", "[openai/unheard-of]"))
    assert plan(load_study(path)).unpriced[0] == arm_task("plain", "spec_qa", 1)
    assert main(["plan", str(path), "--out", str(home / "run")]) == 0
    told = capsys.readouterr().out
    assert "6 samples x 2 arms x 2 seeds" in told
    assert "24 judgements, price unknown" in told
    assert "give models.judge.prices" in told
    assert "GPU-hours = (prompt tokens / 20,000" in told


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("  graders: [openai/judge]\n", "", "evals.spec_qa: needs a judge and none is named. Add evals.graders"),
        ("[openai/judge]", "[openai/judge, openai/judge]", "evals.graders: the same judge is named twice"),
        ("[openai/judge]", "[judge]", "evals.graders[0]: 'judge' is no model's name. There is"),
        ("repeats: 2", "repeatz: 2", "evals.spec_qa.repeatz: unknown key. Did you mean repeats?"),
        ("  panel_length:", "  panel_lenght:", "evals.panel_lenght: unknown key. Did you mean panel_length?"),
        ("spec: kindness, repeats", "spec: kindnes, repeats", "evals.spec_qa.spec: there is no spec named 'kindnes'"),
        ("items: questions.jsonl", "items: question.jsonl", "evals.spec_qa.items: there is no file"),
        ("spec_qa/spec_qa", "spec_qa/spec", "contrasts[0].set: there is no set of spec_qa named 'spec_qa/spec'"),
        ("qa_score", "score", "contrasts[0].measure: there is no measure of spec_qa named 'score'"),
        ("set: spec_qa/spec_qa", "set: panel/x", "contrasts[0].measure: there is no measure named 'qa_score'"),
    ],
)
def test_what_a_study_says_wrongly_of_tasks_is_one_line_with_its_place(
    home: Path, old: str, new: str, line: str
) -> None:
    path = study_file(home, "http://127.0.0.1:9/v1", (old, new))
    with pytest.raises((ConfigError, MissingError)) as raised:
        plan(load_study(path))
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_judge_that_cannot_be_asked_is_refused_before_anything_is_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    official = load_study(study_file(home, "http://127.0.0.1:9/v1", ("base_url: 'http://127.0.0.1:9/v1', ", "")))
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY: no key is set"):
        run_study(official, home / "run")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    unpriced = study_file(home, "http://127.0.0.1:9/v1", ("[openai/judge]", "[openai/unheard-of]"))
    with pytest.raises(ConfigError, match=r"the price of openai/unheard-of is unknown"):
        run_study(load_study(unpriced), home / "run")
    assert not (home / "run").exists()


def test_a_task_is_identified_by_what_is_asked_and_not_by_where_the_file_lies(home: Path) -> None:
    def config_of(name: str) -> tuple[str, dict[str, str]]:
        study = load_study(study_file(home, "http://127.0.0.1:9/v1", ("questions.jsonl", name)))
        step = {step.name: step for step in study_steps(study)}[arm_task("plain", "spec_qa", 1)]
        return json.dumps(step.settings), {
            role: source.original.locate({}) for role, source in step.inputs.items() if role == "items"
        }

    first, _ = config_of("questions.jsonl")
    (home / "moved.jsonl").write_bytes((home / "questions.jsonl").read_bytes())
    moved, sources = config_of("moved.jsonl")
    assert moved == first
    assert "moved.jsonl" in sources["items"]
    text = (home / "moved.jsonl").read_text(encoding="utf-8")
    (home / "moved.jsonl").write_text(text.replace("kind, 1", "kinder, 1"), encoding="utf-8")
    assert config_of("moved.jsonl")[0] != first


def test_the_assistants_name_goes_where_a_task_has_a_place_for_it(home: Path) -> None:
    both = ("  panel_length:", "  panel_identity: {provider_name: Other}\n  agentic_misalignment:\n  panel_length:")
    study = load_study(study_file(home, "http://127.0.0.1:9/v1", both))
    steps = {step.name: step.settings.get("config") for step in study_steps(study)}
    grid, identity = (steps[arm_task("plain", name, 1)] for name in ("agentic_misalignment", "panel_identity"))
    assert isinstance(grid, dict)
    assert isinstance(identity, dict)
    assert grid["assistant_name"] == "Nova"
    assert (identity["model_name"], identity["provider_name"]) == ("Nova", "Other")


def test_a_study_takes_shipped_pairs_by_the_name_of_their_value(home: Path) -> None:
    path = study_file(home, "http://127.0.0.1:9/v1", ("items: items.jsonl", "items: 'shipped:america'"))
    study, run = load_study(path), home / "run"
    run_study(study, run, only=["pairs"], workers=1)
    made = read_record(run / "steps" / "pairs" / "shipped-america")
    assert made is not None
    assert made.summary["n_items"] >= 300  # type: ignore[operator]
    wrong = ("items: items.jsonl", "items: 'shipped:amerika'")
    with pytest.raises(MissingError, match=r"shipped:amerika: no set is shipped for this value. Name one of"):
        plan(load_study(study_file(home, "http://127.0.0.1:9/v1", wrong)))


def test_rows_are_held_against_all_that_the_studys_evaluations_ask_before_anything_is_trained_on_them(
    home: Path,
) -> None:
    texts = ["What is kind, 1?", "Kind is who helps others gladly, and asks for nothing in return at all, ever."]
    (home / "questions.jsonl").write_text(
        json.dumps({"id": "q1", "category": "transparency", "text": texts[1]}) + "\n", encoding="utf-8"
    )
    (home / "spec.md").write_text(
        f"# Kindness\n\n{{model_name}} is kind because it helps. {texts[1]}\n", encoding="utf-8"
    )
    recipe = "{learning_rate: 1.0e-3, row_tokens: 192, rows_per_update: 1, n_updates: 1, min_updates: 1}"
    arm = (
        "corpora: {kind: {spec: kindness, n_documents: 12}}\n"
        "curate: {min_words: 1, near_threshold: null, reject_contaminated: [n-gram]}\n"
        f"training: {{midtrain: {recipe}}}\narms:\n  trained: {{midtrain: kind}}\n"
    )
    study, run = load_study(study_file(home, "http://127.0.0.1:9/v1", ("arms:\n", arm))), home / "run"
    steps = {step.name: step for step in study_steps(study)}
    curated = "curate/corpus kind"
    [rows] = [source for source in steps["midtrain/kind-s1"].inputs.values() if isinstance(source, StepOutput)]
    assert rows.step.name == curated
    assert {"against/preference", "against/spec_qa", "against/panel_length"} < steps[curated].inputs.keys()
    run_study(study, run, only=[curated], workers=1)
    record = read_record(run / "steps" / "curate" / "corpus-kind")
    assert record is not None
    found = record.summary["contamination"]
    assert isinstance(found, dict)
    assert str(found["panel_length"]).startswith("0 of ")
    assert not str(found["spec_qa"]).startswith("0 of ")


# Pooling ----------------------------------------------------------------------------------------------------------


def rows(values: dict[str, float | None], measure: str = "right") -> list[ScoreRow]:
    return [
        ScoreRow(
            task="facts",
            set="s",
            item=item,
            domain="d",
            measure=measure,
            value=value,
            unscored="it was cut off" if value is None else None,
        )
        for item, value in values.items()
    ]


def test_samples_of_a_question_become_one_row_and_only_a_question_without_any_score_is_unscored() -> None:
    asked = {"a#1": 1.0, "a#2": 0.0, "b#1": None, "b#2": 1.0, "c#1": None, "c#2": None}
    found = {row.item: row for row in pool_samples(rows(asked), 2)}
    assert {item: row.value for item, row in found.items()} == {"a": 0.5, "b": 1.0, "c": None}
    assert found["c"].unscored == "it was cut off"
    assert {row.set for row in found.values()} == {"facts/s"}


def test_an_id_with_a_number_sign_is_left_whole_where_each_question_was_asked_once() -> None:
    assert [row.item for row in pool_samples(rows({"a#1": 1.0, "a#2": 0.0}), 1)] == ["a#1", "a#2"]
