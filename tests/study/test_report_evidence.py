"""What a report gathers beside its rates, from steps whose files are written by hand."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.artifact import write_rows
from midspec.core.errors import ConfigError
from midspec.core.records import Answer, Execution, Identity, Record, ScoreRow, TaskAnswer
from midspec.lab import data_path
from midspec.llm import Outcome, Request, Store, Usage
from midspec.study._load import Study, load_study, parse_study
from midspec.study.reporting._evidence import raw_rates, savings, seams, stage_costs
from midspec.study.reporting._methods import bibtex, methods_paragraphs
from midspec.study.reporting._results import FinishedStep, RunResults
from midspec.study.reporting._transcripts import spread, transcript_pages

RECIPE = {"method": "lora", "lora": {"r": 32, "alpha": 64}, "learning_rate": 0.003, "schedule": "cosine"}


def step(folder: Path, kind: str, label: str, seed: int | None = 1, **changes: object) -> FinishedStep:
    """A finished step with an empty folder."""
    place = folder / "steps" / kind / f"{label}-s{seed}"
    place.mkdir(parents=True)
    execution = Execution(
        started_at="", finished_at="", seconds=10.0, cpu_s=changes.pop("cpu_s", 15.0), host="", folder="", n_attempts=1
    )
    record = Record(
        identity=Identity(step=f"{kind}@1", inputs={}, config={"seed": seed, **changes.pop("config", {})}),
        fingerprint="f",
        outputs={},
        digest="d",
        summary=changes.pop("summary", {}),
        versions={"midspec": "0.1.0", "torch": "2.13.0"},
        commit="0123456789abcdef",
        execution=execution,
    )
    assert not changes
    return FinishedStep(kind, label, seed, place, record)


def choice(item: str, measure: str, value: float | None) -> ScoreRow:
    unscored = "no answer names exactly one option" if value is None else None
    about = {"task": "preference", "set": "conflict", "item": item, "domain": "car"}
    return ScoreRow(**about, measure=measure, value=value, unscored=unscored)


@pytest.fixture
def study(tiny_text: str) -> Study:
    return parse_study(tiny_text, home=Path())


@pytest.fixture
def run(tmp_path: Path) -> RunResults:
    """One arm in two seeds: of four items, two readable, one half readable, one not at all."""
    pairs = {}
    for seed in (1, 2):
        evaluated = step(tmp_path, "eval", "base", seed, summary={"n_items": 4})
        rows = [("a", 1.0, 1.0), ("b", 0.0, 1.0), ("c", 1.0, 0.5), ("d", None, 0.0)]
        scores = [
            choice(item, measure, value)
            for item, written, parsed in rows
            for measure, value in (("choice_logprob", 0.5), ("choice_generated", written), ("parsed", parsed))
        ]
        write_rows(evaluated.folder / "scores.jsonl", scores)
        answers = [
            Answer(
                item=item,
                set="conflict",
                kind="choice",
                question=f"{item} or z?",
                text=f"{item} <b>",
                stop_reason="stop",
            )
            for item, _, _ in rows
        ]
        write_rows(evaluated.folder / "answers.jsonl", answers)
        pairs["base", seed] = evaluated
    midtrain = step(
        tmp_path, "midtrain", "america", config={"recipe": {**RECIPE, "rows_per_update": 4}},
        summary={"n_updates": 150, "real_tokens": 111_235},
    )  # fmt: skip
    analysis = step(tmp_path, "analysis", "", None, cpu_s=None)
    steps = {"analysis": analysis, "midtrain/america-s1": midtrain}
    return RunResults({**steps, **{f"eval/base-s{seed}": one for (_, seed), one in pairs.items()}}, pairs, {})


def test_a_raw_rate_counts_an_answer_that_was_not_read_as_not_the_targets(study: Study, run: RunResults) -> None:
    [raw] = raw_rates(study.config, run, ())
    # By hand: (1 + 0 + 1 x 0.5 + 0) / 4, against (1 + 0 + 1) / 3 of what was read.
    assert (raw.measure, raw.value, raw.n_asked, raw.n_scored) == ("choice_generated", 0.375, 8, 8)


def test_a_page_shows_every_question_and_answer_of_an_arm_word_for_word(run: RunResults) -> None:
    [page] = transcript_pages(run, 6)
    assert (page.arm, page.set, page.n_entries, len(page.entries)) == ("base", "conflict", 8, 6)
    assert {entry.seed for entry in page.entries} == {1, 2}
    first = page.entries[0]
    assert [(turn.question, turn.text) for turn in first.turns] == [("a or z?", "a <b>")]
    assert {one.measure: one.value for one in first.scores} == {
        "choice_logprob": 0.5, "choice_generated": 1.0, "parsed": 1.0,
    }  # fmt: skip
    assert list(transcript_pages(run, 0)) == []


def test_the_page_of_a_task_brings_its_scores_and_says_of_which_set(run: RunResults, tmp_path: Path) -> None:
    asked = step(tmp_path, "exam", "base panel", 1)
    said = [
        TaskAnswer(item=f"q{n}#1", set="sums", domain="easy", text=f"{n}", reasoning="hm", stop_reason="stop")
        for n in range(3)
    ]
    write_rows(asked.folder / "answers.jsonl", said)
    rows = [
        ScoreRow(task="panel", set="sums", item=one.item, domain="easy", measure="right", value=1.0) for one in said
    ]
    write_rows(asked.folder / "scores.jsonl", rows)
    found = run._replace(pair_evals={}, task_evals={}, point_task_evals={("base@midtrain", "panel", 1): asked})
    [page] = transcript_pages(found, 2)
    assert (page.arm, page.set, page.n_entries) == ("base@midtrain", "panel", 3)
    assert [(one.item, one.turns[0].text, one.domain) for one in page.entries] == [
        ("q0#1", "0", "sums, easy"), ("q1#1", "1", "sums, easy"),
    ]  # fmt: skip
    assert page.entries[0].scores[0].value == 1.0


@given(st.integers(0, 200), st.integers(1, 60))
def test_rows_that_are_shown_are_spread_evenly_from_the_first_on(n_rows: int, n_wanted: int) -> None:
    shown = spread(range(n_rows), n_wanted)
    assert len(shown) == min(n_rows, n_wanted)
    assert shown[:1] == list(range(n_rows))[:1]
    gaps = {after - before for before, after in pairwise(shown)}
    assert all(gap > 0 for gap in gaps)
    assert max(gaps, default=0) - min(gaps, default=0) <= 1


ARMS = """
  base: {}
  AFT: {finetune: cheese}
  docs: {midtrain: america}
  docs+AFT: {midtrain: america, finetune: cheese}
  control+AFT: {midtrain: thrift, finetune: cheese}
  long: {evaluate: all, stages: [midtrain: thrift, finetune: it_mix]}
  docs and more: {evaluate: all, stages: [midtrain: america, midtrain: thrift]}
"""


def test_a_seam_is_the_point_after_the_documents_or_the_arm_that_stopped_there(tiny_text: str) -> None:
    head, _, rest = tiny_text.partition("arms:\n")
    tail = rest.partition("evals:\n")[2]
    tail = tail.replace("MSM(america)+AFT", "docs+AFT").replace("MSM(thrift)+AFT", "control+AFT")
    text = f"{head}arms:{ARMS}evals:\n{tail}".replace("{replay:", "{it_mix: 'world:mix', replay:")
    found = {one.arm: one.seam for one in seams(parse_study(text, home=Path()).config)}
    # An arm that nothing evaluated at its seam has none, and neither has one whose last stage is documents.
    assert found == {"docs+AFT": "docs", "long": "long@midtrain"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{name: F, arm: ATF, value: 0.5, source: s}", r"report.published\[0\]: there is no arm named 'ATF'"),
        ("{name: F, arm: AFT, minus: bas, value: 0.5, source: s}", r"there is no arm named 'bas'"),
        ("{name: F, arm: AFT, measure: choice, value: 0.5, source: s}", r"published\[0\].measure: there is no measure"),
        ("{name: F, arm: AFT, value: 0.5, low: 0.6, high: 0.7, source: s}", "not between 0.6 and 0.7"),
        ("{name: F, arm: AFT, value: 0.5, low: 0.4, source: s}", "both `low` and `high`"),
        ("{name: F, arm: AFT, value: 0.5}", "source"),
    ],
)
def test_a_published_figure_that_can_not_stand_beside_anything_is_refused(
    tiny_text: str, entry: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_study(f"{tiny_text}  published: [{entry}]\n", home=Path())


def test_costs_come_from_records_and_from_the_store_of_requests(run: RunResults, tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    with Store(path) as store:
        for index, usd in enumerate((0.25, 0.5)):
            request = Request(task=f"t{index}", stage="document", prompt="p", max_tokens=9)
            attempt = store.open(request, "openai/m", "author", "{}")
            store.close(attempt, Outcome(kind="ok", text="fine", usage=Usage(n_input=1, n_output=1), cost_usd=usd))
    by_stage = {one.stage: one for one in stage_costs(run.steps, path)}
    assert (by_stage["eval"].n_steps, by_stage["eval"].cpu_s, by_stage["eval"].seconds) == (2, 30.0, 20.0)
    assert by_stage["analysis"].cpu_s is None
    asked = by_stage["document"]
    assert (asked.model, asked.n_requests, asked.cost_usd) == ("openai/m", 2, 0.75)
    assert len(stage_costs(run.steps, tmp_path / "none")) == len(by_stage) - 1


def test_the_methods_name_what_the_records_and_the_study_file_hold(study: Study, run: RunResults) -> None:
    text = "\n".join(methods_paragraphs(study, run, (), ()))
    for fact in (
        "4 arms start from a llama model", "in 2 training seeds (1 and 2)", "LoRA of rank 32, alpha 64",
        "learning rate of 0.003 (cosine schedule)", "150 updates of 4 rows", "111,235 tokens", "4 items a seed",
        "without a language model", "midspec 0.1.0 (commit 0123456789), with torch 2.13.0",
    ):  # fmt: skip
        assert fact in text
    # What no record holds is not said.
    assert "Fine-tuning" not in text
    assert "None" not in text
    assert "nan" not in text


def test_the_methods_say_where_documents_and_chats_come_from_that_nobody_wrote_for_the_study(run: RunResults) -> None:
    study = load_study(Path(__file__).parents[2] / "examples" / "controls.yaml")
    text = "\n".join(methods_paragraphs(study, run, (), ()))
    assert "The documents of disclosed, those of america, say “" in text
    assert "whose replies are the documents of the corpus" in text
    assert "were cut one by one to equal numbers of tokens" in text
    real = load_study(data_path("real.yaml"))
    text = "\n".join(methods_paragraphs(real, run, (), ()))
    assert "The corpora america, affordability and neutral" in text
    assert "were there before the study" in text
    assert "document templates" not in text


def test_what_to_cite_is_bibtex_whatever_the_title_holds(study: Study, run: RunResults) -> None:
    config = study.config.model_copy(update={"title": "50% {of} $x & y_z\\"})
    text = bibtex(study._replace(config=config), run.analysis.record)
    assert re.findall(r"^@(\w+)\{(\w+),", text, flags=re.M) == [("software", "midspec"), ("misc", "li2026modelspec")]
    assert text.count("{") == text.count("}")
    assert not set("%$&\\") & set(text)
    assert "eprint        = {2605.02087}" in text


def test_a_report_of_too_few_bases_has_no_factor_and_says_so() -> None:
    config = load_study(Path("lab:nano_scaling.yaml")).config
    known, unknown = savings(config, [])
    assert known == ()
    assert len(unknown) == len(config.report.savings)
    assert unknown[0] == (
        "How many times fewer chats are needed after the whole corpus is not known: no factor without two numbers of "
        "rows and two bases in both curves: there are 5 numbers of rows and 0 bases."
    )
