"""Our Inspect provider for judges, `midspec-judge/<anthropic|openai>/<model>`: any grader role, asked through `llm`.

In: Inspect's messages to a grader. Out: Inspect's outputs, with the outcome's reason for ending. A judge that can't
answer gives an output with `error` set and never an exception, so that what was sampled goes on and the judged measures
are unscored with that reason: a budget that is used up is such a reason, for all that is asked after it.

    inspect eval midspec/... --model-role 'grader={model: midspec-judge/openai/<model>,
                                           model_args: {budget_usd: 5.0, store: runs/judging.calls.sqlite}}'

Replies are kept in one SQLite file beside the log. An identical request is answered from there: an evaluation that is
resumed or scored again pays for nothing twice, and samples that come to the very same prompt share one reply.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from pathlib import Path
from weakref import WeakKeyDictionary

from inspect_ai.log._samples import sample_active
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from pydantic import JsonValue, ValidationError
from typing_extensions import override

from midspec.core.errors import ConfigError, MidspecError
from midspec.core.records import Message
from midspec.evals._provider import DEFAULTS, plain_messages
from midspec.evals.judges._grader import MAX_TOKENS, STORE, Grader, GraderConfig, JudgeReply, open_grader
from midspec.llm import Access, Store, check_access

_WHERE = "midspec-judge"
_STOPS: dict[str, StopReason] = {"stop": "stop", "max_tokens": "max_tokens", "content_filter": "content_filter"}
_SET_BY_INSPECT = {"max_tokens", "temperature", "max_retries", "timeout", "attempt_timeout", "max_connections"}
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
        store: the file of kept replies; `judging.calls.sqlite` beside the log by default.
        budget_usd: what all attempts of the store may cost together.
        prices: a YAML file of prices that come before the kept ones.
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
            fault = error.errors(include_url=False)[0]
            raise ConfigError(f"{fault['loc'][0]}: {fault['msg']}", where=_WHERE, hint="Mend that setting") from error
        check_access(self._judge.as_model(), self._access)
        self._path = None if store is None else Path(store)
        self._open: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float | None, _Kept]] = WeakKeyDictionary()

    @override
    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """The judge's reply, from the store where it is there; an output with `error` where there can be none."""
        prompt, turns = _conversation(input, tools, config)
        try:
            grader = await self._grader(config)
            reply = await grader.ask(prompt, turns=turns, max_tokens=config.max_tokens or MAX_TOKENS)
        except MidspecError as error:
            # What ends a run of `llm` ends the judging only: samples go on, and can be judged later.
            reply = JudgeReply("", "unknown", str(error))
        return _output(self.model_name, reply)

    @override
    def max_tokens(self) -> int:
        """The longest reply where a task does not say."""
        return MAX_TOKENS

    @override
    def max_connections(self) -> int:
        """As many as are wanted in flight; `llm` sends fewer where the server carries fewer."""
        return self._access.concurrency

    @override
    def connection_key(self) -> str:
        """Judges don't share connections unless they are the same model on the same server."""
        return f"{self.base_url}:{self.model_name}"

    @override
    async def aclose(self) -> None:
        """Let go of this event loop's connections; without this call they are let go of when the loop ends."""
        for kept in self._open.pop(asyncio.get_running_loop(), {}).values():
            await kept.close()

    @override
    def close(self) -> None:
        """Nothing: connections belong to an event loop, and end with it."""

    async def _grader(self, config: GenerateConfig) -> Grader:
        temperature = self._judge.temperature if config.temperature is None else config.temperature
        here = self._open.setdefault(asyncio.get_running_loop(), {})
        if temperature not in here:
            judge = self._judge.model_copy(update={"temperature": temperature})
            path = self._path or _beside_the_log()
            here[temperature] = _Kept(lambda: open_grader(judge, self._access, path))
        return await here[temperature].grader()


class _Kept:
    """A grader that is open from its first use until `close`, or until its event loop ends.

    Inspect closes no model that plays a role, and connections must end in the loop that they began in; so a task of
    that loop holds them, and lets go when it is cancelled at the loop's end.
    """

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[tuple[Grader, Store]]]) -> None:
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Grader] = loop.create_future()
        self._leave = asyncio.Event()
        # Not in the context of the sample that happens to come first.
        self._task = loop.create_task(self._keep(opening), context=Context())

    async def grader(self) -> Grader:
        return await asyncio.shield(self._ready)

    async def close(self) -> None:
        self._leave.set()
        await self._task

    async def _keep(self, opening: Callable[[], AbstractAsyncContextManager[tuple[Grader, Store]]]) -> None:
        try:
            async with opening() as (grader, _):
                self._ready.set_result(grader)
                await self._leave.wait()
        except MidspecError as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)


def _beside_the_log() -> Path:
    """The default place of kept replies: the folder of the log that is being written, or where logs go."""
    active = sample_active()
    if active is not None and "://" not in active.log_location.removeprefix("file://"):
        return Path(active.log_location.removeprefix("file://")).parent / STORE
    folder = os.environ.get("INSPECT_LOG_DIR", "logs")
    return Path("logs" if "://" in folder else folder) / STORE


def _conversation(
    messages: Sequence[ChatMessage], tools: Sequence[ToolInfo], config: GenerateConfig
) -> tuple[str, tuple[Message, ...]]:
    """The first user message, and the turns after it.

    Raises:
        ConfigError: a judge can't be asked this.
    """
    given = {name for name, value in config.model_dump(exclude_none=True).items() if value not in (False, [])}
    if unknown := sorted(given - _SET_BY_INSPECT - _IGNORED):
        raise ConfigError(f"{unknown[0]} is not supported", where=_WHERE, hint="Leave it out, or give it in `extra`")
    if tools:
        raise ConfigError("a judge can't call tools", where=_WHERE, hint="Use a grader without tools")
    said = plain_messages(messages)
    if not said or said[0].role != "user" or said[-1].role != "user":
        raise ConfigError(
            "a judge is asked by user messages, the first and the last", where=_WHERE, hint="Leave out a system message"
        )
    return said[0].content, tuple(said[1:])


def _output(name: str, reply: JudgeReply) -> ModelOutput:
    message = ChatMessageAssistant(content=reply.text, model=name, source="generate")
    choice = ChatCompletionChoice(message=message, stop_reason=_STOPS.get(reply.stop_reason, "unknown"))
    return ModelOutput(
        model=name,
        choices=[choice],
        usage=None if reply.was_known else _usage(reply),
        error=reply.error or None,
        metadata={"from_store": reply.was_known},
    )


def _usage(reply: JudgeReply) -> ModelUsage | None:
    """Tokens of the last request that the reply took; what all of them cost is in the store's ledger."""
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
