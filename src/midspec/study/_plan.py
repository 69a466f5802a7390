"""Plan a run: its steps, their states and sizes, and the checks before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from midspec.core.artifact import read_record
from midspec.core.errors import CheckpointError, ConfigError, PreflightError, SpecError
from midspec.core.fingerprint import diff, fingerprint
from midspec.core.records import Checkpoint, Record, Strict
from midspec.evals import PreferenceConfig, check_items, measure_names, resolve_items
from midspec.llm import ModelConfig, check_access
from midspec.models import find_checkpoint, tokenizer_of, window_of
from midspec.spec import placeholders
from midspec.study._chains import chain_lines, unmatched_stages
from midspec.study._config import check_sets, check_task_uses, greedy_repeats, trained_questions
from midspec.study._graph import study_steps
from midspec.study._inputs import SHIPPED, EvalItems, File, Input, spec_at
from midspec.study._load import Study
from midspec.study._step import Step
from midspec.study.jobs._corpus import AuthoredStep
from midspec.study.jobs._endpoints import Serving
from midspec.study.jobs._eval_task import TaskStep
from midspec.study.jobs._preference import PreferenceStep
from midspec.study.jobs._sources import SpecNames
from midspec.study.jobs._train import GrpoStep, TrainStep
from midspec.train import UPDATE_FLOORS

_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")


def check_beforehand(study: Study, steps: Sequence[Step]) -> None:
    """Refuse a study whose base, specs or items can't be used; only files are read.

    Raises:
        CheckpointError: the base is no checkpoint, or has no chat template.
        ConfigError: a spec uses a placeholder that nothing fills, a contrast is on a set that no item is of, or a
            reward can't be made.
        SpecError: a spec can't be read.
        DataError: the items can't be read.
    """
    base = _check_base(study)
    _check_placeholders(steps)
    _check_items(study, steps)
    _check_tasks(study, steps)
    if base is not None:
        _check_windows(base, steps)
    for step in steps:
        if isinstance(step, GrpoStep):
            step.check_rewards()


def check_judges(study: Study) -> None:
    """Refuse judges that can't be reached, before the training and not after it.

    Raises:
        ConfigError: a key is missing, or a budget is set for a model whose price is unknown.
    """
    evals, models = study.config.evals, study.config.models
    access = models.judge or models.author
    capped = access.model_copy(update={"budget_usd": evals.judging_budget_usd or access.budget_usd})
    for grader in evals.graders:
        check_access(ModelConfig(model=grader), capped)


def _check_base(study: Study) -> Checkpoint | None:
    name = study.config.base.checkpoint
    if name is None:
        return None
    path = study.home / Path(name).expanduser()
    if not path.exists() and "/" in name and path.parent.is_dir():
        hint = "A path starts at the folder of the study file"
        raise CheckpointError(f"there is no folder {path}", where="base.checkpoint", hint=hint)
    try:
        checkpoint = find_checkpoint(str(path) if path.exists() else name)
    except CheckpointError as error:
        raise CheckpointError(f"{error.where}: {error.what}", where="base.checkpoint", hint=error.hint) from error

    def has_template(folder: Path) -> bool:
        settings = folder / "tokenizer_config.json"
        if any((folder / name).exists() for name in _TEMPLATE_FILES):
            return True
        return settings.is_file() and '"chat_template":' in settings.read_text(encoding="utf-8", errors="replace")

    folders = [Path(part).expanduser() for part in (checkpoint.model, checkpoint.adapter) if part is not None]
    if all(folder.is_dir() for folder in folders) and not any(map(has_template, folders)):
        raise CheckpointError(
            f"{path} has no chat template, and every arm is evaluated in chats",
            where="base.checkpoint",
            hint="Use a chat-tuned model, or save its tokenizer with a chat template",
        )
    return checkpoint


def _check_placeholders(steps: Sequence[Step]) -> None:
    """Refuse a spec of a corpus, chats, a task or a context with a placeholder that nothing fills."""
    for step in steps:
        for _, source, names in _filled_specs(step):
            path = source.original.locate({})
            for name in placeholders(spec_at(path, Path(path).stem)):
                if name in ("model_name", "provider_name") and not getattr(names, name):
                    raise ConfigError(
                        f"the spec of {step.name} uses {{{name}}} and no value is given for it",
                        where=f"assistant.{name}",
                        hint=f"Add {name} to assistant in the study file",
                    )
            try:
                names.read(path)
            except SpecError as error:
                hint = error.hint.replace("--called ", "called: ").replace("--model-name", "model_name")
                raise ConfigError(f"{step.name}: {error.what}", where=error.where or "assistant", hint=hint) from error


def _filled_specs(step: Step) -> list[tuple[str, Input, SpecNames]]:
    """Return the specs that a step reads: by role, with the values of their placeholders."""
    if isinstance(step, AuthoredStep):
        return [("spec", step.spec, step.names)]
    if isinstance(step, PreferenceStep) and step.context is not None and step.context_names is not None:
        return [("context", step.context, step.context_names)]
    if isinstance(step, TaskStep):
        return [(role, step.files[role], names) for role, names in step.names.items()]
    return []


def _check_items(study: Study, steps: Sequence[Step]) -> None:
    """Read items that are a file outside or shipped; refuse a set in a contrast or panel that has none of them."""
    readable: dict[tuple[str, str], PreferenceConfig] = {}
    for step in (each for each in steps if isinstance(each, PreferenceStep)):
        original = step.items.original
        # Items that a step makes, or that are on the hub, are not known before the run.
        if isinstance(original, EvalItems) and original.name.startswith(SHIPPED):
            readable[step.kind, original.name] = step.config
        elif isinstance(original, File):
            readable[step.kind, original.path] = step.config
    for (kind, reference), settings in readable.items():
        check_items(items := resolve_items(reference), where=reference, scored=settings)
        if kind == "eval":
            check_sets(study.config, dict.fromkeys(item.set for item in items))


def _check_windows(base: Checkpoint, steps: Sequence[Step]) -> None:
    """Refuse a spec in context that does not fit the window of the base: no question would be answered."""
    specs = [(step.name, *each[1:]) for step in steps for each in _filled_specs(step) if each[0] == "context"]
    window = window_of(base) if specs else None
    for name, source, names in {str(each[1:]): each for each in specs}.values() if window else ():
        text = names.read(source.original.locate({})).text
        try:
            n_tokens = len(tokenizer_of(base)(text, add_special_tokens=False)["input_ids"])
        except CheckpointError:  # it is said when the base is opened
            return
        if window and n_tokens >= window:
            what = f"the spec in context has {n_tokens:,} tokens, and the base's window {window:,}"
            hint = "Shorten the spec, leave that arm out, or use a base with a longer window"
            raise ConfigError(what, where=name, hint=hint)


def _check_tasks(study: Study, steps: Sequence[Step]) -> None:
    """Refuse a set or measure in a contrast or panel that its task does not have."""
    first = {step.task: step for step in reversed(steps) if isinstance(step, TaskStep)}
    tasks = {name: step.complete() for name, step in first.items()}
    sets = {
        name: dict.fromkeys(f"{name}/{each.set}" for each in eval_task.questions(config))
        for name, (eval_task, config) in tasks.items()
    }
    measures = {name: measure_names(eval_task, config) for name, (eval_task, config) in tasks.items()}
    check_task_uses(study.config, sets, measures)


State = Literal["done", "ready", "waiting", "stale"]

# Token estimates are off by less than this: under this share of the updates needed, there are too few.
_CLEARLY = 0.75
# Standard deviations assumed of arms' differences between questions, and of samples of one question (the maximum).
_BETWEEN_SD, _WITHIN_SD = 0.15, 0.5


_LAST_CYRILLIC = "\u052f"


class PlannedStep(Strict):
    """One step of a plan.

    Attributes:
        name: as `--only` and `--redo` take it.
        state: `done`; `ready` to be made; `waiting` for steps before it; `stale`, made from inputs that have changed.
        changes: for a stale step, the fields that differ.
        documents: rows that it writes, where known beforehand.
        updates: optimizer updates; `None` where they are not known before its data are made.
        tokens: of a corpus, an estimate; of training, positions run over, padding included.
        about: `updates` and `tokens` are an estimate, from the target tokens of its corpora.
        requests: to a model that writes or judges, if every reply is good; `None` where there are none.
        usd: cost of the requests, with the prefix cached; `None` where there are none or the price is unknown.
        eval_task: the task that it runs.
        questions: of the task.
        samples: of the task, all repeats together.
        prompt_tokens: of the task's samples in all, estimated.
        reply_tokens: of the task's samples in all, as assumed.
        gpu_hours: of one server for the task, as assumed.
    """

    name: str
    kind: str
    seed: int | None
    state: State
    changes: tuple[str, ...] = ()
    documents: int | None = None
    updates: int | None = None
    tokens: int | None = None
    about: bool = False
    requests: int | None = None
    usd: float | None = None
    eval_task: str | None = None
    questions: int | None = None
    samples: int | None = None
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    gpu_hours: float | None = None


class Plan(Strict):
    """The steps of a study and their totals.

    Attributes:
        name: the study's.
        steps: in an order in which they can be done.
        chains: a line for each arm with `stages`: what it is trained on, in order, and where it is evaluated.
        warnings: floors that the study lowered, and stages in which arms are trained unequally.
        assumed: behind hours and dollars of tasks, and the smallest differences they detect; empty without tasks.
    """

    name: str
    steps: tuple[PlannedStep, ...]
    chains: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    assumed: str = ""

    def count(self, state: State) -> int:
        """Count the steps in a state."""
        return sum(step.state == state for step in self.steps)

    def total(self, size: Literal["documents", "updates", "tokens"]) -> int:
        """Sum one size over the steps where it is known; tokens, over the steps that train."""
        training = (step for step in self.steps if size != "tokens" or step.kind in UPDATE_FLOORS)
        return sum(getattr(step, size) or 0 for step in training)

    @property
    def usd(self) -> float:
        """Return the cost of the requests of all steps that are not done, where prices are known."""
        return sum(step.usd or 0.0 for step in self.steps)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Return the steps with requests to a model whose price is unknown."""
        return tuple(step.name for step in self.steps if step.requests is not None and step.usd is None)

    @property
    def priced_by(self) -> str:
        """Return the entry of `models` that misses the price of the first of these."""
        first = next((step for step in self.steps if step.name in self.unpriced), None)
        return "judge" if first is not None and first.eval_task else "author"

    @property
    def n_unknown(self) -> int:
        """Count the training steps whose updates are not known before their data are made."""
        return sum(step.kind in UPDATE_FLOORS and step.updates is None for step in self.steps)


def plan(study: Study, folder: Path | None = None, *, serving: Serving | None = None) -> Plan:
    """Plan a run of the study in `folder`; without one, nothing is done yet.

    Args:
        study: the study.
        folder: of its run.
        serving: assumptions about the model under test, its server and judges.

    Raises:
        PreflightError: a stage would make fewer updates than its floor, and so train nothing.
        MissingError: a file that the study names is not there.
        ConfigError, CheckpointError, SpecError, DataError: see `check_beforehand`.
    """
    steps = study_steps(study, folder)
    check_beforehand(study, steps)
    arms, recipes = study.config.arms, study.config.recipes
    warnings = (
        *check_floors(steps),
        *unmatched_stages(arms, recipes),
        *trained_questions(study.config),
        *greedy_repeats(study.config),
    )
    shown = frozenset("".join((*arms, *(panel.title for panel in study.config.report.panels))))
    # Of Latin, Greek and Cyrillic letters no fonts need be looked through.
    if any(character > _LAST_CYRILLIC for character in shown):
        from midspec.report import glyph_warning

        warnings = (*warnings, *filter(None, [glyph_warning(shown)]))
    by_name = states(steps, folder)
    serving = serving or Serving()
    planned = tuple(_planned(step, serving, *by_name[step.name]) for step in steps)
    assumed = f"{serving.words}. {_power(planned)}".strip() if study.config.evals.tasks else ""
    return Plan(
        name=study.config.name,
        steps=planned,
        chains=chain_lines(arms, recipes),
        warnings=warnings,
        assumed=assumed,
    )


def _power(planned: Sequence[PlannedStep]) -> str:
    """Say the smallest difference of each task that is found with a power of 0.8, on measures that are shares."""
    from midspec.analysis import Spread, smallest_difference

    first = {step.eval_task: step for step in reversed(planned) if (step.questions or 0) > 1}
    smallest = []
    for name, step in reversed(first.items()):
        n_cells, n_samples = step.questions or 0, step.samples or 0
        points = 100 * smallest_difference(
            Spread(_BETWEEN_SD, _WITHIN_SD), n_cells=n_cells, n_repeats=n_samples // n_cells
        )
        smallest.append(f"{name} {points:.0f} points ({n_cells} questions x {n_samples // n_cells})")
    between, within = (f"{100 * sd:.0f}" for sd in (_BETWEEN_SD, _WITHIN_SD))
    spreads = f"of shares that spread by {between} points between questions and {within} within one"
    return f"A difference {spreads} is found 4 times in 5 from: {', '.join(smallest)}" if smallest else ""


def states(steps: Sequence[Step], folder: Path | None) -> dict[str, tuple[State, Record | None, tuple[str, ...]]]:
    """Return for each step its state, its record if it has one, and what changed if it is stale."""
    by_name: dict[str, tuple[State, Record | None, tuple[str, ...]]] = {}
    done: dict[str, Record] = {}
    for step in steps:
        record = read_record(step.folder(folder)) if folder else None
        if any(parent.name not in done for parent in step.parents):
            by_name[step.name] = ("waiting", record, ())
            continue
        identity = step.identity(done)
        if record is None:
            by_name[step.name] = ("ready", None, ())
        elif record.fingerprint == fingerprint(identity):
            done[step.name] = record
            by_name[step.name] = ("done", record, ())
        else:
            by_name[step.name] = ("stale", record, tuple(str(change) for change in diff(record.identity, identity)))
    return by_name


def _planned(
    step: Step, serving: Serving, state: State, record: Record | None, changes: tuple[str, ...]
) -> PlannedStep:
    sizes: dict[str, Any] = {}
    cost = None
    if state != "done" and isinstance(step, TaskStep):
        estimate, cost = step.estimate(serving)
        sizes = {
            "questions": estimate.n_questions,
            "samples": estimate.n_samples,
            "gpu_hours": estimate.gpu_hours(serving),
            **estimate.model_dump(include={"prompt_tokens", "reply_tokens"}),
        }
    elif state != "done":
        cost = step.price()
    return PlannedStep(
        eval_task=step.task if isinstance(step, TaskStep) else None,
        **sizes,
        name=step.name,
        kind=step.kind,
        seed=step.seed,
        state=state,
        changes=changes,
        **step.size(record.summary if record is not None and state == "done" else {})._asdict(),
        **(cost._asdict() if cost else {}),
    )


def check_floors(steps: Sequence[Step]) -> tuple[str, ...]:
    """Refuse training that would change nothing; return a warning for each floor that the study lowered.

    Where the number of updates follows from data that is not there yet, training's own preflight refuses later.

    Raises:
        PreflightError: a recipe asks for fewer updates than its stage's floor, or its data can't make as many.
    """
    training = [step for step in steps if isinstance(step, TrainStep)]
    for step in training:
        _refuse_under_floor(step)
    return tuple(dict.fromkeys(warning for step in training if (warning := floor_warning(step.kind, step.floor))))


def floor_warning(stage: str, floor: int) -> str:
    """Return a warning if a recipe lowers the floor of its stage; else an empty string."""
    usual = UPDATE_FLOORS[stage]
    return f"The study lowered the floor of {stage} updates from {usual} to {floor}." if floor < usual else ""


def _refuse_under_floor(step: TrainStep) -> None:
    n_updates, floor = step.recipe.n_updates, step.floor
    if n_updates is not None and n_updates < floor:
        raise PreflightError(
            f"{n_updates} updates would train nothing; the floor of {step.kind} is {floor}",
            where=step.name,
            hint="Raise n_updates, or lower min_updates in the recipe if you know that so few are enough",
        )
    needed = floor if n_updates is None else max(n_updates, floor)
    most, expected = step.most_updates(), step.updates_expected()
    made = ""
    if most is not None and most < needed:
        made = f"its chats make at most {most} updates"
    elif expected is not None and expected < _CLEARLY * needed:
        made = f"its documents' target_tokens make about {expected} updates"
    if made:
        need = f"the floor of {step.kind} is {floor}" if n_updates is None else f"n_updates asks for {n_updates}"
        hint = "Ask for more data, or for fewer rows_per_update"
        raise PreflightError(f"{made}, and {need}", where=step.name, hint=hint)
