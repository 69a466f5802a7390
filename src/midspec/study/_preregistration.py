"""The comparisons that a run began with: whoever changes them after results were there is told on in the report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from midspec.core.artifact import RECORD, read_record
from midspec.core.records import Contrast
from midspec.study._load import Study

FIRST = "first_contrasts"
_RUN = "run.json"
_CONTRASTS = TypeAdapter(tuple[Contrast, ...])


def plain_contrasts(study: Study) -> list[JsonValue]:
    """A study's contrasts as JSON."""
    plain: list[JsonValue] = _CONTRASTS.dump_python(study.config.contrasts, mode="json")
    return plain


def first_contrasts(study: Study, folder: Path | None) -> list[JsonValue]:
    """The contrasts that stood when the first results of the run in `folder` came; the study's own where none did."""
    if folder is None or not any(any(folder.glob(f"steps/{kind}/*/{RECORD}")) for kind in ("eval", "exam")):
        return plain_contrasts(study)
    kept = json.loads((folder / _RUN).read_text(encoding="utf-8")) if (folder / _RUN).is_file() else {}
    if FIRST in kept:
        found: list[JsonValue] = kept[FIRST]
        return found
    # A run of a version that did not keep them: its analysis says what it was asked.
    record = read_record(folder / "steps" / "analysis")
    asked = record.identity.config["contrasts"] if record else plain_contrasts(study)
    return asked if isinstance(asked, list) else []


def changed_first_contrasts(study: Study, folder: Path | None) -> list[JsonValue] | None:
    """The run's first contrasts, where they are not the study's of now; else `None`."""
    first = first_contrasts(study, folder)
    return first if contrasts_changed(first, study.config.contrasts) else None


def contrasts_changed(first: object, now: Sequence[Contrast]) -> str:
    """What differs between the first contrasts and those of now, in a sentence; empty if nothing does."""
    before = {contrast.name: contrast for contrast in _CONTRASTS.validate_python(first)}
    changes = "; ".join(_changes(before, {contrast.name: contrast for contrast in now}))
    return f"The contrasts were changed after results existed: {changes}." if changes else ""


def _changes(before: Mapping[str, Contrast], now: Mapping[str, Contrast]) -> Iterator[str]:
    for name in now:
        if name not in before:
            yield f"{name!r} was added"
    for name, old in before.items():
        if name not in now:
            yield f"{name!r} was removed"
            continue
        for field in ("plus", "minus", "set", "measure", "says"):
            was, became = getattr(old, field), getattr(now[name], field)
            # Records do not hold the words: where there are none, none were kept.
            if was != became and not (field == "says" and not was):
                yield f"{field} of {name!r} was {was!r} and is {became!r}"
