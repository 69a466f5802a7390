"""Our Inspect provider, `midspec/<checkpoint>`: a checkpoint opened by `models`, its requests answered in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    StopReason,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from pydantic import JsonValue
from typing_extensions import override

from midspec.errors import CheckpointError, ConfigError
from midspec.evals._abilities import ManyGenerator, OptionScorer
from midspec.evals._gather import Gatherer
from midspec.models import Generation, LanguageModel, OptionScore, find_checkpoint, open_checkpoint
from midspec.records import Message, Role

__all__ = ["DEFAULTS", "STOP_REASONS", "MidspecAPI", "plain_messages"]

DEFAULTS = GenerateConfig()
STOP_REASONS: dict[str, StopReason] = {"stop": "stop", "length": "max_tokens"}
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_UNSUPPORTED = ("top_p", "top_k", "stop_seqs", "num_choices", "logprobs", "frequency_penalty", "presence_penalty")
_MAX_TOKENS = 256
_SIDE_BY_SIDE = 4096

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
                mend="Use a chat-tuned model, or save its tokenizer with a chat template",
            )
        self._opened: LanguageModel | None = model
        self._scoring = Gatherer(self._score, _sort_key)
        self._generating = Gatherer(self._generate, _sort_key)

    @override
    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """One answer to one conversation, for any Inspect task; batched with what else is asked at the time."""
        _check_supported(tools, config)
        found = await self.generate_many(
            [plain_messages(input)],
            max_new_tokens=config.max_tokens or _MAX_TOKENS,
            temperature=config.temperature or 0.0,
            seed=config.seed or 0,
        )
        return _output(self.model_name, found[0])

    @override
    async def score_options(
        self, prompts: Sequence[Sequence[Message]], options: Sequence[str], *, beside: int = 1
    ) -> list[OptionScore]:
        """See `OptionScorer`."""
        return await self._scoring.ask(_Scoring(_frozen(prompts), tuple(options)), beside=beside)

    @override
    async def generate_many(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        beside: int = 1,
    ) -> list[Generation]:
        """See `ManyGenerator`."""
        request = _Generating(_frozen(prompts), max_new_tokens, temperature, seed)
        return await self._generating.ask(request, beside=beside)

    @override
    def max_tokens(self) -> int:
        """The longest answer where a task does not say."""
        return _MAX_TOKENS

    @override
    def max_connections(self) -> int:
        """As many requests as there are: they wait for one another to make batches."""
        return _SIDE_BY_SIDE

    @override
    def close(self) -> None:
        """Let the weights go; the model answers nothing more."""
        self._scoring.close()
        self._generating.close()
        self._opened = None

    @property
    def _model(self) -> LanguageModel:
        if self._opened is None:
            raise RuntimeError("the model was closed")
        return self._opened

    def _score(self, requests: Sequence[_Scoring]) -> list[list[OptionScore]]:
        prompts = [prompt for request in requests for prompt in request.prompts]
        options = [option for request in requests for option in request.options]
        return _dealt(self._model.option_logprobs(prompts, options), [len(request.prompts) for request in requests])

    def _generate(self, requests: Sequence[_Generating]) -> list[list[Generation]]:
        """Greedy requests of one length share a batch; a sampled one has its own, so that its seed alone decides."""
        answers: list[list[Generation]] = [[] for _ in requests]
        groups: dict[tuple[int, int], list[int]] = {}
        for index, request in enumerate(requests):
            own = 0 if request.temperature == 0 else index + 1
            groups.setdefault((request.max_new_tokens, own), []).append(index)
        for group in groups.values():
            members = [requests[index] for index in group]
            found = self._model.generate(
                [prompt for request in members for prompt in request.prompts],
                max_new_tokens=members[0].max_new_tokens,
                temperature=members[0].temperature,
                seed=members[0].seed,
            )
            for index, part in zip(group, _dealt(found, [len(each.prompts) for each in members]), strict=True):
                answers[index] = part
        return answers


def plain_messages(messages: Sequence[ChatMessage]) -> list[Message]:
    """Inspect's messages as ours.

    Raises:
        ConfigError: one has a role that a checkpoint's template is not asked for (a tool's).
    """
    for message in messages:
        if message.role not in _ROLES:
            raise ConfigError(f"a {message.role} message", where="midspec model", mend="Use a task without tools")
    return [Message(role=_ROLES[message.role], content=message.text) for message in messages]


def _check_supported(tools: Sequence[ToolInfo], config: GenerateConfig) -> None:
    if tools:
        raise ConfigError("tools can't be called", where="midspec model", mend="Use a task without tools")
    given = config.model_dump(exclude_none=True)
    for name in _UNSUPPORTED:
        if name in given and given[name] is not False:
            raise ConfigError(f"{name} is not supported", where="midspec model", mend=f"Leave {name} out")


def _output(name: str, found: Generation) -> ModelOutput:
    message = ChatMessageAssistant(content=found.text, model=name, source="generate")
    choice = ChatCompletionChoice(message=message, stop_reason=STOP_REASONS[found.stop_reason])
    return ModelOutput(model=name, choices=[choice])


def _sort_key(request: _Scoring | _Generating) -> tuple[str, ...]:
    return tuple(message.content for prompt in request.prompts for message in prompt)


def _frozen(prompts: Sequence[Sequence[Message]]) -> _Prompts:
    return tuple(tuple(prompt) for prompt in prompts)


def _dealt(values: list[ValueT], sizes: Sequence[int]) -> list[list[ValueT]]:
    """`values` cut into consecutive parts of the given sizes."""
    parts, start = [], 0
    for size in sizes:
        parts.append(values[start : start + size])
        start += size
    return parts
