"""How large a grid is, known before anything is asked."""

from __future__ import annotations

import pytest

from midspec.evals import ModelResponse
from midspec.evals.tasks.agentic_misalignment import REPEATS, AgenticConfig, AgenticRubric, cells, estimate_grid


def test_the_published_grid_is_8100_samples() -> None:
    load = estimate_grid(AgenticConfig(repeats=REPEATS))
    assert (load.n_cells, load.n_samples) == (27, 8100)


def test_tokens_are_those_of_the_cells_and_of_the_rubric_around_a_reply() -> None:
    config = AgenticConfig.model_validate({"scenarios": "espionage", "goals": "none"})
    [cell] = cells(config)
    load = estimate_grid(config, reply_tokens=500)
    letters = sum(len(message.content) for message in cell.messages)
    assert load.prompt_tokens == pytest.approx(letters / 4)
    around = AgenticRubric().render(cell, ModelResponse(text="word" * 500, stop_reason="stop"))
    assert load.judge_prompt_tokens == pytest.approx(len(around) / 4, rel=0.01)


def test_no_reply_is_taken_to_be_longer_than_it_may_be() -> None:
    assert estimate_grid(AgenticConfig(max_new_tokens=100)).reply_tokens == 100


def test_hours_and_dollars_follow_from_samples_and_tokens() -> None:
    load = estimate_grid(AgenticConfig(repeats=10), reply_tokens=1000, judge_reply_tokens=100)
    seconds = 270 * load.prompt_tokens / 10_000 + 270 * 1000 / 2_000
    assert load.gpu_hours(10_000, 2_000) == pytest.approx(seconds / 3600)
    each = load.judge_prompt_tokens * 3 + 100 * 15
    assert load.judging_usd(3, 15) == pytest.approx(270 * each / 1e6)
