"""What is done when: bookkeeping, apart from doing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from midspec.core.artifact import Built
from midspec.core.errors import DataError, UnreachableError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Execution, Identity, Record
from midspec.study import Input, Job, Step, StepOutput
from midspec.study.execution._executor import Event, StepHandle, StepState
from midspec.study.execution._run import _run_steps
from midspec.study.execution._scheduler import Scheduler
from midspec.study.execution._selection import with_ancestors, with_descendants

RECORD = Record(
    identity=Identity(step="x@1", inputs={}, config={}),
    fingerprint="",
    outputs={},
    digest="",
    summary={},
    versions={},
    commit=None,
    execution=Execution(started_at="", finished_at="", seconds=0, host="", folder="", n_attempts=1),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Toy(Step):
    """A step that is only ever scheduled."""

    kind = "eval"
    after: tuple[Step, ...] = ()
    result: str = ""

    @property
    def inputs(self) -> dict[str, Input]:
        return {one.name: StepOutput(one) for one in self.after}

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"result": self.result or self.name}

    def run(self, job: Job, folder: Path) -> Built:
        raise AssertionError("nothing is run here")


@dataclass(frozen=True, kw_only=True, eq=False)
class Data(Toy):
    """One that opens no model."""

    kind = "spec"
    opens_model = False


def step(label: str, *after: Step, seed: int | None = None, cost: float = 1) -> Step:
    return Toy(label=label, seed=seed, after=after, cost=cost)


def drain(scheduler: Scheduler) -> list[str]:
    order = []
    while (taken := scheduler.take(None)) is not None:
        order.append(taken.name)
        scheduler.finish(taken.name, RECORD)
    return order


def test_a_step_waits_for_those_that_it_is_made_from() -> None:
    a = step("a")
    steps = [a, step("b", a)]
    scheduler = Scheduler(steps, {"eval/a", "eval/b"}, {})
    assert scheduler.take(None) == steps[0]
    assert scheduler.take(None) is None
    scheduler.finish("eval/a", RECORD)
    assert scheduler.take(None) == steps[1]


def test_the_head_of_the_longest_chain_goes_first() -> None:
    base = step("base", cost=5)
    steps = [step("short"), base, step("arm", base, cost=50)]
    scheduler = Scheduler(steps, {s.name for s in steps}, {})
    assert scheduler.take(None) == steps[1]


def test_what_needs_no_model_goes_before_what_trains() -> None:
    base, late = step("base", cost=50), step("late", cost=5)
    steps = [base, step("arm", base, cost=50), Data(label="rows"), Data(label="after", after=(late,)), late]
    order = drain(Scheduler(steps, {s.name for s in steps}, {}))
    assert order == ["spec/rows", "eval/base", "eval/arm", "eval/late", "spec/after"]


def test_among_equals_a_worker_stays_with_its_seed() -> None:
    steps = [step("a", seed=1), step("a", seed=2)]
    scheduler = Scheduler(steps, {s.name for s in steps}, {})
    assert scheduler.take(2) == steps[1]


def test_a_failure_gives_up_what_depends_on_it_and_nothing_else() -> None:
    a, b = step("a"), step("b")
    of_a = step("of_a", a)
    steps = [a, b, of_a, step("of_both", of_a, b)]
    scheduler = Scheduler(steps, {s.name for s in steps}, {})
    assert scheduler.take(None) == steps[0]
    scheduler.give_up("eval/a")
    assert drain(scheduler) == ["eval/b"]
    assert scheduler.is_over


def test_descendants_and_ancestors_are_transitive() -> None:
    a = step("a")
    b = step("b", a)
    steps = [a, b, step("c", b), step("d")]
    assert with_descendants(steps, ["eval/a"]) == {"eval/a", "eval/b", "eval/c"}
    assert with_ancestors(steps, ["eval/c"]) == {"eval/a", "eval/b", "eval/c"}


@given(st.data())
def test_every_step_is_done_once_and_after_its_inputs(data: st.DataObject) -> None:
    n_steps = data.draw(st.integers(1, 12))
    steps: list[Step] = []
    for index in range(n_steps):
        after = data.draw(st.lists(st.sampled_from(steps), unique=True)) if steps else []
        steps.append(step(str(index), *after, cost=data.draw(st.integers(0, 9))))
    order = drain(Scheduler(steps, {s.name for s in steps}, {}))
    assert sorted(order) == sorted(s.name for s in steps)
    for one in steps:
        assert all(order.index(parent.name) < order.index(one.name) for parent in one.parents)


def test_of_steps_with_the_same_result_one_is_made_and_the_others_take_it_over() -> None:
    one, two, other = Toy(label="base", seed=1, result="x"), Toy(label="base", seed=2, result="x"), Toy(label="other")
    scheduler = Scheduler([one, two, other], {each.name for each in (one, two, other)}, {})
    assert scheduler.take(1) is one
    assert scheduler.take(1) is other
    assert scheduler.take(1) is None
    assert not scheduler.is_over
    made = fingerprint(one.identity({}))
    scheduler.finish(one.name, RECORD.model_copy(update={"fingerprint": made}))
    assert scheduler.take(None) is two
    assert scheduler.same_result(two) is one
    assert scheduler.same_result(other) is None


class Failing:
    """An executor that makes nothing."""

    def __init__(self, error: Exception) -> None:
        self.error, self.handles = error, list[StepHandle]()

    def can_take(self, step: Step) -> bool:
        return True

    def submit(self, task: Any) -> StepHandle:
        self.handles.append(StepHandle(task, 1, 0.0, state=StepState.FAILED, error=self.error))
        return self.handles[-1]

    def wait(self) -> list[StepHandle]:
        return [self.handles.pop(0)]

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("error", "stays"), [(UnreachableError("down"), True), (DataError("is gone"), False)])
def test_a_result_that_lacks_some_answers_stays_where_its_server_is_still_down(error: Exception, stays: bool) -> None:
    steps, told = [step("a"), step("new")], list[Event]()
    scheduler = Scheduler(steps, {one.name for one in steps}, {})
    with pytest.raises(type(error)):
        _run_steps(scheduler, Failing(error), lambda one: one, told.append, there={"eval/a": RECORD})  # type: ignore[arg-type, return-value]
    assert ("eval/a" in scheduler.records) == stays
    assert [(one.step or one.note, one.kind) for one in told if one.kind in {"fail", "say"}] == [
        ("eval/a stays without what it lacks: down", "say") if stays else ("eval/a", "fail"),
        ("eval/new", "fail"),
    ]
