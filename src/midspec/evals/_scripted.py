"""Inspect models with scripted replies, for tests and for trying an evaluation without a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    get_model,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from typing_extensions import override

from midspec.core.records import Message, Strict
from midspec.evals._interfaces import DEFAULTS, OptionScorer
from midspec.evals._text_calls import plain_messages, split_calls
from midspec.models import OptionScore


class ScriptedReply(Strict):
    """An answer and why it ends: `stop`, `max_tokens` (cut off), `content_filter` (the provider refused), ...

    `reasoning` is what a model with native reasoning gives apart from its answer.
    """

    text: str
    reasoning: str = ""
    stop_reason: StopReason = "stop"


ScriptEntry = ScriptedReply | str | Exception
Script = Sequence[ScriptEntry] | Callable[[Sequence[Message]], ScriptEntry]


class ScriptedAPI(ModelAPI):
    """A provider that replies by a script; where a task has tools, calls are written in plain text.

    Args:
        model_name: any name.
        base_url: not used; Inspect passes it to every provider.
        api_key: not used either.
        config: Inspect's generation settings.
        script: replies, given in this order over and over, or a function from the conversation to a reply. An
            exception among them is raised.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = DEFAULTS,
        *,
        script: Script = ("...",),
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self._script = script
        self._n_replies = 0
        self._lock = threading.Lock()

    @override
    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Return the script's next entry."""
        if callable(self._script):
            entry = self._script(plain_messages(input, tools))
        else:
            with self._lock:
                entry = self._script[self._n_replies % len(self._script)]
                self._n_replies += 1
        if isinstance(entry, Exception):
            raise entry
        reply = ScriptedReply(text=entry) if isinstance(entry, str) else entry
        reasoning: list[Content] = [ContentReasoning(reasoning=reply.reasoning)] if reply.reasoning else []
        n_before = sum(len(each.tool_calls or ()) for each in input if each.role == "assistant")
        text, calls = split_calls(reply.text, n_before) if tools else (reply.text, [])
        content = [*reasoning, ContentText(text=text)] if reasoning else text
        message = ChatMessageAssistant(
            content=content, tool_calls=calls or None, model=self.model_name, source="generate"
        )
        choice = ChatCompletionChoice(message=message, stop_reason="tool_calls" if calls else reply.stop_reason)
        # A server that refuses a prompt as too long has used nothing; an answer that met the model's limit has.
        usage = ModelUsage() if reply.stop_reason == "model_length" else None
        return ModelOutput(model=self.model_name, choices=[choice], usage=usage)


class ScriptedScorerAPI(ScriptedAPI, OptionScorer):
    """A scripted provider that scores options by a function of conversation and option (nats; one token a word)."""

    def __init__(
        self,
        *args: Any,
        logprob: Callable[[Sequence[Message], str], float] = lambda _messages, _option: 0.0,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self._logprob = logprob

    @override
    async def score_options(
        self, prompts: Sequence[Sequence[Message]], options: Sequence[str], *, n_concurrent: int = 1
    ) -> list[OptionScore]:
        """See `OptionScorer`."""
        return [
            OptionScore(logprob=self._logprob(prompt, option), n_tokens=len(option.split()))
            for prompt, option in zip(prompts, options, strict=True)
        ]


def scripted_model(
    script: Script, *, logprob: Callable[[Sequence[Message], str], float] | None = None, name: str = "script"
) -> Model:
    """Return an Inspect model that replies by `script`, and scores options where `logprob` is given."""
    if logprob is None:
        return get_model(f"midspec-scripted/{name}", memoize=False, script=script)
    return get_model(f"midspec-scripted-scorer/{name}", memoize=False, script=script, logprob=logprob)
