"""An arm's stages by name: the points of its training at which it is evaluated, and the labels of its steps.

Everything here follows from the study file alone, so that a plan, a run and a report name the same things alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from midspec.core.errors import ConfigError
from midspec.core.fingerprint import fingerprint
from midspec.study._arms import Arm, ArmStage, RewardsEntry, Training
from midspec.train import UPDATE_FLOORS, GrpoRecipe, LoraRecipe, Recipe, load_pressure, pressure_names

START = "base"
_SHIPPED = "pressure:"
_MAX_LETTERS = 160  # of a label that we make: with the seed and `.part` a folder's name stays under 255 bytes
_N_HASH_LETTERS = 8


class ArmPoint(NamedTuple):
    """A moment of an arm's training.

    Attributes:
        name: that scores and contrasts call it by: the arm's own name for its end, else `ARM@STAGE`, or
            `ARM@STAGE:UPDATES` within a stage.
        title: without the arm: `dpo`, `dpo:10`, `base`.
        stage: its index in the arm's chain; -1 is the base.
        update: how many updates into the stage; `None` at its end.
    """

    name: str
    title: str
    stage: int
    update: int | None = None


def stage_names(chain: Sequence[ArmStage]) -> tuple[str, ...]:
    """Name the stages of an arm: by label, else by kind, the second of a kind as `finetune-2`."""
    names, seen = [], Counter[str]()
    for stage in chain:
        seen[stage.kind] += 1
        number = seen[stage.kind]
        names.append(stage.label or (stage.kind if number == 1 else f"{stage.kind}-{number}"))
    return tuple(names)


def arm_points(name: str, arm: Arm) -> tuple[ArmPoint, ...]:
    """Return the points at which an arm is evaluated, in order; the last one is its end."""
    chain = arm.chain
    whole = arm.evaluate == "all"
    points = [ArmPoint(f"{name}@{START}", START, -1)] if whole and chain else []
    for index, (stage, title) in enumerate(zip(chain, stage_names(chain), strict=True)):
        points += [ArmPoint(f"{name}@{title}:{n}", f"{title}:{n}", index, n) for n in stage.checkpoints]
        if index == len(chain) - 1:
            points.append(ArmPoint(name, title, index))
        elif whole:
            points.append(ArmPoint(f"{name}@{title}", title, index))
    return tuple(points) or (ArmPoint(name, START, -1),)


class TrainingStage(NamedTuple):
    """One stage of an arm as it is trained.

    Attributes:
        stage: of the study file.
        recipe: the one that it names, else that of its kind.
        label: of its step: all that it and the stages before it were trained on.
        parent: index of the stage whose model it starts from; -1 is the base.
        is_merged: it starts from that model with its adapter added to the weights.
    """

    stage: ArmStage
    recipe: Recipe
    label: str
    parent: int
    is_merged: bool


class Recipes(NamedTuple):
    """The recipes of a study, and the rewards that its `grpo` stages name."""

    training: Training
    rewards: Mapping[str, RewardsEntry]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names that a stage can ask for: the study's own, and the shipped ones as `pressure:NAME`."""
        return (*self.training.recipes, *(f"{_SHIPPED}{name}" for name in pressure_names()))

    def named(self, stage: ArmStage) -> Recipe | None:
        """Return the recipe that a stage names, else that of its kind; `None` where there is none."""
        if stage.recipe.startswith(_SHIPPED) and stage.recipe in self.names:
            return load_pressure(stage.recipe.removeprefix(_SHIPPED)).recipe
        own: Recipe | None = getattr(self.training, stage.kind)
        return self.training.recipes.get(stage.recipe) if stage.recipe else own

    def of(self, stage: ArmStage) -> Recipe | None:
        """Return the same with the stage's rewards."""
        found = self.named(stage)
        if found is None or stage.kind != "grpo":
            return found
        entries = (self.rewards.get(name) for name in stage.data)
        paid = tuple(entry.reward for entry in entries if entry is not None)
        section = (found.grpo or GrpoRecipe()).model_copy(update={"rewards": paid})
        return found.model_copy(update={"grpo": section})


def training_stages(arm: Arm, recipes: Recipes) -> tuple[TrainingStage, ...]:
    """Return an arm's stages with the labels of their steps and what each starts from.

    Midtraining and then fine-tuning are labelled by their data alone, `america+cheese`. Other stages are told apart by
    their kind, `america+cheese+dpo:prefer`, and by a recipe and an adapter of their own.
    """
    stages: list[TrainingStage] = []
    under = (-1, False)  # the model whose weights lie under the adapter that is being trained
    for index, stage in enumerate(arm.chain):
        recipe = recipes.of(stage)
        if recipe is None:
            break  # refused by `check_chains`
        last = index - 1
        starts = {"continue": (last, False), "merge": (last, True), "fresh": under}
        parent, is_merged = starts[stage.adapter]
        text = "+".join([*stage.data, *twin(arm, stage)])
        if not _is_short_form(arm.chain, index):
            own = [stage.recipe, "" if stage.adapter == "continue" else stage.adapter]
            text = " ".join([f"{stage.kind}:{text}", *filter(None, own)])
        before = stages[parent].label if parent >= 0 else ""
        if is_merged and stage.adapter == "fresh":
            before = f"{before} merged"
        label = "+".join(filter(None, [before, text]))
        if len(label) > _MAX_LETTERS:
            label = f"{label[: _MAX_LETTERS - _N_HASH_LETTERS - 1]}~{fingerprint(label)[:_N_HASH_LETTERS]}"
        stages.append(TrainingStage(stage, recipe, label, parent, is_merged))
        if recipe.method == "full":
            under = (index, False)
        elif stage.adapter == "merge":
            under = (parent, True)
    return tuple(stages)


def twin(arm: Arm, stage: ArmStage) -> tuple[str, ...]:
    """Return what a label says of chats without their reasoning: nothing where an arm trains on the reasoning."""
    return ("no-cot",) if stage.kind in {"finetune", "dpo"} and not arm.cot else ()


def _is_short_form(chain: Sequence[ArmStage], index: int) -> bool:
    """Return whether a stage is one of `midtrain` then `finetune`, whose steps have had their labels from the start."""
    stage = chain[index]
    is_plain = not stage.recipe and stage.adapter == "continue"
    if stage.kind == "midtrain":
        return is_plain and index == 0
    follows = index == 0 or (index == 1 and chain[0].kind == "midtrain" and _is_short_form(chain, 0))
    return is_plain and stage.kind == "finetune" and follows


def kept_updates(arms: Iterable[Arm], recipes: Recipes) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return, by kind and label, the checkpoints that any arm asks of a stage, so that arms still share its step."""
    kept: dict[tuple[str, str], set[int]] = {}
    for arm in arms:
        for each in training_stages(arm, recipes):
            kept.setdefault((each.stage.kind, each.label), set()).update(each.stage.checkpoints)
    return {key: tuple(sorted(updates)) for key, updates in kept.items()}


def check_chain(name: str, arm: Arm, recipes: Recipes) -> None:
    """Refuse stages that can't be trained or told apart.

    Args:
        name: of the arm.
        arm: its stages.
        recipes: of the study.

    Raises:
        ConfigError: a stage without a recipe or with one of another kind, an adapter that is not there, differs or is
            in the way, checkpoints beyond a stage's end, or two stages of one name.
    """
    titles = stage_names(arm.chain)
    adapter: Recipe | None = None  # of the adapter that the stage before left; none known of the base
    for index, (stage, title) in enumerate(zip(arm.chain, titles, strict=True)):
        where = f"arms.{name}.stages[{index}]" if arm.stages else f"arms.{name}.{stage.kind}"
        recipe = recipes.of(stage)
        if recipe is None:
            what = f"arm {name} has a {stage.kind} stage and there is no recipe for it"
            raise ConfigError(what, where="training", hint=f"Add training.{stage.kind}")
        if title == START or title in titles[:index]:
            hint = "Give it a label of its own"
            raise ConfigError(f"two stages are called {title!r}", where=where, hint=hint)
        own = recipes.named(stage)
        if not stage.recipe.startswith(_SHIPPED) and own is not None and own.grpo is not None and own.grpo.rewards:
            hint = "Put them there, and name them in the stage"
            raise ConfigError("in a study rewards stand under `rewards`", where=_place(stage), hint=hint)
        check_recipe(recipe, stage)
        _check_adapter(stage, recipe, adapter, where, is_first=index == 0)
        adapter = recipe if recipe.method == "lora" else None
        if stage.checkpoints and recipe.n_updates is not None and stage.checkpoints[-1] >= recipe.n_updates:
            what = f"{stage.checkpoints[-1]} is not before the stage's end, which is evaluated by itself"
            hint = f"The recipe makes {recipe.n_updates} updates"
            raise ConfigError(what, where=f"{where}.checkpoints", hint=hint)


def _check_adapter(stage: ArmStage, recipe: Recipe, adapter: Recipe | None, where: str, *, is_first: bool) -> None:
    """Refuse what can't become of the adapter that the stage before left; the base's is looked at when it is opened."""
    if stage.adapter == "continue":
        if adapter is not None and recipe.method == "full":
            hint = "Give the stage adapter: merge, or a recipe with method: lora"
            raise ConfigError("all weights can't be trained through the adapter before", where=where, hint=hint)
        if adapter is not None and _sorted(recipe.lora) != _sorted(adapter.lora):
            hint = "Give the same recipe.lora, or adapter: merge"
            raise ConfigError("another recipe.lora than that of the adapter it continues", where=where, hint=hint)
    elif adapter is None and not is_first:
        hint = "Only after a stage with method: lora can an adapter be merged or left out"
        raise ConfigError("the stage before leaves no adapter", where=f"{where}.adapter", hint=hint)
    elif stage.adapter == "fresh" and recipe.method == "full":
        hint = "Use adapter: merge, or a recipe with method: lora"
        raise ConfigError("a fresh adapter, and the recipe trains all weights", where=f"{where}.adapter", hint=hint)


def _sorted(lora: LoraRecipe) -> LoraRecipe:
    return lora.model_copy(update={"target_modules": tuple(sorted(lora.target_modules))})


def _place(stage: ArmStage) -> str:
    """Return where the recipe of a stage stands."""
    if stage.recipe.startswith(_SHIPPED):
        return stage.recipe
    return f"training.recipes.{stage.recipe}" if stage.recipe else f"training.{stage.kind}"


def check_recipe(recipe: Recipe, stage: ArmStage) -> None:
    """Refuse a recipe that is of another kind of stage.

    Raises:
        ConfigError: see above; names the recipe.
    """
    where = _place(stage)
    try:
        recipe.check_stage(stage.kind)
    except ValueError as error:
        raise ConfigError(str(error), where=where, hint="Change that recipe, or name another one") from error
    names = [reward.name for reward in recipe.grpo.rewards] if recipe.grpo else []
    if len(set(names)) < len(names):
        what = f"two of the rewards {', '.join(stage.data)} are recorded under the same name"
        raise ConfigError(what, where=where, hint="Name one of them, or bring a rule of your own")


def unmatched_stages(arms: Mapping[str, Arm], recipes: Recipes) -> tuple[str, ...]:
    """Say where arms with `stages` are trained with other updates or rates than others in a stage of the same name."""
    if not any(arm.stages for arm in arms.values()):
        return ()
    settings: dict[tuple[str, str], dict[str, float]] = {}
    for name, arm in arms.items():
        for title, each in zip(stage_names(arm.chain), training_stages(arm, recipes), strict=True):
            known = {"updates": each.recipe.n_updates, "learning rate": each.recipe.learning_rate}
            for what, value in known.items():
                if value is not None:
                    settings.setdefault((what, title), {})[name] = value
    warnings = []
    for (what, title), by in settings.items():
        if len(set(by.values())) > 1:
            listed = ", ".join(f"{arm} {value:g}" for arm, value in by.items())
            hint = "Give them one recipe, unless that is what you compare"
            warnings.append(f"The arms are not matched in the {what} of {title}: {listed}. {hint}.")
    return tuple(warnings)


def chain_lines(arms: Mapping[str, Arm], recipes: Recipes) -> tuple[str, ...]:
    """Return a line for each arm with `stages`: what is trained one after the other, and where it is evaluated."""
    lines = []
    for name, arm in arms.items():
        if not arm.stages:
            continue
        parts = ["base"]
        for each in training_stages(arm, recipes):
            about = [each.stage.recipe, "" if each.stage.adapter == "continue" else f"adapter: {each.stage.adapter}"]
            about += [] if each.recipe.n_updates is None else [f"{each.recipe.n_updates:,} updates"]
            told = f" ({', '.join(filter(None, about))})" if any(about) else ""
            parts.append(f"{each.stage.kind} {'+'.join(each.stage.data)}{told}")
        titles = ", ".join(point.title for point in arm_points(name, arm))
        lines.append(f"{name}: {' > '.join(parts)}; evaluated at {titles}")
    return tuple(lines)


def floor_warning(stage: str, floor: int) -> str:
    """Return a warning if a recipe lowers the floor of its stage; else an empty string."""
    usual = UPDATE_FLOORS[stage]
    what = f"The study lowered the floor of {stage} updates from {usual} to {floor}."
    return f"{what} So few have been seen to teach nothing: raise n_updates for results." if floor < usual else ""
