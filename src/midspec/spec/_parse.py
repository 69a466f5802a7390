"""From a text to a `Spec`: blocks are gathered into sections, and paragraphs cut into clauses, each with its id."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from midspec.core.errors import MissingError, SpecError
from midspec.core.fingerprint import hash_text
from midspec.core.records import Clause, Section, Spec, Strict
from midspec.spec._blocks import Block, scan_blocks, split_sentences


class Rule(Strict):
    """One rule of a rules file; `domain` is empty where the file names none."""

    id: str
    name: str
    text: str
    domain: str = ""


def rules_of_json(text: str) -> list[Rule]:
    """Return the rules of a text that is JSON rules and nothing else; none of any other text."""
    if text.lstrip()[:1] not in ("[", "{"):
        return []
    try:
        values = [json.loads(text)]
    except (ValueError, RecursionError):
        try:
            values = [json.loads(line) for line in text.split("\n") if line.strip()]
        except (ValueError, RecursionError):
            return []
    return [rule for value in values for rule in _rules(value, "")]


def _rules(value: object, domain: str) -> Iterator[Rule]:
    if isinstance(value, list):
        for entry in value:
            yield from _rules(entry, domain)
    elif isinstance(value, dict) and isinstance(value.get("text"), str):
        identity, name = value.get("id", ""), value.get("name", "")
        yield Rule(id=str(identity), name=str(name), text=value["text"], domain=domain)
    elif isinstance(value, dict):
        own = next((str(value[key]) for key in ("domain", "name", "title") if key in value), domain)
        for key in ("domains", "rules"):
            yield from _rules(value.get(key, []), own)


_ID_LENGTH = 16
_TITLE_WORDS = 8


def parse_spec(text: str, *, name: str = "spec") -> Spec:
    """Cut the text of a Model Spec into sections and clauses.

    Sections go by headings; in a text without any, each paragraph (with the list, table or code that follows it) is
    a section of level 0. A text that is JSON rules (`[{"id", "name", "text"}, ...]`) has a section for each rule.

    Args:
        text: Markdown or plain text.
        name: the title of a spec that has no heading of level 1.

    Raises:
        SpecError: the text is empty, binary, or holds nothing but headings.
    """
    clean = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not clean.strip():
        raise SpecError("is empty", where=name, hint="Give a text that says who the assistant should be")
    if "\0" in clean or any("\ud800" <= char <= "\udfff" for char in clean):
        raise SpecError("is binary, not text", where=name, hint="Give a Markdown or plain text file in UTF-8")
    ids, title = _Ids(), name
    if rules := rules_of_json(clean):
        sections = []
        for rule in rules:
            heading = f"{rule.id}: {rule.name}" if rule.name else rule.id
            path = (rule.domain, heading) if rule.domain else (heading,)
            blocks = scan_blocks(rule.text.split("\n"))
            sections.append(_section(heading, len(path), path, blocks, rule.text, ids))
    else:
        lines = clean.split("\n")
        blocks = scan_blocks(lines)
        headings = [block for block in blocks if block.kind == "heading"]
        title = next((block.text for block in headings if block.level == 1 and block.text), name)
        sections = _by_headings(blocks, lines, title, ids) if headings else _by_paragraphs(blocks, lines, ids)
    if not any(section.clauses for section in sections):
        raise SpecError("holds no sentence", where=name, hint="Write what the assistant should be, and why")
    return Spec(title=title, text=clean, sha256=hash_text(clean), sections=tuple(sections))


class _Ids:
    """Makes ids of the normalised text and its occurrence number: what stands elsewhere in the spec plays no part."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def new(self, kind: str, text: str) -> str:
        key = f"{kind}\n" + " ".join(unicodedata.normalize("NFKC", text).casefold().split())
        self._times[key] += 1
        return hash_text(f"{key}\n{self._times[key]}")[:_ID_LENGTH]


def _by_headings(blocks: list[Block], lines: list[str], title: str, ids: _Ids) -> list[Section]:
    heads = [index for index, block in enumerate(blocks) if block.kind == "heading"]
    sections = []
    if preamble := blocks[: heads[0]]:
        sections.append(_section(title, 0, (title,), preamble, _text(lines, 0, blocks[heads[0]].first), ids))
    path: list[tuple[int, str]] = []
    for index, after in zip(heads, [*heads[1:], len(blocks)], strict=True):
        head = blocks[index]
        path = [entry for entry in path if entry[0] < head.level] + [(head.level, head.text)]
        end = blocks[after].first if after < len(blocks) else len(lines)
        titles = tuple(entry[1] for entry in path)
        text = _text(lines, head.end, end)
        sections.append(_section(head.text, head.level, titles, blocks[index + 1 : after], text, ids))
    return sections


def _by_paragraphs(blocks: list[Block], lines: list[str], ids: _Ids) -> list[Section]:
    groups: list[list[Block]] = []
    for block in blocks:
        if block.kind == "paragraph" or not groups:
            groups.append([block])
        else:
            groups[-1].append(block)
    sections = []
    for group in groups:
        words = group[0].text.split("\n")[0].split()
        title = " ".join(words[:_TITLE_WORDS]) + (" ..." if len(words) > _TITLE_WORDS else "")
        sections.append(_section(title, 0, (title,), group, _text(lines, group[0].first, group[-1].end), ids))
    return sections


def _text(lines: list[str], first: int, end: int) -> str:
    return "\n".join(lines[first:end]).strip("\n")


def _section(title: str, level: int, path: tuple[str, ...], blocks: list[Block], text: str, ids: _Ids) -> Section:
    section_id = ids.new("section", " > ".join(path))
    clauses: list[Clause] = []
    for block in blocks:
        if block.kind != "heading":
            kind = "sentence" if block.kind == "paragraph" else block.kind
            parts = split_sentences(block.text) if block.kind == "paragraph" else [block.text]
            clauses += [Clause(id=ids.new("clause", one), text=one, section_id=section_id, kind=kind) for one in parts]
    return Section(id=section_id, title=title, level=level, path=path, text=text, clauses=tuple(clauses))


def read_spec(path: Path) -> Spec:
    """Read a Model Spec from a UTF-8 file (a byte order mark and any line ends are fine).

    Raises:
        MissingError: there is no such file.
        SpecError: it is empty, binary, not UTF-8, or holds no sentence.
    """
    if not path.is_file():
        what = "is a folder, not a spec file" if path.is_dir() else "there is no such spec file"
        raise MissingError(what, where=str(path), hint="Check the path")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"is not UTF-8 text (byte {error.start})", where=str(path), hint="Save the spec as UTF-8 text"
        ) from error
    except OSError as error:
        raise SpecError(
            f"can't be read ({error.strerror})", where=str(path), hint="Check the file's permissions"
        ) from error
    try:
        return parse_spec(text, name=path.stem)
    except SpecError as error:
        raise SpecError(error.what, where=str(path), hint=error.hint) from error
