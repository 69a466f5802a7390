"""What only several replies show: that the server cuts prompts.

It ends the run with a reason, before it has paid for thousands of replies about a text that the model never saw; those
that were seen are asked for again by the next run.
"""

from __future__ import annotations

import logging
import re
from typing import NamedTuple

from midspec.core.errors import ConfigError
from midspec.llm._store import Store
from midspec.llm._types import Outcome, Request

_LOG = logging.getLogger(__name__)
# Tokenizers never put two words that a space parts into one token. Chinese and Japanese, which have no spaces, take
# at least a token for three characters in the mean (o200k on Chinese: 1.3).
_SPACELESS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_CHARS_A_TOKEN = 3
# `str.split` parts words there, and tokenizers, which go by Unicode's White_Space, don't.
_NO_SPACES = dict.fromkeys(map(ord, "\x1c\x1d\x1e\x1f"))
# English has 1.3 tokens a word and more: a count below 0.9 is none of a whole prompt, one below 1.25 is doubtful.
_CUT_SHARE, _DOUBTFUL_SHARE = 0.9, 1.25
_N_ALIKE_CUT, _N_ALIKE_DOUBTFUL = 2, 3
# Counts below this are no counts: servers that do not count say 0 or 1.
_MIN_TOKENS = 256
_MIN_APART = 0.02


def least_tokens(text: str) -> int:
    """Return a number of tokens that no tokenizer stays below for `text`."""
    n_spaceless = 0 if text.isascii() else len(_SPACELESS.findall(text))
    if n_spaceless:
        text = _SPACELESS.sub("", text)  # letters on both sides of one may be a single token with it
    return len(text.translate(_NO_SPACES).split()) + n_spaceless // _CHARS_A_TOKEN


class _Doubtful(NamedTuple):
    """A reply to a prompt of which the server counts fewer tokens than such a text has."""

    task: str
    n_least: int
    n_counted: int


class CutPrompts:
    """Ends a run whose prompts the server cuts without a word, as Ollama does at 2,048 or 4,096 tokens.

    A count below the number of words is told once. What ends the run is that two such prompts of other lengths are
    counted alike, or three of doubtful counts: that is a limit. A server that leaves out what it had in its cache
    counts what is new, which differs.

    Args:
        store: where replies to prompts that were cut are opened again.
        where: the model's name, for messages.

    Attributes:
        error: what ended the run.
    """

    def __init__(self, store: Store, where: str) -> None:
        self.error: ConfigError | None = None
        self._store, self._where = store, where
        self._least_of_prefix: dict[str, int] = {}
        self._doubtful: dict[int, list[_Doubtful]] = {}
        self._has_told = False

    def look_at(self, outcome: Outcome, request: Request) -> None:
        """Compare the tokens that the server counted with the words that it was sent.

        Raises:
            ConfigError: the server cuts prompts.
        """
        usage = outcome.usage
        n_counted = usage.n_input + usage.n_cache_read + usage.n_cache_write if usage is not None else 0
        if n_counted < _MIN_TOKENS or outcome.kind == "failed":
            return
        if request.prefix not in self._least_of_prefix:
            self._least_of_prefix[request.prefix] = least_tokens(request.prefix)
        texts = (request.prompt, *(turn.content for turn in request.turns))
        n_least = self._least_of_prefix[request.prefix] + sum(map(least_tokens, texts))
        if n_counted < _DOUBTFUL_SHARE * n_least:
            self._count(_Doubtful(request.task, n_least, n_counted))

    def _count(self, new: _Doubtful) -> None:
        what = f"the server counts {new.n_counted:,} tokens of a prompt with {new.n_least:,} words"
        is_cut = new.n_counted < _CUT_SHARE * new.n_least
        if is_cut and not self._has_told:
            self._has_told = True
            _LOG.warning("%s: %s, so it may have cut it", self._where, what)
        alike = self._doubtful.setdefault(new.n_counted, [])
        alike.append(new)
        lengths: list[int] = []
        for n_least in sorted({one.n_least for one in alike}):
            if not lengths or n_least > (1 + _MIN_APART) * lengths[-1]:
                lengths.append(n_least)
        if self.error is None and len(lengths) < (_N_ALIKE_CUT if is_cut else _N_ALIKE_DOUBTFUL):
            return
        for one in alike:
            self._store.reopen(one.task)
        self.error = self.error or ConfigError(
            f"the server cuts prompts without saying so: {what}, and as many of shorter ones and longer ones",
            where=self._where,
            hint="Give it a larger context (Ollama: OLLAMA_CONTEXT_LENGTH; llama.cpp: -c), then run the same command: "
            "what was cut is asked again",
        )
        raise self.error
