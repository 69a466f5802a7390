"""A chat as tokens, through the tokenizer's own chat template, and which of them an assistant's turns are.

A turn is trained on as the model would generate it: behind the generation prompt of the messages before it, to the end
of the turn. Where one rendering of the whole chat holds all its turns so, it is one row, as the template writes it.
Where the template writes a turn otherwise once another follows (it drops its reasoning, say), each turn is a row.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple, final

from pydantic import JsonValue

from midspec.core.errors import DataError
from midspec.core.records import Chat, Message
from midspec.models._answers import (
    Answer,
    calls_wrongly,
    closes_reasoning,
    is_cut_off,
    kept_answer,
    make_answer,
    opens_reasoning,
    says_nothing,
)
from midspec.models._control_tokens import OPEN, ControlTokens, Encoded, first_marked
from midspec.models._rendering import Renderer
from midspec.models._template_turns import (
    NOTES,
    PROMPT_NOTES,
    check_asked,
    check_shown,
    folded,
    folds_system,
    has_reasoning_tags,
    structural_tokens,
    turns_of,
    unknown_marks,
    written_header,
)
from midspec.models._tokens import AnswerTokens, Tokens, first_character, inside, row_of
from midspec.models._turn_ends import ANSWER, NEXT, TurnEnds, join_ends, learn_ends

# A control token in this many characters before a turn lets the seam be checked without tokenizing all before it.
_SEAM_CHARACTERS = 200
_MOST_SEAMS = 8  # a template has one or two; of a text between two control tokens there is no end

ControlTokenRule = Literal["refuse", "escape", "keep"]


class _Draft(NamedTuple):
    """A chat as rows of text: one `text` with all `answers` in it, or (`text` is `None`) a row for each of them."""

    answers: list[Answer]
    text: str | None


@final
class ChatTemplate:
    """A tokenizer's chat template, with the switches it is used with.

    A template that writes today's date is given one fixed date (Llama's own default, 26 July 2024), so that the
    same chat is the same tokens tomorrow. A system message that the template refuses or leaves out goes to the head of
    the first user's turn.

    Args:
        tokenizer: a fast tokenizer.
        args: switches that the template itself offers (`enable_thinking`, say).
        ends: further tokens that end a turn, from a model's generation_config.
        control_tokens: what to do with a message whose text holds a control token: refuse it, "escape" it (tokenize it
            as the text that it is) or "keep" it as control token.

    Attributes:
        seen: how often something happened that a user should be told; see `notes`.
    """

    def __init__(
        self,
        tokenizer: Any,
        args: Mapping[str, JsonValue] | None = None,
        *,
        ends: Iterable[int] = (),
        control_tokens: ControlTokenRule = "escape",
    ) -> None:
        self.tokenizer, self.args = tokenizer, dict(args or {})
        self._renderer = Renderer(tokenizer, self.args)
        self.seen: Counter[str] = Counter()
        self._more_ends = tuple(ends)
        self._rule = control_tokens
        self._seams: dict[str, list[int]] = {}

    # Text -------------------------------------------------------------------------------------------------------
    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, JsonValue]] = (),
    ) -> str:
        """Render `messages` as the template writes them; escaped control tokens are marked, for `encode`.

        Raises:
            CheckpointError: the tokenizer has no chat template.
            DataError: the template refuses these messages, or leaves a user's out; says why.
        """
        turns = self._turns(messages)
        text = self._renderer.render(turns, tools, ask=add_generation_prompt, is_answered=False)
        check_asked(turns, text, first=1 + len(messages) - len(turns))
        return text

    def answer(self, messages: Sequence[Message], *, tools: Sequence[Mapping[str, JsonValue]] = ()) -> Answer:
        """Return the last of `messages`, an assistant's, as the text to generate behind the prompt of those before it.

        Raises:
            CheckpointError: the tokenizer has no chat template.
            DataError: the template refuses these messages, or writes the last otherwise than its own prompt asks.
        """
        turns = self._turns(messages)
        prompt = self._renderer.render(turns[:-1], tools, ask=True)
        check_asked(turns[:-1], prompt, first=1 + len(messages) - len(turns))
        check_shown([], tools, prompt, first=1)
        return self._answer(turns, tools, prompt=prompt)

    # Tokens -----------------------------------------------------------------------------------------------------
    def training_rows(self, chats: Sequence[Chat]) -> list[list[Tokens]]:
        """Tokenize chats into rows: one for each chat where that can be, else one for each turn of its assistant.

        Turns of weight 0 are not supervised.

        Raises:
            CheckpointError: the tokenizer has no chat template.
            DataError: a chat has no assistant turn to train on, or the template can't be followed; says why.
        """
        drafts = [self._draft(chat) for chat in chats]
        encoded = iter(self.encode([draft.text for draft in drafts if draft.text is not None]))
        rows = []
        for draft in drafts:
            row = self._whole_row(draft, next(encoded)) if draft.text is not None else None
            if row is None:
                self.seen["separate_rows"] += len(draft.answers) if len(draft.answers) > 1 else 0
                self.seen["separate_chats"] += len(draft.answers) > 1
            rows.append([row] if row is not None else [row_of(one) for one in self.encode_answers(draft.answers)])
        return rows

    def tokenize(self, chats: Sequence[Chat]) -> list[Tokens]:
        """Tokenize the last turn of each chat, an assistant's, behind the prompt that generating it is given.

        Raises:
            CheckpointError, DataError: as `answer`.
        """
        answers = [self.answer(chat.messages, tools=chat.tools) for chat in chats]
        return [row_of(tokens) for tokens in self.encode_answers(answers)]

    def encode_answers(self, answers: Sequence[Answer]) -> list[AnswerTokens]:
        """Tokenize turns behind their prompts, so that the prompt's tokens are those that generating is given."""
        encoded = self.encode([answer.prompt + answer.text for answer in answers])
        tokens = []
        for answer, (ids, offsets) in zip(answers, encoded, strict=True):
            seam = self._seam(answer.prompt, ids, offsets)
            if seam is None:
                seam, ids, offsets = self._encode_apart(answer)
            begin, end = (len(answer.prompt) + at for at in answer.content)
            # A token that holds the content's first letters is the content's, even if it begins with a space before.
            is_content = [at >= seam and one[0] < end and one[1] > begin for at, one in enumerate(offsets)]
            last = len(ids) - is_content[::-1].index(True) if any(is_content) else len(ids)
            first = is_content.index(True) if any(is_content) else last
            tokens.append(AnswerTokens(ids, seam, (first, last)))
        return tokens

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Tokenize rendered texts into ids and character offsets; the template has written all special tokens."""
        return self.control.encode(texts)

    # Ends and control tokens ------------------------------------------------------------------------------------
    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end an assistant's turn: EOS, the template's own, and those of the generation_config."""
        return join_ends(self.tokenizer, self._ends if self._renderer.has_template else None, self._more_ends)

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """Where an assistant's turn ends in a text that is no token of this tokenizer: those texts."""
        return self._ends.stop_texts if self._renderer.has_template else ()

    @cached_property
    def control(self) -> ControlTokens:
        """The tokens that only the template may write."""
        if not self._renderer.has_template:
            return ControlTokens(self.tokenizer)
        return ControlTokens(self.tokenizer, structural_tokens(self.tokenizer, self.render_turns))

    @property
    def notes(self) -> list[str]:
        """What was done with chats that were tokenized for training that a user should know, a sentence each."""
        seen = {key: n for key, n in self.seen.items() if n}
        return [text.format(n, n_rows=seen.get("separate_rows")) for key, text in NOTES.items() if (n := seen.get(key))]

    @property
    def prompt_notes(self) -> list[str]:
        """What was done with prompts that a user should know; without counts, as answers that are kept ask for none."""
        notes = [NOTES[key] for key in PROMPT_NOTES if self.seen[key]]
        written = str(self.tokenizer.chat_template or "")
        unread = [name for name in self.args if not re.search(rf"\b{re.escape(name)}\b", written)]
        notes += [f"the chat template reads no switch {name!r}: it changes nothing" for name in unread]
        if self.warnings:
            stops = " or ".join(repr(stop) for stop in (*self.stop_texts, self._ends.end))
            notes.append(f"the chat template ends no turn with a token: an answer ends at {stops}")
        if header := written_header(self.render_turns) if self._renderer.has_template else "":
            notes.append(f"the chat template has no generation prompt: an answer begins with {header!r}")
        return notes

    @cached_property
    def warnings(self) -> list[str]:
        """What is wrong with the template for this tokenizer: marks that are no tokens, turns that nothing ends."""
        if not self._renderer.has_template:
            return []
        if not self._ends.is_eos_added or self._ends.after is None:
            return []
        found = [f"the chat template ends no turn with a token: training puts {self._ends.end} there"]
        if stops := [stop for stop in self.stop_texts if stop == stop.strip()]:
            marks = dict.fromkeys([*stops, *unknown_marks(self.tokenizer, self.render_turns)])
            found.append(f"the chat template writes {', '.join(marks)} as text: no token of this tokenizer")
        return found

    # Rendering --------------------------------------------------------------------------------------------------
    def render_turns(self, turns: list[dict[str, Any]], *, ask: bool) -> str:
        """Render turns in the form that templates read, as they are; with the generation prompt where `ask` is set.

        Raises:
            CheckpointError: the tokenizer has no chat template.
            DataError: the template refuses them; says why.
        """
        return self._renderer.render(turns, ask=ask)

    def _turns(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Make what a template reads of messages: control tokens marked or refused, a refused system message moved."""
        turns = turns_of(messages)
        if self._rule != "keep":
            turns = [self._mark(turn, number) for number, turn in enumerate(turns, start=1)]
        if turns and turns[0]["role"] == "system" and self._folds_system:
            turns = folded(turns)
            self.seen["folded_system"] += 1
        return turns

    def _mark(self, turn: dict[str, Any], number: int) -> dict[str, Any]:
        marked = {key: self.control.mark(value) for key, value in turn.items()}
        if marked == turn:
            return turn
        if self._rule == "refuse":
            raise DataError(
                f"message {number} holds the control token {first_marked(marked)}",
                hint="Remove it, or set recipe.control_tokens to escape",
            )
        self.seen["escaped"] += 1
        return marked

    @cached_property
    def _folds_system(self) -> bool:
        return folds_system(self.render_turns)

    # Turns ------------------------------------------------------------------------------------------------------
    @cached_property
    def _ends(self) -> TurnEnds:
        return learn_ends(self.render_turns, self.control, str(self.tokenizer.eos_token or ""))

    @cached_property
    def _has_tags(self) -> bool:
        return has_reasoning_tags(self.tokenizer, self._renderer.text)

    def _answer(
        self,
        turns: list[dict[str, Any]],
        tools: Sequence[Mapping[str, JsonValue]],
        *,
        prompt: str | None = None,
        whole: str | None = None,
    ) -> Answer:
        """Make the answer of the last of `turns`; their prompt and whole may have been rendered already."""
        prompt = self._renderer.render(turns[:-1], tools, ask=True) if prompt is None else prompt
        whole = self._renderer.render(turns, tools, ask=False) if whole is None else whole
        stem = prompt[: len(prompt) - len(opens_reasoning(prompt))]
        if not whole.startswith(stem):
            stem = prompt[: len(prompt) - len(closes_reasoning(prompt))]
        if not whole.startswith(stem):
            # A turn before it may be written otherwise once this one follows (gpt-oss, what is said beside a call).
            # This one begins with the last header before the place where the chat with another answer differs.
            before = self._renderer.render(turns[:-1], tools, ask=False)
            other = self._renderer.render([*turns[:-1], {"role": "assistant", "content": ANSWER}], tools, ask=False)
            header = stem.removeprefix(before) if stem.startswith(before) else ""
            shared = next((n for n, (a, b) in enumerate(zip(whole, other, strict=False)) if a != b), 0)
            at = whole.rfind(header, 0, shared) if header.strip() else -1
            whole = stem + whole[at + len(header) :] if at >= 0 else whole
        cut = self._ends.cut(whole[len(stem) :], self.control) if whole.startswith(stem) else None
        turn, end = cut if cut is not None else (None, "")
        if turns[-1].get("tool_calls") and end == self._ends.end and not self._ends.is_written:
            end = self._end_of_calls or end
        return make_answer(
            turns[-1], number=len(turns), prompt=prompt, whole=whole, turn=turn, end=end, has_tags=self._has_tags
        )

    @cached_property
    def _end_of_calls(self) -> str | None:
        """What ends a turn that calls a tool, where that is the token of the next role."""
        call = {"type": "function", "function": {"name": "look", "arguments": {}}}
        answered: list[dict[str, Any]] = [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": ANSWER, "tool_calls": [call]},
        ]
        following = {"role": "tool", "name": "look", "content": NEXT}
        try:
            before = self.render_turns(answered, ask=False)
            follows = self.render_turns([*answered, following], ask=False).removeprefix(before)
        except DataError:
            return None
        found = None if self._ends.is_eos_added else self.control.first_end(follows)
        return follows[: found[1]] if found else None

    def _draft(self, chat: Chat) -> _Draft:
        turns = self._turns(chat.messages)
        trained = [at for at, turn in enumerate(turns) if turn["role"] == "assistant" and turn.pop("weight", 1)]
        if not trained:
            raise DataError("a chat without an assistant turn to train on", hint="Add one, or remove that chat")
        whole = self._renderer.render(turns, chat.tools, ask=False)
        answers = [self._answer_within(turns, at, chat.tools, whole) for at in trained]
        last = answers[-1]
        text = last.prompt + last.text + last.tail if trained[-1] == len(turns) - 1 else whole
        check_shown(turns, chat.tools, text, first=1 + len(chat.messages) - len(turns))
        self.seen["restored_reasoning"] += sum(answer.is_restored for answer in answers)
        self.seen["cut_reasoning"] += sum(is_cut_off(turns[at]) for at in trained)
        self.seen["cut_calls"] += sum(calls_wrongly(turns[at]) for at in trained)
        self.seen["empty_reasoning"] += sum(answer.has_empty_reasoning for answer in answers)
        self.seen["silent"] += sum(says_nothing(turns[at]) for at in trained)
        fits = all(text.startswith(answer.prompt + answer.text) for answer in answers)
        return _Draft(answers, text if fits else None)

    def _answer_within(
        self, turns: list[dict[str, Any]], at: int, tools: Sequence[Mapping[str, JsonValue]], whole: str
    ) -> Answer:
        """Make the answer at a place of a chat that is rendered as `whole`."""
        prompt = self._renderer.render(turns[:at], tools, ask=True)
        kept = kept_answer(turns[at], prompt=prompt, chat=whole, end=self._ends.end) if self._ends.is_bare else None
        if kept is not None:
            return kept
        until = whole if at == len(turns) - 1 else None
        return self._answer(turns[: at + 1], tools, prompt=prompt, whole=until)

    def _whole_row(self, draft: _Draft, encoded: Encoded) -> Tokens | None:
        """Mark the turns in the whole chat; `None` where the tokens of a prompt are not those that generating sees."""
        ids, offsets = encoded
        if any(self._seam(answer.prompt, ids, offsets) is None for answer in draft.answers):
            return None
        spans = [(len(answer.prompt), len(answer.prompt + answer.text)) for answer in draft.answers]
        return Tokens(ids, inside(offsets, spans))

    def _seam(self, prompt: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> int | None:
        """Return how many tokens are the prompt's; `None` if they are not the prompt's own (one goes on beyond it).

        A control token cuts a text apart: what is left of the last one can't change how the prompt ends.
        """
        at = bisect_left(offsets, len(prompt), key=first_character)
        # The end behind the last control token comes again with every chat.
        for tail, wanted in self._seams.items():
            if prompt.endswith(tail) and prompt[-len(tail) - 1 : -len(tail)] != OPEN:
                return at if list(ids[max(0, at - len(wanted)) : at]) == wanted else None
        start = max(0, len(prompt) - _SEAM_CHARACTERS)
        last = self.control.last_end(prompt[start:])
        tail = prompt[start + last[0] :] if last is not None else prompt
        wanted = self.encode([tail])[0].ids
        if last is not None and len(self._seams) < _MOST_SEAMS:
            self._seams[tail] = wanted
        return at if list(ids[max(0, at - len(wanted)) : at]) == wanted else None

    def _encode_apart(self, answer: Answer) -> tuple[int, list[int], list[tuple[int, int]]]:
        [before] = self.encode([answer.prompt])
        behind = self.control.encode_rest(answer.text)
        shift = len(answer.prompt)
        moved = [(begin + shift, end + shift) for begin, end in behind.offsets]
        return len(before.ids), [*before.ids, *behind.ids], [*before.offsets, *moved]
