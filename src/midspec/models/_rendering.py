"""Turns as text, through a tokenizer's own chat template, in the form in which that template reads them.

Templates differ in how they take a content (a text, or a list of parts), the arguments of a call (an object, or JSON as
a text) and a call without a content (empty, or none). What a template does with a form is seen in what it writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, final

from jinja2.exceptions import TemplateError
from pydantic import JsonValue
from transformers.utils.chat_template_utils import _compile_jinja_template

from midspec.core.errors import CheckpointError, DataError

# What a template's expressions raise, a loop over a billion numbers (`OverflowError`) and an endless macro among them.
_RENDERING = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
_DATE = datetime(2024, 7, 26)  # Llama's own default
_OF_PROCESSORS = "chat_template.json"
_SAID, _CALLED, _KEY, _VALUE = "midspecsaid", "midspeccall", "midspeckey", "midspecvalue"
_ASKS: dict[str, Any] = {"role": "user", "content": "Hello"}


class Form(NamedTuple):
    """How a template reads turns: contents as parts, arguments of calls as text, no content beside a call as none."""

    has_parts: bool = False
    has_text_arguments: bool = False
    has_none: bool = False

    def of(self, turn: Mapping[str, Any]) -> dict[str, Any]:
        """Return a turn in this form."""
        changed = dict(turn)
        calls = turn.get("tool_calls")
        if calls and self.has_text_arguments:
            changed["tool_calls"] = [_with_text(call) for call in calls]
        if calls and self.has_none and not turn["content"]:
            changed["content"] = None
        elif self.has_parts:
            changed["content"] = [{"type": "text", "text": turn["content"]}]
        return changed


def _with_text(call: Mapping[str, Any]) -> dict[str, Any]:
    holder = call.get("function", call)
    if not isinstance(holder, Mapping) or isinstance(holder.get("arguments", ""), str):
        return dict(call)
    written = {**holder, "arguments": json.dumps(holder["arguments"], ensure_ascii=False)}
    return {**call, "function": written} if "function" in call else written


def _without_user(number: int | None, reason: str) -> DataError:
    """Return the error for a prompt without a user's message, before the assistant's of a number if there is one."""
    if number is None:
        what, hint = "it has no user's message", "Begin that chat with a user's message"
    else:
        what = f"message {number} is the assistant's, no user's is before it"
        hint = "Begin that chat with a user's message, or give its first answer weight 0"
    return DataError(f"{what}, and the chat template writes no such prompt: {reason}", hint=hint)


@final
class Renderer:
    """A tokenizer's chat template, with the switches it is used with.

    A template that writes today's date is given one fixed date, in the form that it asks for.

    Args:
        tokenizer: a fast tokenizer.
        args: switches that the template itself offers.
    """

    def __init__(self, tokenizer: Any, args: Mapping[str, JsonValue]) -> None:
        self._tokenizer, self._args = tokenizer, args
        self._call_form: Callable[[str], Form] = cache(self._learned_call_form)

    @property
    def has_template(self) -> bool:
        """Whether there is a template for chats."""
        found = self._tokenizer.chat_template
        return found is not None and (not isinstance(found, dict) or "default" in found)

    @cached_property
    def text(self) -> str:
        """The template's own text."""
        return str(self._tokenizer.get_chat_template())

    def render(
        self,
        turns: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, JsonValue]] = (),
        *,
        ask: bool,
        is_answered: bool = True,
    ) -> str:
        """Write turns as the template does; with the generation prompt where `ask` is set.

        In an error's words the assistant's message that follows is named where there is one (`is_answered`).

        Raises:
            CheckpointError: the tokenizer has no chat template.
            DataError: the template refuses them; says why.
        """
        text = self._text_for(tools)
        form = self._call_form(text) if any(turn.get("tool_calls") for turn in turns) else Form()
        form = form._replace(has_parts=self._reads_parts)
        try:
            return self._written(text, [form.of(turn) for turn in turns] if any(form) else turns, tools, ask=ask)
        except _RENDERING as error:
            reason = " ".join(str(error).split())[:200].rstrip(".")
            if ask and not any(turn["role"] == "user" for turn in turns):
                raise _without_user(len(turns) + 1 if is_answered else None, reason) from error
            raise DataError(f"the chat template refuses this chat: {reason}", hint="Fix or remove that chat") from error

    def _text_for(self, tools: Sequence[Mapping[str, JsonValue]]) -> str:
        """Return the template's own text; a tokenizer may have another one for tools."""
        if not self.has_template:
            named = f" named default (only {', '.join(found)})" if (found := self._tokenizer.chat_template) else ""
            place = str(self._tokenizer.name_or_path)
            hint = "Use a chat-tuned model's tokenizer, or save one with a chat template"
            if not named and (Path(place) / _OF_PROCESSORS).is_file():
                hint = f"Save the text in its {_OF_PROCESSORS}, which processors of images read, as chat_template.jinja"
            raise CheckpointError(f"the tokenizer has no chat template{named}", where=place, hint=hint)
        return self._tool_text if tools else self.text

    @cached_property
    def _tool_text(self) -> str:
        return str(self._tokenizer.get_chat_template(tools=[{}]))

    @cached_property
    def _special_tokens(self) -> dict[str, Any]:
        return dict(self._tokenizer.special_tokens_map)

    def _written(
        self, text: str, turns: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, JsonValue]], *, ask: bool
    ) -> str:
        # As `apply_chat_template` does, which takes three times as long: a chat is rendered once for each turn.
        return str(
            _compile_jinja_template(text).render(
                messages=turns,
                tools=[dict(tool) for tool in tools] or None,
                documents=None,
                add_generation_prompt=ask,
                strftime_now=_DATE.strftime,
                **{**self._special_tokens, **self._args},
            )
        )

    def _probed(self, text: str, turns: Sequence[Mapping[str, Any]], *, ask: bool) -> str:
        """Write turns, to see what becomes of them; empty where the template refuses them."""
        try:
            return self._written(text, turns, (), ask=ask)
        except _RENDERING:
            return ""

    @cached_property
    def _reads_parts(self) -> bool:
        """Whether a user's content is left out as a text, and written as a list of parts (Idefics 3's, SmolVLM's)."""
        turn = {"role": "user", "content": _SAID}
        as_text = self._probed(self.text, [turn], ask=True)
        return _SAID not in as_text and _SAID in self._probed(self.text, [Form(has_parts=True).of(turn)], ask=True)

    def _learned_call_form(self, text: str) -> Form:
        """Return the first form in which a template writes all of a call that says nothing beside it."""
        call = {"id": "abcdefghi", "type": "function", "function": {"name": _CALLED, "arguments": {_KEY: _VALUE}}}
        turn = {"role": "assistant", "content": "", "tool_calls": [call]}
        for has_none, has_text in product((False, True), repeat=2):
            form = Form(has_parts=self._reads_parts, has_text_arguments=has_text, has_none=has_none)
            found = self._probed(text, [form.of(_ASKS), form.of(turn)], ask=False)
            # Python's way to write an object is no JSON; nor is an object in a text as JSON what a template means.
            is_odd = repr({_KEY: _VALUE}) in found or f'\\"{_KEY}' in found
            if all(part in found for part in (_CALLED, _KEY, _VALUE)) and not is_odd:
                return form
        return Form()
