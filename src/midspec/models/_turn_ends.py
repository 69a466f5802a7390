"""What ends an assistant's turn, learnt from a chat of one turn that the template writes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from midspec.core.errors import CheckpointError, DataError
from midspec.core.reasoning import is_mark
from midspec.models._control_tokens import ControlTokens

ANSWER, NEXT = "MIDSPECANSWERX", "MIDSPECNEXTX"
_USER: dict[str, Any] = {"role": "user", "content": "Hello"}
_STOP_TOKENS = 64
_MARKUP = re.compile(r"[<\[|#{]")


class Render(Protocol):
    """Writes messages as a template does, with the generation prompt at the end where `ask` is set."""

    def __call__(self, turns: list[dict[str, Any]], *, ask: bool) -> str:
        """Render `turns`."""


class TurnEnds(NamedTuple):
    """How the turns of an assistant end.

    Attributes:
        after: what the template writes after the assistant's last text; `None` where that can't be learnt.
        end: what the model writes to end its turn, a control token last; empty where the tokenizer has no EOS.
        is_written: whether the template writes `end` itself. If not, it is the token of the next role, which training
            puts behind the last turn, or EOS, which training puts behind every turn.
        is_eos_added: it is EOS, and stands nowhere in what the template writes.
        stop_texts: where a turn ends in a text that is no token: generating stops there too.
        is_bare: whether the template writes an answer right behind its own generation prompt.
    """

    after: str | None
    end: str
    is_written: bool
    is_eos_added: bool
    stop_texts: tuple[str, ...]
    is_bare: bool = False

    def cut(self, answer: str, control: ControlTokens) -> tuple[str, str] | None:
        """Cut what a template wrote behind its generation prompt into the turn and its end; `None` if there is none.

        What stands behind the end (a line feed, EOS, the header of another turn) is left out.
        """
        if self.after is not None and answer.endswith(self.after):
            return answer[: len(answer) - len(self.after)], self.end
        behind = (self.after or "").removeprefix(self.end) if self.is_written else ""
        bare = answer.removesuffix(behind).rstrip()
        last = control.last_end(bare)
        if last is not None and last[1] == len(bare):  # a call of a tool may end otherwise than an answer does
            return bare[: last[0]], bare[last[0] :]
        return None if self.is_written else (bare, self.end)


def learn_ends(render: Render, control: ControlTokens, eos: str) -> TurnEnds:
    """Find what ends a turn: what the template writes behind an answer, the next role's token, or else EOS.

    Args:
        render: writes messages.
        control: the tokenizer's control tokens.
        eos: the tokenizer's end-of-text token; empty if it has none.
    """
    answered = [_USER, {"role": "assistant", "content": ANSWER}]
    try:
        after = _text_behind(render(answered, ask=False), ANSWER)
    except DataError:
        after = None
    if after is None:
        return TurnEnds(None, eos, is_written=False, is_eos_added=True, stop_texts=())
    if (found := control.first_end(after)) is not None:
        bare = render([_USER], ask=True) + ANSWER + after == render(answered, ask=False)
        end = _whole_end(render, control, answered, after)
        return TurnEnds(after, end, is_written=True, is_eos_added=False, stop_texts=(), is_bare=bare)
    follows = next_role(render, answered, {"role": "user", "content": NEXT})
    if follows is not None and (found := control.first_end(follows)) and not follows[: found[0]].strip():
        return TurnEnds(after, follows[: found[1]], is_written=False, is_eos_added=False, stop_texts=())
    stop = after.strip() or (f"\n{follows.strip()}" if follows and follows.startswith("\n") and follows.strip() else "")
    stops = (stop,) if stop.startswith("\n") or (len(stop) > 1 and _MARKUP.search(stop)) else ()
    return TurnEnds(after, eos, is_written=False, is_eos_added=True, stop_texts=stops)


def _whole_end(render: Render, control: ControlTokens, answered: list[dict[str, Any]], after: str) -> str:
    """Return what ends every turn: the first token behind an answer, and those right behind it that belong to it.

    Command A closes its answer and then its turn, as it closes a user's. An EOS behind the last turn of a chat alone
    and the header of a next turn, which some templates always write, end no turn.
    """
    first = control.first_end(after)
    assert first is not None, "asked for where the template writes a token behind an answer"
    at = first[1]
    behind_user = (_text_behind(render(answered, ask=False).partition(ANSWER)[0], str(_USER["content"])) or "").lstrip()
    while (beside := control.first_end(after[at:])) is not None and beside[0] == 0:
        token, at = after[at : at + beside[1]], at + beside[1]
        if behind_user.startswith(token):
            return after[:at]
    if at > first[1] and not after[at:].strip():
        follows = next_role(render, answered, {"role": "user", "content": NEXT}) or ""
        return after[:at] if follows.startswith(after[:at]) else after[: first[1]]
    return after[: first[1]]


def next_role(render: Render, answered: list[dict[str, Any]], following: dict[str, Any]) -> str | None:
    """Return what the template writes between an answer and the text of the message that follows it.

    Args:
        render: writes messages.
        answered: messages that end with an assistant's, whose content is `ANSWER`.
        following: a user's or a tool's message, whose content is `NEXT`.
    """
    try:
        behind = _text_behind(render([*answered, following], ask=False), ANSWER)
    except DataError:
        return None
    between, found, _ = (behind or "").partition(NEXT)
    return between if found else None


def _text_behind(text: str, mark: str) -> str | None:
    _, found, behind = text.rpartition(mark)
    return behind if found else None


def join_ends(tokenizer: Any, ends: TurnEnds | None, more: Iterable[int]) -> tuple[int, ...]:
    """Return the tokens that end a turn: EOS, the template's own, and `more` that are no ordinary words.

    Args:
        tokenizer: a fast tokenizer.
        ends: of its template; `None` without one.
        more: ends that a generation_config.json lists. Left as they were for another tokenizer, they can name words.
    """
    added = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    found = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    if ends is not None and ends.end:
        ids = tokenizer(ends.end.strip(), add_special_tokens=False)["input_ids"]
        found += [int(token) for token in ids if token in added or token == ids[-1]]
    found += [token for token in more if token in added]
    return tuple(dict.fromkeys(found))


def generation_ends(model: Any) -> tuple[int, ...]:
    """Return the ends of a turn that a model's generation_config lists.

    Raises:
        CheckpointError: what it lists are no numbers of tokens.
    """
    listed = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found = [] if listed is None else listed if isinstance(listed, list | tuple) else [listed]
    if not all(isinstance(token, int) for token in found):
        raise CheckpointError(
            f"eos_token_id of its generation_config is {listed!r}, which is no number of a token",
            where=str(model.name_or_path),
            hint="Write the number, or a list of numbers",
        )
    return tuple(found)


class Turn(NamedTuple):
    """A generated turn: its text without its end, whether it ended, and how many tokens it has with its end."""

    text: str
    ended: bool
    n_tokens: int


def read_turn(tokenizer: Any, ids: Sequence[int], end_ids: Sequence[int], stop_texts: Sequence[str]) -> Turn:
    """Read generated tokens up to the end of the turn.

    Args:
        tokenizer: of the model.
        ids: what was generated, up to the first of `end_ids` if there is one.
        end_ids: the tokens that end a turn.
        stop_texts: the texts that end one.
    """

    def decoded(n_tokens: int) -> str:
        return decode_turn(tokenizer, list(ids[:n_tokens]))

    ended = ids[-1] in end_ids
    text = decoded(len(ids) - ended)
    found = [at for stop in stop_texts if (at := text.find(stop)) >= 0]
    if not found:
        return Turn(text, ended, len(ids))
    # The fewest tokens that hold a stop; a row's batch may have gone on after it.
    has_stop = (any(stop in decoded(n) for stop in stop_texts) for n in range(len(ids)))
    needed = next((n for n, has in enumerate(has_stop) if has), len(ids))
    return Turn(text[: min(found)], ended=True, n_tokens=needed)


def decode_turn(tokenizer: Any, ids: Sequence[int]) -> str:
    """Decode tokens without special ones, but for those that tell reasoning from an answer (`[THINK]`, channels)."""
    special = _special_tokens(tokenizer)
    found = {special[token] for token in ids if token in special}
    if not any(map(is_mark, found)):
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))
    text = str(tokenizer.decode(list(ids), skip_special_tokens=False))
    for name in found:
        text = text if is_mark(name) else text.replace(name, "")
    return text


@lru_cache(maxsize=8)
def _special_tokens(tokenizer: Any) -> dict[int, str]:
    return {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}


class TurnEnding(NamedTuple):
    """What ends a turn that is being generated: a token, or a text that is none of this tokenizer's tokens."""

    tokenizer: Any
    end_ids: Sequence[int]
    stop_texts: Sequence[str] = ()

    def has_ended(self, ids: Sequence[int]) -> bool:
        """Return whether the turn of these tokens ends with the last of them."""
        if ids[-1] in self.end_ids:
            return True
        if not self.stop_texts:
            return False
        # A token has at least one character, mostly: the last ones are enough, and cost the same at every step.
        recent = str(self.tokenizer.decode(list(ids[-_STOP_TOKENS:]), skip_special_tokens=True))
        return any(stop in recent for stop in self.stop_texts)
