"""The tokens that only a template may write, found in texts that others wrote, and kept plain text there.

A tokenizer turns `<|im_end|>` into one control token wherever it stands, in a message too. Such a text is marked before
it is rendered, and its marked parts are tokenized as the text that they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, final

from pydantic import JsonValue

from midspec.core.errors import DataError

# Two code points that Unicode never assigns; they stand around a control token's text until it is tokenized.
OPEN, CLOSE = "\ufdd0", "\ufdd1"
_MARKED = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}|[{OPEN}{CLOSE}]")
# What a control token nearly always looks like; the few others are looked for one by one.
_SHAPE = re.compile(r"<[^<>\[\]\s]{1,60}>|\[[^<>\[\]\s]{1,60}\]")
# Tags that a message may hold: its reasoning and its calls are written with them.
_OF_MESSAGES = re.compile(r"think|reason|tool|python|channel|answer", re.IGNORECASE)


def is_of_messages(token: str) -> bool:
    """Return whether a token is a tag that a message may hold: of reasoning, or of a call of a tool."""
    return bool(_OF_MESSAGES.search(token))


class Encoded(NamedTuple):
    """Token ids, and of each the characters (from, to) of the text that it stands for."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class Coverage(NamedTuple):
    """How well a tokenizer covers texts: characters without a token, words that are its unknown token, all tokens."""

    left_out: Counter[str]
    unknown: Counter[str]
    n_tokens: int


@final
class ControlTokens:
    """The control tokens of a tokenizer, by their texts.

    Those that it names as special, those that `tokenizer.json` marks as special, and `more`. The tags of reasoning and
    of calls of tools are none, as they are part of a message.

    Args:
        tokenizer: a fast tokenizer.
        more: texts of further tokens.
    """

    def __init__(self, tokenizer: Any, more: Iterable[str] = ()) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.values()
        marked = [token.content for token in added if token.special]
        texts = {*marked, *map(str, tokenizer.all_special_tokens), *more}
        self.ends = frozenset(text for text in texts if text.strip())
        self.texts = frozenset(text for text in self.ends if not is_of_messages(text))
        self._others = self._alternation([text for text in self.texts if not _SHAPE.fullmatch(text)])
        self._other_ends = self._alternation([text for text in self.ends if not _SHAPE.fullmatch(text)])

    @staticmethod
    def _alternation(texts: Iterable[str]) -> re.Pattern[str] | None:
        longest_first = sorted(texts, key=lambda text: (-len(text), text))
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def found(self, text: str) -> list[tuple[int, int]]:
        """Return where control tokens stand in a text (from, to), in order."""
        if self._others is None and "<" not in text and "[" not in text:
            return []
        return _spans(text, self.texts, self._others)

    def first_end(self, text: str) -> tuple[int, int] | None:
        """Return where the first token stands that a template writes, a tag of reasoning or calls included."""
        return next(iter(_spans(text, self.ends, self._other_ends)), None)

    def last_end(self, text: str) -> tuple[int, int] | None:
        """Return where the last such token stands that is not marked."""
        spans = _spans(text, self.ends, self._other_ends)
        return next((span for span in reversed(spans) if text[span[0] - 1 : span[0]] != OPEN), None)

    def mark(self, value: JsonValue) -> JsonValue:
        """Mark the control tokens in a text, or in all texts of a list or an object.

        Raises:
            DataError: a text holds the code points that mark them.
        """
        if isinstance(value, str):
            if OPEN in value or CLOSE in value:
                raise DataError("holds U+FDD0 or U+FDD1, which is no character", hint="Remove it")
            for start, end in reversed(self.found(value)):
                value = f"{value[:start]}{OPEN}{value[start:end]}{CLOSE}{value[end:]}"
            return value
        if isinstance(value, dict):
            return {key: self.mark(item) for key, item in value.items()}
        return [self.mark(item) for item in value] if isinstance(value, list) else value

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Tokenize texts that hold all special tokens already; marked ones become plain text.

        Raises:
            DataError: a marked one can't, as its text is one word of the tokenizer's vocabulary.
        """
        if not texts:
            return []
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,  # a text that is longer than the window is split or told by those who ask
        )
        pairs = zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [self._encode_marked(text) if OPEN in text else Encoded(ids, offsets) for text, ids, offsets in pairs]

    def coverage(self, texts: Sequence[str]) -> Coverage:
        """Count what the tokenizer has no token for, white space aside, and which words are its unknown token.

        Byte-pair encoding without an unknown token drops what was not in the text that it was trained on.
        """
        left_out, unknown, n_tokens = Counter[str](), Counter[str](), 0
        for text, (ids, offsets) in zip(texts, self.encode(texts), strict=True):
            n_tokens += len(ids)
            position = 0
            for token, (begin, end) in zip([*ids, None], [*offsets, (len(text), len(text))], strict=True):
                left_out.update("".join(text[position:begin].split()))
                position = max(position, end)
                if token is not None and token == self._tokenizer.unk_token_id:
                    unknown[text[begin:end]] += 1
        return Coverage(left_out, unknown, n_tokens)

    def encode_documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize documents with the special tokens that the tokenizer puts around a text; BOS once."""
        if not texts:
            return []
        encoded: list[list[int]] = self._tokenizer(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
        bos = self._tokenizer.bos_token_id
        documents = []
        for text, ids in zip(texts, encoded, strict=True):
            if OPEN in text:
                plain = self._encode_marked(text).ids
                ids = [bos, *plain] if ids[:1] == [bos] != plain[:1] else plain
            documents.append(ids[1:] if bos is not None and ids[:2] == [bos, bos] else ids)
        return documents

    def encode_rest(self, text: str) -> Encoded:
        """Tokenize a text that goes on behind another, so that nothing is put before it."""
        if OPEN in text:
            return self._encode_marked(text, begins=False)
        # Behind a character, as some tokenizers put a space before a text. One that merges with it is no help.
        for anchor in ("\n", "x", ":"):
            [(ids, offsets)] = self.encode([anchor + text])
            cut = next((at for at, (begin, end) in enumerate(offsets) if end > len(anchor)), len(ids))
            if cut and ids[:cut] == self._anchor_ids[anchor]:
                return Encoded(ids[cut:], [(begin - len(anchor), end - len(anchor)) for begin, end in offsets[cut:]])
        return self.encode([text])[0]

    @cached_property
    def _anchor_ids(self) -> dict[str, list[int]]:
        return {anchor: self.encode([anchor])[0].ids for anchor in ("\n", "x", ":")}

    def _encode_marked(self, text: str, *, begins: bool = True) -> Encoded:
        """Tokenize a text with marked parts; as its own, or as one that goes on behind another."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []

        def add(start: int, end: int) -> None:
            if start < end:
                part = text[start:end]
                one = self.encode([part])[0] if begins and start == 0 else self.encode_rest(part)
                ids.extend(one.ids)
                offsets.extend((begin + start, stop + start) for begin, stop in one.offsets)

        position = 0
        for match in _MARKED.finditer(text):
            add(position, match.start())
            if match[1]:
                plain = self._plain_ids(match[1])
                ids.extend(plain)
                offsets.extend([match.span()] * len(plain))
            position = match.end()
        add(position, len(text))
        return Encoded(ids, offsets)

    def _plain_ids(self, text: str) -> list[int]:
        """Tokenize a control token's text as any other text, as transformers' `sanitize_control_tokens` does."""
        backend = self._tokenizer.backend_tokenizer

        def ids(piece: str) -> list[int]:
            piece = backend.normalizer.normalize_str(piece) if backend.normalizer is not None else piece
            splitter = backend.pre_tokenizer
            splits = [piece] if splitter is None else [part for part, _ in splitter.pre_tokenize_str(piece)]
            return [token.id for split in splits for token in backend.model.tokenize(split)]

        before = self._anchor_ids["\n"]
        behind = ids("\n" + text)
        plain = behind[len(before) :] if behind[: len(before)] == before else ids(text)
        if self._tokenizer.convert_tokens_to_ids(text) in plain:
            raise DataError(f"this tokenizer can't write {text} as text", hint="Remove it")
        return plain


def _spans(text: str, known: frozenset[str], others: re.Pattern[str] | None) -> list[tuple[int, int]]:
    spans = [match.span() for match in _SHAPE.finditer(text) if match[0] in known]
    if others is not None:
        spans += [match.span() for match in others.finditer(text)]
    kept: list[tuple[int, int]] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept


def first_marked(value: JsonValue) -> str:
    """Return the first marked control token in a text, or in all texts of a list or an object; empty without one."""
    if isinstance(value, str):
        return next((match[1] for match in _MARKED.finditer(value) if match[1]), "")
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return next(filter(None, map(first_marked, parts)), "")
