"""What only several replies show: that the server cuts prompts.

It ends the run with a reason, before it has paid for thousands of replies about a text that the model never saw; those
that were seen are asked for again by the next run.
"""

from __future__ import annotations

import logging
import re
from typing import NamedTuple

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._store import Store
from midspec.llm._types import Client, Outcome, Request

_LOG = logging.getLogger(__name__)
# Tokenizers begin a new token at each word, so a text has at least as many tokens as words. In scripts without spaces
# a token is two characters at most in the mean (o200k on Chinese: 1.3); a line of punctuation may be one token.
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SPACELESS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]")
_CHARS_A_TOKEN = 3
_SHARE = 0.9
# Counts below this are no counts: servers that do not count say 0 or 1.
_LEAST_TOKENS = 256
_LEAST_APART = 0.02


def least_tokens(text: str) -> int:
    """Return a number of tokens that no tokenizer stays below for `text`."""
    n_spaceless = len(_SPACELESS.findall(text))
    if not n_spaceless:
        return sum(1 for _ in _WORD.finditer(text))
    return sum(1 for _ in _WORD.finditer(_SPACELESS.sub(" ", text))) + n_spaceless // _CHARS_A_TOKEN


class _Cut(NamedTuple):
    """A reply to a prompt of which the server counts fewer tokens than it has words."""

    task: str
    turn: int
    n_least: int
    n_counted: int


class CutPrompts:
    """Ends a run whose prompts the server cuts without a word, as Ollama does at 2,048 or 4,096 tokens.

    A count that is too low is told once. It ends the run where two prompts of other lengths are counted alike: that is
    a limit. A server that leaves out what it had in its cache counts what is new, which differs.

    Args:
        client: what is asked.
        store: where replies to prompts that were cut are opened again.
        where: the model's name, for messages.
    """

    def __init__(self, client: Client, store: Store, *, where: str) -> None:
        self._client, self._store, self._where = client, store, where
        self._least_of_prefix: dict[str, int] = {}
        self._cut: list[_Cut] = []
        self._error: MidspecError | None = None

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome of one request.

        Raises:
            ConfigError: the server cuts prompts.
        """
        if self._error is not None:
            raise self._error
        outcome = await self._client.ask(request)
        usage = outcome.usage
        n_counted = usage.n_input + usage.n_cache_read + usage.n_cache_write if usage is not None else 0
        if n_counted < _LEAST_TOKENS or outcome.kind == "failed":
            return outcome
        n_least = self._n_least(request)
        if n_counted < _SHARE * n_least:
            self._count(_Cut(request.task, request.turn, n_least, n_counted))
        return outcome

    async def close(self) -> None:
        """Close what is wrapped."""
        await self._client.close()

    def _n_least(self, request: Request) -> int:
        if request.prefix not in self._least_of_prefix:
            self._least_of_prefix[request.prefix] = least_tokens(request.prefix)
        texts = (request.prompt, *(turn.content for turn in request.turns))
        return self._least_of_prefix[request.prefix] + sum(map(least_tokens, texts))

    def _count(self, cut: _Cut) -> None:
        what = f"the server counts {cut.n_counted:,} tokens of a prompt with {cut.n_least:,} words"
        if not self._cut:
            _LOG.warning("%s: %s, so it may have cut it", self._where, what)
        alike = [one for one in self._cut if one.n_counted == cut.n_counted]
        self._cut.append(cut)
        if self._error is None and not any(
            abs(one.n_least - cut.n_least) > _LEAST_APART * cut.n_least for one in alike
        ):
            return
        for one in self._cut if self._error is None else (cut,):
            self._store.reopen(one.task, one.turn, "the prompt was cut by the server")
        self._error = self._error or ConfigError(
            f"the server cuts prompts without saying so: {what}, and as many of others",
            where=self._where,
            hint="Give it a larger context (Ollama: OLLAMA_CONTEXT_LENGTH; llama.cpp: -c), then run the same command: "
            "what was cut is asked again",
        )
        raise self._error
