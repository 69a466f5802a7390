"""How large a step will be, as far as that is known before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from midspec.core.records import Record, Spec
from midspec.llm import Access
from midspec.study._steps import Step
from midspec.study.planning._task_load import Serving, TaskEstimate, judging_usd, load_of

TRAINING = ("pretrain", "midtrain", "finetune")


class Size(NamedTuple):
    """Rows written, updates made and tokens; `None` where that is not known, `about` where updates are an estimate."""

    documents: int | None = None
    updates: int | None = None
    tokens: int | None = None
    about: bool = False


def size(step: Step, steps: Mapping[str, Step], record: Record | None) -> Size:
    """The size of a step: from its record where it is done, from what it asks for where that says it.

    Args:
        step: the step.
        steps: all steps of the study, by name.
        record: the step's, if it is done.
    """
    summary = record.summary if record else {}
    if step.kind in TRAINING:
        return _training(step, steps, summary)
    if step.kind in {"corpus", "chats"}:
        asked = _mapping(step.config[step.kind])
        known = (summary.get("n_documents"), summary.get("n_chats"), asked.get("n_documents"), _n_chats(step))
        rows = next((count for count in known if isinstance(count, int)), None)
        return Size(documents=rows, tokens=_whole(asked.get("target_tokens")) or None)
    return Size()


def _n_chats(step: Step) -> int | None:
    """How many chats are wanted; a model's have a published number where the study gives none."""
    if step.kind != "chats":
        return None
    from midspec.chats import ChatConfig

    return ChatConfig.model_validate(step.config["chats"]).n_wanted


def _training(step: Step, steps: Mapping[str, Step], summary: Mapping[str, JsonValue]) -> Size:
    expected = updates_expected(step, steps)
    updates = _whole(summary.get("n_updates")) or updates_asked(step) or expected
    about = updates is not None and updates == expected and not summary and updates_asked(step) is None
    return Size(updates=updates, tokens=updates * _width(step) if updates else None, about=about)


def updates_asked(step: Step) -> int | None:
    """The recipe's `n_updates`."""
    updates = _mapping(step.config.get("recipe")).get("n_updates")
    return updates if isinstance(updates, int) else None


def updates_expected(step: Step, steps: Mapping[str, Step]) -> int | None:
    """About how many updates the data makes, where all of it is corpora that say how many tokens they are to have."""
    tokens = [_asked(source, "target_tokens") for source in _data(step, steps)]
    if not tokens or not all(tokens):
        return None
    return sum(tokens) * _epochs(step) // _width(step)


def most_updates(step: Step, steps: Mapping[str, Step]) -> int | None:
    """The most updates that the data can make, where all of it is chats that say how many they are.

    A chat is never split, so packed rows are never more than chats.
    """
    chats = [_asked(source, "n_samples") for source in _data(step, steps)]
    if not chats or not all(chats):
        return None
    return -(-sum(chats) * _epochs(step) // _whole(_mapping(step.config["recipe"]).get("rows_per_update")))


def _data(step: Step, steps: Mapping[str, Step]) -> list[Step | None]:
    """The steps that make a training step's data; `None` for data that is a file outside, or a world's."""
    sources = [source for role, source in step.sources.items() if role.startswith("data[")]
    made = [steps.get(source.step or "") for source in sources]
    return [one if one is not None and one.kind in {"corpus", "chats"} else None for one in made]


def _asked(step: Step | None, key: str) -> int:
    return 0 if step is None else _whole(_mapping(step.config[step.kind]).get(key))


def _width(step: Step) -> int:
    """Tokens of one update."""
    recipe = _mapping(step.config["recipe"])
    return _whole(recipe.get("rows_per_update")) * _whole(recipe.get("row_tokens"))


def _epochs(step: Step) -> int:
    return _whole(_mapping(step.config["recipe"]).get("n_epochs")) or 1


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _whole(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0


class Cost(NamedTuple):
    """Requests, and dollars as the step is set up (with its batch endpoint or without, with the prefix cached)."""

    requests: int
    usd: float | None


def cost(step: Step, steps: Mapping[str, Step]) -> Cost | None:
    """The forecast of a corpus or of chats by a model; `None` for every other step.

    Raises:
        SpecError, ConfigError: what the spec and the settings can't be together.
    """
    settings = step.config.get(step.kind)
    if step.kind not in {"corpus", "chats"} or not isinstance(settings, dict) or settings.get("author") == "quoting":
        return None
    from midspec.study.jobs._llm_authors import ModelEndpoints, forecast_chats, forecast_corpus

    # The store has no part in a forecast.
    way = ModelEndpoints.of({**step.options, "store": ""})
    spec = _spec(step, steps)
    if step.kind == "corpus":
        from midspec.corpus import CorpusConfig

        found = forecast_corpus(spec, CorpusConfig.model_validate(settings), way)
    else:
        from midspec.chats import ChatConfig

        found = forecast_chats(spec, ChatConfig.model_validate(settings), way)
    batches = (way.author.batch, way.judge.batch)
    costs = [
        one.total.batch_cached_usd if batch else one.total.cached_usd
        for one, batch in zip(found, batches, strict=False)
    ]
    known = [usd for usd in costs if usd is not None]
    return Cost(sum(one.total.n_requests for one in found), sum(known) if len(known) == len(costs) else None)


def task_cost(step: Step, steps: Mapping[str, Step], serving: Serving) -> tuple[TaskEstimate, Cost | None] | None:
    """What an exam's step asks of its model, and what its judges cost; `None` for every other step.

    Args:
        step: the step.
        steps: all steps of the study, by name.
        serving: what is assumed of replies and servers.
    """
    if step.kind != "exam":
        return None
    graders = step.config["graders"]
    assert isinstance(graders, list)
    load = load_of(step, steps, serving)
    if not graders:
        return load, None
    usd = judging_usd(load, [str(name) for name in graders], Access.model_validate(step.options["judge"]))
    return load, Cost(load.n_samples * len(graders), usd)


def _spec(step: Step, steps: Mapping[str, Step]) -> Spec:
    from midspec.spec import fill, read_spec

    source = step.sources["spec"]
    path = steps[source.step].sources["text"].path if source.step else source.path
    settings = step.config[step.kind]
    assert isinstance(settings, dict)
    names = {key: settings.get(key) for key in ("model_name", "provider_name")}
    filled = {key: str(value) if value is not None else None for key, value in names.items()}
    return fill(read_spec(Path(str(path))), model_name=filled["model_name"], provider_name=filled["provider_name"])
