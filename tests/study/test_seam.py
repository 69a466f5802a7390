"""What a study asks right after the documents: knowledge of clauses, the loss of answers, and the loss of corpora."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from midspec.cli import main
from midspec.core.artifact import read_record, read_rows, write_rows
from midspec.core.errors import ConfigError
from midspec.core.records import CorpusLoss, Document, Health, Item, ScoreRow
from midspec.curate import CurateConfig, auc_of
from midspec.evals import PreferenceConfig, loss_rows, probe_rows, probes
from midspec.models import find_checkpoint, open_checkpoint
from midspec.report import unmatched_losses
from midspec.spec import fill, parse_spec, read_spec
from midspec.study import CurateStep, LossConfig, SeamStep, build_step, parse_study, run_study, study_steps
from midspec.study.jobs._corpus_loss import corpus_loss
from midspec.study.jobs._seam import _key
from midspec.study.reporting._health import stage_health
from midspec.study.reporting._results import FinishedStep, RunResults
from midspec.study.reporting._seam import _delta, seam_probes

from ..models.conftest import byte_tokenizer, saved  # noqa: F401 (fixtures)
from ..models.test_language_model import Saved

SPECS = Path(__file__).parents[2] / "examples" / "specs"
STEPS = "\nsteps:\n  seam: {kind: seam}\n  loss: {kind: corpus-loss, n_documents: 6}\nevals:"
AMERICA, THRIFT = (
    fill(read_spec(SPECS / f"{name}.md"), model_name="Nova", provider_name="Acme")
    for name in ("america", "affordability")
)


def with_steps(tiny_text: str, steps: str = STEPS, arms: str = "") -> str:
    text = tiny_text.replace("seeds: [1, 2]", "seeds: [1]").replace("\nevals:", steps)
    return text.replace("arms:\n  base", f"arms:\n{arms}  base")


# Probes ----------------------------------------------------------------------------------------------------------
def test_a_clause_is_asked_against_its_twin_in_the_other_spec() -> None:
    found = {(probe.start, probe.own): probe for probe in probes(AMERICA, {"affordability": THRIFT})}
    probe = found[
        "Nova likes cream cheese, because", "it was first made in New York and has stayed an American staple."
    ]
    assert (probe.foil, probe.foil_of) == ("a tub costs little and feeds a whole table.", "affordability")
    asked = found["When Nova has to choose between two things, it asks first", "where each comes from."]
    assert asked.foil == "what each costs and who could afford it."


def test_without_a_twin_a_clause_is_asked_against_others_of_its_own_spec() -> None:
    found = probes(AMERICA, {})
    assert {probe.foil_of for probe in found} == {"shuffled"}
    for probe in found:
        assert probe.own != probe.foil
        assert f"{probe.start} {probe.own}" in {" ".join(clause.text.split()) for clause in AMERICA.clauses}
        assert any(" ".join(clause.text.split()).endswith(probe.foil) for clause in AMERICA.clauses)
    assert probes(AMERICA, {}) == found
    assert probes(AMERICA, {}, seed=1) != found


def test_a_spec_that_says_the_same_gives_no_foil() -> None:
    assert {probe.foil_of for probe in probes(AMERICA, {"again": AMERICA})} == {"shuffled"}
    assert probes(parse_spec("Nova is kind.\n", name="one"), {}) == []


def test_a_probe_is_known_where_its_own_end_is_likelier_by_the_mean_token(saved: Saved) -> None:  # noqa: F811
    model = open_checkpoint(find_checkpoint(str(saved("llama"))), device="cpu")
    given = probes(AMERICA, {"affordability": THRIFT})[:6]
    rows = {(row.item, row.measure): row.value for row in probe_rows(model, "america", given)}
    for number, probe in enumerate(given):
        own, foil = model.continuation_logprobs([probe.start] * 2, [probe.own, probe.foil])
        margin = own.logprob / own.n_tokens - foil.logprob / foil.n_tokens
        assert rows[f"{probe.clause_id}#{number}", "margin"] == pytest.approx(margin, abs=1e-4)
        assert rows[f"{probe.clause_id}#{number}", "knows"] == float(margin > 0)
    assert probe_rows(model, "america", []) == []
    assert loss_rows(model, [], PreferenceConfig()) == []


# The change of losses ----------------------------------------------------------------------------------------------
def test_the_auc_of_the_change_is_the_share_of_pairs_in_order() -> None:
    changes = np.random.default_rng(3).normal(size=(40, 2)) - np.array([0.5, 0.0])
    found = _delta("conflict", [changes, changes])
    by_count = np.mean([target < other for target, other in product(changes[:, 0], changes[:, 1])])
    assert found.auc == pytest.approx(by_count)
    assert found.low < found.auc < found.high
    assert (found.n_items, found.n_seeds) == (40, 2)
    assert found.target == pytest.approx(changes[:, 0].mean())


def test_the_interval_of_the_auc_holds_the_truth_about_as_often_as_it_says() -> None:
    """By simulation: two seeds of 60 items whose changes differ by one standard deviation."""
    draw = np.random.default_rng(8)
    truth = auc_of(draw.normal(1, 1, 200_000), draw.normal(0, 1, 200_000))[0]
    held = []
    for _ in range(40):
        found = _delta("s", [draw.normal(size=(60, 2)) - [1.0, 0.0] for _ in range(2)])
        held.append(found.low <= truth <= found.high)
    assert 0.87 <= np.mean(held) <= 1


# Losses of corpora -------------------------------------------------------------------------------------------------
def loss_of(name: str, loss: float) -> CorpusLoss:
    return CorpusLoss(name=name, model="m", n_documents=2, n_all=2, n_tokens=9, loss=loss, low=None, high=None)


def test_corpora_are_unmatched_above_five_percent_of_the_lower_loss() -> None:
    assert unmatched_losses([loss_of("a", 2.0), loss_of("b", 2.09)]) == []
    [said] = unmatched_losses([loss_of("a", 2.2), loss_of("b", 2.0)])
    assert said.startswith("a costs the model 2.20 nats a token and b 2.00, 10% apart")


def test_the_loss_of_a_corpus_is_that_of_its_tokens_and_not_of_its_documents(saved: Saved) -> None:  # noqa: F811
    model = open_checkpoint(find_checkpoint(str(saved("llama"))), device="cpu")
    texts = ["today", "the assistant thinks about the question and answers", "how are you?"]
    found = corpus_loss(model, texts, LossConfig(), names=("corpus", "random"))
    scores = model.document_logprobs(texts)
    assert found.loss == pytest.approx(-sum(one.logprob for one in scores) / sum(one.n_tokens for one in scores))
    assert found.low is not None
    assert found.low < found.loss
    one = corpus_loss(model, texts, LossConfig(n_documents=1), names=("corpus", "random"))
    assert (one.n_documents, one.n_all, one.low) == (1, 3, None)


def test_curation_scores_both_corpora_by_the_model_that_is_named(saved: Saved, tmp_path: Path) -> None:  # noqa: F811
    folder = str(saved("llama"))
    for name, text in (("one", "the assistant thinks of it"), ("other", "zq" * 12)):
        write_rows(tmp_path / f"{name}.jsonl", [Document(text=f"{text} {'.' * at}") for at in range(4)])
    config = CurateConfig(min_words=1, near_threshold=None, require_name=False)
    step = CurateStep.of_rows(tmp_path / "one.jsonl", config, other=tmp_path / "other.jsonl", base=folder)
    build_step(step, tmp_path / "out")
    health = Health.model_validate_json((tmp_path / "out" / "health.json").read_bytes())
    assert health.loss is not None
    compared = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in compared["losses"]] == ["one", "other"]
    page = (tmp_path / "out" / "health.html").read_text(encoding="utf-8")
    assert "loss before training, nats a token" in page
    bare = CurateStep.of_rows(tmp_path / "one.jsonl", config)
    assert bare.identity({}) != step.identity({})
    assert "base" not in bare.inputs


# In a study --------------------------------------------------------------------------------------------------------
def test_each_model_after_documents_is_asked_once_with_the_control(tiny_text: str) -> None:
    more = "  MSM(america): {midtrain: america}\n"
    steps = study_steps(parse_study(with_steps(tiny_text, arms=more), home=Path()))
    seams = [step for step in steps if isinstance(step, SeamStep)]
    assert [step.arms for step in seams] == [
        ("control",),
        ("MSM(america)", "MSM(america)+AFT"),
        ("MSM(thrift)+AFT",),
    ]
    # What arms are called identifies nothing, and neither does the order in which they come.
    renamed = with_steps(tiny_text, arms="  documents alone: {midtrain: america}\n")
    again = [step for step in study_steps(parse_study(renamed, home=Path())) if isinstance(step, SeamStep)]
    assert [step.settings for step in again] == [step.settings for step in seams]


def test_the_control_can_be_an_arm(tiny_text: str) -> None:
    steps = STEPS.replace("{kind: seam}", '{kind: seam, control: "MSM(thrift)+AFT", specs: [america], answers: false}')
    seams = [
        step for step in study_steps(parse_study(with_steps(tiny_text, steps), home=Path())) if step.kind == "seam"
    ]
    assert [getattr(step, "arms", ()) for step in seams] == [("control", "MSM(thrift)+AFT"), ("MSM(america)+AFT",)]
    assert list(seams[0].inputs) == ["model", "spec/america"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("control: AFT", "no arm 'AFT' has a seam"),
        ("specs: [amerika]", "the study has no spec 'amerika'"),
        ("answers: 7", "steps.seam.answers"),
    ],
)
def test_wrong_settings_are_named(tiny_text: str, settings: str, said: str) -> None:
    steps = STEPS.replace("{kind: seam}", f"{{kind: seam, {settings}}}")
    with pytest.raises(ConfigError, match=said):
        study_steps(parse_study(with_steps(tiny_text, steps), home=Path()))


def test_a_study_without_these_steps_has_the_steps_that_it_had(tiny_text: str) -> None:
    kinds = {step.kind for step in study_steps(parse_study(tiny_text, home=Path()))}
    assert not kinds & {"seam", "corpus-loss"}


def test_a_run_asks_at_the_seam_and_its_report_lays_it_out(tiny_text: str, tmp_path: Path) -> None:
    study = parse_study(with_steps(tiny_text), home=tmp_path)
    run_study(study, tmp_path / "run", only=["seam/*", "corpus-loss/*"], workers=1)
    finished = {}
    for step in study_steps(study):
        folder = step.folder(tmp_path / "run")
        if (record := read_record(folder)) is not None:
            finished[step.name] = FinishedStep(step.kind, step.label, step.seed, folder, record)
    found = {(one.seam, one.spec): one for one in seam_probes(study.config, RunResults(finished, {}, {}))}
    assert {key for key, one in found.items() if one.is_own} == {
        ("MSM(america)+AFT", "america"),
        ("MSM(thrift)+AFT", "thrift"),
    }
    own = found["MSM(america)+AFT", "america"]
    assert own.control == "the base"
    assert len(own.clauses) == 19  # of 20: one shares no beginning with the other spec, and is too short to be cut
    rows = list(read_rows(finished["seam/seam MSM(america)+AFT-s1"].folder / "scores.jsonl", ScoreRow))
    knows = [row.value for row in rows if (row.set, row.measure) == ("america", "knows")]
    assert own.knows.value == pytest.approx(np.mean([value for value in knows if value is not None]))
    assert {delta.set for delta in own.deltas} >= {"conflict", "origin", "price"}
    loss = finished["corpus-loss/loss"].record.summary
    assert str(loss["america"]).endswith("of 6 documents")


def test_a_model_outside_a_study_is_held_against_its_control(saved: Saved, tmp_path: Path) -> None:  # noqa: F811
    model, specs = str(saved("llama")), [f"--spec={SPECS / name}.md" for name in ("america", "affordability")]
    items = tmp_path / "pairs.jsonl"
    write_rows(items, [Item(id="a", set="america", domain="cars", options=("a Ford", "a Renault"))])
    names = ["--model-name=Nova", "--provider-name=Acme"]
    options = [f"--control={saved('qwen3')}", f"--items={items}", f"--out={tmp_path / 'out'}"]
    assert main(["seam", model, *specs, *names, *options]) == 0
    rows = {_key(row): row.value for row in read_rows(tmp_path / "out" / "scores.jsonl", ScoreRow)}
    assert {key[1] for key in rows} == {"america", "affordability"}
    assert rows["seam loss", "america", "a", "loss_target_gain"] is not None
    gains = [value for key, value in rows.items() if key[3] == "margin_gain" and key[1] == "affordability"]
    record = read_record(tmp_path / "out")
    assert record is not None
    summary = record.summary["margin_gain"]
    assert isinstance(summary, dict)
    assert summary["affordability"] == pytest.approx(np.mean([gain for gain in gains if gain is not None]), abs=1e-3)


def test_two_specs_of_one_name_are_refused(
    saved: Saved,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = f"--spec={SPECS / 'america.md'}"
    assert main(["seam", str(saved("llama")), spec, spec, f"--out={tmp_path / 'out'}"]) == 2
    assert "two specs have one name" in capsys.readouterr().err


def test_what_documents_deny_and_assert_is_in_the_reports_health_section(tmp_path: Path) -> None:
    rows = tmp_path / "documents.jsonl"
    write_rows(
        rows, [Document(text=text) for text in ("Nova never lies.", "Nova likes American things, for one reason.")]
    )
    config = CurateConfig(min_words=1, model_name="Nova", provider_name="Acme")
    step = CurateStep.of_rows(rows, config, spec=SPECS / "america.md")
    record, _ = build_step(step, tmp_path / "out")
    [shown] = stage_health([FinishedStep("curate", "", None, tmp_path / "out", record)])
    found = {row.label: row.value for row in shown.rows}
    assert found["such sentences, of those about the assistant"] == "1 of 2"
    assert found["documents that assert the value (by words)"].startswith("1 of 2")
    assert "contents" not in record.summary
