"""The Inspect provider `midspec/<checkpoint>`: concurrent requests are answered in batches by a model opened here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, NamedTuple, TypeVar

import anyio
import anyio.to_thread
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolInfo
from pydantic import JsonValue
from typing_extensions import override

from midspec.core.errors import CheckpointError, ConfigError
from midspec.core.reasoning import split_reasoning
from midspec.core.records import Message
from midspec.evals._interfaces import DEFAULTS, STOP_REASONS, ManyGenerator, OptionScorer
from midspec.evals._text_calls import plain_messages, split_calls
from midspec.models import (
    Generation,
    LanguageModel,
    OptionScore,
    PromptTooLongError,
    find_checkpoint,
    open_checkpoint,
)

_TURN_S = 0.005
_PATIENCE_TURNS = 20

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


class _Pending(Generic[RequestT, ResultT]):
    def __init__(self, request: RequestT) -> None:
        self.request = request
        self.outcome: Future[ResultT] = Future()


class DynamicBatcher(Generic[RequestT, ResultT]):
    """Answers concurrent requests in batches, in one thread off the event loop.

    The first request waits until as many have come as were announced (or none has come for a while), and runs them
    all, sorted, so that the same requests always make the same batch. When a batch fails, each of its requests is run
    alone, so that one that can't be answered fails no other.

    Args:
        run: answers many requests at once, in their order; an exception among the answers is that request's.
        order: the sort key of a request.
    """

    def __init__(
        self,
        run: Callable[[Sequence[RequestT]], list[ResultT | Exception]],
        order: Callable[[RequestT], tuple[str, ...]],
    ) -> None:
        self._run = run
        self._order = order
        self._waiting: list[_Pending[RequestT, ResultT]] = []
        self._round: anyio.Event | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="midspec-model")

    async def submit(self, request: RequestT, *, n_concurrent: int = 1) -> ResultT:
        """Answer one request.

        Args:
            request: what to run.
            n_concurrent: how many requests like this one are being made at the same time, this one included; a hint.

        Raises:
            Exception: whatever `run` raised for this request.
        """
        entry: _Pending[RequestT, ResultT] = _Pending(request)
        self._waiting.append(entry)
        while not entry.outcome.done():
            if self._round is not None:
                await self._round.wait()
                continue
            # All that wait are woken at the same moment, so that their next requests come together again.
            self._round = ended = anyio.Event()
            try:
                await self._wait_for_others(n_concurrent)
                batch, self._waiting = sorted(self._waiting, key=lambda each: self._order(each.request)), []
                with anyio.CancelScope(shield=True):
                    await self._run_batch(batch)
            finally:
                self._round = None
                ended.set()
        return entry.outcome.result()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def _wait_for_others(self, n_expected: int) -> None:
        n_quiet = 0
        patience = _PATIENCE_TURNS if n_expected > 1 else 1
        while len(self._waiting) < n_expected and n_quiet < patience:
            n_before = len(self._waiting)
            await anyio.sleep(_TURN_S)
            n_quiet = n_quiet + 1 if len(self._waiting) == n_before else 0

    async def _run_batch(self, batch: Sequence[_Pending[RequestT, ResultT]]) -> None:
        done = self._thread.submit(self._run, [entry.request for entry in batch])
        await anyio.to_thread.run_sync(wait, [done])
        if (error := done.exception()) is None:
            for entry, result in zip(batch, done.result(), strict=True):
                if isinstance(result, Exception):
                    entry.outcome.set_exception(result)
                else:
                    entry.outcome.set_result(result)
        elif len(batch) == 1:
            batch[0].outcome.set_exception(error)
        else:
            for entry in batch:
                await self._run_batch([entry])


_UNSUPPORTED = ("top_p", "top_k", "stop_seqs", "num_choices", "logprobs", "frequency_penalty", "presence_penalty")
_MAX_TOKENS = 256
_MAX_CONNECTIONS = 4096

ValueT = TypeVar("ValueT")

_Prompts = tuple[tuple[Message, ...], ...]


class _Scoring(NamedTuple):
    prompts: _Prompts
    options: tuple[str, ...]


class _Generating(NamedTuple):
    prompts: _Prompts
    max_new_tokens: int
    temperature: float
    seed: int


class MidspecAPI(ModelAPI, OptionScorer, ManyGenerator):
    """A checkpoint as an Inspect model.

    Args:
        model_name: a checkpoint folder (full weights or adapter) or a hub name.
        base_url: not used; Inspect passes it to every provider.
        api_key: not used either.
        config: Inspect's generation settings.
        device: `auto`, or a torch device.
        dtype: `auto`, or a torch number type.
        template_args: switches that the checkpoint's own chat template offers (`enable_thinking`, say).

    Raises:
        CheckpointError: `model_name` is no checkpoint that opens, or has no chat template.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = DEFAULTS,
        *,
        device: str = "auto",
        dtype: str = "auto",
        template_args: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        checkpoint = find_checkpoint(model_name)
        model = open_checkpoint(checkpoint, device=device, dtype=dtype, template_args=template_args)
        if model.tokenizer.chat_template is None:
            raise CheckpointError(
                "the tokenizer has no chat template, so nothing can be asked",
                where=model_name,
                hint="Use a chat-tuned model, or save its tokenizer with a chat template",
            )
        self._opened: LanguageModel | None = model
        self._template = model.template
        self._scoring = DynamicBatcher(self._score, _sort_key)
        self._generating = DynamicBatcher(self._generate, _sort_key)

    @override
    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Answer one conversation, batched with all other concurrent requests; tools are called in plain text."""
        offered = [] if tool_choice == "none" else tools
        given = config.model_dump(exclude_none=True)
        for name in _UNSUPPORTED:
            if name in given and given[name] is not False:
                raise ConfigError(f"{name} is not supported", where="midspec model", hint=f"Leave {name} out")
        [generation] = await self.generate_many(
            [plain_messages(input, offered)],
            max_new_tokens=config.max_tokens or _MAX_TOKENS,
            temperature=config.temperature or 0.0,
            seed=config.seed or 0,
        )
        stop_reason, text, calls = STOP_REASONS[generation.stop_reason], generation.text, list[ToolCall]()
        if offered:
            text = split_reasoning(text)[1]
            text, calls = split_calls(
                text, sum(len(each.tool_calls or ()) for each in input if each.role == "assistant")
            )
        message = ChatMessageAssistant(content=text, tool_calls=calls or None, model=self.model_name, source="generate")
        choice = ChatCompletionChoice(message=message, stop_reason="tool_calls" if calls else stop_reason)
        return ModelOutput(model=self.model_name, choices=[choice])

    @override
    async def score_options(
        self, prompts: Sequence[Sequence[Message]], options: Sequence[str], *, n_concurrent: int = 1
    ) -> list[OptionScore]:
        """See `OptionScorer`."""
        return await self._scoring.submit(_Scoring(_frozen(prompts), tuple(options)), n_concurrent=n_concurrent)

    @override
    async def generate_many(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        n_concurrent: int = 1,
    ) -> list[Generation]:
        """See `ManyGenerator`."""
        request = _Generating(_frozen(prompts), max_new_tokens, temperature, seed)
        return await self._generating.submit(request, n_concurrent=n_concurrent)

    @override
    def max_tokens(self) -> int:
        """Return the longest answer, in tokens, where a task sets none."""
        return _MAX_TOKENS

    @override
    def max_connections(self) -> int:
        """Return a limit that no run meets: requests wait for one another to make batches."""
        return _MAX_CONNECTIONS

    @override
    def close(self) -> None:
        """Free the weights; the model answers nothing more."""
        self._scoring.close()
        self._generating.close()
        self._opened = None

    @property
    @override
    def notes(self) -> list[str]:
        """See `ManyGenerator`; also after the model was closed."""
        return self._template.prompt_notes

    @property
    def _model(self) -> LanguageModel:
        if self._opened is None:
            raise RuntimeError("the model was closed")
        return self._opened

    def _score(self, requests: Sequence[_Scoring]) -> list[list[OptionScore] | Exception]:
        def run(requests: Sequence[_Scoring]) -> list[list[OptionScore]]:
            prompts = [prompt for request in requests for prompt in request.prompts]
            options = [option for request in requests for option in request.options]
            return _split(self._model.option_logprobs(prompts, options), [len(each.prompts) for each in requests])

        return _without_too_long(requests, run)

    def _generate(self, requests: Sequence[_Generating]) -> list[list[Generation] | Exception]:
        """Batch greedy requests of one length; a sampled request is alone, so that its seed decides."""

        def run(requests: Sequence[_Generating]) -> list[list[Generation]]:
            found = self._model.generate(
                [prompt for request in requests for prompt in request.prompts],
                max_new_tokens=requests[0].max_new_tokens,
                temperature=requests[0].temperature,
                seed=requests[0].seed,
            )
            return _split(found, [len(each.prompts) for each in requests])

        answers: list[list[Generation] | Exception] = [[] for _ in requests]
        groups: dict[tuple[int, int], list[int]] = {}
        for index, request in enumerate(requests):
            own = 0 if request.temperature == 0 else index + 1
            groups.setdefault((request.max_new_tokens, own), []).append(index)
        for group in groups.values():
            found = _without_too_long([requests[index] for index in group], run)
            for index, part in zip(group, found, strict=True):
                answers[index] = part
        return answers


def _sort_key(request: _Scoring | _Generating) -> tuple[str, ...]:
    return tuple(message.content for prompt in request.prompts for message in prompt)


def _frozen(prompts: Sequence[Sequence[Message]]) -> _Prompts:
    return tuple(tuple(prompt) for prompt in prompts)


_PromptsT = TypeVar("_PromptsT", _Scoring, _Generating)


def _without_too_long(
    requests: Sequence[_PromptsT], run: Callable[[Sequence[_PromptsT]], list[ValueT]]
) -> list[ValueT | Exception]:
    """Run requests; those with a prompt that does not fit the model's window get that error, and the rest an answer."""
    found: list[ValueT | Exception | None] = [None] * len(requests)
    left = list(range(len(requests)))
    while left:
        try:
            for number, result in zip(left, run([requests[number] for number in left]), strict=True):
                found[number] = result
            break
        except PromptTooLongError as error:
            owners = [number for number in left for _ in requests[number].prompts]
            refused = {owners[at] for at in error.numbers}
            for number in refused:
                found[number] = PromptTooLongError(error.n_tokens, error.window, ())
            left = [number for number in left if number not in refused]
    return [result for result in found if result is not None]


def _split(values: list[ValueT], sizes: Sequence[int]) -> list[list[ValueT]]:
    """Cut `values` into consecutive parts of the given sizes."""
    parts, start = [], 0
    for size in sizes:
        parts.append(values[start : start + size])
        start += size
    return parts
