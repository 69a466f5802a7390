"""Judges in Inspect: the provider `midspec-judge/<provider>/<model>`, and verdicts of the role `grader`.

A judge that can't answer gives an output with `error` set and never an exception, so that samples go on and the judged
measures are unscored with that reason: a budget that is used up is such a reason, for all that is asked after it.

    inspect eval midspec/... --model-role 'grader={model: midspec-judge/openai/<model>,
                                           model_args: {budget_usd: 5.0, store: runs/judging.calls.sqlite}}'

Replies are stored in one SQLite file beside the log. An identical request is answered from there: an evaluation that
is resumed or scored again pays for nothing twice, and samples that come to the very same prompt share one reply.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Context, ContextVar
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from inspect_ai.log._samples import sample_active
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    model_roles,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from pydantic import JsonValue, ValidationError
from typing_extensions import override

from midspec.core.errors import ConfigError, MidspecError, UnreachableError, first_fault
from midspec.core.records import Message
from midspec.evals._inspect import GRADER, OUTAGE, generate
from midspec.evals._interfaces import DEFAULTS
from midspec.evals._measures import UNJUDGED, Verdict, attempt, rubric_hash
from midspec.evals._response_cache import ResponseCache, answering_args, answering_settings, model_cache_key
from midspec.evals._text_calls import plain_messages
from midspec.evals._types import JudgeResponse, ModelResponse, Question, Rubric, Unscored
from midspec.evals.judges._grader import MAX_TOKENS, STORE, Grader, GraderConfig, JudgeReply, open_grader
from midspec.evals.judges._verdict import check_verdict
from midspec.llm import Access, Store, check_access

JUDGE_SAMPLING: dict[str, float | int] = {"temperature": 0.0, "max_tokens": 2000}
"""How a judge samples, where its own settings don't say otherwise."""

THROUGH_LLM = "midspec-judge/"
"""What the names of judges that are asked through `llm` begin with."""

_WRAPPERS = (THROUGH_LLM, "midspec/")
_WHERE = "midspec-judge"
_BUDGET = "--budget"  # where `llm` says that an error is
_STOPS: dict[str, StopReason] = {"stop": "stop", "max_tokens": "max_tokens", "content_filter": "content_filter"}
_SET_BY_INSPECT = {"max_tokens", "temperature", "max_retries", "timeout", "attempt_timeout", "max_connections"}
# How the reply that is being asked for will be read: Inspect's interface of a model has no place for it.
_READING: ContextVar[Callable[[str], None] | None] = ContextVar("reading", default=None)
_IGNORED = {
    "adaptive_connections",
    "cache",
    "fail_on_refusal",
    "max_tool_output",
    "modalities",
    "reasoning_history",
    "seed",
    "stream_idle_timeout",
}


class JudgeAPI(ModelAPI):
    """A judge as an Inspect model.

    Args:
        model_name: `anthropic/<model>`, or `openai/<model>` for every server that speaks that protocol.
        base_url: the server, where it is not the provider's own.
        api_key: not used; keys come from the environment (`ANTHROPIC_API_KEY`, `OPENAI_API_KEY`).
        config: Inspect's settings; of sampling, `temperature` and `max_tokens` are taken.
        store: the file of stored replies; `judging.calls.sqlite` beside the log by default.
        budget_usd: what all attempts of the store may cost together.
        prices: a YAML file of prices that go before the shipped ones.
        concurrency: how many requests are wanted in flight.
        temperature: where `config` has none; `None` for a model that takes no temperature.
        extra: fields of the provider's own (`{"reasoning_effort": "low"}`).
        draw: another number asks for other replies to the same prompts.

    Raises:
        ConfigError: a setting is wrong, the provider's key is not set, or a budget is set for a model whose price
            nobody knows.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = DEFAULTS,
        *,
        store: str | None = None,
        budget_usd: float | None = None,
        prices: str | None = None,
        concurrency: int = 50,
        temperature: float | None = 0.0,
        extra: Mapping[str, JsonValue] | None = None,
        draw: int = 0,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        try:
            self._access = Access(base_url=base_url, budget_usd=budget_usd, prices=prices, concurrency=concurrency)
            self._judge = GraderConfig(model=model_name, temperature=temperature, extra=dict(extra or {}), draw=draw)
        except ValidationError as error:
            raise ConfigError(": ".join(first_fault(error)), where=_WHERE, hint="Correct that setting") from error
        check_access(self._judge.as_model(), self._access)
        self._path = None if store is None else Path(store)
        self._open: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float | None, _OpenGrader]] = WeakKeyDictionary()

    @override
    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Return the judge's reply, from the store if it is there; an output with `error` where there can be none."""
        prompt, turns = _conversation(input, tools, config)
        temperature = self._judge.temperature if config.temperature is None else config.temperature
        open_graders = self._open.setdefault(asyncio.get_running_loop(), {})
        if temperature not in open_graders:
            judge = self._judge.model_copy(update={"temperature": temperature})
            path = self._path or _default_store()
            open_graders[temperature] = _OpenGrader(lambda: open_grader(judge, self._access, path))
        try:
            grader = await open_graders[temperature].grader()
            reply = await grader.ask(
                prompt, turns=turns, max_tokens=config.max_tokens or MAX_TOKENS, check=_READING.get()
            )
            is_outage = reply.outcome is not None and reply.outcome.kind == "timed_out"
        except MidspecError as error:
            # What ends a run of `llm` ends the judging only: samples go on, and can be judged later. A budget that is
            # used up is a choice of the user's and no outage.
            reply = JudgeReply("", "unknown", str(error))
            is_outage = error.where != _BUDGET
        message = ChatMessageAssistant(content=reply.text, model=self.model_name, source="generate")
        choice = ChatCompletionChoice(message=message, stop_reason=_STOPS.get(reply.stop_reason, "unknown"))
        return ModelOutput(
            model=self.model_name,
            choices=[choice],
            usage=None if reply.is_stored else _usage(reply),
            error=reply.error or None,
            metadata={"from_store": reply.is_stored} | ({OUTAGE: True} if is_outage else {}),
        )

    @override
    def max_tokens(self) -> int:
        """Return the longest reply, in tokens, where a task sets none."""
        return MAX_TOKENS

    @override
    def max_connections(self) -> int:
        """Return how many requests are wanted in flight; `llm` sends fewer where the server carries fewer."""
        return self._access.concurrency

    @override
    def connection_key(self) -> str:
        """Return a key that only the same model on the same server shares."""
        return f"{self.base_url}:{self.model_name}"

    @override
    async def aclose(self) -> None:
        """Close this event loop's connections; without this call they are closed when the loop ends."""
        for each in self._open.pop(asyncio.get_running_loop(), {}).values():
            await each.close()

    @override
    def close(self) -> None:
        """Do nothing: connections belong to an event loop, and end with it."""


class _OpenGrader:
    """A grader that is open from its first use until `close`, or until its event loop ends.

    Inspect closes no model that plays a role, and connections must end in the loop that they began in; so a task of
    that loop holds them, and lets go when it is cancelled at the loop's end.
    """

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[tuple[Grader, Store]]]) -> None:
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Grader] = loop.create_future()
        self._closing = asyncio.Event()
        # Not in the context of the sample that happens to come first.
        self._task = loop.create_task(self._hold(opening), context=Context())

    async def grader(self) -> Grader:
        return await asyncio.shield(self._ready)

    async def close(self) -> None:
        self._closing.set()
        await self._task

    async def _hold(self, opening: Callable[[], AbstractAsyncContextManager[tuple[Grader, Store]]]) -> None:
        try:
            async with opening() as (grader, _):
                self._ready.set_result(grader)
                await self._closing.wait()
        except MidspecError as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)


def _default_store() -> Path:
    """Return the default store: in the folder of the log that is being written, or where logs go."""
    active = sample_active()
    if active is not None and "://" not in active.log_location.removeprefix("file://"):
        return Path(active.log_location.removeprefix("file://")).parent / STORE
    folder = os.environ.get("INSPECT_LOG_DIR", "logs")
    return Path("logs" if "://" in folder else folder) / STORE


def _conversation(
    messages: Sequence[ChatMessage], tools: Sequence[ToolInfo], config: GenerateConfig
) -> tuple[str, tuple[Message, ...]]:
    """Split Inspect's messages into the first user message and the turns after it.

    Raises:
        ConfigError: a judge can't be asked this.
    """
    given = {name for name, value in config.model_dump(exclude_none=True).items() if value not in (False, [])}
    if unknown := sorted(given - _SET_BY_INSPECT - _IGNORED):
        raise ConfigError(f"{unknown[0]} is not supported", where=_WHERE, hint="Leave it out, or give it in `extra`")
    if tools:
        raise ConfigError("a judge can't call tools", where=_WHERE, hint="Use a grader without tools")
    plain = plain_messages(messages)
    if not plain or plain[0].role != "user" or plain[-1].role != "user":
        raise ConfigError(
            "a judge is asked by user messages, the first and the last", where=_WHERE, hint="Leave out a system message"
        )
    return plain[0].content, tuple(plain[1:])


def _usage(reply: JudgeReply) -> ModelUsage | None:
    """Return the tokens of the last request that the reply took; the store's ledger has the cost of all."""
    usage = None if reply.outcome is None else reply.outcome.usage
    if usage is None:
        return None
    n_prompt = usage.n_input + usage.n_cache_read + usage.n_cache_write
    return ModelUsage(
        input_tokens=usage.n_input,
        output_tokens=usage.n_output,
        total_tokens=n_prompt + usage.n_output,
        input_tokens_cache_read=usage.n_cache_read,
        input_tokens_cache_write=usage.n_cache_write,
        total_cost=reply.outcome.cost_usd if reply.outcome is not None else None,
    )


def judges_in_role(tested: str) -> list[Model]:
    """Return the models in the role `grader`.

    Args:
        tested: the name of the model under test.

    Raises:
        ConfigError: there is none, or one of them is the model under test.
    """
    found = model_roles().get(GRADER, [])
    judges = found if isinstance(found, list) else [found]
    check_judges([str(judge) for judge in judges], tested)
    return judges


def check_judges(judges: Sequence[str], tested: str) -> None:
    """Raise `ConfigError` unless there are judges and none of them is the model under test."""
    if not judges:
        raise ConfigError("this task needs a judge", where=GRADER, hint="Name a model for the role `grader`")
    if _unwrapped(tested) in map(_unwrapped, judges):
        raise ConfigError("the model under test can't be its own judge", where=tested, hint="Name another grader")


async def verdict_of(
    judge: Model,
    rubric: Rubric,
    question: Question,
    response: ModelResponse,
    *,
    cache: ResponseCache | None = None,
    epoch: int = 1,
) -> Verdict:
    """Ask one judge about one answer.

    Args:
        judge: the judge.
        rubric: what it is asked.
        question: what the answer is to.
        response: the answer.
        cache: where replies are written, and looked up first.
        epoch: which of the question's samples this is.
    """
    name, rubric_id = str(judge), rubric_hash(rubric)
    prompt = attempt(f"{type(rubric).__name__}.render", lambda: rubric.render(question, response))
    if isinstance(prompt, Unscored):
        return Verdict(judge=name, fault=prompt.reason)
    request = {
        "judge": model_cache_key(judge),
        "rubric": rubric_id,
        "prompt": prompt,
        "id": question.id,
        "epoch": epoch,
    }
    if cache is not None and (known := cache.get(JudgeResponse, request)) is not None:
        return Verdict(judge=name, graded=known)
    settings = GenerateConfig(max_tokens=int(JUDGE_SAMPLING["max_tokens"]))
    if not name.startswith(THROUGH_LLM):  # a judge that goes through `llm` has a temperature of its own
        settings = settings.merge(GenerateConfig(temperature=JUDGE_SAMPLING["temperature"]))
    reading = _READING.set(lambda text: check_verdict(rubric, text))
    try:
        output = await generate(judge, [Message(role="user", content=str(prompt))], settings.merge(judge.config))
    except Exception as error:  # noqa: BLE001 - a judge's failure is this verdict's reason, and is counted
        what = " ".join(str(error).split()) or type(error).__name__
        failed = UNJUDGED if isinstance(error, UnreachableError) else "the judge failed"
        return Verdict(judge=name, fault=f"{failed}: {what}")
    finally:
        _READING.reset(reading)
    reply = JudgeResponse(judge=name, rubric=rubric_id, text=output.completion, stop_reason=output.stop_reason)
    if cache is not None:
        cache.put(reply, request)
    return Verdict(judge=name, graded=reply)


def judge_settings(args: Mapping[str, Any], config: GenerateConfig) -> dict[str, JsonValue]:
    """Return what of a judge's own settings changes its verdicts."""
    return {"args": answering_args(args), "sampling": answering_settings(config)}


def _unwrapped(name: str) -> str:
    """Return a model's name without the prefixes that only say how it is reached."""
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name
