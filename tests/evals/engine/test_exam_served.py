"""Exams on what is served: our loopback provider as model and as judge, in every way that judges are reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.loopback import serve
from tests.loopback._asked import Asked
from tests.loopback._settings import Fate

from midspec.core.artifact import read_rows
from midspec.core.records import ScoreRow, TaskAnswer
from midspec.evals import rescore, run_task
from midspec.evals._inspect import open_model

from .toy import ToyConfig, ToyTask

TESTED = "openai-api/loopback/tested"


def say(asked: Asked) -> str:
    return "<verdict>yes</verdict>" if asked.model == "judge" else "0"


def values(folder: Path, measure: str) -> list[float | None]:
    return [row.value for row in read_rows(folder / "scores.jsonl", ScoreRow) if row.measure == measure]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


@pytest.mark.parametrize(
    ("model", "variable", "url", "found"),
    [
        ("openai-api/mine-own/m", "MINE_OWN_BASE_URL", "http://h:1/v1/chat/completions", "http://h:1/v1"),
        ("openai/m", "OPENAI_BASE_URL", "http://h:1/v1/chat/completions/", "http://h:1/v1"),
        ("openai-api/mine-own/m", "MINE_OWN_BASE_URL", "http://h:1/chat/v1", "http://h:1/chat/v1"),
        ("openai-api/mine-own/m", "MINE_OWN_BASE_URL", " http://h:1/v1/chat/completions ", "http://h:1/v1"),
    ],
)
@pytest.mark.parametrize("is_given", [False, True])
def test_an_endpoint_at_the_end_of_an_address_is_left_to_inspect_s_client(
    model: str, variable: str, url: str, found: str, is_given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE_OWN_API_KEY", "none")
    monkeypatch.setenv(variable, "http://other:2/v1" if is_given else url)
    opened: Any = open_model(model, {"base_url": url.strip()} if is_given else {})
    assert str(opened.api.client.base_url).rstrip("/") == found


@pytest.mark.parametrize(
    ("grader", "ending"), [("openai-api/loopback/judge", "/chat/completions"), ("midspec-judge/openai/judge", "")]
)
def test_a_served_model_is_judged_by_a_served_judge(
    grader: str, ending: str, eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    with serve(say=say) as served:
        reach = {"base_url": served.openai_url + ending}
        args = reach if grader.startswith("midspec") else {**reach, "api_key": "none"}
        run_task(
            eval_task,
            config,
            TESTED,
            tmp_path,
            graders=[grader],
            model_args={**reach, "api_key": "none"},
            grader_args=args,
        )
        bodies = [entry["body"] for entry in served.last]
    assert values(tmp_path, "kind") == [1.0, 1.0, 1.0]
    assert values(tmp_path, "right") == [1.0, 0.0, 0.0]
    assert {answer.n_tokens for answer in read_rows(tmp_path / "answers.jsonl", TaskAnswer)} == {1}
    tested = [body for body in bodies if body["model"] == "tested"]
    assert {body["temperature"] for body in bodies} == {0}
    assert all(512 in (body.get("max_tokens"), body.get("max_completion_tokens")) for body in tested)
    # Equal answers to be judged by one prompt are one request, where the judge goes through the store.
    assert len(bodies) == (4 if grader.startswith("midspec") else 6)


def test_samples_are_sent_with_the_configured_settings_and_seeds_of_their_own(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    often = config.model_copy(update={"repeats": 4, "temperature": 0.7, "max_new_tokens": 9, "judged": False})
    with serve(say=say) as served:
        args: dict[str, Any] = {"base_url": served.openai_url, "api_key": "none"}
        run_task(eval_task, often, TESTED, tmp_path, model_args=args)
        bodies = [entry["body"] for entry in served.last]
    assert {body["temperature"] for body in bodies} == {0.7}
    assert len({body["seed"] for body in bodies}) == len(bodies) == 12


@pytest.mark.parametrize(
    ("fate", "stop_reason"), [("truncated", "max_tokens"), ("filtered", "content_filter"), ("empty", "stop")]
)
def test_how_an_answer_ended_is_kept_with_it(
    fate: Fate, stop_reason: str, eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    unjudged = config.model_copy(update={"judged": False})
    with serve(say=say, fate=lambda _: fate) as served:
        run_task(eval_task, unjudged, TESTED, tmp_path, model_args={"base_url": served.openai_url, "api_key": "none"})
    answers = list(read_rows(tmp_path / "answers.jsonl", TaskAnswer))
    assert {answer.stop_reason for answer in answers} == {stop_reason}


def test_a_judge_whose_budget_is_used_up_is_a_reason_and_can_be_asked_again_later(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    (tmp_path / "prices.yaml").write_text("openai/judge: {input: 1000.0, output: 1000.0}\n", encoding="utf-8")
    for name in ("poor", "rich"):
        (tmp_path / name).mkdir()
    with serve(say=say) as served:
        reach = {"base_url": served.openai_url, "prices": str(tmp_path / "prices.yaml")}
        grader = "midspec-judge/openai/judge"
        built = run_task(
            eval_task,
            config,
            TESTED,
            tmp_path / "poor",
            graders=[grader],
            model_args={"base_url": served.openai_url, "api_key": "none"},
            grader_args={**reach, "budget_usd": 0.0001},
        )
        assert values(tmp_path / "poor", "kind") == [None, None, None]
        assert values(tmp_path / "poor", "right") == [1.0, 0.0, 0.0]
        [reason] = built.summary["unscored"]  # type: ignore[misc]
        assert "budget" in str(reason)
        n_before = len(served.last)
        [log] = (tmp_path / "poor" / "logs").glob("*.eval")
        again = rescore(
            log, [grader], tmp_path / "rich", eval_task=eval_task, grader_args={**reach, "budget_usd": 100.0}
        )
        assert again.summary["n_unscored"] == 0
        assert {entry["body"]["model"] for entry in served.last[n_before:]} == {"judge"}
