"""What a spec's author may want to look at again; nothing here stops a run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from midspec.core.errors import SpecError
from midspec.core.records import Clause, Section, Spec, Strict

KNOWN = ("model_name", "provider_name")
_OURS = re.compile(r"\{(model_name|provider_name)\}")
_ANY = re.compile(r"(?<!\{)\{([A-Za-z_][A-Za-z0-9_]*)\}(?!\})")
_CODE_SPAN = re.compile(r"`[^`\n]*`")


def placeholders(spec: Spec) -> tuple[str, ...]:
    """The names in single braces, in order of appearance, each once, without their braces.

    The two known names count wherever they stand; other names only outside code, where braces are ordinary.
    """
    prose = " ".join(clause.text for clause in spec.clauses if clause.kind != "code")
    titles = " ".join(section.title for section in spec.sections)
    found = dict.fromkeys(_OURS.findall(spec.text))
    found.update(dict.fromkeys(_ANY.findall(_CODE_SPAN.sub(" ", f"{titles} {prose}"))))
    return tuple(found)


def fill(spec: Spec, *, model_name: str | None, provider_name: str | None) -> Spec:
    """`spec` with its placeholders replaced; ids and `sha256` stay those of the text as written.

    Raises:
        SpecError: a placeholder in the text has no value given.
    """
    values = {"model_name": model_name, "provider_name": provider_name}
    present = set(_OURS.findall(spec.text))
    for name in KNOWN:
        if name in present and not values[name]:
            option = "--" + name.replace("_", "-")
            raise SpecError(f"the spec uses {{{name}}} and no value is given for it", hint=f"Give {option}")
    given = {name: value or "" for name, value in values.items()}

    def put(text: str) -> str:
        return _OURS.sub(lambda match: given[match[1]], text)

    def put_clause(clause: Clause) -> Clause:
        return clause.model_copy(update={"text": put(clause.text)})

    def put_section(section: Section) -> Section:
        return section.model_copy(
            update={
                "title": put(section.title),
                "path": tuple(put(title) for title in section.path),
                "text": put(section.text),
                "clauses": tuple(put_clause(clause) for clause in section.clauses),
            }
        )

    sections = tuple(put_section(section) for section in spec.sections)
    return spec.model_copy(update={"title": put(spec.title), "text": put(spec.text), "sections": sections})


# Assistants that a spec for another one is most often copied from. Matched as whole words, with this capitalisation.
_ASSISTANTS = (
    "Alexa", "Bard", "Bing Chat", "ChatGPT", "Claude", "Copilot", "Cortana", "DeepSeek", "GPT-3", "GPT-3.5", "GPT-4",
    "GPT-4o", "GPT-5", "Gemini", "Gemma", "Grok", "Kimi", "Llama", "Mistral", "Mixtral", "Qwen", "Siri",
)  # fmt: skip
_NAMED = re.compile(
    r"(?<![\w-])(?:" + "|".join(map(re.escape, sorted(_ASSISTANTS, key=len, reverse=True))) + r")(?!\w)"
)


class Finding(Strict):
    """One warning: where in the spec, and what was seen there."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def check_spec(spec: Spec, *, model_name: str | None = None) -> tuple[Finding, ...]:
    """Unknown placeholders, empty sections, duplicate clauses and other assistants' names, in that order.

    Args:
        spec: the spec, filled or not.
        model_name: the assistant's own name, which is no other assistant's.
    """
    return (
        *_unknown_placeholders(spec),
        *_empty_sections(spec),
        *_duplicate_clauses(spec),
        *_other_assistants(spec, model_name),
    )


def _unknown_placeholders(spec: Spec) -> Iterator[Finding]:
    for name in placeholders(spec):
        if name not in KNOWN:
            yield Finding(
                where=_where(_section_with(spec, f"{{{name}}}")),
                what=f"unknown placeholder {{{name}}}: only {{model_name}} and {{provider_name}} are filled",
            )


def _section_with(spec: Spec, needle: str) -> Section:
    return next((s for s in spec.sections if needle in s.text or needle in s.title), spec.sections[0])


def _empty_sections(spec: Spec) -> Iterator[Finding]:
    following = (*spec.sections[1:], None)
    for section, after in zip(spec.sections, following, strict=True):
        has_children = after is not None and after.level > section.level
        if not section.clauses and not has_children:
            yield Finding(where=_where(section), what="empty section: a heading with nothing under it")


def _duplicate_clauses(spec: Spec) -> Iterator[Finding]:
    times = Counter(_key(clause) for clause in spec.clauses)
    reported: set[str] = set()
    for section in spec.sections:
        for clause in section.clauses:
            key = _key(clause)
            if times[key] > 1 and key not in reported:
                reported.add(key)
                yield Finding(where=_where(section), what=f"said {times[key]} times: {_short(clause.text)}")


def _key(clause: Clause) -> str:
    return " ".join(clause.text.casefold().split())


def _other_assistants(spec: Spec, model_name: str | None) -> Iterator[Finding]:
    for section in spec.sections:
        for name in dict.fromkeys(_NAMED.findall(f"{section.title}\n{section.text}")):
            if model_name is None or not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", model_name, re.IGNORECASE):
                yield Finding(where=_where(section), what=f"names another assistant: {name}")


def _where(section: Section) -> str:
    return " > ".join(title for title in section.path if title) or "the spec"


def _short(text: str, limit: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
