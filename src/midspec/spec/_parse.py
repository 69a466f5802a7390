"""From a text to a `Spec`: blocks are gathered into sections, and paragraphs cut into clauses, each with its id."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from midspec.core.errors import MissingError, SpecError
from midspec.core.fingerprint import hash_text, id_of
from midspec.core.records import Clause, ClauseKind, Section, Spec
from midspec.spec._blocks import Block, scan_blocks
from midspec.spec._data import QUESTIONS, Rule, rules_of_data
from midspec.spec._denials import is_denial
from midspec.spec._example_blocks import gather_examples
from midspec.spec._examples import read_label
from midspec.spec._headings import as_headings
from midspec.spec._hidden import Part
from midspec.spec._lines import apart, is_said_by_heading
from midspec.spec._names import has_other_spellings, whole_text
from midspec.spec._pasted import refuse_other_file
from midspec.spec._shipped_specs import spec_path
from midspec.spec._source import Source, read_source
from midspec.spec._words import Inline, split_as_before, split_sentences, with_whole_emphasis

_CHECKBOX = re.compile(r"[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]+\[[ xX]\][ \t]")
_RUN_IN_NAME = re.compile(r"(\*\*|__)(?!\s)(?:(?:\d{1,3}|[IVXLC]{1,6}|[A-Z])[.)][ ])?[^*_.!?]{1,60}[.:]\1")
_BEGIN = re.compile(r"[ \t>]*(?:[-*+•‣◦]|\d{1,9}[.)])[ \t]+")
_MAX_LEVEL = 6  # of headings in Markdown
_TITLE_WORDS = 8
_HEAD = 2000  # of a file: what says of which kind it is stands there


def parse_spec(text: str, *, name: str = "spec") -> Spec:
    """Cut the text of a Model Spec into sections and clauses.

    Sections go by headings; in a text without any, each paragraph (with the list, table or code that follows it) is
    a section of level 0. A text that is rules (`[{"id", "name", "text"}, ...]`) or traits (`[{"trait"}, ...]`), as
    JSON, JSON lines or YAML, has a section for each.

    Args:
        text: Markdown or plain text.
        name: the title of a spec that has no heading of level 1.

    Raises:
        SpecError: the text is empty, binary, JSON of something else, or holds nothing but headings; or a comment in
            it has no end.
    """
    return read_parts(text, name=name)[0]


def read_parts(text: str, *, name: str = "spec", form: str = "") -> tuple[Spec, tuple[Part, ...]]:
    """Cut a text as `parse_spec` does; also return how each part of it was read, in the order of the text.

    Args:
        text: Markdown, plain text, or rules or traits.
        name: the title of a spec that has no heading of level 1.
        form: JSON or YAML where the text can be nothing else.

    Raises:
        SpecError: see `parse_spec`.
    """
    clean = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not clean.strip():
        raise SpecError("is empty", where=name, hint="Give a text that says who the assistant should be")
    if "\0" in clean or any("\ud800" <= char <= "\udfff" for char in clean):
        raise SpecError("is binary, not text", where=name, hint="Give a Markdown or plain text file in UTF-8")
    refuse_other_file(clean, name)
    is_recut = False
    rules, unread = rules_of_data(clean, name, form)
    if rules:
        title, spec_text, sections, parts, is_marked = name, *_of_rules(rules, clean, name)
        parts += [Part(0, 0, "left out", words) for words in unread]
    else:
        reader = _Reader(read_source(clean, name))
        title, sections = reader.sections(name)
        parts, is_marked = reader.parts, reader.is_marked or "\n".join(reader.source.lines) != clean
        is_recut = reader.is_recut and not (is_marked or has_other_spellings(clean))
        is_marked |= reader.is_recut
        sections = [reader.plain(section) for section in sections] if is_marked else sections
        spec_text = whole_text(sections) if is_marked else clean
    if not any(section.clauses for section in sections):
        raise SpecError("holds no sentence", where=name, hint="Write what the assistant should be, and why")
    spec = Spec(
        title=title,
        text=spec_text,
        sha256=hash_text(clean),
        sections=tuple(sections),
        is_marked=is_marked or has_other_spellings(clean),
        is_recut=is_recut,
    )
    return spec, tuple(sorted(parts, key=lambda part: part.first))


def _of_rules(rules: list[Rule], text: str, name: str) -> tuple[str, list[Section], list[Part], bool]:
    """Return text, sections and parts of rules, and whether they hold mark-up or are no JSON with ids.

    A rule without id and name is a section without a heading of its own.
    """
    ids, sections, parts = _Ids(), list[Section](), list[Part]()
    is_marked = not text.lstrip().startswith(("[", "{")) or any(not rule.id or rule.is_nested for rule in rules)
    is_marked |= any(rule.is_off for rule in rules)
    parts += [Part(0, 0, "rule that is switched off", rule.text) for rule in rules if rule.is_off]
    for rule in (rule for rule in rules if not rule.is_off):
        reader = _Reader(read_source(rule.whole, name))
        heading = ": ".join(filter(None, (rule.id, rule.name)))
        path = (rule.domain, heading) if rule.domain else (heading,)
        if not heading:
            words = (rule.text or rule.whole.replace("\n- ", "\n")).split()
            title = " ".join(words[:_TITLE_WORDS]) + (" ..." if len(words) > _TITLE_WORDS else "")
            path = (rule.domain, title) if rule.domain else (title,)
        heads = [block.text for block in reader.blocks if block.kind == "heading"]
        if any(map(is_denial, heads)):  # it denies what follows
            over = path if heading and heads[0] != path[-1] else path[:-1]
            sections += map(reader.plain, reader.by_headings(path[-1], ids, over))
            parts += [part._replace(first=0, last=0) for part in reader.parts]
            is_marked = True
            continue
        section = reader.section(path[-1], len(path) if heading else 0, path, reader.blocks, rule.whole, ids)
        sections.append(reader.plain(section) if reader.is_marked or reader.is_recut else section)
        is_marked |= reader.is_marked or reader.is_recut
        parts += [part._replace(first=0, last=0) for part in reader.parts if part.kind not in ("heading",)]
    if n_lists := len(QUESTIONS.findall(text)):
        parts.append(Part(0, 0, "questions", f"{n_lists} lists of questions beside the traits"))
    return whole_text(sections) if is_marked else text, sections, parts, is_marked


class _Ids:
    """Makes ids of the normalised text and its occurrence number: what stands elsewhere in the spec plays no part."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def new(self, kind: str, text: str) -> str:
        key = f"{kind}\n" + " ".join(unicodedata.normalize("NFKC", text).casefold().split())
        self._times[key] += 1
        return id_of(key, str(self._times[key]))


class _Reader:
    """A text as blocks, and the sections and clauses that are made of them; it writes down how it read each part."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.parts = list(source.left_out)
        lines = source.lines
        blocks = scan_blocks(lines)
        for block in blocks:
            if block.kind == "heading":
                for slug in {re.sub(r"[^\w]+", mark, block.text.casefold()).strip(mark) for mark in "-_"}:
                    source.anchors.setdefault(slug, block.text)
        self.inline = Inline(source.links, source.anchors)
        self.blocks = as_headings(apart(gather_examples(blocks, lines, self.inline.clean), lines), lines)
        self._used_notes: set[str] = set()
        self._plain: dict[str, str] = {}
        # Whether an earlier version read the text otherwise: results of the two are not the same.
        self.is_marked = bool(source.left_out or source.footnotes or self.blocks != blocks)
        self.is_marked |= any(_CHECKBOX.match(line) for line in lines)
        self.is_recut = False  # or cut its sentences elsewhere

    def sections(self, name: str) -> tuple[str, list[Section]]:
        """Return the spec's title, and its sections: by headings, or where there is none by paragraphs."""
        ids, headings = _Ids(), [block for block in self.blocks if block.kind == "heading"]
        title = next((self.inline.clean(head.text) for head in headings if head.level == 1 and head.text), "")
        title = title or self.source.title or name
        sections = self.by_headings(title, ids) if headings else self._by_paragraphs(ids)
        for label, text in self.source.footnotes.items():
            if label not in self._used_notes:
                first, last = self.source.note_lines.get(label, (0, 0))
                self.parts.append(Part(first, last, "footnote without a mark", text))
        return title, sections

    def by_headings(self, title: str, ids: _Ids, over: tuple[str, ...] = ()) -> list[Section]:
        """Return the sections under the headings, and one of the given title for what stands before the first.

        `over` is headings over all of them.
        """
        blocks, lines = self.blocks, self.source.lines
        heads = [index for index, block in enumerate(blocks) if block.kind == "heading"]
        sections = []
        if preamble := blocks[: heads[0]]:
            text = _text(lines, 0, blocks[heads[0]].first)
            sections.append(self.section(title, 0, (*over, title), preamble, text, ids))
        path = list(enumerate(over, -len(over)))
        for index, after in zip(heads, [*heads[1:], len(blocks)], strict=True):
            head = blocks[index]
            words = self.inline.clean(head.text)
            is_rule = is_said_by_heading(head, blocks[index + 1] if index + 1 < len(blocks) else None)
            if not is_rule:
                self._note("heading", head, words)
            self.is_marked |= words != head.text
            path = [entry for entry in path if entry[0] < head.level] + [(head.level, words)]
            end = blocks[after].first if after < len(blocks) else len(lines)
            titles = tuple(entry[1] for entry in path)
            text = _text(lines, head.end, end)
            level = 0 if is_rule else min(head.level + len(over), _MAX_LEVEL)
            sections.append(self.section(words, level, titles, blocks[index + 1 : after], text, ids))
        return sections

    def _by_paragraphs(self, ids: _Ids) -> list[Section]:
        groups: list[list[Block]] = []
        for block in self.blocks:
            if block.kind == "paragraph" or not groups:
                groups.append([block])
            else:
                groups[-1].append(block)
        sections = []
        for group in groups:
            words = self.inline.clean(group[0].text.split("\n")[0]).split()
            title = " ".join(words[:_TITLE_WORDS]) + (" ..." if len(words) > _TITLE_WORDS else "")
            text = _text(self.source.lines, group[0].first, group[-1].end)
            sections.append(self.section(title, 0, (title,), group, text, ids))
        return [section for section in sections if section.clauses]

    def section(
        self, title: str, level: int, path: tuple[str, ...], blocks: list[Block], text: str, ids: _Ids
    ) -> Section:
        """Make a section of blocks, of which headings are passed over.

        Args:
            title: of the section.
            level: of its heading, 0 for none.
            path: the titles down to this one.
            blocks: what stands in it.
            text: the same as text.
            ids: makes the ids.
        """
        section_id = ids.new("section", " > ".join(path))
        clauses: list[Clause] = []
        plain, before = list[str](), "paragraph"
        for block in (block for block in blocks if block.kind != "heading"):
            texts: list[str] = []
            for kind, words in self._read(block):
                depth = block.level if kind == "item" else 0
                is_lead = bool(texts) and texts[-1].rstrip("*_ ").endswith((":", "："))
                if kind == "sentence" and (block.kind in ("item", "row") or is_lead):  # a footnote of it
                    depth = block.level + 1 if block.kind == "item" else 1
                clause_id = ids.new("clause", words)
                clauses.append(Clause(id=clause_id, text=words, section_id=section_id, kind=kind, depth=depth))
                texts.append(words)
            if texts:
                begin = (
                    found[0] if block.kind == "item" and (found := _BEGIN.match(self.source.lines[block.first])) else ""
                )
                between = "\n" if block.kind == before and block.kind in ("item", "row") else "\n\n"
                plain += [between, begin.replace(">", ""), " ".join(texts)]
                before = block.kind
        self._plain[section_id] = "".join(plain).strip("\n")
        return Section(id=section_id, title=title, level=level, path=path, text=text, clauses=tuple(clauses))

    def plain(self, section: Section) -> Section:
        """Return a section with the text that its clauses make: what a model is shown is what was read."""
        return section.model_copy(update={"text": self._plain[section.id]})

    def _read(self, block: Block) -> Iterator[tuple[ClauseKind, str]]:
        """Cut a block into clauses; the footnotes of each stand after it."""
        if block.kind in ("code", "example", "heading"):
            kind: ClauseKind = "example" if block.kind == "example" else "code"
            words, notes = block.text, list[tuple[int, str]]()
            texts = [words]
        else:
            words, notes = self.inline.read(block.text)
            kind = "row" if block.kind == "row" else "item" if block.kind == "item" else "sentence"
            texts = self._sentences(words) if block.kind == "paragraph" else [words]
            self.is_marked |= words != block.text
        if not words:
            self._note("picture or link", block, block.text)
        at = 0
        shown = with_whole_emphasis(texts) if block.kind == "paragraph" else texts
        self.is_recut |= shown != texts
        for written, text in zip(texts, shown, strict=True):
            at = words.find(written, at) + len(written)
            if not any(map(str.isalnum, text)):
                self.is_marked = True  # a stray sign is no clause
                continue
            self._note(kind, block, text)
            yield kind, text
            # The rest of the stop's space is the sentence's, so that a mark behind it is too.
            mine = [label for place, label in notes if place <= at]
            notes = [note for note in notes if note[0] > at]
            yield from self._footnotes(mine, block)

    def _sentences(self, words: str) -> list[str]:
        """Cut a paragraph; a bad reply stays in one piece with its label, and a name in bold with what it names."""
        texts = split_sentences(words)
        self.is_recut |= texts != split_as_before(words)
        if len(texts) > 1 and (turn := read_label(words)) is not None and turn.mark == "BAD":
            self.is_marked = True
            return [words]
        if len(texts) > 1 and _RUN_IN_NAME.fullmatch(texts[0]):
            self.is_marked = True
            return [f"{texts[0]} {texts[1]}", *texts[2:]]
        return texts

    def _footnotes(self, labels: list[str], block: Block) -> Iterator[tuple[ClauseKind, str]]:
        for label in labels:
            if label in self.source.footnotes and label not in self._used_notes:
                self._used_notes.add(label)
                first, last = self.source.note_lines.get(label, self._lines_of(block))
                for paragraph in self.source.footnotes[label].split("\n\n"):
                    for text in with_whole_emphasis(split_sentences(self.inline.clean(" ".join(paragraph.split())))):
                        self.parts.append(Part(first, last, "footnote", text))
                        yield "sentence", text

    def _note(self, kind: str, block: Block, text: str) -> None:
        first, last = self._lines_of(block)
        kind = "note" if kind == "sentence" and first in self.source.notes else kind
        self.parts.append(Part(first, last, kind, text))

    def _lines_of(self, block: Block) -> tuple[int, int]:
        numbers = self.source.numbers
        return numbers[block.first], numbers[max(block.first, block.end - 1)]


def _text(lines: list[str], first: int, end: int) -> str:
    return "\n".join(lines[first:end]).strip("\n")


def read_spec(path: Path) -> Spec:
    """Read a Model Spec from a UTF-8 file (a byte order mark and any line ends are fine), or a shipped one by name.

    Raises:
        MissingError: there is no such file.
        SpecError: it is empty, binary, not UTF-8, or holds no sentence; or see `parse_spec`.
    """
    return read_spec_parts(path)[0]


def read_spec_parts(path: Path) -> tuple[Spec, tuple[Part, ...]]:
    """Read a file as `read_spec` does; also return how each part of it was read, in the order of the file."""
    path = spec_path(path)
    if not path.is_file():
        what = "is a folder, not a spec file" if path.is_dir() else "there is no such spec file"
        near = get_close_matches(path.name, [each.name for each in path.parent.glob("*")], n=1)
        hint = f"Did you mean {path.with_name(near[0])}?" if near and not path.is_dir() else "Check the path"
        raise MissingError(what, where=str(path), hint=hint)
    if (table := path.suffix.lower()) in (".csv", ".tsv", ".toml"):
        hint = "Write its rules as Markdown, JSON or YAML"
        raise SpecError(
            f"is a {table[1:].upper()} file, whose marks would be taken for words", where=str(path), hint=hint
        )
    content = b""
    try:
        text = (content := path.read_bytes()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse_other_file(content[:_HEAD].decode("latin-1"), str(path))
        raise SpecError(
            f"is not UTF-8 text (byte {error.start})", where=str(path), hint="Save the spec as UTF-8 text"
        ) from error
    except OSError as error:
        raise SpecError(
            f"can't be read ({error.strerror})", where=str(path), hint="Check the file's permissions"
        ) from error
    form = {".json": "JSON", ".jsonl": "JSON", ".yaml": "YAML", ".yml": "YAML"}.get(path.suffix.lower(), "")
    try:
        return read_parts(text, name=path.stem, form=form)
    except SpecError as error:
        raise SpecError(error.what, where=str(path), hint=error.hint) from error
