"""A model that plays a script: for tests, and for trying an evaluation out without any model.

`scripted_model` gives an Inspect model whose answers are written beforehand: it can prefer, refuse, be cut off or
fail. With a `logprob` function it can also score options.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

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
    StopReason,
    get_model,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from typing_extensions import override

from midspec.core.records import Message, Strict
from midspec.evals._abilities import OptionScorer
from midspec.evals._provider import DEFAULTS, plain_messages
from midspec.models import OptionScore


class ScriptedReply(Strict):
    """An answer and why it ends: `stop`, `max_tokens` (cut off), `content_filter` (the provider refused), ...

    `reasoning` is what a model with native reasoning gives apart from its answer.
    """

    text: str
    reasoning: str = ""
    stop_reason: StopReason = "stop"


Line = ScriptedReply | str | Exception
Script = Sequence[Line] | Callable[[Sequence[Message]], Line]


class ScriptedAPI(ModelAPI):
    """Plays a script.

    Args:
        model_name: any name.
        base_url: not used; Inspect passes it to every provider.
        api_key: not used either.
        config: Inspect's generation settings.
        script: the lines, said in this order over and over, or a function from the conversation to a line. An
            exception is raised instead of said.
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
        self._n_said = 0
        self._lock = threading.Lock()

    @override
    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """The script's next line."""
        line = self._next(plain_messages(input))
        if isinstance(line, Exception):
            raise line
        reply = ScriptedReply(text=line) if isinstance(line, str) else line
        thought: list[Content] = [ContentReasoning(reasoning=reply.reasoning)] if reply.reasoning else []
        content = [*thought, ContentText(text=reply.text)] if thought else reply.text
        message = ChatMessageAssistant(content=content, model=self.model_name, source="generate")
        choice = ChatCompletionChoice(message=message, stop_reason=reply.stop_reason)
        return ModelOutput(model=self.model_name, choices=[choice])

    def _next(self, messages: Sequence[Message]) -> Line:
        if callable(self._script):
            return self._script(messages)
        with self._lock:
            line = self._script[self._n_said % len(self._script)]
            self._n_said += 1
        return line


class ScriptedScorerAPI(ScriptedAPI, OptionScorer):
    """Plays a script, and scores options by a function of the conversation and the option (nats; one token each)."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = DEFAULTS,
        *,
        script: Script = ("...",),
        logprob: Callable[[Sequence[Message], str], float] = lambda _messages, _option: 0.0,
    ) -> None:
        super().__init__(model_name, base_url, api_key, config, script=script)
        self._logprob = logprob

    @override
    async def score_options(
        self, prompts: Sequence[Sequence[Message]], options: Sequence[str], *, beside: int = 1
    ) -> list[OptionScore]:
        """See `OptionScorer`."""
        return [
            OptionScore(logprob=self._logprob(prompt, option), n_tokens=len(option.split()))
            for prompt, option in zip(prompts, options, strict=True)
        ]


def scripted_model(
    script: Script, *, logprob: Callable[[Sequence[Message], str], float] | None = None, name: str = "script"
) -> Model:
    """An Inspect model that plays `script`; one that scores options too, where `logprob` is given."""
    if logprob is None:
        return get_model(f"midspec-scripted/{name}", memoize=False, script=script)
    return get_model(f"midspec-scripted-scorer/{name}", memoize=False, script=script, logprob=logprob)
