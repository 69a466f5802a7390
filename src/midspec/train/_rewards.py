"""What a reward is, where rewards are found by name, and several as one number."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic import JsonValue

from midspec.core.errors import ConfigError, DataError, MidspecError
from midspec.core.records import Message
from midspec.core.registry import Registry
from midspec.train._rl_recipe import RewardEntry


class Reward(Protocol):
    """Pays for replies. Called with many at once, so that one that asks a judge can ask in parallel."""

    def __call__(
        self,
        prompts: Sequence[Sequence[Message]],
        replies: Sequence[str],
        rows: Sequence[Mapping[str, JsonValue]],
    ) -> Sequence[float | None]:
        """Return a number for each reply; `None` for one that can't be scored.

        Args:
            prompts: the messages before each reply.
            replies: their texts, without the end of the turn.
            rows: the other keys of each prompt's line; and `is_cut`, whether the reply reached the limit of tokens.
        """
        ...


class RewardType(Protocol):
    """A kind of reward (usually its class), as modules of `midspec.train.rewards` and other packages offer it."""

    name: str

    @classmethod
    def make(cls, settings: Mapping[str, JsonValue], where: str) -> Reward:
        """Make one from the settings of a recipe; `where` is what its errors name.

        Raises:
            ConfigError: a setting is unknown, missing or wrong.
        """
        ...


REWARDS: Registry[RewardType] = Registry(
    "reward", package="midspec.train.rewards", attribute="REWARDS", group="rewards"
)


class Scores(NamedTuple):
    """The sum paid for each reply, `None` where a part can't be scored; and each reward's own values, unweighted."""

    totals: list[float | None]
    parts: dict[str, list[float | None]]


class RewardSum:
    """The rewards of a recipe, each with its weight.

    Args:
        entries: of the recipe.
        given: rewards that a layer above made (those of evaluation tasks), by the entry's name.

    Raises:
        ConfigError: there is no such rule, a setting is wrong, or a task's reward was not given.
    """

    def __init__(self, entries: Sequence[RewardEntry], given: Mapping[str, Reward]) -> None:
        self._rewards = [(entry, _make(entry, given)) for entry in entries]

    def __call__(
        self,
        prompts: Sequence[Sequence[Message]],
        replies: Sequence[str],
        rows: Sequence[Mapping[str, JsonValue]],
    ) -> Scores:
        """Score replies; for the arguments see `Reward`.

        Raises:
            DataError: a reward gave another number of values than there are replies, or one that is no finite number,
                or a rule raised an error.
        """
        parts = {}
        for entry, reward in self._rewards:
            try:
                found: Any = reward(prompts, replies, rows)
                values = list(found) if isinstance(found, Iterator) else found
            except Exception as error:
                if entry.rule is None or isinstance(error, MidspecError):  # of ours
                    raise
                frame = traceback.extract_tb(error.__traceback__)[-1]
                what = f"the reward raised {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
                raise DataError(what, where=entry.name, hint="Mend it; give None for what can't be scored") from error
            parts[entry.name] = _checked(entry.name, values, len(replies))
        weights = [entry.weight for entry, _ in self._rewards]
        totals = []
        for values in zip(*parts.values(), strict=True):
            known = [value for value in values if value is not None]
            complete = len(known) == len(values)
            totals.append(sum(w * v for w, v in zip(weights, known, strict=True)) if complete else None)
        return Scores(totals, parts)


def _make(entry: RewardEntry, given: Mapping[str, Reward]) -> Reward:
    where = f"recipe.grpo.rewards.{entry.name}"
    if entry.rule is not None:
        return REWARDS.get(entry.rule, where=where).make(entry.settings, where)
    if entry.name not in given:
        raise ConfigError(
            "the reward of an evaluation task is made by `midspec train` and by studies, not here",
            where=where,
            hint="Pass it as rewards, by this name",
        )
    return given[entry.name]


def _checked(name: str, found: Any, n_replies: int) -> list[float | None]:
    is_one = isinstance(found, str | bytes | Mapping) or getattr(found, "ndim", 1) == 0
    if is_one or not isinstance(found, Iterable):
        raise DataError(f"the reward gave {type(found).__name__}, and not a list of numbers", where=name)
    values: list[Any] = list(found)
    if len(values) != n_replies:
        raise DataError(f"the reward gave {len(values)} values for {n_replies} replies", where=name)
    for at, value in enumerate(values):
        # numpy's and torch's scalars are numbers too.
        if value is not None and (not hasattr(value, "__float__") or bool(getattr(value, "ndim", 0))):
            raise DataError(f"the reward gave {value!r} for a reply, and not a number", where=name)
        try:
            values[at] = None if value is None else float(value)
        except OverflowError:  # an integer
            values[at] = math.inf
    if any(value is not None and not math.isfinite(value) for value in values):
        raise DataError("the reward gave a value that is not finite", where=name, hint="Give None where it has none")
    return values
