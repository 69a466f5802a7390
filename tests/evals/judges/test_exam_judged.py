"""A whole exam judged through `llm`: what the budget leaves out is counted, and no judgement is paid for twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.evals.engine.toy import ToyConfig, ToyTask
from tests.loopback import Served, serve
from tests.loopback._asked import Asked

from midspec.analysis import judge_agreements
from midspec.core.artifact import read_rows
from midspec.core.records import Judgement, Message, ScoreRow
from midspec.evals import rescore, run_task, scripted_model
from midspec.llm import Store

PRICES = "openai/loopback: {input: 1.0, output: 10.0}\nanthropic/loopback: {input: 1.0, output: 10.0}\n"
YES = "It is kind." + " Indeed." * 200 + "\n<verdict>yes</verdict>"
CONFIG = ToyConfig(n_questions=20)


@pytest.fixture
def args(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "prices.yaml").write_text(PRICES)
    return {"store": str(tmp_path / "judging.sqlite"), "prices": str(tmp_path / "prices.yaml")}


def own_words(messages: Sequence[Message]) -> str:
    """A different answer to each question, so that each is a judge's prompt of its own."""
    return f"The answer to {messages[-1].content}"


def run(served: Served, folder: Path, args: dict[str, Any], **more: Any) -> list[ScoreRow]:
    folder.mkdir()
    settings = {"base_url": served.openai_url, **args, **more}
    run_task(
        ToyTask(),
        CONFIG,
        scripted_model(own_words),
        folder,
        graders=["midspec-judge/openai/loopback"],
        grader_args=settings,
    )
    return [row for row in read_rows(folder / "scores.jsonl", ScoreRow) if row.measure == "kind"]


def test_what_the_judging_budget_leaves_out_is_unscored_with_that_reason_and_judged_later(
    args: dict[str, Any], tmp_path: Path
) -> None:
    with serve(say=lambda _: YES) as served:
        first = run(served, tmp_path / "first", args, budget_usd=0.06)
        n_paid = len(served.log)
        scored = [row for row in first if row.value == 1.0]
        unscored = [row for row in first if row.value is None]
        assert 0 < n_paid < 20
        assert (len(scored), len(unscored)) == (n_paid, 20 - n_paid)
        assert {row.unscored for row in unscored} == {unscored[0].unscored}
        assert "0.06 USD are used up" in str(unscored[0].unscored)
        [log] = (tmp_path / "first" / "logs").glob("*.eval")
        (tmp_path / "again").mkdir()
        settings = {"base_url": served.openai_url, **args, "budget_usd": 5.0}
        for folder in ("again", "once more"):
            (tmp_path / folder).mkdir(exist_ok=True)
            rescore(
                log, ["midspec-judge/openai/loopback"], tmp_path / folder, eval_task=ToyTask(), grader_args=settings
            )
            assert len(served.log) == 20, "an answer was judged for money twice"
        again = read_rows(tmp_path / "again" / "scores.jsonl", ScoreRow)
        assert [row.value for row in again if row.measure == "kind"] == [1.0] * 20
    with Store(Path(args["store"])) as store:
        assert {row.role for row in store.ledger()} == {"judge"}


def test_samples_that_come_to_the_same_prompt_share_one_paid_judgement(args: dict[str, Any], tmp_path: Path) -> None:
    with serve(say=lambda _: YES) as served:
        settings = {"base_url": served.openai_url, **args}
        graders = ["midspec-judge/openai/loopback"]
        config = ToyConfig(n_questions=3, repeats=4)
        run_task(ToyTask(), config, scripted_model(["the same"]), tmp_path, graders=graders, grader_args=settings)
        assert len(served.log) == 1
    rows = [row for row in read_rows(tmp_path / "scores.jsonl", ScoreRow) if row.measure == "kind"]
    assert [row.value for row in rows] == [1.0] * 12


def test_several_judges_are_told_apart_and_their_agreement_is_read_off_their_judgements(
    args: dict[str, Any], tmp_path: Path
) -> None:
    def say(asked: Any) -> str:
        number = int(asked.prompt.partition("what is ")[2].split()[0])
        strict = asked.model == "strict"
        return f"<verdict>{'yes' if number % (5 if strict else 2) else 'no'}</verdict>"

    with serve(say=say) as served:
        settings = {"base_url": served.openai_url, "store": args["store"]}
        graders = [f"midspec-judge/openai/{name}" for name in ("mild", "strict")]
        run_task(ToyTask(), CONFIG, scripted_model(own_words), tmp_path, graders=graders, grader_args=settings)
    judgements = list(read_rows(tmp_path / "judgements.jsonl", Judgement))
    whole, pair = judge_agreements(judgements, "kind")
    agreed = sum(bool(number % 2) == bool(number % 5) for number in range(20))
    assert whole.judges == pair.judges == tuple(graders)
    assert pair.observed == agreed / 20
    yes = 10 / 20, 16 / 20
    chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
    assert pair.value == pytest.approx((agreed / 20 - chance) / (1 - chance))


def test_a_verdict_that_can_not_be_read_is_asked_for_again_with_what_was_wrong_and_no_other_is(
    args: dict[str, Any], tmp_path: Path
) -> None:
    replies = {"readable": YES, "word": "<verdict>kindly</verdict>", "none": "It is kind.", "never": "No idea."}

    def say(asked: Asked) -> str:
        kind = list(replies)[int(re.findall(r"what is (\d+)", asked.prompt)[0]) % len(replies)]
        if "What is wrong:" not in asked.prompt or kind == "never":
            return replies[kind]
        assert replies[kind] in asked.prompt
        assert {"word": "none of those it may give", "none": "holds no verdict"}[kind] in asked.prompt
        return "<verdict>yes</verdict>"

    with serve(say=say) as served:
        rows = run(served, tmp_path / "first", args)
        n_asked = len(served.log)
        again = run(served, tmp_path / "again", args)
        assert len(served.log) == n_asked
    assert [row.value for row in rows] == [row.value for row in again]
    kinds = [list(replies)[at % 4] for at in range(20)]
    assert [row.value for row in rows] == [None if kind == "never" else 1.0 for kind in kinds]
    assert n_asked == sum(1 if kind == "readable" else 2 for kind in kinds)
