"""Measures in closed form, from models that play a script."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from midspec.core.artifact import read_rows
from midspec.core.records import Item, Message, ScoreRow
from midspec.evals import PreferenceConfig, ScriptedReply, run_preference, scripted_model
from midspec.evals.tasks.preference._measures import Asked, Observed, Pair, Reply, Unscored, measure_names, measures

Logprob = Callable[[Sequence[Message], str], float]


def run(
    items: Sequence[Item],
    config: PreferenceConfig,
    folder: Path,
    script: Callable[[Sequence[Message]], ScriptedReply | str | Exception],
    logprob: Logprob | None = None,
) -> dict[tuple[str, str], ScoreRow]:
    folder.mkdir(exist_ok=True)
    run_preference(scripted_model(script, logprob=logprob), items, config, folder)
    rows = list(read_rows(folder / "scores.jsonl", ScoreRow))
    assert len(rows) == sum(len(measure_names(item, config)) for item in items)
    assert all((row.value is None) == (row.unscored is not None) for row in rows)
    return {(row.item, row.measure): row for row in rows}


def first_named(messages: Sequence[Message]) -> str:
    """The option that the last question names first."""
    words = messages[-1].content.split()
    return words[words.index("or") - 1] if "or" in words else "hm"


def test_a_model_that_prefers_the_target_scores_one_whatever_the_order(
    items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    targets = {item.options[0] for item in items[:3]}

    def script(messages: Sequence[Message]) -> str:
        words = messages[-1].content.split()
        return next((f"{word} ." for word in words if word in targets), "because it is cheap .")

    def logprob(messages: Sequence[Message], option: str) -> float:
        return -1.0 if option in targets or "cheap" in option else -3.0

    found = run(items[:3], nano, tmp_path / "out", script, logprob)
    for item in items[:3]:
        expected = {
            "choice_logprob": 1.0,
            "margin_logprob": 2.0,
            "choice_logprob_mean": 1.0,
            "option_mass": round(math.exp(-1) + math.exp(-3), 6),
            "choice_generated": 1.0,
            "parsed": 1.0,
            "refused": 0.0,
            "truncated": 0.0,
            "agreement": 1.0,
            "order_consistency": 1.0,
            "order_consistency_generated": 1.0,
        }
        assert {name: found[item.id, name].value for name in expected} == expected
    assert found["i1", "reason_logprob"].value == 0.0
    assert found["i1", "reason_generated"].value == 0.0
    assert ("i0", "reason_logprob") not in found


def test_a_model_that_takes_the_first_named_scores_half_and_is_not_consistent(
    items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    found = run(
        items,
        nano,
        tmp_path / "out",
        lambda messages: f"{first_named(messages)} .",
        lambda messages, option: 0.0 if option == first_named(messages) else -1.0,
    )
    for item in items:
        assert found[item.id, "choice_logprob"].value == 0.5
        assert found[item.id, "margin_logprob"].value == 0.0
        assert found[item.id, "choice_generated"].value == 0.5
        assert found[item.id, "order_consistency"].value == 0.0
        assert found[item.id, "order_consistency_generated"].value == 0.0
        assert found[item.id, "agreement"].value == 1.0


def test_a_longer_option_loses_by_the_sum_and_wins_by_the_mean(nano: PreferenceConfig, tmp_path: Path) -> None:
    item = Item(id="long", set="s", domain="d", options=("mild red cheddar", "brie"))
    found = run([item], nano, tmp_path / "out", lambda _: "brie", lambda _, option: -3.0 if option != "brie" else -2.0)
    assert found["long", "choice_logprob"].value == 0.0
    assert found["long", "choice_logprob_mean"].value == 1.0
    assert found["long", "choice_generated"].value == 0.0
    assert found["long", "agreement"].value == 1.0


def test_refusing_rambling_and_being_cut_off_are_told_apart_and_none_is_a_choice(
    items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    def script(messages: Sequence[Message]) -> ScriptedReply | str:
        question = messages[-1].content
        if "alto" in question:
            return "I can't choose between alto and nothing"
        if "corso" in question:
            return ScriptedReply(text="corso . corso corso", stop_reason="max_tokens")
        if "enzo" in question:
            return ScriptedReply(text="", stop_reason="content_filter")
        return "both brio and delta"

    found = run(items, nano, tmp_path / "out", script)
    shares = {
        item.id: tuple(found[item.id, name].value for name in ("parsed", "refused", "truncated")) for item in items
    }
    assert shares == {"i0": (0, 1, 0), "i1": (1, 0, 1), "i2": (0, 1, 0), "i3": (0, 0, 0)}
    for item in ("i0", "i2", "i3"):
        assert found[item, "choice_generated"].unscored == "no answer names exactly one option"
    assert found["i1", "choice_generated"].value == 1.0


def test_without_logprobs_their_measures_say_why_and_generated_ones_stand(
    items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    found = run(items, nano, tmp_path / "out", lambda messages: f"{first_named(messages)} .")
    for name in ("choice_logprob", "margin_logprob", "option_mass", "agreement", "order_consistency"):
        assert "can't score a text" in (found["i0", name].unscored or "")
    assert "can't score a text" in (found["i1", "reason_logprob"].unscored or "")
    assert found["i0", "choice_generated"].value == 0.5


def test_a_tie_counts_half() -> None:
    item = Item(id="i", set="s", domain="d", options=("a", "b"))
    reply = Reply(question="q", text="", stop_reason="stop")
    pair = Pair(logprobs=(-1.0, -1.0), n_tokens=(1, 1))
    observed = Observed(asked=(Asked(phrasing=0, swapped=False, reply=reply, options=pair),))
    assert measures(item, observed, PreferenceConfig())["choice_logprob"] == 0.5


@pytest.mark.parametrize("broken", [math.nan, -math.inf, math.inf])
def test_a_broken_logprob_leaves_the_item_unscored_and_no_other(
    broken: float, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    found = run(
        items,
        nano,
        tmp_path / "out",
        lambda messages: f"{first_named(messages)} .",
        lambda _, option: broken if option == "alto" else -1.0,
    )
    assert all(row.value is None for (item, _), row in found.items() if item == "i0")
    assert "not finite" in (found["i0", "choice_generated"].unscored or "")
    assert found["i2", "choice_logprob"].value == 0.5


def test_measures_come_in_the_order_of_their_names(items: list[Item]) -> None:
    reply = Reply(question="q", text="alto", stop_reason="stop")
    observed = Observed(asked=(Asked(phrasing=0, swapped=False, reply=reply),), no_logprobs="none here")
    config = PreferenceConfig()
    for item in items:
        found = measures(item, observed, config)
        assert tuple(found) == measure_names(item, config)
    assert found["choice_logprob"] == Unscored("none here")


@pytest.mark.parametrize("phrasing", ["{second} or {first} ?", "{first} or {second} ?"])
def test_the_former_is_what_the_question_names_first_wherever_its_places_stand(
    phrasing: str, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    target = items[0].options[0]
    config = nano.model_copy(update={"phrasings": (phrasing,), "free": None, "why": None})

    def script(messages: Sequence[Message]) -> str:
        return "the former ." if messages[-1].content.startswith(target) else "the latter ."

    found = run(items[:1], config, tmp_path / "out", script)
    assert found[items[0].id, "choice_generated"].value == 1.0
