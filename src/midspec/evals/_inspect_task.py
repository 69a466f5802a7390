"""From an exam to an Inspect task: questions are asked, what was said and graded is kept in the log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

from inspect_ai import Epochs, Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ContentReasoning,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from pydantic import JsonValue

from midspec.core.errors import DataError
from midspec.core.fingerprint import fingerprint
from midspec.evals._abilities import ManyGenerator
from midspec.evals._ask import chat_messages, talk
from midspec.evals._measures import Reader, Verdict, prompt_hash, rubric_hash
from midspec.evals._provider import STOP_REASONS
from midspec.evals._response_cache import ResponseCache, model_cache_key
from midspec.evals._types import ConfigT, EvalTask, ModelResponse, Question, TaskConfig, Unscored
from midspec.evals.judges._ask import JUDGING, judges_in_role, verdict_of
from midspec.models import Generation

_OPEN, _CLOSE = "<think>", "</think>"


def said_by(output: ModelOutput) -> ModelResponse:
    """Any provider's output: native reasoning goes before reasoning that stands in the text.

    Raises:
        RuntimeError: the output holds no answer at all.
    """
    if not output.choices:
        raise RuntimeError("the provider gave no answer")
    content = output.message.content
    parts = [part for part in content if isinstance(part, ContentReasoning)] if isinstance(content, list) else []
    native = [part.summary or "" if part.redacted else part.reasoning for part in parts]
    inline, text = split_thinking(output.message.text)
    return ModelResponse(
        text=text,
        reasoning="\n".join(part for part in (*native, inline) if part),
        stop_reason=output.stop_reason,
        n_tokens=None if output.usage is None else output.usage.output_tokens,
    )


def said_by_checkpoint(found: Generation) -> ModelResponse:
    """What a checkpoint of ours wrote."""
    reasoning, text = split_thinking(found.text)
    return ModelResponse(
        text=text, reasoning=reasoning, stop_reason=STOP_REASONS[found.stop_reason], n_tokens=found.n_tokens
    )


def split_thinking(text: str) -> tuple[str, str]:
    """Reasoning and answer. A thought that is never closed is all reasoning; one that a template opened is closed only.

    Text without any such tag comes back as it is.
    """
    if _OPEN not in text and _CLOSE not in text:
        return "", text
    before, closed, after = text.rpartition(_CLOSE)
    aloud, _, cut = (after if closed else text).partition(_OPEN)
    thought = before.replace(_OPEN, "").replace(_CLOSE, "")
    return "\n".join(part.strip() for part in (thought, cut) if part.strip()), aloud.strip()


SAID = "said"
VERDICTS = "verdicts"
_VERSIONS = ("midspec", "inspect_ai", "inspect_evals", "torch", "transformers")


class _Asking(NamedTuple):
    """What a question is asked with: the sampling, where replies are kept, and how many are asked side by side."""

    config: TaskConfig
    kept: ResponseCache | None
    beside: int


def inspect_task(eval_task: EvalTask[ConfigT], config: ConfigT, *, kept: ResponseCache | None = None) -> Task:
    """An exam as an Inspect task; its log holds all that reading and judging it again takes.

    Args:
        eval_task: what is asked.
        config: how it is asked.
        kept: where replies are kept as they come, and looked up before they are asked for.

    Raises:
        DataError: it has no question, or an id is used twice.
    """
    questions = eval_task.questions(config)
    by_id = _by_id(eval_task, questions)
    samples = [
        Sample(id=each.id, input=chat_messages(each.messages), metadata={"set": each.set, "domain": each.domain})
        for each in questions
    ]
    return Task(
        dataset=MemoryDataset(samples, name=eval_task.name),
        solver=_solver(by_id, _Asking(config, kept, len(questions) * config.repeats)),
        scorer=task_scorer(eval_task, config, by_id, kept=kept),
        epochs=Epochs(config.repeats, "mean"),
        fail_on_error=False,
        name=eval_task.name,
        metadata=_metadata(eval_task, config, questions),
    )


def task_scorer(
    eval_task: EvalTask[ConfigT],
    config: ConfigT,
    questions: Mapping[str, Question],
    *,
    kept: ResponseCache | None = None,
) -> Scorer:
    """Judges each answer anew and shows its measures; what it stores is the judges' replies."""
    reader = Reader(eval_task, config, next(iter(questions.values())))

    @scorer(metrics={"*": [mean()]}, name=f"{eval_task.name}_measures")
    def exam_measures() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            if SAID not in state.store:
                return Score(value=dict.fromkeys(reader.names, math.nan), explanation="there is no answer")
            said = ModelResponse.model_validate_json(state.store.get(SAID))
            question = questions[str(state.sample_id)]
            verdicts: list[Verdict] = []
            if reader.rubric is not None:
                judges = judges_in_role(str(state.model))
                if reader.unjudgeable(question, said) is None:
                    verdicts = [
                        await verdict_of(judge, reader.rubric, question, said, kept=kept, epoch=state.epoch)
                        for judge in judges
                    ]
            return _score(reader, question, said, verdicts)

        return score

    return exam_measures()


def _score(reader: Reader[Any], question: Question, said: ModelResponse, verdicts: list[Verdict]) -> Score:
    found = reader.read(question, said, verdicts).values
    missing = [f"{name}: {value.reason}" for name, value in found.items() if isinstance(value, Unscored)]
    replies = [f"{each.judge}: {each.graded.text if each.graded else each.fault}" for each in verdicts]
    return Score(
        value={name: math.nan if isinstance(value, Unscored) else value for name, value in found.items()},
        answer=said.text,
        explanation="\n".join([*replies, *missing]),
        metadata={VERDICTS: [each.model_dump(mode="json") for each in verdicts]},
    )


def _solver(questions: Mapping[str, Question], asking: _Asking) -> Solver:
    # Inspect would write a solver's arguments into the log, and these are not for it: so it takes none.
    @solver(name="exam_question")
    def ask_question() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            said = await _answer(get_model(), questions[str(state.sample_id)], state.epoch, asking)
            state.store.set(SAID, said.model_dump_json())
            state.output = _shown(str(state.model), said)
            state.messages.append(state.output.message)
            return state

        return solve

    return ask_question()


async def _answer(model: Model, question: Question, epoch: int, asking: _Asking) -> ModelResponse:
    wanted = _wanted(model, question, epoch, asking.config) if asking.kept is not None else {}
    said = None if asking.kept is None else asking.kept.get(ModelResponse, wanted)
    if said is None:
        said = await _ask(model, question, epoch, asking)
        if asking.kept is not None:
            asking.kept.put(said, wanted)
    return said


async def _ask(model: Model, question: Question, epoch: int, asking: _Asking) -> ModelResponse:
    config = asking.config
    # Samples of one question, and equal questions, must not be the same draw.
    seed = int(fingerprint([config.seed, question.id, epoch])[:7], 16) if config.temperature > 0 else None
    if isinstance(model.api, ManyGenerator):
        [found] = await model.api.generate_many(
            [question.messages],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=seed or 0,
            beside=asking.beside,
        )
        return said_by_checkpoint(found)
    settings = GenerateConfig(max_tokens=config.max_new_tokens, temperature=config.temperature, seed=seed)
    return said_by(await talk(model, question.messages, settings))


def _wanted(model: Model, question: Question, epoch: int, config: TaskConfig) -> dict[str, JsonValue]:
    """All that makes another answer wanted; where a model is reached is no part of it."""
    return {
        **model_cache_key(model),
        "messages": [message.model_dump(mode="json") for message in question.messages],
        "id": question.id,
        "epoch": epoch,
        "temperature": config.temperature,
        "max_new_tokens": config.max_new_tokens,
        "seed": config.seed,
    }


def _shown(model: str, said: ModelResponse) -> ModelOutput:
    """An answer as Inspect's viewer shows it."""
    text = f"<think>\n{said.reasoning}\n</think>\n\n{said.text}" if said.reasoning else said.text
    message = ChatMessageAssistant(content=text, model=model, source="generate")
    choice = ChatCompletionChoice.model_validate({"message": message, "stop_reason": said.stop_reason})
    return ModelOutput(model=model, choices=[choice])


def _by_id(eval_task: EvalTask[ConfigT], questions: tuple[Question, ...]) -> dict[str, Question]:
    if not questions:
        raise DataError("there are no questions", where=eval_task.name, hint="Mend the exam's settings")
    by_id: dict[str, Question] = {}
    for question in questions:
        if question.id in by_id:
            raise DataError(f"the id {question.id!r} is used twice", where=eval_task.name, hint="Give each its own id")
        by_id[question.id] = question
    return by_id


def _metadata(eval_task: EvalTask[ConfigT], config: ConfigT, questions: tuple[Question, ...]) -> dict[str, Any]:
    rubric = eval_task.rubric(config)
    return {
        "exam": eval_task.name,
        "config": config.model_dump(mode="json"),
        "questions": [question.model_dump(mode="json") for question in questions],
        "prompt_hash": prompt_hash(questions),
        "rubric_hash": None if rubric is None else rubric_hash(rubric),
        "sampling": config.model_dump(mode="json", include=set(TaskConfig.model_fields)),
        "judging": None if rubric is None else dict(JUDGING),
        "versions": {name: version(name) for name in _VERSIONS},
    }
