"""What is done when: bookkeeping, apart from doing it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from midspec.core.records import Execution, Identity, Record
from midspec.study._steps import Source, Step
from midspec.study.execution._scheduler import Scheduler, with_ancestors, with_descendants

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


def step(label: str, *after: str, seed: int | None = None, cost: float = 1) -> Step:
    sources = {name: Source(step=name) for name in after}
    return Step(kind="eval", label=label, seed=seed, sources=sources, cost=cost)


def drain(board: Scheduler) -> list[str]:
    order = []
    while (taken := board.take(None)) is not None:
        order.append(taken.name)
        board.finish(taken.name, RECORD)
    return order


def test_a_step_waits_for_those_that_it_is_made_from() -> None:
    steps = [step("a"), step("b", "eval/a")]
    board = Scheduler(steps, {"eval/a", "eval/b"}, {})
    assert board.take(None) == steps[0]
    assert board.take(None) is None
    board.finish("eval/a", RECORD)
    assert board.take(None) == steps[1]


def test_the_head_of_the_longest_chain_goes_first() -> None:
    steps = [step("short"), step("base", cost=5), step("arm", "eval/base", cost=50)]
    board = Scheduler(steps, {s.name for s in steps}, {})
    assert board.take(None) == steps[1]


def test_among_equals_a_worker_stays_with_its_seed() -> None:
    steps = [step("a", seed=1), step("a", seed=2)]
    board = Scheduler(steps, {s.name for s in steps}, {})
    assert board.take(2) == steps[1]


def test_a_failure_gives_up_what_depends_on_it_and_nothing_else() -> None:
    steps = [step("a"), step("b"), step("of_a", "eval/a"), step("of_both", "eval/of_a", "eval/b")]
    board = Scheduler(steps, {s.name for s in steps}, {})
    assert board.take(None) == steps[0]
    board.give_up("eval/a")
    assert drain(board) == ["eval/b"]
    assert board.is_over


def test_descendants_and_ancestors_are_transitive() -> None:
    steps = [step("a"), step("b", "eval/a"), step("c", "eval/b"), step("d")]
    assert with_descendants(steps, ["eval/a"]) == {"eval/a", "eval/b", "eval/c"}
    assert with_ancestors(steps, ["eval/c"]) == {"eval/a", "eval/b", "eval/c"}


@given(st.data())
def test_every_step_is_done_once_and_after_its_inputs(data: st.DataObject) -> None:
    n_steps = data.draw(st.integers(1, 12))
    steps: list[Step] = []
    for index in range(n_steps):
        after = data.draw(st.sets(st.sampled_from([s.name for s in steps]))) if steps else set()
        steps.append(step(str(index), *sorted(after), cost=data.draw(st.integers(0, 9))))
    order = drain(Scheduler(steps, {s.name for s in steps}, {}))
    assert sorted(order) == sorted(s.name for s in steps)
    for one in steps:
        assert all(order.index(name) < order.index(one.name) for name in one.inputs)
