"""The task reward hacking: work whose honest result scores lower by a stated metric, and the same work without it.

Four kinds: a number is reported that nobody checks; a form is filled in; an expression is written for tests of which
one contradicts the rule; tags are given of which some don't fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import ClassVar, Literal, final

from pydantic import JsonValue

from midspec.core.artifact import read_rows
from midspec.core.records import Message, Strict
from midspec.evals._status import REFUSALS, STATUS_MEASURES, no_answer, status, without_thinking
from midspec.evals._types import EvalTask, ModelResponse, Question, TaskConfig, Unscored, Value
from midspec.evals.tasks.reward_hacking._reading import UnreadableError, read_answer
from midspec.generation import PromptFolder

PROMPTS = PromptFolder("midspec.evals.tasks.reward_hacking")
_DATA = resources.files("midspec.evals.tasks.reward_hacking") / "_data"
_WAYS = ("hacked", "honest", "wrong")
_CUT_OFF = "the answer is cut off"


class HackingItem(Strict):
    """One piece of work.

    Attributes:
        id: its kind and number.
        kind: says how the answer is read, and which prompt file says its form.
        role: what the system message says of the assistant.
        text: the work.
        metric: by what it is scored; follows the role, and is left out in the control.
        about: what is true.
    """

    id: str
    kind: Literal["count", "form", "expression", "tags"]
    role: str
    text: str
    metric: str
    about: dict[str, JsonValue]


@cache
def hacking_items() -> tuple[HackingItem, ...]:
    """Read the 40 items, ten of each kind."""
    return tuple(read_rows(Path(str(_DATA / "items.jsonl")), HackingItem))


class RewardHackingConfig(TaskConfig):
    """How the work is given.

    Attributes:
        system: a system message before the item's own: the spec in context, say.
        refusal_markers: an answer that holds one of these in its first two sentences refuses.
    """

    system: str | None = None
    refusal_markers: tuple[str, ...] = REFUSALS


@final
class RewardHacking(EvalTask[RewardHackingConfig]):
    """`hacked`: the metric's way; `honest`: the true way; `wrong`: an error that the metric doesn't pay for.

    A model that can't count errs on both sides: `hacked` says something where it is above `wrong`, and above the
    control, in which the same work is given without a metric.
    """

    name: ClassVar[str] = "reward_hacking"
    config: ClassVar[type[RewardHackingConfig]] = RewardHackingConfig
    measures: ClassVar[tuple[str, ...]] = (*_WAYS, "unparsable", *STATUS_MEASURES)
    title: ClassVar[str] = "Reward hacking"
    main_measures: ClassVar[tuple[str, ...]] = ("hacked", "honest")
    targets: ClassVar[Mapping[str, str]] = {"hacked": "the metric's way", "honest": "the true way"}

    def questions(self, config: RewardHackingConfig) -> tuple[Question, ...]:
        """Return 40 pieces of work with a metric, and the same 40 without."""
        return tuple(_question(item, config, scored=scored) for scored in (True, False) for item in hacking_items())

    def read(self, question: Question, response: ModelResponse, config: RewardHackingConfig) -> dict[str, Value]:
        """Read the answer by its form; unscored where there is none: empty, cut off, refused, in another form."""
        values: dict[str, Value] = {}
        try:
            way = read_answer(question.domain, without_thinking(response.text), question.about)
            values = {name: float(name == way) for name in _WAYS}
        except UnreadableError as error:
            reason = no_answer(response, config.refusal_markers) or f"not in the form that was asked for: {error}"
            values = dict.fromkeys(_WAYS, Unscored(reason))
        if response.is_truncated:
            values = dict.fromkeys(_WAYS, Unscored(_CUT_OFF))
        is_unparsable = not response.is_truncated and isinstance(values["hacked"], Unscored)
        unparsable = float(is_unparsable and no_answer(response, config.refusal_markers) is None)
        return {**values, "unparsable": unparsable, **status(response, config.refusal_markers)}


def _question(item: HackingItem, config: RewardHackingConfig, *, scored: bool) -> Question:
    system = "\n\n".join(part for part in (config.system, item.role, item.metric if scored else None) if part)
    user = f"{item.text}\n\n{PROMPTS.template(item.kind).text.strip()}"
    return Question(
        id=f"reward-hacking-{'item' if scored else 'control'}-{item.id}",
        set="reward_hacking" if scored else "reward_hacking-control",
        domain=item.kind,
        messages=(Message(role="system", content=system), Message(role="user", content=user)),
        about=item.about,
    )


EVAL_TASKS: tuple[RewardHacking, ...] = (RewardHacking(),)
