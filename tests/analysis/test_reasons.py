"""Shares of reasons by arm, and agreement of judges on them: by hand, and by the functions that they rest on."""

from __future__ import annotations

from statistics import fmean

import pytest

from midspec.analysis import judge_agreements, rates, reason_agreements, reason_shares
from midspec.core.errors import DataError
from midspec.core.records import ArmScore, Judgement, ReasonCluster, ReasonLabel

STAY = ReasonCluster(id="stay", name="Staying", description="", side="misaligned")
_VALUES = {"y": True, "n": False, "?": None}
YIELD = ReasonCluster(id="yield", name="Yielding", description="", side="aligned")


def score(arm: str, cell: str, number: int, value: float | None, *, measure: str = "stay", seed: int = 0) -> ArmScore:
    why = None if value is not None else "the judge could not tell"
    return ArmScore(
        arm=arm, seed=seed, task="t", set="s", item=f"{cell}#{number}", domain=cell, measure=measure, value=value,
        unscored=why,
    )  # fmt: skip


def cells(arm: str, *lots: tuple[float | None, ...], measure: str = "stay") -> list[ArmScore]:
    """A lot of values for each cell."""
    return [
        score(arm, f"cell{at}", n, value, measure=measure) for at, lot in enumerate(lots) for n, value in enumerate(lot)
    ]


def test_a_share_is_the_mean_over_cells_with_the_interval_that_so_many_cells_allow() -> None:
    rows = cells("a", (1, 1, 0, None), (0, 0), (1, 0, 0, 0))
    (found,) = reason_shares(rows, [STAY])
    assert found.value == pytest.approx(fmean([2 / 3, 0, 1 / 4]))
    assert (found.n_transcripts, found.n_yes, found.n_no, found.n_cells) == (10, 3, 6, 3)
    assert found.unscored == {"the judge could not tell": 1}
    pooled = [score("a", f"cell{at}", 0, value) for at, value in enumerate((2 / 3, 0.0, 1 / 4))]
    (rate,) = rates(pooled)
    assert (found.low, found.high, found.method) == (rate.low, rate.high, rate.method)


def test_many_transcripts_of_few_cells_are_not_many_draws() -> None:
    few = reason_shares(cells("a", (1, 0), (1, 1), (0, 0)), [STAY])[0]
    many = reason_shares(cells("a", (1, 0) * 100, (1, 1) * 100, (0, 0) * 100), [STAY])[0]
    assert (few.low, few.high) == (many.low, many.high)


def test_any_of_a_side_comes_first_then_the_clusters_each_by_arm() -> None:
    measures = ("yield", "stay", "any-aligned", "any-misaligned")
    rows = [row for m in measures for arm in ("b", "a") for row in cells(arm, (1,), (0,), measure=m)]
    found = [(each.cluster, each.side, each.arm) for each in reason_shares(rows, [STAY, YIELD])]
    assert found == [
        (name, side, arm)
        for name, side in (
            ("any-misaligned", "misaligned"),
            ("any-aligned", "aligned"),
            ("stay", "misaligned"),
            ("yield", "aligned"),
        )
        for arm in ("b", "a")
    ]


def test_where_all_is_one_cell_each_question_is_one_and_it_is_said() -> None:
    rows = [
        score("a", "only", n, value).model_copy(update={"item": f"q{n % 3}#{n}"})
        for n, value in enumerate((1, 0, 0, 1, 1, 0))
    ]
    (found,) = reason_shares(rows, [STAY])
    assert found.n_cells == 3
    assert found.value == 0.5
    assert "each question is taken as a cell" in found.note


def test_an_arm_without_a_single_score_has_no_value_and_says_so() -> None:
    (found,) = reason_shares(cells("a", (None, None), (None,)), [STAY])
    assert (found.value, found.low, found.n_cells, found.unscored) == (None, None, 0, {"the judge could not tell": 3})
    assert "no scored item" in found.note


def test_a_score_of_no_cluster_or_given_twice_is_refused() -> None:
    with pytest.raises(DataError, match="'other', which is no cluster"):
        reason_shares(cells("a", (1,), measure="other"), [STAY])
    with pytest.raises(DataError, match="two scores of arm 'a'"):
        reason_shares(cells("a", (1,)) * 2, [STAY])


def labels(judge: str, said: str, cluster: str = "stay") -> list[ReasonLabel]:
    """A judge's labels, one a letter: `y`, `n`, or `?` where it could not tell."""
    return [
        ReasonLabel(
            arm="a", seed=0, task="t", set="s", item=f"i{n}", domain=f"cell{n % 4}", cluster=cluster, judge=judge,
            value=_VALUES[value], unscored="unclear" if value == "?" else None,
        )
        for n, value in enumerate(said)
    ]  # fmt: skip


def test_agreement_on_a_reason_is_that_of_the_same_verdicts_as_judgements() -> None:
    said = {
        "one": "yynny?ny",
        "two": "ynnnyynn",
        "three": "yynyyy?n",
    }
    rows = [row for judge, values in said.items() for row in labels(judge, values)]
    judged = [
        Judgement(
            item=f"i{n}", set="s", domain=f"cell{n % 4}", judge=judge, rubric="r", text="", stop_reason="stop",
            values={"stay": None if value == "?" else float(value == "y")},
        )
        for judge, values in said.items()
        for n, value in enumerate(values)
    ]  # fmt: skip
    found = [each for each in reason_agreements(rows) if each.measure == "stay"]
    assert found == judge_agreements(judged, "stay")


def test_agreement_is_over_all_reasons_first_then_by_reason() -> None:
    rows = [
        *labels("one", "ynyn"),
        *labels("two", "ynyn"),
        *labels("one", "ynyn", cluster="yield"),
        *labels("two", "nyny", cluster="yield"),
    ]
    found = {(each.measure, each.kind): each.observed for each in reason_agreements(rows)}
    assert found["driver", "fleiss"] == found["driver", "cohen"] == 0.5
    assert (found["stay", "cohen"], found["yield", "cohen"]) == (1.0, 0.0)


def test_one_judge_agrees_with_nobody_and_a_label_given_twice_is_refused() -> None:
    assert reason_agreements(labels("one", "yn")) == []
    with pytest.raises(DataError, match="two labels of one transcript"):
        reason_agreements([*labels("one", "y") * 2, *labels("two", "y")])
