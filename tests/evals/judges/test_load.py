"""What judging is forecast to ask is what it asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.evals.engine.toy import ToyConfig, ToyRubric, ToyTask
from tests.loopback import serve

from midspec.core.records import Message
from midspec.evals import run_task, scripted_model
from midspec.evals.judges import GraderConfig, calibrate_judge, calibration_set, estimate_calibration, estimate_judging
from midspec.llm import Access, Price, Prices, StageEstimate, Store, forecast

# The loopback provider counts a token for four letters.
VERDICT = "because " * 73 + "<verdict>yes</verdict>"
PRICES = Prices({"openai/loopback": Price(input=1.0, output=10.0)})


def cost_of(load: StageEstimate) -> float:
    usd = forecast([load], "openai/loopback", PRICES).total.usd
    assert usd is not None
    return usd


def asked(store: Path) -> tuple[str, int, float]:
    with Store(store) as opened:
        opened.price(PRICES.cost)
        [row] = opened.ledger()
        return row.stage, row.n_asked, opened.spent_usd()


def test_an_exams_forecast_is_what_its_judge_is_asked(tmp_path: Path) -> None:
    config = ToyConfig(n_questions=12)

    def answer(messages: Sequence[Message]) -> str:
        return f"{messages[-1].content} " + "word " * 76

    load = estimate_judging(ToyTask(), config, reply_tokens=100)
    assert load is not None
    with serve(say=lambda _: VERDICT) as served:
        settings = {"base_url": served.openai_url, "store": str(tmp_path / "calls.sqlite")}
        graders = ["midspec-judge/openai/loopback"]
        run_task(ToyTask(), config, scripted_model(answer), tmp_path, graders=graders, grader_args=settings)
    stage, n_asked, usd = asked(tmp_path / "calls.sqlite")
    assert (load.stage, load.n_requests) == (stage, n_asked)
    assert cost_of(load) == pytest.approx(usd, rel=0.05)


def test_a_calibrations_forecast_is_what_the_judge_is_asked(tmp_path: Path) -> None:
    rows = calibration_set()[:40]
    load = estimate_calibration(ToyRubric(), rows)
    with serve(say=lambda _: VERDICT) as served:
        config, store = GraderConfig(model="openai/loopback"), tmp_path / "calls.sqlite"
        access = Access(base_url=served.openai_url)
        calibrate_judge(config, ToyRubric(), rows, tmp_path, access=access, store=store)
    stage, n_asked, usd = asked(store)
    assert (load.stage, load.n_requests) == (stage, n_asked)
    assert cost_of(load) == pytest.approx(usd, rel=0.05)


def test_a_task_asks_its_judge_once_for_each_sample_and_never_without_a_rubric() -> None:
    load = estimate_judging(ToyTask(), ToyConfig(n_questions=500, repeats=3, max_new_tokens=50))
    assert load is not None
    assert load.n_requests == 1500
    assert load.prompt_tokens < 100
    assert estimate_judging(ToyTask(), ToyConfig(judged=False)) is None
