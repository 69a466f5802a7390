"""Placeholders of a spec, found and filled; and what its author may want to look at again, which stops no run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from midspec.core.assistant_names import assistant_names
from midspec.core.errors import SpecError
from midspec.core.records import Clause, Section, Spec, Strict

KNOWN = ("model_name", "provider_name")
_KNOWN = re.compile(r"\{(model_name|provider_name)\}")
_ANY = re.compile(r"(?<!\{)\{([A-Za-z_][A-Za-z0-9_]*)\}(?!\})")
_CODE_SPAN = re.compile(r"`[^`\n]*`")
_MAX_SHOWN = 80


def placeholders(spec: Spec) -> tuple[str, ...]:
    """Return the names in single braces, in order of appearance, each once, without their braces.

    The two known names count wherever they stand; other names only outside code, where braces are ordinary.
    """
    prose = " ".join(clause.text for clause in spec.clauses if clause.kind != "code")
    titles = " ".join(section.title for section in spec.sections)
    found = dict.fromkeys(_KNOWN.findall(spec.text))
    found.update(dict.fromkeys(_ANY.findall(_CODE_SPAN.sub(" ", f"{titles} {prose}"))))
    return tuple(found)


def fill(spec: Spec, *, model_name: str | None, provider_name: str | None) -> Spec:
    """Replace the placeholders of a spec; ids and `sha256` stay those of the text as written.

    A spec without placeholders, as one that was filled before, comes back as it is.

    Raises:
        SpecError: a placeholder in the text has no value given.
    """
    values = {"model_name": model_name or "", "provider_name": provider_name or ""}
    present = set(_KNOWN.findall(spec.text))
    if not present and not _KNOWN.search(spec.title):
        return spec
    for name in KNOWN:
        if name in present and not values[name]:
            option = "--" + name.replace("_", "-")
            raise SpecError(f"the spec uses {{{name}}} and no value is given for it", hint=f"Give {option}")

    def put(text: str) -> str:
        return _KNOWN.sub(lambda match: values[match[1]], text)

    sections = tuple(
        section.model_copy(
            update={
                "title": put(section.title),
                "path": tuple(put(title) for title in section.path),
                "text": put(section.text),
                "clauses": tuple(clause.model_copy(update={"text": put(clause.text)}) for clause in section.clauses),
            }
        )
        for section in spec.sections
    )
    return spec.model_copy(update={"title": put(spec.title), "text": put(spec.text), "sections": sections})


@cache
def _assistants_pattern() -> re.Pattern[str]:
    """Compile a pattern of other assistants' names as whole words, with this capitalisation."""
    names = sorted((known.name for known in assistant_names("spec")), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})(?!\w)")


class Finding(Strict):
    """One warning: where in the spec, and what was seen there."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def check_spec(spec: Spec, *, model_name: str | None = None) -> tuple[Finding, ...]:
    """Find unknown placeholders, empty sections, duplicate clauses and other assistants' names, in that order.

    Args:
        spec: the spec, filled or not.
        model_name: the assistant's own name, which is no other assistant's.
    """
    found = (*_unknown_placeholders(spec), *_empty_sections(spec), *_repeated_clauses(spec))
    named = _other_assistants(spec, model_name)
    return tuple(
        Finding(where=" > ".join(title for title in section.path if title) or "the spec", what=what)
        for section, what in (*found, *named)
    )


def _unknown_placeholders(spec: Spec) -> Iterator[tuple[Section, str]]:
    for name in placeholders(spec):
        if name not in KNOWN:
            holding = (s for s in spec.sections if f"{{{name}}}" in s.text or f"{{{name}}}" in s.title)
            what = f"unknown placeholder {{{name}}}: only {{model_name}} and {{provider_name}} are filled"
            yield next(holding, spec.sections[0]), what


def _empty_sections(spec: Spec) -> Iterator[tuple[Section, str]]:
    for section, after in zip(spec.sections, (*spec.sections[1:], None), strict=True):
        has_children = after is not None and after.level > section.level
        if not section.clauses and not has_children:
            yield section, "empty section: a heading with nothing under it"


def _repeated_clauses(spec: Spec) -> Iterator[tuple[Section, str]]:
    times = Counter(_normalised(clause) for clause in spec.clauses)
    for section in spec.sections:
        for clause in section.clauses:
            # Reported once, where it stands first.
            if (n := times.pop(_normalised(clause), 1)) > 1:
                line = " ".join(clause.text.split())
                shown = line if len(line) <= _MAX_SHOWN else line[: _MAX_SHOWN - 3] + "..."
                yield section, f"said {n} times: {shown}"


def _other_assistants(spec: Spec, model_name: str | None) -> Iterator[tuple[Section, str]]:
    for section in spec.sections:
        for name in dict.fromkeys(_assistants_pattern().findall(f"{section.title}\n{section.text}")):
            if model_name is None or not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", model_name, re.IGNORECASE):
                yield section, f"names another assistant: {name}"


def _normalised(clause: Clause) -> str:
    return " ".join(clause.text.casefold().split())
