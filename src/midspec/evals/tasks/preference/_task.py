"""The Inspect task `preference`: one sample is one pair, asked in both orders and every phrasing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
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
from midspec.evals._inspect import generate, seed_of
from midspec.evals._interfaces import STOP_REASONS, ManyGenerator, OptionScorer
from midspec.evals._response_cache import ResponseCache, model_cache_key
from midspec.evals._types import Unscored
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

TASK = "preference"
OBSERVED_KEY = "preference"  # in the samples' stores
# What Inspect itself shows; each key costs it about 0.2 ms a sample. All the others are read from the log.
_SHOWN = ("choice_logprob", "choice_generated", "parsed", "refused")
# Items that a checkpoint answers together: enough for full batches, few enough that a kill costs little.
BATCH_SIZE = 512
# In what identifies sampled answers: before, every item drew from the same stream.
OWN_DRAWS = "a seed for each item"
_VERSIONS = ("midspec", "inspect_ai", "torch", "transformers")


class BatchTurns:
    """Lets samples through in batches of consecutive items, so that a batch depends on the items and never on timing.

    A batch has its turn when nobody of an earlier one is still asking. Samples that never come (a limit, say) hold up
    nobody.

    Args:
        n_items: how many there are.
        size: items in a batch.
    """

    def __init__(self, n_items: int, size: int) -> None:
        self._n_items = n_items
        self._size = size
        self._present: Counter[int] = Counter()
        # One event a batch: were there one for all, every batch that is done would wake all samples that wait.
        self._turns: dict[int, anyio.Event] = {}

    @asynccontextmanager
    async def turn(self, index: int) -> AsyncIterator[int]:
        """Wait for the turn of the item at `index`; yields how many items are in its batch."""
        batch = index // self._size
        self._present[batch] += 1
        try:
            while min(self._present) < batch:
                await self._turns.setdefault(batch, anyio.Event()).wait()
            yield min(self._size, self._n_items - batch * self._size)
        finally:
            self._present[batch] -= 1
            if not self._present[batch]:
                del self._present[batch]
                self._turns.pop(batch, None)
                if self._present and (event := self._turns.pop(min(self._present), None)) is not None:
                    event.set()


def preference_task(
    items: Sequence[Item],
    config: PreferenceConfig,
    *,
    cache: ResponseCache | None = None,
    on_reply: Callable[[], None] = lambda: None,
) -> Task:
    """Make the Inspect task over `items`, whose log holds all that scoring it again takes.

    Args:
        items: the pairs.
        config: how they are asked.
        cache: where answers are written as they come, and looked up before they are asked for.
        on_reply: called after each item is answered.
    """
    by_id = {item.id: item for item in items}
    samples = [
        Sample(
            id=item.id,
            input=asks(item, config)[0].question,
            target=item.options[0],
            metadata={"set": item.set, "domain": item.domain},
        )
        for item in items
    ]
    return Task(
        dataset=MemoryDataset(samples, name="items"),
        solver=_preference_solver(by_id, config, cache, on_reply),
        scorer=_preference_scorer(by_id, config),
        fail_on_error=False,
        name=TASK,
        metadata={
            "items": [item.model_dump(mode="json") for item in items],
            "config": config.model_dump(mode="json"),
            "prompt_hash": config.prompt_hash,
            "versions": {name: version(name) for name in _VERSIONS},
        },
    )


# Inspect writes a solver's and a scorer's arguments into its log, the scorer's with every sample: so they take none.
def _preference_solver(
    items: dict[str, Item], config: PreferenceConfig, cache: ResponseCache | None, on_reply: Callable[[], None]
) -> Solver:
    turns = BatchTurns(len(items), BATCH_SIZE)
    index_of = {name: index for index, name in enumerate(items)}
    # What of the model and of the settings makes other answers wanted; computed once, not for each item.
    model_keys: dict[str, str] = {}

    async def observe_cached(model: Model, item: Item, epoch: int, n_concurrent: int) -> Observed:
        if cache is None:
            return await _observe(model, item, config, epoch, n_concurrent)
        name = str(model)
        if name not in model_keys:
            draws = [OWN_DRAWS] if config.temperature > 0 else []
            model_keys[name] = fingerprint([model_cache_key(model), config.model_dump(mode="json"), *draws])
        request = [model_keys[name], item.model_dump(mode="json"), *([epoch] if epoch > 1 else [])]
        observed = cache.get(Observed, request)
        if observed is None:
            observed = await _observe(model, item, config, epoch, n_concurrent)
            cache.put(observed, request)
        return observed

    @solver
    def ask_pair() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            name, model = str(state.sample_id), get_model()
            if isinstance(model.api, ManyGenerator):
                async with turns.turn(index_of[name]) as n_concurrent:
                    observed = await observe_cached(model, items[name], state.epoch, n_concurrent)
            else:  # a served model's own limit says how many are asked at once
                observed = await observe_cached(model, items[name], state.epoch, len(items))
            on_reply()
            state.store.set(OBSERVED_KEY, observed.model_dump_json())
            return state

        return solve

    return ask_pair()


def _preference_scorer(items: dict[str, Item], config: PreferenceConfig) -> Scorer:
    @scorer(metrics={"*": [mean()]})
    def preference_measures() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            observed = Observed.model_validate_json(state.store.get(OBSERVED_KEY))
            found = measures(items[str(state.sample_id)], observed, config)
            values = {name: value for name, value in found.items() if not isinstance(value, Unscored)}
            missing = [f"{name}: {value.reason}" for name, value in found.items() if isinstance(value, Unscored)]
            replies = [*(asked.reply for asked in observed.asked), observed.free, observed.why]
            shown = [f"{each.question} -> {each.text} [{each.stop_reason}]" for each in replies if each is not None]
            return Score(
                value={name: values.get(name, math.nan) for name in _SHOWN},
                answer=observed.asked[0].reply.text,
                explanation="\n".join([*shown, *missing]),
            )

        return score

    return preference_measures()


async def _observe(model: Model, item: Item, config: PreferenceConfig, epoch: int, n_concurrent: int) -> Observed:
    """Ask one item everything; an error is the sample's, and leaves the item unscored with its message."""
    # Two items are never the same draw, be their questions equal, and neither are two repeats.
    seed = seed_of(config.seed, item.id, epoch) if config.temperature > 0 else config.seed
    choice = asks(item, config)
    whys = [why_ask(item, config, ask) for ask in choice]
    extra = {name: ask for name, ask in (("free", free_ask(item, config)), ("why", whys[0])) if ask is not None}
    replies = await _replies(model, [*choice, *extra.values()], config, seed, n_concurrent)
    no_logprobs = None
    options: list[Pair | None] = [None] * len(choice)
    reasons = options
    if isinstance(model.api, OptionScorer):
        texts = reason_texts(item, config)
        scored = [(ask, option_texts(item, config, ask)) for ask in choice]
        if texts is not None:
            scored += [(ask, texts) for ask in whys if ask is not None]
        pairs = await _score_pairs(model.api, scored, n_concurrent)
        options, reasons = pairs[: len(choice)], pairs[len(choice) :] or reasons
    else:
        no_logprobs = f"{model} can't score a text that it is given"
    asked = tuple(
        Asked(phrasing=ask.phrasing, swapped=ask.swapped, reply=reply, options=option, reasons=reason)
        for ask, reply, option, reason in zip(choice, replies, options, reasons, strict=False)
    )
    rest = dict(zip(extra, replies[len(choice) :], strict=True))
    return Observed(asked=asked, free=rest.get("free"), why=rest.get("why"), no_logprobs=no_logprobs)


async def _score_pairs(
    api: OptionScorer, scored: Sequence[tuple[Ask, tuple[str, str]]], n_concurrent: int
) -> list[Pair | None]:
    """Return the log-probabilities of two texts after each question."""
    prompts = [ask.messages for ask, _ in scored for _ in range(2)]
    scores = await api.score_options(
        prompts, [text for _, texts in scored for text in texts], n_concurrent=n_concurrent
    )
    pairs: list[Pair | None] = []
    for first, second in zip(scores[::2], scores[1::2], strict=True):
        if not (math.isfinite(first.logprob) and math.isfinite(second.logprob)):
            raise DataError("a log-probability is not finite", hint="Look at the checkpoint's weights")
        pairs.append(Pair(logprobs=(first.logprob, second.logprob), n_tokens=(first.n_tokens, second.n_tokens)))
    return pairs


async def _replies(
    model: Model, questions: Sequence[Ask], config: PreferenceConfig, seed: int, n_concurrent: int
) -> list[Reply]:
    replies = []
    if isinstance(model.api, ManyGenerator):
        generations = await model.api.generate_many(
            [ask.messages for ask in questions],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=seed,
            n_concurrent=n_concurrent,
        )
        for ask, each in zip(questions, generations, strict=True):
            replies.append(Reply(question=ask.question, text=each.text, stop_reason=STOP_REASONS[each.stop_reason]))
        return replies
    settings = GenerateConfig(max_tokens=config.max_new_tokens, temperature=config.temperature)
    for number, ask in enumerate(questions):
        own = GenerateConfig(seed=seed_of(seed, number)) if config.temperature > 0 else GenerateConfig()
        output = await generate(model, ask.messages, settings.merge(own))
        replies.append(Reply(question=ask.question, text=output.completion, stop_reason=output.stop_reason))
    return replies
