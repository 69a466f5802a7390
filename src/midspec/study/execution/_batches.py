"""Put the steps of a run into jobs of a cluster, and jobs that are alike into arrays.

Small steps share a job, since each job pays seconds for its start. A job waits for the jobs that make its inputs, by
dependencies that the cluster keeps, so whoever submits can leave.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from midspec.models import shape_of, shape_of_config
from midspec.study._execution_entry import SlurmEntry, SlurmResources
from midspec.study._inputs import Model
from midspec.study._step import Step
from midspec.study.jobs._train import TrainStep

_UPDATES, _MAX_UPDATES, _OF_WEIGHTS = 100.0, 10_000.0, 1e8
# Slurm's default: of an array the numbers are below this.
MAX_ARRAY_SIZE = 1001


@dataclass
class Batch:
    """The steps of one job, in order, and the batches that must be done before it.

    Attributes:
        steps: done one after another.
        resources: of the job.
        after: indices of other batches.
        after_jobs: jobs submitted before, by the cluster's number.
    """

    steps: list[Step]
    resources: SlurmResources
    after: set[int] = field(default_factory=set)
    after_jobs: set[str] = field(default_factory=set)

    @property
    def cost(self) -> float:
        """Return the size of all steps, in training updates."""
        return sum(step.cost for step in self.steps)


def resources_of(step: Step, entry: SlurmEntry) -> SlurmResources:
    """Return what the job of a step asks for: the study's settings, those of its kind in front."""
    own = entry.kinds.get(step.kind, SlurmResources())
    shared = {name: getattr(entry, name) for name in SlurmResources.model_fields}
    given = {name: getattr(own, name) for name in own.model_fields_set}
    asked = SlurmResources.model_validate(shared | given)
    if "gpus" in given:
        return asked
    n_gpus = max(asked.gpus, step.n_devices) if asked.gpus and step.opens_model else None
    return asked.model_copy(update={"gpus": n_gpus, "gpu_type": asked.gpu_type if n_gpus else None})


def usual_updates(steps: Iterable[Step]) -> float:
    """Return how much work shares a job where the study doesn't say: of a small model more updates.

    A job pays some 5 s for its start, and is to work for a minute or more. 100 updates take that of billions of weights
    on a GPU and of 100 million on a few cores; 10,000 of the nano world's third of a million take 6 minutes (36 ms
    each, mostly Python's). Of a size that is not known it is 100.

    Args:
        steps: of the whole study; its largest model decides.
    """
    training = [step for step in steps if isinstance(step, TrainStep)]
    # A vocabulary made from a world is some hundred words, and none of the weights that count.
    shapes = [shape_of_config(({"vocab_size": 1} | step.architecture).get) for step in training if step.architecture]
    names = {step.parent.name for step in training if isinstance(step.parent, Model)}
    shapes += [shape_of(name) for name in sorted(names)]
    n_weights = max((shape.n_parameters if shape else _OF_WEIGHTS for shape in shapes), default=_OF_WEIGHTS)
    return min(_MAX_UPDATES, _UPDATES * max(1.0, _OF_WEIGHTS / n_weights))


def make_batches(
    steps: Sequence[Step],
    entry: SlurmEntry,
    *,
    leaders: Mapping[str, str] | None = None,
    live: Mapping[str, str] | None = None,
) -> list[Batch]:
    """Put steps into batches: those of one seed that ask for the same share one until `updates_per_job` are reached.

    A step joins a batch only if no circle of waiting comes of that, and if the batch begins no later for it than by
    the size of one such job.

    Args:
        steps: to do, in an order in which they can be done.
        entry: how the study's steps become jobs.
        leaders: for a step the one with the same result that is made before it.
        live: for steps that were submitted before and are not done, their job.
    """
    most = _UPDATES if entry.updates_per_job is None else entry.updates_per_job
    batches: list[Batch] = []
    place: dict[str, int] = {}
    shared: defaultdict[tuple[int | None, str], list[int]] = defaultdict(list)
    for step in steps:
        names = [parent.name for parent in step.parents]
        if leaders and step.name in leaders:
            names.append(leaders[step.name])
        before = {place[name] for name in names if name in place}
        resources = resources_of(step, entry)
        mates = shared[step.seed, resources.model_dump_json()]
        index = next((one for one in reversed(mates) if _can_join(step, one, before, batches, most)), None)
        if index is None:
            index = len(batches)
            batches.append(Batch([], resources))
            mates.append(index)
        place[step.name] = index
        batches[index].steps.append(step)
        batches[index].after |= before - {index}
        batches[index].after_jobs |= {live[name] for name in names if live and name in live and name not in place}
    return batches


def _can_join(step: Step, index: int, before: set[int], batches: Sequence[Batch], most: float) -> bool:
    if batches[index].cost + step.cost > most:
        return False
    others = before - {index}
    if any(index in _ancestors(other, batches) for other in others):
        return False
    begins = _begins(index, batches)
    return all(_begins(other, batches) + batches[other].cost <= begins + most for other in others)


def _ancestors(index: int, batches: Sequence[Batch]) -> set[int]:
    found: set[int] = set()
    todo = [index]
    while todo:
        new = batches[todo.pop()].after - found
        found |= new
        todo += new
    return found


def _begins(index: int, batches: Sequence[Batch]) -> float:
    """Return how much work is done one after another before a batch can begin."""
    known: dict[int, float] = {}

    def begins(one: int) -> float:
        if one not in known:
            known[one] = max((begins(other) + batches[other].cost for other in batches[one].after), default=0.0)
        return known[one]

    return begins(index)


class Dependency(NamedTuple):
    """What a whole array waits for in another one.

    Attributes:
        array: index of the other array.
        tasks: of that, which must be done; empty means all of them.
        is_by_task: each task waits for the task of the same number alone.
    """

    array: int
    tasks: tuple[int, ...] = ()
    is_by_task: bool = False


@dataclass(frozen=True)
class JobArray:
    """Batches that are submitted together; of one, a plain job.

    Attributes:
        tasks: the batches by task number.
        after: arrays of the same submission that it waits for.
        after_jobs: jobs submitted before that it waits for.
    """

    tasks: Mapping[int, Batch]
    after: tuple[Dependency, ...]
    after_jobs: tuple[str, ...]

    @property
    def resources(self) -> SlurmResources:
        """Return what each task asks for."""
        return next(iter(self.tasks.values())).resources

    @property
    def label(self) -> str:
        """Return the kinds of its steps, the most work first, as a part of a file name."""
        costs: defaultdict[str, float] = defaultdict(float)
        for batch in self.tasks.values():
            for step in batch.steps:
                costs[step.kind] += step.cost
        kinds = sorted(costs, key=lambda kind: -costs[kind])
        return "+".join(kinds[:2]) + ("+" if len(kinds) > 2 else "")


def make_arrays(batches: Sequence[Batch], most_tasks: int = MAX_ARRAY_SIZE) -> list[JobArray]:
    """Put batches that ask for the same and wait for the same into arrays, in an order in which they can be submitted.

    Tasks of an array wait for the same jobs, or each for the task of its own number in another array; a group in
    which neither holds is submitted as single jobs, so that no batch waits for more than its inputs. A group that is
    larger than an array may be is several arrays.

    Args:
        batches: to submit.
        most_tasks: of an array, at least 1.
    """
    arrays: list[JobArray] = []
    place: dict[int, tuple[int, int]] = {}
    depth = _depths(batches)
    for level in range(max(depth, default=-1) + 1):
        groups: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
        for index, batch in enumerate(batches):
            if depth[index] == level:
                after = frozenset(place[other][0] for other in batch.after)
                groups[batch.resources.model_dump_json(), after, frozenset(batch.after_jobs)].append(index)
        parts = [one[at : at + most_tasks] for one in groups.values() for at in range(0, len(one), most_tasks)]
        for members in parts:
            made = _array(members, batches, place, arrays)
            whole = [(members, made)] if made else [([one], _array([one], batches, place, arrays)) for one in members]
            for some, array in whole:
                assert array is not None, "a single batch always makes a job"
                place.update({index: (len(arrays), task) for index, task in zip(some, array.tasks, strict=True)})
                arrays.append(array)
    return arrays


def _depths(batches: Sequence[Batch]) -> list[int]:
    """Return for each batch how many batches there are before it, one after another."""
    known: dict[int, int] = {}

    def depth(index: int) -> int:
        if index not in known:
            known[index] = 1 + max((depth(other) for other in batches[index].after), default=-1)
        return known[index]

    return [depth(index) for index in range(len(batches))]


def _array(
    members: Sequence[int],
    batches: Sequence[Batch],
    place: Mapping[int, tuple[int, int]],
    arrays: Sequence[JobArray],
) -> JobArray | None:
    """Make an array of batches that wait for the same arrays; none where their tasks can't be matched."""
    waits = [_waits(batches[index], place) for index in members]
    numbers: tuple[int, ...] | None = None
    after = []
    for array in waits[0]:
        tasks = [each[array] for each in waits]
        if all(each == tasks[0] for each in tasks):
            is_all = len(tasks[0]) == len(arrays[array].tasks)
            after.append(Dependency(array, () if is_all else tuple(sorted(tasks[0]))))
            continue
        matched = tuple(task for each in tasks for task in each)
        if len(matched) != len(members) or len(set(matched)) < len(members) or numbers not in {None, matched}:
            return None
        numbers = matched
        after.append(Dependency(array, is_by_task=True))
    tasks_of = dict(zip(numbers or range(len(members)), (batches[index] for index in members), strict=True))
    return JobArray(tasks_of, tuple(after), tuple(sorted(batches[members[0]].after_jobs)))


def _waits(batch: Batch, place: Mapping[int, tuple[int, int]]) -> dict[int, frozenset[int]]:
    """Return the tasks that a batch waits for, by array."""
    waits: defaultdict[int, set[int]] = defaultdict(set)
    for other in batch.after:
        array, task = place[other]
        waits[array].add(task)
    return {array: frozenset(tasks) for array, tasks in waits.items()}
