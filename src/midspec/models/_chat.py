"""A chat as tokens, and which of them are the assistant's, through the tokenizer's own chat template.

The text is rendered whole and tokenized whole. Where an assistant turn begins and ends is found by rendering the
same chat again with every assistant content replaced by a marker: what stands around the markers is the template's,
what stands in their place is the turn's. Templates that rewrite earlier turns (dropping their reasoning, say) don't
allow that, and take a slower path: the prompt before the turn must be a true prefix of the whole, and what follows
the turn a true suffix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, final

from jinja2.exceptions import TemplateError
from pydantic import JsonValue

from midspec.core.errors import CheckpointError, DataError
from midspec.core.records import Chat, Message

_MARKER = "MIDSPECMARK{}X"
_FIXED_DATE = (
    "{%- macro strftime_now(format) -%}{%- if format == '%Y-%m-%d' -%}2024-07-26{%- else -%}26 Jul 2024{%- endif -%}"
    "{%- endmacro -%}"
)


class Tokens(NamedTuple):
    """Token ids, and for each whether it is trained on (`supervised`); both of the same length."""

    ids: list[int]
    supervised: list[bool]


class Span(NamedTuple):
    """An assistant turn in the rendered text, in characters.

    From `start`, where the generation prompt ends, to `end`, after the end-of-turn token. What the template writes
    before the content (an empty reasoning block, say) lies between `start` and `content_start`.
    """

    start: int
    content_start: int
    content_end: int
    end: int


class _TurnAffixes(NamedTuple):
    """What the template writes around an assistant's content.

    `prompt` is the generation prompt, `lead` what comes between it and the content (a space, or an empty reasoning
    block, say; the model writes that itself), and `end` is the end of the turn.
    """

    prompt: str
    lead: str
    end: str


@final
class ChatTemplate:
    """A tokenizer's chat template, with the switches it is used with.

    A template that writes today's date is given one fixed date (Llama's own default, 26 July 2024), so that the
    same chat is the same tokens tomorrow.

    Args:
        tokenizer: a fast tokenizer.
        args: switches that the template itself offers (`enable_thinking`, say).
    """

    def __init__(self, tokenizer: Any, args: Mapping[str, JsonValue] | None = None) -> None:
        self.tokenizer = tokenizer
        self.args = dict(args or {})

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """Render `messages` as the template writes them.

        Raises:
            CheckpointError: the tokenizer has no chat template.
            DataError: the template refuses these messages; says why.
        """
        if self.tokenizer.chat_template is None:
            raise CheckpointError(
                "the tokenizer has no chat template",
                where=str(self.tokenizer.name_or_path),
                hint="Use a chat-tuned model's tokenizer, or save one with a chat template",
            )
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    turns,
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    chat_template=self._text,
                    **self.args,
                )
            )
        except TemplateError as error:
            raise DataError(f"the chat template refuses this chat: {error}", hint="Fix or remove that chat") from error

    def spans(self, messages: Sequence[Message]) -> tuple[str, list[Span]]:
        """Render a chat, and find the span of each assistant turn in it.

        Raises:
            CheckpointError: the tokenizer has no chat template.
            DataError: the template writes this chat in a way in which its turns can't be told apart.
        """
        text = self.render(messages)
        spans = self._spans_by_markers(messages, text)
        if spans is None:
            turns = [index for index, message in enumerate(messages) if message.role == "assistant"]
            spans = [self._span_by_prefix(messages, index, text) for index in turns]
        return text, spans

    def tokenize(self, chats: Sequence[Chat]) -> list[Tokens]:
        """Tokenize chats; the assistant's turns are supervised, their end-of-turn tokens included.

        Raises:
            CheckpointError: the tokenizer has no chat template.
            DataError: a chat has no assistant turn, or the template can't be followed; says why.
        """
        if not chats:
            return []
        rendered = [self.spans(chat.messages) for chat in chats]
        encoded = self.encode([text for text, _ in rendered])
        tokens = []
        for (_, spans), (ids, offsets) in zip(rendered, encoded, strict=True):
            if not spans:
                raise DataError("a chat without an assistant turn", hint="Add one, or remove that chat")
            tokens.append(Tokens(ids, inside(offsets, [(span.start, span.end) for span in spans])))
        return tokens

    def encode(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Tokenize rendered texts into ids and character offsets; the template has written all special tokens."""
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False
        )
        return list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))

    @cached_property
    def _text(self) -> str:
        """The template's own text, with a fixed date."""
        text = str(self.tokenizer.get_chat_template())
        return _FIXED_DATE + text if "strftime_now" in text else text

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end an assistant's turn: the tokenizer's EOS, and the template's own if it is one token."""
        eos = self.tokenizer.eos_token_id
        found = [] if eos is None else [int(eos)]
        if self.tokenizer.chat_template is not None:
            ids = self.tokenizer(self._affixes.end.strip(), add_special_tokens=False)["input_ids"]
            special = set(self.tokenizer.all_special_ids)
            found += [int(token) for token in ids[:1] if token in special and token not in found]
        return tuple(found)

    @cached_property
    def _affixes(self) -> _TurnAffixes:
        """The generation prompt and the end of a turn, learnt from a one-turn chat."""
        question = [Message(role="user", content="Hello")]
        before = self.render(question)
        prompt = self.render(question, add_generation_prompt=True)
        whole = self.render([*question, Message(role="assistant", content=_MARKER.format(0))])
        head, found, after = whole.partition(_MARKER.format(0))
        if not found or not prompt.startswith(before) or not whole.startswith(prompt):
            raise DataError(
                "the chat template's generation prompt is not how it begins an assistant turn",
                where=str(self.tokenizer.name_or_path),
                hint="Use a template whose generation prompt is a prefix of the answered chat",
            )
        # White space behind the end-of-turn token is the template's, not the turn's.
        special = tuple(str(token) for token in self.tokenizer.all_special_tokens)
        end = after.rstrip() if after.rstrip().endswith(special) else after
        return _TurnAffixes(prompt[len(before) :], head[len(prompt) :], end)

    def _spans_by_markers(self, messages: Sequence[Message], text: str) -> list[Span] | None:
        """Find the spans, if the template writes every assistant content as it is (perhaps trimmed), else `None`."""
        contents = [message.content for message in messages if message.role == "assistant"]
        prompt, lead, end = self._affixes
        numbers = iter(range(len(contents)))
        rest = self.render(
            [
                Message(role="assistant", content=_MARKER.format(next(numbers)))
                if message.role == "assistant"
                else message
                for message in messages
            ]
        )
        spans, position = [], 0
        for number, content in enumerate(contents):
            before, found, rest = rest.partition(_MARKER.format(number))
            start = position + len(before)
            shown = next((form for form in (content, content.strip()) if text.startswith(form, start)), None)
            if not found or shown is None or text[position:start] != before:
                return None
            if not before.endswith(prompt) or not rest.startswith(end):
                return None
            position = start + len(shown)
            written = len(lead) if before.endswith(prompt + lead) else 0
            spans.append(Span(start - written, start, position, position + len(end)))
        return spans if text[position:] == rest else None

    def _span_by_prefix(self, messages: Sequence[Message], index: int, text: str) -> Span:
        """Find the span of the assistant turn at `index`, between a prefix and a suffix that the template gives."""
        before = self.render(messages[:index], add_generation_prompt=True)
        marker = Message(role="assistant", content=_MARKER.format(0))
        marked = self.render([*messages[:index], marker, *messages[index + 1 :]])
        after = marked.rpartition(_MARKER.format(0))[2]
        end = len(text) - len(after)
        fits = text.startswith(before) and text.endswith(after) and after.startswith(self._affixes.end)
        if not fits or len(before) > end:
            raise DataError(
                f"the chat template does not write message {index + 1} where its own prompt for it ends",
                where=str(self.tokenizer.name_or_path),
                hint="Use a template that keeps what it has written, or single-turn chats",
            )
        content = messages[index].content.strip()
        start = end - len(content) if text.endswith(content, len(before), end) else len(before)
        return Span(len(before), start, end, end + len(self._affixes.end))


def inside(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Return for each token (its characters from, to) whether it begins inside one of the spans; both are in order.

    Some tokenizers leave out white space from the characters of a token: one that is nothing but white space is
    then empty, and stands where it ended.
    """
    is_inside, current = [], 0
    for begin, end in offsets:
        first = begin if begin < end else begin - 1
        while current < len(spans) and first >= spans[current][1]:
            current += 1
        is_inside.append(current < len(spans) and spans[current][0] <= first)
    return is_inside


def tokenize_chat(tokenizer: Any, chat: Chat, template_args: Mapping[str, JsonValue] | None = None) -> Tokens:
    """Tokenize one chat; see `ChatTemplate.tokenize`."""
    return ChatTemplate(tokenizer, template_args).tokenize([chat])[0]
