"""Rows about the wrong assistant: ones that never name theirs, and ones that name another's."""

from __future__ import annotations

import re

from midspec.core.records import Document
from midspec.curate._rows import Row, said
from midspec.curate.filters._word_lists import Brands, load_brands, whole_words

_SENTENCE_ENDS = ".!?\n"
_NEAR_CHARS = 200
_VERSION = re.compile(r"[ -]?\d|[ -](?:v\d|Opus|Sonnet|Haiku|Pro|Flash|Ultra|Nano)\b")


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

    def __init__(
        self,
        model_name: str | None,
        provider_name: str | None = None,
        *,
        other_names: tuple[str, ...] = (),
        require_name: bool = True,
        spec_text: str = "",
    ) -> None:
        brands = load_brands()
        known = [name for family in brands.families for name in (*family.certain, *family.common)]
        in_spec = whole_words(tuple(known), ignore_case=False).findall(spec_text)
        own = tuple(name for name in (model_name, provider_name, *other_names, *in_spec) if name)
        self._own = whole_words((model_name,)) if model_name else None
        self._model_name, self._require_name = model_name, require_name
        certain, common = _foreign(brands, own)
        self._certain = whole_words(certain, ignore_case=False, versions=True)
        self._common = whole_words(common, ignore_case=False, versions=True)
        self._cues = whole_words(brands.cues)

    def reason(self, row: Row) -> str | None:
        """Which foreign name stands where, or that the row never names its own."""
        text = said(row)
        if (name := self.foreign_name(text)) is not None:
            return f"names another assistant: {name}"
        wanted = self._require_name and isinstance(row, Document)
        if wanted and self._own is not None and not self._own.search(text):
            return f"never names {self._model_name}"
        return None

    def foreign_name(self, text: str) -> str | None:
        """The first name of another assistant or maker in `text`, as it stands there."""
        if found := self._certain.search(text):
            return found[0]
        for match in self._common.finditer(text):
            if _VERSION.match(text, match.end()) or self._cues.search(_sentence(text, match.start(), match.end())):
                return match[0]
        return None


def _foreign(brands: Brands, own: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The certain and the common names of every family that none of `own` belongs to."""
    theirs = whole_words(own) if own else None
    certain: list[str] = []
    common: list[str] = []
    for family in brands.families:
        names = (*family.certain, *family.common)
        ours = whole_words(names)
        if theirs is None or (not any(theirs.search(name) for name in names) and not any(map(ours.search, own))):
            certain += family.certain
            common += family.common
    return tuple(certain), tuple(common)


def _sentence(text: str, start: int, end: int) -> str:
    """What stands around a name up to the ends of its sentence, without the name itself."""
    before = text[max(0, start - _NEAR_CHARS) : start]
    after = text[end : end + _NEAR_CHARS]
    first = max(map(before.rfind, _SENTENCE_ENDS)) + 1
    ends = [at for at in map(after.find, _SENTENCE_ENDS) if at >= 0]
    return f"{before[first:]} \N{HORIZONTAL ELLIPSIS} {after[: min(ends, default=len(after))]}"
