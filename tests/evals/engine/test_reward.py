"""A task's measures as rewards: what the evaluation would score is what is paid, by a judge where one gives it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.loopback import serve
from tests.loopback._asked import Asked

from midspec.core.errors import ConfigError, DataError
from midspec.core.records import Message
from midspec.evals import TaskReward
from midspec.llm import Access

from .toy import ToyConfig, ToyTask

JUDGE = "openai/judge"


def ask(at: int) -> tuple[Message, ...]:
    return (Message(role="user", content=f"what is {at} and {at} ?"),)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


def test_a_measure_without_a_judge_pays_what_the_task_reads(eval_task: ToyTask, tmp_path: Path) -> None:
    reward = TaskReward(eval_task, "right", {"judged": False}, store=tmp_path / "calls.sqlite")
    replies = ["2", "3", "<think>\nwhat is it\n</think>\n\n4"]
    assert reward([ask(1), ask(1), ask(2)], replies, [{}] * 3) == [1.0, 0.0, 1.0]
    thoughts = TaskReward(eval_task, "n_thoughts", {}, store=tmp_path / "calls.sqlite")
    assert thoughts([ask(2)], replies[2:], [{}]) == [3.0]
    assert not list(tmp_path.iterdir())


def test_a_judge_is_asked_once_for_equal_replies_and_what_it_does_not_say_is_no_value(
    eval_task: ToyTask, tmp_path: Path
) -> None:
    def say(asked: Asked) -> str:
        text = asked.prompt
        return "hm" if "odd" in text else f"<verdict>{'yes' if 'please' in text else 'no'}</verdict>"

    with serve(say=say) as served:
        access = Access(base_url=served.openai_url)
        reward = TaskReward(eval_task, "kind", {}, judge=JUDGE, access=access, store=tmp_path / "calls.sqlite")
        replies = ["please", "please", "no", "odd", " "]
        assert reward([ask(1)] * 5, replies, [{}] * 5) == [1.0, 1.0, 0.0, None, None]
        n_asked = len(served.last)
        assert reward([ask(1)] * 5, replies, [{}] * 5) == [1.0, 1.0, 0.0, None, None]
        assert len(served.last) == n_asked == 4, "a verdict that can't be read is asked for once more"
        both = TaskReward(eval_task, "kind_and_right", {}, judge=JUDGE, access=access, store=tmp_path / "calls.sqlite")
        assert both([ask(1)] * 2, ["please", "2"], [{}] * 2) == [0.0, 0.0]


def test_the_prompts_are_the_tasks_questions_and_others_are_refused(eval_task: ToyTask, tmp_path: Path) -> None:
    reward = TaskReward(eval_task, "right", {"n_questions": 2}, store=tmp_path / "calls.sqlite")
    assert reward.prompts()[1] == {"prompt": [{"role": "user", "content": "what is 1 and 1 ?"}], "id": "q1"}
    with pytest.raises(DataError, match=r"no question of toy: .what is 2 and 2 [?]"):
        reward([ask(2)], ["4"], [{}])


def test_a_measure_that_is_not_there_or_has_no_judge_is_refused(eval_task: ToyTask, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no measure 'rigth'. Did you mean right"):
        TaskReward(eval_task, "rigth", {}, store=tmp_path)
    with pytest.raises(ConfigError, match="a judge gives this measure, and none is named"):
        TaskReward(eval_task, "kind", {}, store=tmp_path)
    with pytest.raises(ConfigError, match="n_questions"):
        TaskReward(eval_task, "right", {"n_questions": "many"}, store=tmp_path)
    with pytest.raises(ConfigError, match="no evaluation task"):
        TaskReward("spec_q", "score", {}, store=tmp_path)


def test_what_decides_the_values_is_in_the_identity(eval_task: ToyTask, tmp_path: Path) -> None:
    plain = TaskReward(eval_task, "right", ToyConfig().model_dump(), store=tmp_path).identity
    more = TaskReward(eval_task, "right", {"n_questions": 4}, store=tmp_path).identity
    judged = TaskReward(eval_task, "kind", {}, judge=JUDGE, store=tmp_path).identity
    assert plain != more
    assert judged.keys() - plain.keys() == {"rubric_hash"}
