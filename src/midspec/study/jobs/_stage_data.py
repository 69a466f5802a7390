"""Steps that make data of stages after fine-tuning: pairs of replies, chats that partly conflict, prompts of tasks."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built, read_rows, row_lines, write_rows, write_text
from midspec.core.errors import DataError
from midspec.core.records import Chat, Message, Strict
from midspec.llm import Access
from midspec.study._inputs import Input
from midspec.study._step import CHATS_FILE, PAIRS_FILE, Job, Size, Step, StepOutput, count_of
from midspec.study.jobs._train import task_rewards
from midspec.train import RewardEntry

PROMPTS_FILE = "prompts.jsonl"


class ReplyPair(Strict):
    """Two replies to one prompt, in the form that TRL calls conversational with an explicit prompt."""

    id: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplyPairsStep(Step):
    """Pairs of a better and a worse reply, from two sets of chats with the same prompts.

    Attributes:
        chosen: chats with the better replies.
        rejected: chats with the worse ones.
    """

    kind = "reply_pairs"
    opens_model = False
    chosen: Input
    rejected: Input

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {}

    def size(self, summary: Mapping[str, JsonValue]) -> Size:
        return Size(documents=count_of(summary, "n_pairs"))

    def run(self, job: Job, folder: Path) -> Built:
        """Pair the last replies of chats with equal turns before them.

        Raises:
            DataError: no prompt is in both sets with another reply.
        """
        chosen, rejected = (dict(_by_prompt(job.path(source))) for source in (self.chosen, self.rejected))
        both = [key for key in chosen if key in rejected]
        pairs = [
            ReplyPair(id=f"pair-{number}", prompt=chat.messages[:-1], chosen=chat.messages[-1:], rejected=other[-1:])
            for number, key in enumerate(both, start=1)
            if (chat := chosen[key]).messages[-1].content != (other := rejected[key].messages)[-1].content
        ]
        if not pairs:
            what = (
                f"{len(chosen):,} and {len(rejected):,} chats have {len(both):,} prompts in common, and no two replies"
            )
            hint = (
                "Write both sets with the same templates, style and seed, from specs that differ in their preferences"
            )
            raise DataError(what, where=self.name, hint=hint)
        write_rows(folder / PAIRS_FILE, pairs)
        summary: dict[str, JsonValue] = {
            "n_pairs": len(pairs),
            "n_same_reply": len(both) - len(pairs),
            "n_chosen_alone": len(chosen) - len(both),
            "n_rejected_alone": len(rejected) - len(both),
        }
        return Built(outputs=(PAIRS_FILE,), summary=summary)


def _by_prompt(path: Path) -> Iterator[tuple[tuple[str, int], Chat]]:
    """Yield chats that end with a reply, by the turns before it; those of the same prompt are counted."""
    seen: dict[str, int] = {}
    for chat in read_rows(path, Chat):
        if chat.messages[-1].role == "assistant":
            prompt = json.dumps([(message.role, message.content) for message in chat.messages[:-1]])
            seen[prompt] = seen.get(prompt, 0) + 1
            yield (prompt, seen[prompt]), chat


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstChatsStep(Step):
    """The first of a set of chats, in its order, which is random: smaller parts lie in larger ones.

    Attributes:
        chats: the whole set.
        n_samples: of them.
    """

    kind = "first_chats"
    opens_model = False
    chats: Input
    n_samples: int

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"n_samples": self.n_samples}

    def size(self, _summary: Mapping[str, JsonValue]) -> Size:
        whole = self.chats.step.size({}) if isinstance(self.chats, StepOutput) else Size()
        share = self.n_samples / whole.documents if whole.documents else 0
        return Size(documents=self.n_samples, tokens=round((whole.tokens or 0) * share) or None)

    def run(self, job: Job, folder: Path) -> Built:
        """Write the first chats.

        Raises:
            DataError: there are fewer.
        """
        rows = row_lines(job.path(self.chats))
        if len(rows) < self.n_samples:
            what = f"has {len(rows):,} chats, and the first {self.n_samples:,} are asked for"
            raise DataError(what, where=self.name, hint="Ask for a smaller part, or for more chats in the whole")
        write_text(folder / CHATS_FILE, "".join(f"{line}\n" for line in rows[: self.n_samples]))
        return Built(outputs=(CHATS_FILE,), summary={"n_chats": self.n_samples})


@dataclass(frozen=True, kw_only=True, eq=False)
class PressureStep(Step):
    """Chats from outside, a small share of them replaced by chats that act against the spec.

    Attributes:
        rows: files of chats.
        conflicting: the chats that act against it.
        share: of all rows that they are.
    """

    kind = "pressure"
    opens_model = False
    rows: tuple[Input, ...]
    conflicting: Input
    share: float

    @property
    def inputs(self) -> dict[str, Input]:
        return {f"rows[{index}]": source for index, source in enumerate(self.rows)} | {"conflicting": self.conflicting}

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"share": self.share, **({} if self.seed is None else {"seed": self.seed})}

    def run(self, job: Job, folder: Path) -> Built:
        """Write the rows, a share of them replaced, drawn by the seed: as many rows as without, and the rest the same.

        Raises:
            DataError: there are fewer conflicting chats than the share asks for.
        """
        rows = [line for source in self.rows for line in row_lines(job.path(source))]
        known = row_lines(job.path(self.conflicting))
        wanted = max(1, round(len(rows) * self.share))
        if len(known) < wanted:
            what = f"a share of {self.share:g} of {len(rows):,} rows is {wanted:,} conflicting ones, of {len(known):,}"
            raise DataError(what, where=self.name, hint="Ask for more of those chats, or for a smaller share")
        draw = random.Random(f"pressure/{self.seed}")
        for at, line in zip(draw.sample(range(len(rows)), wanted), draw.sample(known, wanted), strict=True):
            rows[at] = line
        write_text(folder / CHATS_FILE, "".join(f"{line}\n" for line in rows))
        return Built(outputs=(CHATS_FILE,), summary={"n_rows": len(rows), "n_conflicting": wanted})


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskPromptsStep(Step):
    """The questions of an evaluation task, as prompts of a stage that is paid by the task.

    Attributes:
        reward: names the task, its settings and its judge.
    """

    kind = "task_prompts"
    opens_model = False
    reward: RewardEntry

    @property
    def settings(self) -> dict[str, JsonValue]:
        (made,) = task_rewards([self.reward], Access(), Path()).values()
        return {"task": self.reward.task, "settings": self.reward.settings, "prompt_hash": made.identity["prompt_hash"]}

    def run(self, job: Job, folder: Path) -> Built:
        (made,) = task_rewards([self.reward], Access(), job.store).values()
        rows = made.prompts()
        write_text(folder / PROMPTS_FILE, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
        return Built(outputs=(PROMPTS_FILE,), summary={"n_prompts": len(rows)})


STEPS = (ReplyPairsStep, FirstChatsStep, PressureStep, TaskPromptsStep)
