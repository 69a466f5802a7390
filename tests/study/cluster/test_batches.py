"""How steps are put into jobs and jobs into arrays: pure bookkeeping, for any study."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from midspec.study import Step, load_study, study_steps, with_settings
from midspec.study._execution_entry import SlurmEntry, SlurmResources
from midspec.study.execution._batches import Batch, JobArray, make_arrays, make_batches, resources_of, usual_updates
from midspec.study.execution._selection import canary_of
from midspec.study.execution._slurm import dependency

from ..test_scheduler import Toy, step
from .conftest import TINY


@st.composite
def studies(draw: st.DrawFn) -> list[Step]:
    steps: list[Step] = []
    for index in range(draw(st.integers(1, 14))):
        after = draw(st.lists(st.sampled_from(steps), unique=True, max_size=4)) if steps else []
        seed = draw(st.sampled_from([None, 1, 2]))
        steps.append(step(str(index), *after, seed=seed, cost=draw(st.integers(0, 30))))
    return steps


def waits_for(arrays: list[JobArray]) -> dict[int, set[int]]:
    """What every batch waits for by its array's dependencies, by the identity of batches."""
    found: dict[int, set[int]] = {}
    for array in arrays:
        for number, batch in array.tasks.items():
            others: list[Batch] = []
            for each in array.after:
                tasks = arrays[each.array].tasks
                chosen = [number] if each.is_by_task else each.tasks or list(tasks)
                others += [tasks[one] for one in chosen]
            found[id(batch)] = set(map(id, others))
    return found


@given(studies(), st.integers(0, 60))
def test_every_step_is_in_one_job_after_those_that_make_its_inputs(steps: list[Step], most: int) -> None:
    batches = make_batches(steps, SlurmEntry(updates_per_job=most))
    place = {one.name: (index, at) for index, batch in enumerate(batches) for at, one in enumerate(batch.steps)}
    assert len(place) == len(steps) == sum(len(batch.steps) for batch in batches)
    for one in steps:
        index, at = place[one.name]
        for parent in one.parents:
            other, before = place[parent.name]
            assert (before < at) if other == index else other in batches[index].after
    for batch in batches:
        assert len(batch.steps) == 1 or batch.cost <= most
        assert len({one.seed for one in batch.steps}) == 1


@given(studies(), st.integers(0, 60), st.integers(1, 4))
def test_no_job_waits_for_more_than_its_inputs_and_all_can_be_submitted_in_order(
    steps: list[Step], most: int, most_tasks: int
) -> None:
    batches = make_batches(steps, SlurmEntry(updates_per_job=most))
    arrays = make_arrays(batches, most_tasks)
    assert all(len(array.tasks) <= most_tasks and max(array.tasks) < most_tasks for array in arrays)
    assert sorted(id(batch) for array in arrays for batch in array.tasks.values()) == sorted(map(id, batches))
    assert all(each.array < index for index, array in enumerate(arrays) for each in array.after)
    waits = waits_for(arrays)
    for batch in batches:
        assert waits[id(batch)] == {id(batches[other]) for other in batch.after}


def test_a_step_for_each_seed_is_one_array_whose_tasks_wait_for_their_own_seed() -> None:
    bases = [step("base", seed=seed, cost=50) for seed in (1, 2, 3)]
    trained = [step("arm", base, seed=base.seed, cost=50) for base in bases]
    last = step("last", *trained)
    arrays = make_arrays(make_batches([*bases, *trained, last], SlurmEntry(updates_per_job=10)))
    assert [len(array.tasks) for array in arrays] == [3, 3, 1]
    flags = [len(array.tasks) > 1 for array in arrays]
    assert [dependency(array, ["7", "8", "9"], flags) for array in arrays] == ["", "aftercorr:7", "afterok:8"]


def test_an_array_over_the_cluster_s_limit_is_several_whose_tasks_wait_as_before() -> None:
    bases = [step("base", seed=seed, cost=50) for seed in range(5)]
    trained = [step("arm", base, seed=base.seed, cost=50) for base in bases]
    arrays = make_arrays(make_batches([*bases, *trained, step("last", *trained)], SlurmEntry(updates_per_job=10)), 2)
    assert [len(array.tasks) for array in arrays] == [2, 2, 1, 2, 2, 1, 1]
    flags = [len(array.tasks) > 1 for array in arrays]
    told = [dependency(array, list("1234567"), flags) for array in arrays]
    assert told == ["", "", "", "aftercorr:1", "aftercorr:2", "afterok:3", "afterok:4:5:6"]


def test_small_models_make_more_updates_in_a_job_and_a_study_of_none_as_many_as_ever() -> None:
    def updates(**architecture: int) -> float:
        tiny = load_study(TINY)
        text = json.dumps((tiny.config.base.architecture or {}) | architecture)
        return usual_updates(study_steps(with_settings(tiny, [f"base.architecture={text}"]), TINY.parent))

    assert updates() == 10_000
    # Of a Llama's layer by hand: 4 d^2 of attention and 3 d f of the feed-forward part.
    d, f = 1024, 2048
    weights = 4 * (4 * d * d + 3 * d * f) + d
    sizes = {"hidden_size": d, "intermediate_size": f, "num_hidden_layers": 4, "num_key_value_heads": 2}
    assert updates(**sizes) == pytest.approx(100 * 1e8 / weights)
    assert updates(**{**sizes, "num_hidden_layers": 40}) == 100
    assert usual_updates([step("a", cost=5)]) == 100


def test_a_seed_of_a_small_study_is_one_job() -> None:
    steps = study_steps(load_study(TINY), TINY.parent)
    batches = make_batches(steps, SlurmEntry(updates_per_job=usual_updates(steps)))
    assert [{one.seed for one in batch.steps} for batch in batches] == [{None}, {1}, {2}, {None}]
    assert sum(len(batch.steps) for batch in batches) == len(steps)


def test_a_job_that_is_in_the_queue_already_is_waited_for_by_its_number() -> None:
    base = step("base")
    [array] = make_arrays(make_batches([step("arm", base)], SlurmEntry(), live={base.name: "12_3"}))
    assert dependency(array, [], []) == "afterok:12_3"


def test_steps_with_the_same_result_wait_for_the_first_of_them() -> None:
    one, two = step("a", seed=1), step("a", seed=2)
    batches = make_batches([one, two], SlurmEntry(), leaders={two.name: one.name})
    assert [batch.after for batch in batches] == [set(), {0}]


def test_gpus_are_for_steps_with_a_model_and_a_kind_may_ask_for_others() -> None:
    entry = SlurmEntry(partition="gpu", gpus=1, gpu_type="a100", kinds={"eval": SlurmResources(time_min=5)})
    asked = resources_of(step("a"), entry)
    assert (asked.partition, asked.gpus, asked.gpu_type, asked.time_min) == ("gpu", 1, "a100", 5)

    class Rows(Toy):
        kind = "rows"
        opens_model = False

    asked = resources_of(Rows(label="r"), entry)
    assert (asked.partition, asked.gpus, asked.gpu_type, asked.time_min) == ("gpu", None, None, None)
    own = entry.model_copy(update={"kinds": {"rows": SlurmResources(gpus=2)}})
    assert resources_of(Rows(label="r"), own).gpus == 2


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("--clusters=north", "SLURM_CLUSTERS"),
        ("--cluster north", "SLURM_CLUSTERS"),
        ("-M north", "SLURM_CLUSTERS"),
        ("--array=0-9", "sets itself"),
        ("-J mine", "sets itself"),
        ("--wait", "waits for"),
        ("--no-requeue", "sets itself"),
        ("--comment='open", "can't be read"),
    ],
)
def test_an_option_with_which_jobs_would_not_be_found_again_is_refused(option: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SlurmResources(extra=(option,))


@pytest.mark.parametrize(
    "option",
    [
        "--wait-all-nodes=1",
        "--mem-per-cpu=2G",
        "-C a100",
        "--mail-type=END",
        "--comment='our study'",
        "--cluster-constraint=big",
    ],
)
def test_any_other_option_is_taken(option: str) -> None:
    assert SlurmResources(extra=(option,)).extra == (option,)


@pytest.mark.parametrize("text", ["a b", "x\n#SBATCH --uid=0", "$(reboot)", "a;b", ""])
def test_what_would_be_another_line_or_word_of_a_script_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        SlurmResources(partition=text)
    with pytest.raises(ValidationError):
        SlurmResources(extra=(f"--comment=x\n{text}",))


def test_a_canary_is_one_step_of_each_kind_of_one_seed() -> None:
    class Train(Toy):
        kind = "midtrain"

    class All(Toy):
        kind = "analysis"

    bases = [Train(label="base", seed=seed) for seed in (1, 2)]
    arms = [Train(label=arm, seed=base.seed, after=(base,)) for base in bases for arm in ("x", "y")]
    evals = [Toy(label=arm.label, seed=arm.seed, after=(arm,)) for arm in arms]
    steps = [*bases, *arms, *evals, All(label="", after=tuple(evals))]
    assert canary_of(steps) == {"midtrain/base-s1", "midtrain/x-s1", "eval/x-s1"}
