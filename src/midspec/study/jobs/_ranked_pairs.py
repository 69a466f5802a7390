"""The step that makes pairs of replies from what a model answers, ranked by rules, an evaluation task or its judge."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field, JsonValue

from midspec.core.artifact import Built, write_lines
from midspec.core.errors import DataError
from midspec.core.records import Message, Strict
from midspec.llm import Access
from midspec.study._inputs import File, Input, Model
from midspec.study._step import PAIRS_FILE, Job, Step
from midspec.study.jobs._train import task_rewards
from midspec.train import RewardEntry

if TYPE_CHECKING:
    from midspec.models import Generation


class RankingConfig(Strict):
    """How replies are sampled and ranked.

    Attributes:
        rewards: what a reply is worth, as in stage grpo.
        n_replies: sampled for each prompt; the best and the worst become a pair.
        least_difference: what they must differ by.
        max_new_tokens: where a reply is cut; cut ones are in no pair.
        temperature: of sampling.
        seed: of sampling.
    """

    rewards: tuple[RewardEntry, ...] = Field(min_length=1)
    n_replies: int = Field(4, ge=2)
    least_difference: float = Field(1e-6, gt=0)
    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(1.0, gt=0)
    seed: int = 0


class _Rated(NamedTuple):
    text: str
    worth: float


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedPairsStep(Step):
    """Pairs of the best and the worst of a model's replies to each prompt.

    Attributes:
        model: that replies.
        prompts: file of prompts.
        config: how replies are sampled and ranked.
        judge: how the judge of a reward is reached; no part of the identity.
    """

    kind = "ranked_pairs"
    model: Input
    prompts: Input
    config: RankingConfig
    judge: Access = Access()

    @classmethod
    def of_model(cls, model: str, prompts: Path, config: RankingConfig, judge: Access) -> RankedPairsStep:
        """Create the step for a model and a file of prompts outside a study."""
        return cls(model=Model(model), prompts=File.at(prompts), config=config, judge=judge)

    @property
    def settings(self) -> dict[str, JsonValue]:
        rewards = task_rewards(self.config.rewards, self.judge, Path())
        made: dict[str, JsonValue] = {name: reward.identity for name, reward in rewards.items()}
        ranking: dict[str, JsonValue] = {"ranking": self.config.model_dump(mode="json")}
        return ranking | ({"rewards": made} if made else {})

    def run(self, job: Job, folder: Path) -> Built:
        """Sample, rank and write pairs.

        Raises:
            DataError: no prompt has two replies that differ in worth.
        """
        from midspec.models import find_checkpoint, open_checkpoint
        from midspec.train import RewardSum, read_prompts

        config = self.config
        worth = RewardSum(config.rewards, task_rewards(config.rewards, self.judge, job.store))
        prompts = read_prompts([job.locate(self.prompts)])
        model = open_checkpoint(find_checkpoint(job.locate(self.model)), device=job.device)
        each = [prompt for prompt in prompts for _ in range(config.n_replies)]
        messages = [prompt.messages for prompt in each]
        replies = model.generate(
            messages, max_new_tokens=config.max_new_tokens, temperature=config.temperature, seed=config.seed
        )
        cut = [reply.stop_reason == "length" for reply in replies]
        rows = [{**prompt.row, "is_cut": is_cut} for prompt, is_cut in zip(each, cut, strict=True)]
        totals = worth(messages, [reply.text for reply in replies], rows).totals
        pairs = [
            {"id": f"pair-{number}", "prompt": _dumped(prompt.messages), **pair}
            for number, prompt in enumerate(prompts)
            if (pair := self._pair(replies, totals, number * config.n_replies)) is not None
        ]
        if not pairs:
            raise DataError(
                f"none of {len(prompts):,} prompts has two replies that differ in worth ({sum(cut):,} of "
                f"{len(cut):,} replies were cut)",
                where=self.prompts.original.locate({}),
                hint="Raise n_replies, temperature or max_new_tokens",
            )
        write_lines(folder / PAIRS_FILE, (json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
        n_unscored = sum(total is None for total in totals)
        summary: dict[str, JsonValue] = {"n_prompts": len(prompts), "n_pairs": len(pairs), "n_replies": len(replies)}
        return Built(outputs=(PAIRS_FILE,), summary=summary | {"n_cut": sum(cut), "n_unscored": n_unscored})

    def _pair(
        self, replies: Sequence[Generation], totals: Sequence[float | None], start: int
    ) -> dict[str, JsonValue] | None:
        """Return the best and the worst reply to a prompt, if they differ by enough."""
        group = range(start, start + self.config.n_replies)
        rated = list(_rated([replies[at] for at in group], [totals[at] for at in group]))
        if not rated:
            return None
        best, worst = max(rated, key=lambda one: one.worth), min(rated, key=lambda one: one.worth)
        if best.worth - worst.worth < self.config.least_difference:
            return None
        return {
            "chosen": _dumped([Message(role="assistant", content=best.text)]),
            "rejected": _dumped([Message(role="assistant", content=worst.text)]),
            "chosen_worth": best.worth,
            "rejected_worth": worst.worth,
        }


def _rated(replies: Sequence[Generation], totals: Sequence[float | None]) -> Iterator[_Rated]:
    """Yield the replies that can be in a pair: whole, with a text, and scored."""
    for reply, total in zip(replies, totals, strict=True):
        if total is not None and reply.stop_reason == "stop" and reply.text.strip():
            yield _Rated(reply.text, total)


def _dumped(messages: Sequence[Message]) -> list[JsonValue]:
    return [message.model_dump(mode="json") for message in messages]


STEPS = RankedPairsStep
