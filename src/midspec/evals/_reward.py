"""A measure of an evaluation task as a reward: what a reply would be scored in the evaluation is what it is paid."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from pydantic import JsonValue

from midspec.core.errors import ConfigError, DataError, did_you_mean
from midspec.core.reasoning import split_reasoning
from midspec.core.records import Message
from midspec.evals._measures import Reader, Verdict, prompt_hash, rubric_hash
from midspec.evals._types import EvalTask, ModelResponse, Question, Unscored, check_settings, task_named
from midspec.evals.judges._grader import GraderConfig, open_grader
from midspec.evals.judges._verdict import check_verdict
from midspec.llm import Access

_STAGE = "rewarding"


@final
class TaskReward:
    """Pays for replies to a task's questions; `None` where the evaluation would leave the measure without a value.

    Args:
        task: the task, or its name.
        measure: one that it reads, or that its judge gives.
        settings: the task's.
        judge: of a judged measure, such as `openai/<model>`.
        access: how the judge is reached.
        store: the file of the judge's replies; none is asked for twice.

    Raises:
        ConfigError: there is no such task or measure, a setting is wrong, a judge is missing, or the task is of turns.
    """

    def __init__(
        self,
        task: EvalTask[Any] | str,
        measure: str,
        settings: Mapping[str, JsonValue],
        *,
        judge: str | None = None,
        access: Access = Access(),
        store: Path,
    ) -> None:
        self._eval_task = task_named(task) if isinstance(task, str) else task
        self._where = f"{self._eval_task.name}/{measure}"
        if self._eval_task.is_of_turns:
            what = f"{self._eval_task.name} is of several turns, and a reward is of one reply"
            raise ConfigError(what, where=self._where, hint="Name another task")
        self._config = check_settings(dict(settings), self._eval_task.config, f"{self._where}: settings")
        self._questions = {question.messages: question for question in self._eval_task.questions(self._config)}
        self._reader = Reader(self._eval_task, self._config)
        if measure not in self._reader.names:
            what = f"{self._eval_task.name} has no measure {measure!r}"
            raise ConfigError(what, where=self._where, hint=did_you_mean(measure, self._reader.names))
        is_judged = measure not in self._eval_task.measures and self._reader.rubric is not None
        if is_judged and judge is None:
            raise ConfigError("a judge gives this measure, and none is named", where=self._where, hint="Name its judge")
        self._measure, self._access, self._store = measure, access, store
        self._judge = GraderConfig(model=judge) if is_judged and judge is not None else None
        if self._judge is not None:
            self._judge.as_model()

    @property
    def identity(self) -> dict[str, JsonValue]:
        """What decides the values beside the settings: the hashes of the questions, and of what a judge is asked."""
        hashes: dict[str, JsonValue] = {"prompt_hash": prompt_hash(list(self._questions.values()))}
        if self._judge is not None and self._reader.rubric is not None:
            hashes["rubric_hash"] = rubric_hash(self._reader.rubric)
        return hashes

    def prompts(self) -> list[dict[str, JsonValue]]:
        """Return the task's questions as rows of prompts to train on."""
        return [
            {"prompt": [message.model_dump(mode="json") for message in messages], "id": question.id}
            for messages, question in self._questions.items()
        ]

    def __call__(
        self,
        prompts: Sequence[Sequence[Message]],
        replies: Sequence[str],
        rows: Sequence[Mapping[str, JsonValue]],
    ) -> list[float | None]:
        """Score replies.

        Args:
            prompts: the messages before each reply: one of the task's questions.
            replies: their texts.
            rows: `is_cut` says whether a reply was cut at the limit of tokens.

        Raises:
            DataError: a prompt is no question of the task.
        """
        questions = [self._question(messages) for messages in prompts]
        responses = []
        for reply, row in zip(replies, rows, strict=True):
            reasoning, text = split_reasoning(reply)
            stop_reason = "max_tokens" if row.get("is_cut") else "stop"
            responses.append(ModelResponse(text=text, reasoning=reasoning, stop_reason=stop_reason))
        pairs = list(zip(questions, responses, strict=True))
        verdicts = asyncio.run(self._ask(pairs, self._judge)) if self._judge is not None else [[] for _ in pairs]
        values = [
            self._reader.read(question, response, given).values[self._measure]
            for (question, response), given in zip(pairs, verdicts, strict=True)
        ]
        return [None if isinstance(value, Unscored) else float(value) for value in values]

    async def _ask(self, pairs: Sequence[tuple[Question, ModelResponse]], judge: GraderConfig) -> list[list[Verdict]]:
        """Ask the judge about all replies at once; about none that the task takes to be unjudgeable."""
        rubric = self._reader.rubric
        assert rubric is not None
        digest = rubric_hash(rubric)
        async with open_grader(judge, self._access, self._store, stage=_STAGE) as (grader, _):

            async def verdict(question: Question, response: ModelResponse) -> list[Verdict]:
                if self._reader.unjudgeable(question, response) is not None:
                    return []
                reply = await grader.ask(
                    rubric.render(question, response), check=lambda text: check_verdict(rubric, text)
                )
                if reply.error:
                    return [Verdict(judge=judge.model, fault=reply.error)]
                return [Verdict(judge=judge.model, graded=reply.graded(judge.model, digest))]

            return list(await asyncio.gather(*(verdict(*pair) for pair in pairs)))

    def _question(self, messages: Sequence[Message]) -> Question:
        found = self._questions.get(tuple(messages))
        if found is None:
            raise DataError(
                f"a prompt is no question of {self._eval_task.name}: {messages[-1].content[:60]!r}",
                where=self._where,
                hint="Train on the questions that the task asks with these settings",
            )
        return found
