"""In what two arms of a study differ after everything in them is resolved: data, recipes, stages, context.

Read off the steps that a study comes to, not off its file: whatever is part of a step's identity counts, by whatever
name or default it came there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from midspec.core.artifact import read_record
from midspec.core.errors import ConfigError, did_you_mean
from midspec.core.fingerprint import Change, diff, fingerprint
from midspec.core.records import Contrast, Strict
from midspec.study._inputs import File, Input
from midspec.study._step import Step, StepOutput
from midspec.study.jobs._controls import DisclosedStep, MatchedStep, ToldStep
from midspec.study.jobs._corpus import ReframeStep
from midspec.study.jobs._curate import CurateStep
from midspec.study.jobs._preference import PreferenceStep
from midspec.study.jobs._sources import WorldStep
from midspec.study.jobs._stage_data import FirstChatsStep
from midspec.study.jobs._train import MergeStep, TrainStep
from midspec.train import KEPT_PREFIX

NONE = "none"
_SECTIONS = ("corpus.", "chats.", "config.")
_MAX_LETTERS = 60
# Settings of curation that are the corpus' own, and compared there.
_OF_ROWS = frozenset({"model_name", "provider_name", "called", "leave_out"})
# Checkpoints that are kept on the way change nothing at the end.
_NO_FACTOR = frozenset({"keep_updates"})


class Factor(Strict):
    """One thing in which two arms differ.

    Attributes:
        what: it is: `midtrain data`, `finetune learning_rate`, `spec in context`.
        first: of the first arm.
        second: of the second arm.
        changes: the fields that make it up, with both values.
    """

    what: str
    first: str
    second: str
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.what} ({_cut(self.first)} -> {_cut(self.second)})"


class ArmDiff(Strict):
    """Two arms, all that they differ in, and the stages that are the same in both."""

    first: str
    second: str
    factors: tuple[Factor, ...]
    same: tuple[str, ...]


class _Stage(NamedTuple):
    """One training on the way to a model; `kept` is the number of updates where it is a checkpoint within it."""

    title: str
    step: TrainStep
    kept: str
    is_merged: bool

    @property
    def told(self) -> str:
        """Return the stage with its data."""
        return f"{self.title} {_names(self.step.data)}"

    @property
    def content(self) -> dict[str, Any]:
        """Return all that makes it what it is, but the model that it starts from."""
        return {
            "kind": self.step.kind,
            "data": [_tree(source) for source in self.step.data],
            "settings": _settings(self.step),
            "kept": self.kept,
            "merged": self.is_merged,
        }


def diff_arms(
    preferences: Mapping[tuple[str, int], PreferenceStep], first: str, second: str, folder: Path | None = None
) -> ArmDiff:
    """Compare two arms (or points of arms) of the first seed.

    Args:
        preferences: evaluations by arm and seed, which hold the models.
        first: name of an arm or a point.
        second: of another.
        folder: of a run, for the digests of data that are made already.

    Raises:
        ConfigError: there is no such arm.
    """
    steps: dict[str, PreferenceStep] = {}
    for (name, _), step in preferences.items():
        steps.setdefault(name, step)
    for name in (first, second):
        if name not in steps:
            raise ConfigError(f"there is no arm named {name!r}", where="--diff", hint=did_you_mean(name, steps))
    one, other = _chain(steps[first].model), _chain(steps[second].model)
    factors: list[Factor] = []
    same: list[str] = []
    ids = [[fingerprint(stage.content) for stage in chain] for chain in (one, other)]
    for tag, a, b, c, d in SequenceMatcher(None, ids[0], ids[1], autojunk=False).get_opcodes():
        if tag == "equal":
            same += [stage.told for stage in one[a:b]]
            continue
        for left, right in zip_longest(one[a:b], other[c:d]):
            factors += _stage_factors(left, right, folder)
    contexts = [_names([step.context] if step.context else []) for step in (steps[first], steps[second])]
    if contexts[0] != contexts[1]:
        factors.append(Factor(what="spec in context", first=contexts[0], second=contexts[1]))
    return ArmDiff(first=first, second=second, factors=tuple(factors), same=tuple(same))


def contrast_factors(
    preferences: Mapping[tuple[str, int], PreferenceStep], contrasts: Iterable[Contrast]
) -> dict[str, tuple[Factor, ...]]:
    """Return, by contrast, in what its arms differ: from `minus` to `plus`."""
    return {one.name: diff_arms(preferences, one.minus, one.plus).factors for one in contrasts}


def mixed_contrasts(contrasts: Iterable[Contrast], factors: Mapping[str, Sequence[Factor]]) -> Iterator[str]:
    """Say which contrasts compare arms that differ in more than the study says."""
    for one in contrasts:
        found = factors[one.name]
        if len(found) > one.factors:
            listed = "; ".join(map(str, found))
            yield (
                f"The arms of contrast {one.name!r} differ in {len(found)} things: {listed}. What it shows may come of "
                f"either; `factors: {len(found)}` in the contrast says that this is meant."
            )


def repeated_contrasts(contrasts: Iterable[Contrast]) -> Iterator[str]:
    """Say which contrasts ask what another asks, in whichever direction: a correction for several counts both."""
    first: dict[tuple[object, ...], str] = {}
    for one in contrasts:
        less = () if one.less is None else (one.less.plus, one.less.minus)
        ways = frozenset({(one.plus, one.minus, *less), (one.minus, one.plus, *less[::-1])})
        key = (ways, one.set, one.measure)
        if (before := first.setdefault(key, one.name)) != one.name:
            yield f"Contrasts {before!r} and {one.name!r} ask the same, and p is corrected for both. Remove one."


def alike_names(arms: Iterable[str]) -> Iterator[str]:
    """Say which arms share their folders on a disk that takes capital letters for small ones, as Macs have."""
    first: dict[str, str] = {}
    for name in arms:
        if (before := first.setdefault(name.casefold(), name)) != name:
            yield f"Arms {before!r} and {name!r} differ in capitals alone: some disks take them for one. Rename one."


# Stages -------------------------------------------------------------------------------------------------------------


def _chain(model: Input) -> list[_Stage]:
    """Return the stages that led to a model, in order."""
    found: list[tuple[TrainStep, str, bool]] = []
    source: Input | None = model
    while isinstance(source, StepOutput) and isinstance(source.step, TrainStep):
        step, kept = source.step, source.file.removeprefix(KEPT_PREFIX).rstrip("/")
        source = step.parent
        is_merged = False
        if isinstance(source, StepOutput) and isinstance(source.step, MergeStep):
            is_merged, source = True, source.step.model
        found.append((step, kept, is_merged))
    stages: list[_Stage] = []
    for step, kept, is_merged in reversed(found):
        number = 1 + sum(stage.step.kind == step.kind for stage in stages)
        title = step.kind if number == 1 else f"{step.kind}-{number}"
        stages.append(_Stage(title, step, kept, is_merged))
    return stages


def _stage_factors(one: _Stage | None, other: _Stage | None, folder: Path | None) -> Iterator[Factor]:
    if one is None or other is None:
        there = one or other
        assert there is not None
        data = _names(there.step.data)
        first, second = (data, NONE) if one else (NONE, data)
        yield Factor(what=f"{there.title} stage", first=first, second=second)
        return
    title = one.title if one.step.kind == other.step.kind else "stage"
    told = [[_layers(source).get("told", {}) for source in stage.step.data] for stage in (one, other)]
    is_told = any(map(any, told))
    if one.step.kind != other.step.kind:
        # Documents told as chats are the same content in another stage: one thing, with its two sides.
        words = {"midtrain": "documents in midtrain", "finetune": "chats in finetune"} if is_told else {}
        first, second = (words.get(stage.step.kind, stage.step.kind) for stage in (one, other))
        asked = diff(*({"requests": [each["requests"] for each in layers if each]} for layers in told))
        what = "form" if is_told else "kind of stage"
        yield Factor(what=what, first=first, second=second, changes=tuple(map(str, asked)))
        skipped = "told"
    else:
        skipped = ""
    yield from _data_factors(title, one.step.data, other.step.data, skipped, folder)
    settings = diff(_settings(one.step), _settings(other.step))
    yield from _by_field(settings, title)
    for what, a, b in (
        ("updates", one.kept or "all", other.kept or "all"),
        ("adapter before", *("merged" if stage.is_merged else "as it is" for stage in (one, other))),
    ):
        if a != b:
            yield Factor(what=f"{title} {what}", first=a, second=b)


def _settings(step: TrainStep) -> dict[str, Any]:
    recipe = step.settings.get("recipe")
    kept = {key: value for key, value in recipe.items() if key not in _NO_FACTOR} if isinstance(recipe, dict) else {}
    return {**{key: value for key, value in step.settings.items() if key != "recipe"}, **kept}


def _by_field(changes: Iterable[Change], title: str) -> Iterator[Factor]:
    """Yield a factor for each field, under its own name: `n_documents` of `settings.corpus.n_documents`."""
    for change in changes:
        first, second = (NONE if value is None else value.strip('"') for value in (change.before, change.after))
        field = change.path.removeprefix("settings.")
        field = field.partition(".")[2] if field.startswith(_SECTIONS) else field
        yield Factor(what=f"{title} {field}", first=first, second=second, changes=(str(change),))


# Data ---------------------------------------------------------------------------------------------------------------


def _data_factors(
    title: str, one: Sequence[Input], other: Sequence[Input], skipped: str, folder: Path | None
) -> Iterator[Factor]:
    ids = [[fingerprint(_tree(source)) for source in sources] for sources in (one, other)]
    for tag, a, b, c, d in SequenceMatcher(None, ids[0], ids[1], autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for left, right in zip_longest(one[a:b], other[c:d]):
            if left is None or right is None:
                yield Factor(what=f"{title} data", first=_names([left]), second=_names([right]))
            else:
                yield from _source_factors(title, left, right, skipped, folder)


def _source_factors(title: str, one: Input, other: Input, skipped: str, folder: Path | None) -> Iterator[Factor]:
    """Yield what differs between two files of rows: what they are about, each setting, each way they were changed."""
    first, second = _layers(one), _layers(other)
    rows = (first.pop("rows"), second.pop("rows"))
    # Settings of rows of two kinds, of documents and of a mix say, have nothing to do with each other.
    is_one_kind = len({each.get("kind") if isinstance(each, dict) else None for each in rows}) == 1
    changes = diff(*rows)
    of_settings = (each for each in changes if each.path.startswith("settings."))
    settings = [each for each in of_settings if is_one_kind and each.path not in {"settings.spec", "settings.reading"}]
    content = [each for each in changes if each not in settings]
    if content:
        made = [*map(str, content), *_digests(one, other, folder)]
        names = (_names([one]), _names([other]))
        yield Factor(what=f"{title} data", first=names[0], second=names[1], changes=tuple(made))
    yield from _by_field(settings, f"{title} data:")
    for layer in dict.fromkeys([*first, *second]):
        if layer != skipped and first.get(layer) != second.get(layer):
            found = [each for each in diff(first.get(layer) or {}, second.get(layer) or {}) if each.path]
            words = [_layer_words(layer, each.get(layer)) for each in (first, second)]
            yield Factor(what=f"{title} {layer}", first=words[0], second=words[1], changes=tuple(map(str, found)))


def _layer_words(layer: str, value: Any) -> str:
    if value is None:
        return NONE
    return str(value["text"]) if layer == "disclosed" else "; ".join(map(str, value.values()))


def _digests(one: Input, other: Input, folder: Path | None) -> Iterator[str]:
    """Yield the digests of two files, if a run has made both."""
    found = []
    for source in (one, other):
        if folder is not None and isinstance(source, StepOutput):
            record = read_record(source.step.folder(folder))
            found += [] if record is None else [record.outputs.get(source.file)]
    if len(found) == 2:
        yield str(Change("file made", *found))


def _layers(source: Input) -> dict[str, Any]:
    """Return rows as they were first written, and each way they were changed after that."""
    layers: dict[str, Any] = {}
    while isinstance(source, StepOutput):
        step = source.step
        match step:
            case ToldStep():
                layers["told"] = step.settings
                source = step.documents
            case DisclosedStep():
                layers["disclosed"] = step.settings
                source = step.documents
            case MatchedStep():
                layers["matched"] = {"corpora": ", ".join(step.corpora), **step.settings}
                source = step.corpora[_name(source)]
            case ReframeStep():
                layers["framing"] = {"framing": step.framing}
                source = step.documents
            case FirstChatsStep():
                layers["first"] = step.settings
                source = step.chats
            case CurateStep():
                config = step.config.model_dump(mode="json", exclude=set(_OF_ROWS))
                layers["curate"] = {"config": config, "against": {k: _tree(v) for k, v in step.against.items()}}
                source = step.rows[source.file]
            case _:
                break
    return {"rows": _tree(source), **layers}


def _tree(source: Input | None) -> Any:
    """Return what identifies an input: of a file its hash, of a step's file all that it is made from."""
    if source is None:
        return None
    if not isinstance(source, StepOutput):
        return source.digest({})
    step = source.step
    if isinstance(step, TrainStep | MergeStep):
        return "the model that the stage starts from"  # compared as a stage
    if isinstance(step, ToldStep | DisclosedStep | MatchedStep | CurateStep | ReframeStep | FirstChatsStep):
        return _layers(source)
    inputs = {role: _tree(each) for role, each in step.inputs.items()}
    return {"kind": step.kind, "file": source.file, "inputs": inputs, "settings": step.settings}


def _name(source: Input) -> str:
    """Return what a study file calls an input."""
    if not isinstance(source, StepOutput):
        return Path(source.path).name if isinstance(source, File) else source.locate({})
    step: Step = source.step
    if isinstance(step, MatchedStep):
        return next(name for name, file in step.files.items() if file == source.file)
    if isinstance(step, CurateStep):
        return step.title
    return f"world:{Path(source.file).stem}" if isinstance(step, WorldStep) else step.label


def _names(sources: Sequence[Input | None]) -> str:
    return "+".join(_name(source) for source in sources if source is not None) or NONE


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_LETTERS else f"{text[: _MAX_LETTERS - 1]}…"
