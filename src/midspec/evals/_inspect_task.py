"""An evaluation task as an Inspect task: its solver asks, its scorer has answers judged; the log keeps both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from inspect_ai import Epochs, Task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageUser,
    ContentReasoning,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from midspec.core.errors import DataError, MidspecError
from midspec.core.reasoning import split_reasoning
from midspec.core.records import Message
from midspec.evals._inspect import chat_messages, generate, seed_of
from midspec.evals._interfaces import STOP_REASONS, ManyGenerator
from midspec.evals._measures import Reader, Verdict, prompt_hash, rubric_hash
from midspec.evals._response_cache import ResponseCache, model_cache_key
from midspec.evals._types import (
    ConfigT,
    EvalTask,
    ModelResponse,
    Question,
    TaskConfig,
    Unscored,
    check_settings,
    read_settings,
    task_named,
)
from midspec.evals.judges._inspect import JUDGE_SAMPLING, judges_in_role, verdict_of

# Keys in the logs' stores and scores.
RESPONSE_KEY = "said"
VERDICTS_KEY = "verdicts"
_VERSIONS = ("midspec", "inspect_ai", "inspect_evals", "torch", "transformers")

OnReply = Callable[[], None]


def response_of(output: ModelOutput) -> ModelResponse:
    """Read any provider's output: native reasoning goes before reasoning that stands in the text.

    Raises:
        RuntimeError: the output holds no answer at all.
    """
    if not output.choices:
        raise RuntimeError("the provider gave no answer")
    content = output.message.content
    parts = [part for part in content if isinstance(part, ContentReasoning)] if isinstance(content, list) else []
    native = [part.summary or "" if part.redacted else part.reasoning for part in parts]
    inline, text = split_reasoning(output.message.text)
    return ModelResponse(
        text=text,
        reasoning="\n".join(part for part in (*native, inline) if part),
        stop_reason=output.stop_reason,
        n_tokens=None if output.usage is None else output.usage.output_tokens,
    )


def inspect_task(
    eval_task: EvalTask[ConfigT],
    config: ConfigT,
    *,
    cache: ResponseCache | None = None,
    on_reply: OnReply = lambda: None,
) -> Task:
    """Make an Inspect task, whose log holds all that reading and judging it again takes.

    Args:
        eval_task: the task.
        config: its settings.
        cache: where responses are written as they come, and looked up before they are asked for.
        on_reply: called after each response of the model and of a judge.

    Raises:
        DataError: it has no question, or an id is used twice.
    """
    questions = eval_task.questions(config)
    if not questions:
        raise DataError("there are no questions", where=eval_task.name, hint="Change the task's settings")
    [(most_used, n_uses)] = Counter(question.id for question in questions).most_common(1)
    if n_uses > 1:
        raise DataError(f"the id {most_used!r} is used twice", where=eval_task.name, hint="Give each its own id")
    by_id = {question.id: question for question in questions}
    rubric = eval_task.rubric(config)
    samples = [
        Sample(id=each.id, input=chat_messages(each.messages), metadata={"set": each.set, "domain": each.domain})
        for each in questions
    ]
    return Task(
        dataset=MemoryDataset(samples, name=eval_task.name),
        solver=_task_solver(eval_task, by_id, config, cache, on_reply),
        scorer=task_scorer(eval_task, config, by_id, cache=cache, on_reply=on_reply),
        epochs=Epochs(config.repeats, "mean"),
        fail_on_error=False,
        name=eval_task.name,
        metadata={
            "exam": eval_task.name,
            "config": config.model_dump(mode="json"),
            "questions": [question.model_dump(mode="json") for question in questions],
            "prompt_hash": prompt_hash(questions),
            "rubric_hash": None if rubric is None else rubric_hash(rubric),
            "sampling": config.model_dump(mode="json", include=set(TaskConfig.model_fields)),
            "judging": None if rubric is None else dict(JUDGE_SAMPLING),
            "versions": {name: version(name) for name in _VERSIONS},
        },
    )


def task_scorer(
    eval_task: EvalTask[ConfigT],
    config: ConfigT,
    questions: Mapping[str, Question],
    *,
    cache: ResponseCache | None = None,
    on_reply: OnReply = lambda: None,
) -> Scorer:
    """Make a scorer that has each answer judged; what it stores is the judges' replies. See `inspect_task`."""
    reader = Reader(eval_task, config, next(iter(questions.values())))

    @scorer(metrics={"*": [mean()]}, name=f"{eval_task.name}_measures")
    def exam_measures() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            if RESPONSE_KEY not in state.store:
                return Score(value=dict.fromkeys(reader.names, math.nan), explanation="there is no answer")
            response = ModelResponse.model_validate_json(state.store.get(RESPONSE_KEY))
            question = questions[str(state.sample_id)]
            verdicts: list[Verdict] = []
            if reader.rubric is not None:
                judges = judges_in_role(str(state.model))
                is_judged = reader.unjudgeable(question, response) is None
                for judge in judges:
                    if is_judged:
                        verdicts.append(
                            await verdict_of(judge, reader.rubric, question, response, cache=cache, epoch=state.epoch)
                        )
                    on_reply()
            values = reader.read(question, response, verdicts).values
            missing = [f"{name}: {value.reason}" for name, value in values.items() if isinstance(value, Unscored)]
            replies = [f"{each.judge}: {each.graded.text if each.graded else each.fault}" for each in verdicts]
            return Score(
                value={name: math.nan if isinstance(value, Unscored) else value for name, value in values.items()},
                answer=response.text,
                explanation="\n".join([*replies, *missing]),
                metadata={VERDICTS_KEY: [each.model_dump(mode="json") for each in verdicts]},
            )

        return score

    return exam_measures()


def _task_solver(
    eval_task: EvalTask[ConfigT],
    questions: Mapping[str, Question],
    config: ConfigT,
    cache: ResponseCache | None,
    on_reply: OnReply,
) -> Solver:
    # Inspect writes a solver's arguments into the log, and these do not belong there: so it takes none.
    @solver(name="exam_question")
    def ask_question() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            model, question = get_model(), questions[str(state.sample_id)]
            n_concurrent = len(questions) * config.repeats
            messages, responses = [*question.messages], list[ModelResponse]()
            while True:
                request = {
                    **(model_cache_key(model) if cache is not None else {}),
                    "messages": [message.model_dump(mode="json") for message in messages],
                    "id": question.id,
                    "epoch": state.epoch,
                    "temperature": config.temperature,
                    "max_new_tokens": config.max_new_tokens,
                    "seed": config.seed,
                }
                response = None if cache is None else cache.get(ModelResponse, request)
                if response is None:
                    turn = [len(responses)] if responses else []
                    # Samples of one question, equal questions and turns must not be the same draw.
                    seed = seed_of(config.seed, question.id, state.epoch, *turn) if config.temperature > 0 else None
                    response = await _ask(model, messages, config, seed, n_concurrent)
                    if cache is not None:
                        cache.put(response, request)
                responses.append(response)
                _append_reply(state, response)
                said = _next_turn(eval_task, question, responses, config)
                if said is None:
                    break
                answered = Message(role="assistant", content=response.text), Message(role="user", content=said)
                messages.extend(answered)
                state.messages.append(ChatMessageUser(content=said))
            on_reply()
            whole = _conversation(responses, messages[len(question.messages) :]) if eval_task.is_of_turns else response
            state.store.set(RESPONSE_KEY, whole.model_dump_json())
            return state

        return solve

    return ask_question()


def _append_reply(state: TaskState, response: ModelResponse) -> None:
    """Write a reply into Inspect's own record of the sample, as its viewer shows it."""
    reasoning = f"<think>\n{response.reasoning}\n</think>\n\n" if response.reasoning else ""
    message = ChatMessageAssistant(content=reasoning + response.text, model=str(state.model), source="generate")
    choice = ChatCompletionChoice.model_validate({"message": message, "stop_reason": response.stop_reason})
    state.output = ModelOutput(model=str(state.model), choices=[choice])
    state.messages.append(state.output.message)


def _next_turn(
    eval_task: EvalTask[ConfigT], question: Question, responses: Sequence[ModelResponse], config: ConfigT
) -> str | None:
    """Return what is said next; `None` after a reply that is empty, cut off or filtered as well."""
    last = responses[-1]
    if not eval_task.is_of_turns or last.is_filtered or last.is_truncated or not last.text.strip():
        return None
    return eval_task.next_turn(question, [each.text for each in responses], config)


def _conversation(responses: Sequence[ModelResponse], after_question: Sequence[Message]) -> ModelResponse:
    """Return the replies of a conversation as one response, its text the whole conversation after the question."""
    said = [*after_question, Message(role="assistant", content=responses[-1].text)]
    n_tokens = [each.n_tokens for each in responses]
    return ModelResponse(
        text="\n\n".join(f"[{message.role}]\n{message.content}" for message in said),
        reasoning="\n\n".join(each.reasoning for each in responses if each.reasoning),
        stop_reason=responses[-1].stop_reason,
        n_tokens=None if None in n_tokens else sum(each or 0 for each in n_tokens),
        turns=tuple(each.text for each in responses),
    )


async def _ask(
    model: Model, messages: Sequence[Message], config: TaskConfig, seed: int | None, n_concurrent: int
) -> ModelResponse:
    if isinstance(model.api, ManyGenerator):
        [generation] = await model.api.generate_many(
            [messages],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=seed or 0,
            n_concurrent=n_concurrent,
        )
        reasoning, text = split_reasoning(generation.text)
        stop_reason = STOP_REASONS[generation.stop_reason]
        return ModelResponse(text=text, reasoning=reasoning, stop_reason=stop_reason, n_tokens=generation.n_tokens)
    settings = GenerateConfig(max_tokens=config.max_new_tokens, temperature=config.temperature, seed=seed)
    return response_of(await generate(model, messages, settings))


def open_task(name: str, config: str | None, settings: dict[str, Any]) -> Task:
    """Open a task by its name for Inspect's command line.

    Args:
        name: of the task.
        config: a YAML file of settings; the defaults where there is none.
        settings: settings by their names, over those of the file.

    Raises:
        PrerequisiteError: what is wrong with settings or judges; Inspect shows it in one line before anything is asked.
    """
    eval_task = task_named(name)
    try:
        chosen = eval_task.config() if config is None else read_settings(Path(config), eval_task.config)
        chosen = check_settings({**chosen.model_dump(), **settings}, eval_task.config)
        if eval_task.rubric(chosen) is not None:
            judges_in_role(str(get_model()))
        return inspect_task(eval_task, chosen)
    except MidspecError as error:
        raise PrerequisiteError(str(error)) from error
