"""What every step of the analysis uses: its config, transcripts, seed reasons, prompts, and requests to a judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Self, TypeVar

import yaml
from pydantic import Field, model_validator

from midspec.core.artifact import ProgressCallback
from midspec.core.fingerprint import fingerprint
from midspec.core.records import ReasonCluster, Side, Strict, TaskAnswer
from midspec.evals.judges import GraderConfig, escape
from midspec.generation import PromptFolder, gather
from midspec.llm import Client, ModelConfig, Outcome, ParsedReply, Request, Store, converse, response_schema

Value = TypeVar("Value")
_PACKAGE = "midspec.reasons"
PROMPTS = PromptFolder(_PACKAGE)


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
        """Return the reasoning and the text, without parts that hold no words."""
        return tuple(part for part in (self.answer.reasoning, self.answer.text) if part.strip())

    @property
    def place(self) -> dict[str, str | int]:
        """Return whose answer to what it is, as fields of rows about it."""
        about = {"set": self.answer.set, "item": self.answer.item, "domain": self.answer.domain}
        return {"arm": self.arm, "seed": self.seed, "task": self.task, **about}

    @property
    def key(self) -> str:
        """Return what tells transcripts apart."""
        return place_key(self.arm, self.seed, self.task, self.answer.set, self.answer.item)

    def render(self) -> str:
        """Render it for a judge, escaped so that nothing in it can open or close a tag."""
        reasoning = self.answer.reasoning.strip()
        shown = PROMPTS.fill("reasoning", reasoning=escape(reasoning)) if reasoning else ""
        return PROMPTS.fill("transcript", reasoning=shown, text=escape(self.answer.text.strip()))


def place_key(arm: str, seed: int, task: str, set_name: str, item: str) -> str:
    """Join what tells transcripts apart to one readable string."""
    return " | ".join((arm, str(seed), task, set_name, item))


class ReasonsConfig(Strict):
    """How to find, cluster and count reasons.

    Attributes:
        judges: who reads the transcripts. The first also lists and clusters the reasons; all of them label.
        classify: whether transcripts are labelled; without it only the clusters are made, for a person to look at.
        lot: how many reasons, or clusters, one request sorts.
        at_once: how many clusters a judge is asked about in one request.
        similarity: reasons with at least this share of common character 5-grams are one.
        embed: the model that embeds reasons, to find those that are one in other words; none by default.
        cosine: reasons whose embeddings have at least this cosine are one.
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
    def _judges_are_distinct(self) -> Self:
        names = [judge.model for judge in self.judges]
        if len(set(names)) < len(names):
            raise ValueError("the same judge is named twice")
        return self


class SeedReason(Strict):
    """A reason that is known beforehand; one with `always` is judged even if no cluster came to it."""

    id: str
    name: str
    side: Side
    description: str
    always: bool = False

    @property
    def cluster(self) -> ReasonCluster:
        """Return the seed as a cluster without members."""
        return ReasonCluster(id=self.id, name=self.name, description=self.description, side=self.side)


@lru_cache(maxsize=1)
def seed_reasons() -> tuple[SeedReason, ...]:
    """Read the shipped list, the misaligned ones first."""
    text = (resources.files(_PACKAGE) / "_data" / "seeds.yaml").read_text(encoding="utf-8")
    return tuple(SeedReason.model_validate(entry) for entry in yaml.safe_load(text))


def prompts_hash() -> str:
    """Hash all prompt files and the seeds; enters the identity of a finished analysis."""
    files = (resources.files(_PACKAGE) / "_prompts").iterdir()
    texts = {file.name: file.read_text(encoding="utf-8") for file in files if file.name.endswith(".md")}
    return fingerprint([texts, seed_reasons()])


@dataclass(frozen=True)
class Judge:
    """A judge that is open.

    Attributes:
        client: answers requests of `config`.
        store: keeps every reply.
        config: which model; part of what identifies a request.
        width: how many requests are wanted in flight at once.
        max_tokens: cap of a reply.
        on_progress: is told (done, of how many, what) after each.
    """

    client: Client
    store: Store
    config: GraderConfig
    width: int
    max_tokens: int
    on_progress: ProgressCallback

    def request(self, stage: str, prefix: str, prompt: str, form: type[Strict]) -> Request:
        """Make a request; its task is a hash of all that makes its reply another one."""
        schema = response_schema(form)
        task = f"reasons-{fingerprint([stage, self.config, prefix, prompt, schema])}"
        return Request(
            task=task,
            stage=stage,
            prefix=prefix,
            prompt=prompt,
            max_tokens=self.max_tokens,
            cap_setting="max_tokens",
            form=schema,
        )

    async def ask(
        self, requests: Sequence[Request], parsers: Sequence[Callable[[str], Value]], note: str
    ) -> list[ParsedReply[Value]]:
        """Ask side by side; requests with one task are asked once.

        Args:
            requests: what to ask.
            parsers: for each request, what reads its reply.
            note: what is done, for the progress.

        Returns:
            The replies, in the order of `requests`.

        Raises:
            MidspecError: what ends the run (the budget is used up, the key is refused).
        """
        distinct = {request.task: (request, parse) for request, parse in zip(requests, parsers, strict=True)}

        async def ask_one(entry: tuple[Request, Callable[[str], Value]]) -> ParsedReply[Value]:
            return await converse(self.client, self.store, *entry)

        replies = await gather(
            ask_one, list(distinct.values()), self.width, on_done=lambda at, of: self.on_progress(at, of, note)
        )
        by_task = dict(zip(distinct, replies, strict=True))
        return [by_task[request.task] for request in requests]


def failure_reason(outcome: Outcome) -> str:
    """Return why a reply gave nothing, in one of few wordings, so that they can be counted."""
    reasons = {
        "refused": "the judge refused",
        "filtered": "the judge refused, or its reply was filtered",
        "truncated": "the judge's reply was cut off",
        "unparsable": "the judge's reply can't be read",
    }
    return reasons.get(outcome.kind, "the judge gave no reply")
