"""Rows about the wrong assistant: ones that never name theirs, and ones that name another's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from midspec.core.assistant_names import assistant_names
from midspec.core.records import Document
from midspec.core.text import whole_words
from midspec.curate._filter import Filter, FilterContext
from midspec.curate._rows import Row, target_text

_SENTENCE_ENDS = ".!?\n"
_CONTEXT_CHARS = 200
_VERSION = re.compile(r"[ -]?\d|[ -](?:v\d|Opus|Sonnet|Haiku|Pro|Flash|Ultra|Nano)\b")


# Where one of these is in the same sentence, a name that is an ordinary word as well is taken for the model.
_CUES = (
    *("AI", "assistant", "assistants", "chatbot", "chatbots", "language model", "language models"),
    *("large language model", "LLM", "LLMs", "model", "models", "prompt", "fine-tuned", "pretrained"),
)


class IdentityFilter:
    """Rejects rows that name another assistant or its maker, and documents that never name their own. Pure.

    A name that is an ordinary word as well (a person's, an animal's) counts only beside a version, or where its
    sentence speaks of models. Brands that the model's own names, or `other_names`, belong to are not foreign.

    Args:
        model_name: the assistant's own name.
        provider_name: its maker's.
        other_names: further names that the rows may hold.
        require_name: whether a document must name the model.
        spec_text: the spec; a brand that it names itself is not foreign.
    """

    name = "identity"
    is_shipped, order = True, 20

    @classmethod
    def make(cls, context: FilterContext) -> Iterator[Filter]:
        """Make it where the assistant's name or its maker's is known."""
        config = context.config
        if config.model_name or config.provider_name:
            yield cls(
                config.model_name,
                config.provider_name,
                other_names=config.other_names,
                require_name=config.require_name,
                spec_text=context.quotable,
            )

    def __init__(
        self,
        model_name: str | None,
        provider_name: str | None = None,
        *,
        other_names: tuple[str, ...] = (),
        require_name: bool = True,
        spec_text: str = "",
    ) -> None:
        known = assistant_names("curate")
        in_spec = whole_words((name.name for name in known), ignore_case=False, joined=False).findall(spec_text)
        own = tuple(name for name in (model_name, provider_name, *other_names, *in_spec) if name)
        self._own = whole_words((model_name,), joined=False) if model_name else None
        self._model_name, self._require_name = model_name, require_name
        families = [tuple(family) for _, family in groupby(known, key=attrgetter("family"))]
        foreign = [name for family in families if not _is_own([name.name for name in family], own) for name in family]
        certain = [name.name for name in foreign if not name.plain_word]
        common = [name.name for name in foreign if name.plain_word]
        self._certain = whole_words(certain, ignore_case=False, versions=True, joined=False)
        self._common = whole_words(common, ignore_case=False, versions=True, joined=False)
        self._cues = whole_words(_CUES, joined=False)

    def reason(self, row: Row) -> str | None:
        """Return the foreign name, or that the row never names its own."""
        text = target_text(row)
        if (name := self._foreign_name(text)) is not None:
            return f"names another assistant: {name}"
        is_required = self._require_name and isinstance(row, Document)
        if is_required and self._own is not None and not self._own.search(text):
            return f"never names {self._model_name}"
        return None

    def _foreign_name(self, text: str) -> str | None:
        """Return the first name of another assistant or maker in `text`, as it stands there."""
        if match := self._certain.search(text):
            return match[0]
        for match in self._common.finditer(text):
            if _VERSION.match(text, match.end()) or self._cues.search(_rest_of_sentence(text, *match.span())):
                return match[0]
        return None


def _is_own(family: Sequence[str], own: tuple[str, ...]) -> bool:
    """Return whether one of the own names is, or holds, a name of the family, or the other way round."""
    if not own:
        return False
    own_pattern, family_pattern = (whole_words(names, joined=False) for names in (own, family))
    return any(map(own_pattern.search, family)) or any(map(family_pattern.search, own))


def _rest_of_sentence(text: str, start: int, end: int) -> str:
    """Return what stands around `text[start:end]` up to the ends of its sentence, 200 characters at most a side."""
    before = text[max(0, start - _CONTEXT_CHARS) : start]
    after = text[end : end + _CONTEXT_CHARS]
    first = max(map(before.rfind, _SENTENCE_ENDS)) + 1
    ends = [at for at in map(after.find, _SENTENCE_ENDS) if at >= 0]
    return f"{before[first:]} \N{HORIZONTAL ELLIPSIS} {after[: min(ends, default=len(after))]}"


FILTERS = IdentityFilter
