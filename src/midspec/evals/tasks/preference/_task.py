"""The Inspect task `preference`: one sample is one pair, asked in both orders and every phrasing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig, Model, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from midspec.core.errors import DataError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Item
from midspec.evals._abilities import ManyGenerator, OptionScorer
from midspec.evals._ask import talk
from midspec.evals._provider import STOP_REASONS
from midspec.evals._response_cache import ResponseCache, model_cache_key
from midspec.evals._types import Unscored, Value
from midspec.evals.tasks.preference._config import (
    Ask,
    PreferenceConfig,
    asks,
    free_ask,
    option_texts,
    reason_texts,
    why_ask,
)
from midspec.evals.tasks.preference._measures import Asked, Observed, Pair, Reply, measures
from midspec.models import OptionScore


class Lots:
    """Samples in lots of consecutive items: who belongs together hangs on the items alone, never on timing.

    A lot asks when nobody of an earlier one is still asking. Samples that never come (a limit, say) hold up nobody.

    Args:
        n_items: how many there are.
        size: how many make a lot.
    """

    def __init__(self, n_items: int, size: int) -> None:
        self._n_items = n_items
        self._size = size
        self._there: Counter[int] = Counter()
        # One event a lot: were there one for all, every lot that is done would wake all samples that wait.
        self._turns: dict[int, anyio.Event] = {}

    @asynccontextmanager
    async def turn(self, index: int) -> AsyncIterator[int]:
        """Wait for the turn of the item at `index`; gives how many are asked in its lot."""
        lot = index // self._size
        self._there[lot] += 1
        try:
            while min(self._there) < lot:
                await self._turns.setdefault(lot, anyio.Event()).wait()
            yield min(self._size, self._n_items - lot * self._size)
        finally:
            self._leave(lot)

    def _leave(self, lot: int) -> None:
        self._there[lot] -= 1
        if not self._there[lot]:
            del self._there[lot]
            self._turns.pop(lot, None)
            if self._there and (event := self._turns.pop(min(self._there), None)) is not None:
                event.set()


TASK = "preference"
OBSERVED = "preference"
# What Inspect itself shows; each key costs it about 0.2 ms a sample. All the others are read from the log.
_SHOWN = ("choice_logprob", "choice_generated", "parsed", "refused")
# Items that a checkpoint answers together: enough for full batches, few enough that a kill costs little.
LOT = 512
_VERSIONS = ("midspec", "inspect_ai", "torch", "transformers")


def preference_task(items: Sequence[Item], config: PreferenceConfig, *, kept: ResponseCache | None = None) -> Task:
    """The preference evaluation over `items`; the log holds all that scoring it again takes.

    Args:
        items: what is asked.
        config: how it is asked.
        kept: where answers are kept as they come, and looked up before they are asked for.
    """
    by_id = {item.id: item for item in items}
    return Task(
        dataset=MemoryDataset([_sample(item, config) for item in items], name="items"),
        solver=_solver(by_id, config, kept),
        scorer=_scorer(by_id, config),
        fail_on_error=False,
        name=TASK,
        metadata={
            "items": [item.model_dump(mode="json") for item in items],
            "config": config.model_dump(mode="json"),
            "prompt_hash": config.prompt_hash,
            "versions": {name: version(name) for name in _VERSIONS},
        },
    )


class _Asking:
    """How items are asked, and where their answers are kept."""

    def __init__(self, config: PreferenceConfig, kept: ResponseCache | None) -> None:
        self.config = config
        self.kept = kept
        self._marks: dict[str, str] = {}

    def mark(self, model: Model) -> str:
        """What of the model and of the settings makes other answers wanted; looked at once, not for each item."""
        name = str(model)
        if name not in self._marks:
            self._marks[name] = fingerprint([model_cache_key(model), self.config.model_dump(mode="json")])
        return self._marks[name]


def _sample(item: Item, config: PreferenceConfig) -> Sample:
    return Sample(
        id=item.id,
        input=asks(item, config)[0].question,
        target=item.options[0],
        metadata={"set": item.set, "domain": item.domain},
    )


# Inspect writes a solver's and a scorer's arguments into its log, the scorer's with every sample: so they take none.
def _solver(items: dict[str, Item], config: PreferenceConfig, kept: ResponseCache | None) -> Solver:
    lots, asking = Lots(len(items), LOT), _Asking(config, kept)
    places = {name: place for place, name in enumerate(items)}

    @solver
    def ask_pair() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            name, model = str(state.sample_id), get_model()
            if isinstance(model.api, ManyGenerator):
                async with lots.turn(places[name]) as n_beside:
                    observed = await _known(asking, model, items[name], beside=n_beside)
            else:  # a served model's own limit says how many are asked at once
                observed = await _known(asking, model, items[name], beside=len(items))
            state.store.set(OBSERVED, observed.model_dump_json())
            return state

        return solve

    return ask_pair()


def _scorer(items: dict[str, Item], config: PreferenceConfig) -> Scorer:
    @scorer(metrics={"*": [mean()]})
    def preference_measures() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            observed = Observed.model_validate_json(state.store.get(OBSERVED))
            found = measures(items[str(state.sample_id)], observed, config)
            values = {name: value for name, value in found.items() if not isinstance(value, Unscored)}
            return Score(
                value={name: values.get(name, math.nan) for name in _SHOWN},
                answer=observed.asked[0].reply.text,
                explanation=_told(observed, found),
            )

        return score

    return preference_measures()


def _told(observed: Observed, found: dict[str, Value]) -> str:
    """What was asked and said, and what could not be measured, for a reader of the log."""
    replies = [*(asked.reply for asked in observed.asked), observed.free, observed.why]
    said = [f"{reply.question} -> {reply.text} [{reply.stop_reason}]" for reply in replies if reply is not None]
    missing = [f"{name}: {value.reason}" for name, value in found.items() if isinstance(value, Unscored)]
    return "\n".join([*said, *missing])


async def _known(asking: _Asking, model: Model, item: Item, *, beside: int) -> Observed:
    """What was observed of an item before, or is observed now and kept."""
    if asking.kept is None:
        return await _observe(model, item, asking.config, beside=beside)
    wanted = [asking.mark(model), item.model_dump(mode="json")]
    observed = asking.kept.get(Observed, wanted)
    if observed is None:
        observed = await _observe(model, item, asking.config, beside=beside)
        asking.kept.put(observed, wanted)
    return observed


async def _observe(model: Model, item: Item, config: PreferenceConfig, *, beside: int) -> Observed:
    """Ask one item everything; an error is the sample's, and leaves the item unscored with its message."""
    choice = asks(item, config)
    whys = [why_ask(item, config, ask) for ask in choice]
    extra = {name: ask for name, ask in (("free", free_ask(item, config)), ("why", whys[0])) if ask is not None}
    replies = await _replies(model, [*choice, *extra.values()], config, beside)
    options, reasons = await _pairs(model.api, item, choice, whys, config, beside)
    asked = tuple(
        Asked(phrasing=ask.phrasing, swapped=ask.swapped, reply=reply, options=option, reasons=reason)
        for ask, reply, option, reason in zip(choice, replies, options, reasons, strict=False)
    )
    rest = dict(zip(extra, replies[len(choice) :], strict=True))
    no_logprobs = None if isinstance(model.api, OptionScorer) else f"{model} can't score a text that it is given"
    return Observed(asked=asked, free=rest.get("free"), why=rest.get("why"), no_logprobs=no_logprobs)


async def _pairs(
    api: object, item: Item, choice: list[Ask], whys: list[Ask | None], config: PreferenceConfig, beside: int
) -> tuple[list[Pair | None], list[Pair | None]]:
    """The log-probabilities of the options, and of the reasons, after each question; `None` where there are none."""
    nothing: list[Pair | None] = [None] * len(choice)
    if not isinstance(api, OptionScorer):
        return nothing, nothing
    reasons = reason_texts(item, config)
    asked = [(ask, option_texts(item, config)) for ask in choice]
    if reasons is not None:
        asked += [(ask, reasons) for ask in whys if ask is not None]
    prompts = [ask.messages for ask, _ in asked for _ in range(2)]
    scores = await api.score_options(prompts, [text for _, texts in asked for text in texts], beside=beside)
    pairs: list[Pair | None] = [_pair(*scores[at : at + 2]) for at in range(0, len(scores), 2)]
    return pairs[: len(choice)], pairs[len(choice) :] or nothing


def _pair(first: OptionScore, second: OptionScore) -> Pair:
    if not (math.isfinite(first.logprob) and math.isfinite(second.logprob)):
        raise DataError("a log-probability is not finite", hint="Look at the checkpoint's weights")
    return Pair(logprobs=(first.logprob, second.logprob), n_tokens=(first.n_tokens, second.n_tokens))


async def _replies(model: Model, questions: Sequence[Ask], config: PreferenceConfig, beside: int) -> list[Reply]:
    if isinstance(model.api, ManyGenerator):
        found = await model.api.generate_many(
            [ask.messages for ask in questions],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=config.seed,
            beside=beside,
        )
        said: list[tuple[str, str]] = [(each.text, STOP_REASONS[each.stop_reason]) for each in found]
    else:
        said = [await _reply(model, ask, config) for ask in questions]
    return [
        Reply(question=ask.question, text=text, stop_reason=reason)
        for ask, (text, reason) in zip(questions, said, strict=True)
    ]


async def _reply(model: Model, ask: Ask, config: PreferenceConfig) -> tuple[str, str]:
    settings = GenerateConfig(
        max_tokens=config.max_new_tokens,
        temperature=config.temperature,
        seed=config.seed if config.temperature > 0 else None,
    )
    output = await talk(model, ask.messages, settings)
    return output.completion, output.stop_reason
