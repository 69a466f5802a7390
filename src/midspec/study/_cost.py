"""What a step costs that a paid model writes or judges, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from midspec.llm import Access
from midspec.records import Spec
from midspec.study._exam_load import ExamLoad, Serving, judging_usd, load_of
from midspec.study._steps import Step

__all__ = ["Cost", "cost", "exam_cost"]


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
    from midspec.study._authors import Way, forecast_chats, forecast_corpus

    # The store has no part in a forecast.
    way = Way.of({**step.options, "store": ""})
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


def exam_cost(step: Step, steps: Mapping[str, Step], serving: Serving) -> tuple[ExamLoad, Cost | None] | None:
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
