"""The contrasts that a run's first results were made under, and how a study's contrasts differ from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from midspec.core.artifact import RECORD, read_record
from midspec.core.records import Contrast
from midspec.study._load import Study
from midspec.study._step import RUN_FILE

FIRST = "first_contrasts"
_CONTRASTS = TypeAdapter(tuple[Contrast, ...])


def plain_contrasts(study: Study) -> list[JsonValue]:
    """Return a study's contrasts as JSON."""
    contrasts: list[JsonValue] = _CONTRASTS.dump_python(study.config.contrasts, mode="json")
    return contrasts


def first_contrasts(study: Study, folder: Path | None) -> list[JsonValue]:
    """Read the contrasts that the first results of the run in `folder` were made under; else return the study's own."""
    if folder is None or not any(any(folder.glob(f"steps/{kind}/*/{RECORD}")) for kind in ("eval", "exam")):
        return plain_contrasts(study)
    run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8")) if (folder / RUN_FILE).is_file() else {}
    if FIRST in run:
        contrasts: list[JsonValue] = run[FIRST]
        return contrasts
    # A run of a version that did not store them: its analysis has those that it estimated.
    record = read_record(folder / "steps" / "analysis")
    estimated = record.identity.config["contrasts"] if record else plain_contrasts(study)
    return estimated if isinstance(estimated, list) else []


def changed_first_contrasts(study: Study, folder: Path | None) -> list[JsonValue] | None:
    """Return the run's first contrasts where they differ from the study's; else `None`."""
    first = first_contrasts(study, folder)
    return first if contrasts_changed(first, study.config.contrasts) else None


def contrasts_changed(first: object, now: Sequence[Contrast]) -> str:
    """Say in a sentence how the contrasts differ from the first ones; empty if they do not."""
    before = {contrast.name: contrast for contrast in _CONTRASTS.validate_python(first)}
    after = {contrast.name: contrast for contrast in now}
    changes = [f"{name!r} was added" for name in after if name not in before]
    for name, old in before.items():
        if name not in after:
            changes.append(f"{name!r} was removed")
            continue
        for field in ("plus", "minus", "less", "set", "measure", "says"):
            was, became = getattr(old, field), getattr(after[name], field)
            # Records do not hold `says`: where it is empty there, it was not stored.
            if was != became and not (field == "says" and not was):
                changes.append(f"{field} of {name!r} was {was!r} and is {became!r}")
    return f"The contrasts were changed after results existed: {'; '.join(changes)}." if changes else ""
