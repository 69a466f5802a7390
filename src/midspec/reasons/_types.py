"""What an analysis of reasons is asked, and what it looks at."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from midspec.core.records import Strict, TaskAnswer
from midspec.evals.judges._grader import GraderConfig
from midspec.llm import ModelConfig


class Transcript(Strict):
    """One answer of one arm: what the assistant thought and said.

    Attributes:
        arm: whose answer it is.
        seed: the training seed of that arm.
        task: the evaluation.
        answer: the answer, word for word.
    """

    arm: str
    seed: int = 0
    task: str
    answer: TaskAnswer

    @property
    def words(self) -> tuple[str, ...]:
        """What the assistant thought and what it said, apart; parts without words left out."""
        return tuple(part for part in (self.answer.reasoning, self.answer.text) if part.strip())

    @property
    def place(self) -> dict[str, str | int]:
        """Whose answer to what it is, as rows about it say."""
        answer = self.answer
        found = {"set": answer.set, "item": answer.item, "domain": answer.domain}
        return {"arm": self.arm, "seed": self.seed, "task": self.task, **found}

    @property
    def key(self) -> str:
        """Tells transcripts apart."""
        return place_key(self.arm, self.seed, self.task, self.answer.set, self.answer.item)


def place_key(arm: str, seed: int, task: str, set_name: str, item: str) -> str:
    """What tells transcripts apart, as one string that can be read."""
    return " | ".join((arm, str(seed), task, set_name, item))


class ReasonsConfig(Strict):
    """How reasons are found, sorted and counted.

    Attributes:
        judges: who reads the transcripts. The first also lists and sorts the reasons; all of them say what drove what.
        classify: whether transcripts are judged; without it the clusters are made and no more, for somebody to look at.
        lot: how many reasons, or clusters, one request sorts.
        at_once: how many clusters a judge is asked about in one request.
        similarity: from which share of common runs of five characters on two reasons are one.
        embed: who gives vectors of reasons, to find those that are one in other words; nobody by default.
        cosine: from which cosine of two vectors on two reasons are one.
        overlap: clusters of one side whose transcripts overlap by more than this are merged (see `merge_overlapping`).
        least_shared: fewer transcripts than this in common say nothing of an overlap.
        max_tokens: cap of a reply.
    """

    judges: tuple[GraderConfig, ...] = Field(min_length=1)
    classify: bool = True
    lot: int = Field(default=60, ge=2)
    at_once: int = Field(default=25, ge=1)
    similarity: float = Field(default=0.8, gt=0, le=1)
    embed: ModelConfig | None = None
    cosine: float = Field(default=0.92, gt=0, le=1)
    overlap: float = Field(default=0.75, gt=0, lt=1)
    least_shared: int = Field(default=3, ge=1)
    max_tokens: int = Field(default=4000, ge=1)

    @model_validator(mode="after")
    def _judges_are_told_apart(self) -> Self:
        names = [judge.model for judge in self.judges]
        if len(set(names)) < len(names):
            raise ValueError("the same judge is named twice")
        return self
