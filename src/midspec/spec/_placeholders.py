"""The two placeholders of a spec, and the words in braces that look like one.

Values are put in by replacement, in one pass, so that any other brace is ordinary text and a value that itself
holds a placeholder stays as it is.
"""

from __future__ import annotations

import re

from midspec.errors import SpecError
from midspec.records import Clause, Section, Spec

__all__ = ["KNOWN", "fill", "placeholders"]

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
            raise SpecError(f"the spec uses {{{name}}} and no value is given for it", mend=f"Give {option}")
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
