"""Steps of the spec tools: a variant of a spec by an author, and clauses that several models read differently.

They are no steps of a study, which takes specs as files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, JsonValue

from midspec.core.artifact import Built, read_record, read_rows, writable, write_json, write_rows, write_text
from midspec.core.errors import ConfigError, FolderError, MissingError
from midspec.core.records import Spec, SpecEdit, SpecReview, Strict
from midspec.llm import Access, Forecast, ModelConfig, Store
from midspec.spec_tools import ReadClause, ReadingSettings, RewrittenSpec, SpecRewriting
from midspec.study._inputs import File, spec_at
from midspec.study._step import Job, Step
from midspec.study.jobs._endpoints import forecast_of, open_model, open_store, with_spent

_SOURCE, _SPEC, _EDITS, _PROVENANCE = "source.md", "spec.md", "edits.jsonl", "provenance.jsonl"


class SpecVariantConfig(Strict):
    """Settings of a variant: who writes it, and what is wanted."""

    author: ModelConfig
    rewriting: SpecRewriting


@dataclass(frozen=True, kw_only=True, eq=False)
class SpecVariantStep(Step):
    """A variant of a spec: spec.md, source.md, edits.jsonl, provenance.jsonl, rejects.jsonl and review.html.

    Attributes:
        spec: the spec's file.
        config: author and tool.
        author: how the model is reached.
    """

    kind = "spec-variant"
    opens_model = False
    spec: File
    config: SpecVariantConfig
    author: Access

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"spec": Path(self.spec.path).stem, **self.config.model_dump(mode="json")}

    @property
    def _source(self) -> Spec:
        """The spec as `source.md` has it: Markdown, whatever the file is, of what was read of it."""
        from midspec.spec import parse_spec
        from midspec.spec_tools import apply_edits

        name = Path(self.spec.path).stem
        return parse_spec(apply_edits(spec_at(self.spec.path, name), ())[0], name=name)

    def forecast(self) -> Forecast:
        """Forecast tokens and dollars; nothing is sent."""
        from midspec.spec_tools import estimate_rewriting

        stages = estimate_rewriting(self._source, self.config.author, self.config.rewriting)
        return forecast_of(stages, self.config.author.model, self.author)

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.spec_tools import rewrite_spec

        spec, config = self._source, self.config

        async def write(store: Store) -> Built:
            async with open_model(config.author, self.author, store, "author") as author:
                tell, width = job.on_progress, self.author.width
                written = await rewrite_spec(
                    spec, config.author, author, store, config.rewriting, on_progress=tell, width=width
                )
            return _save_variant(spec, written, config, folder)

        with open_store(job.store) as store:
            return with_spent(asyncio.run(write(store)), store)


def _save_variant(spec: Spec, written: RewrittenSpec, config: SpecVariantConfig, folder: Path) -> Built:
    """Write a variant with its edits, their origin and the page on which they are looked at."""
    from midspec.report import write_spec_review
    from midspec.spec_tools import apply_edits, word_diff

    write_text(folder / _SOURCE, apply_edits(spec, ())[0])
    write_text(folder / _SPEC, written.text)
    write_rows(folder / _EDITS, written.edits)
    write_rows(folder / _PROVENANCE, written.provenance)
    write_rows(folder / "rejects.jsonl", written.rejects)
    before, after, wanted = written.n_tokens
    review = SpecReview(
        title=spec.title,
        tool=config.rewriting.tool,
        author=config.author.model,
        n_tokens_before=before,
        n_tokens_after=after,
        n_tokens_wanted=wanted,
        edits=written.edits,
        words=tuple(word_diff(edit.before, edit.after) for edit in written.edits),
        not_written=tuple((reject.text, reject.reason) for reject in written.rejects),
    )
    page = write_spec_review(review, folder)
    missed = None
    if wanted is not None and abs(after - wanted) > config.rewriting.tolerance * wanted + 1:
        missed = f"{after:,} tokens were reached and {wanted:,} wanted ({after / wanted - 1:+.1%})"
    summary: dict[str, JsonValue] = {
        "n_edits": len(written.edits),
        "n_rejects": len(written.rejects),
        "n_clauses": len(written.provenance),
        "n_tokens_before": before,
        "n_tokens": after,
        "n_tokens_wanted": wanted,
        "exhausted": missed,
    }
    return Built(outputs=(_SOURCE, _SPEC, _EDITS, _PROVENANCE, "rejects.jsonl", *page.outputs), summary=summary)


def accept_edits(folder: Path, wanted: Sequence[str], out: Path, *, redo: bool = False) -> tuple[int, int]:
    """Write the source with the edits that are accepted, and beside it where each clause comes from.

    Args:
        folder: of a variant.
        wanted: ids of edits, or of clauses that they replace; `all` for all.
        out: the file to write; `.provenance.jsonl` comes behind its name for the other.
        redo: replace files that are there.

    Returns:
        How many edits were accepted, and of how many.

    Raises:
        MissingError: the folder holds no variant.
        ConfigError: there is no such edit, or the variant's source was changed by hand.
        FolderError: a file is there, or can't be written.
    """
    from midspec.spec import parse_spec
    from midspec.spec_tools import apply_edits, chosen_edits

    if not (folder / _EDITS).is_file() or not (folder / _SOURCE).is_file():
        hint = "Name the folder that augment, ablate, generalize or anti-spec wrote"
        raise MissingError(f"holds no {_EDITS} and {_SOURCE}", where=str(folder), hint=hint)
    edits = list(read_rows(folder / _EDITS, SpecEdit))
    # A spec without a title is called after its file, and the ids of sections hash titles.
    record = read_record(folder)
    name = str(record.identity.config["spec"]) if record else "spec"
    source = parse_spec((folder / _SOURCE).read_text(encoding="utf-8", errors="replace"), name=name)
    chosen = chosen_edits(edits, wanted)
    known = {section.id for section in source.sections}
    if lost := [edit.id for edit in chosen if edit.section_id not in known]:
        what = f"the edit {lost[0]} is of a section that {_SOURCE} does not have"
        raise ConfigError(what, where=str(folder), hint=f"Leave {_SOURCE} as it was written, and edit the result")
    beside = out.with_name(f"{out.name}.provenance.jsonl")
    for path in (out, beside):
        if path.exists() and not redo:
            raise FolderError("is there already", where=str(path), hint="Name another file, or add --redo")
    text, provenance = apply_edits(source, chosen)
    with writable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
        write_rows(beside, provenance)
    return len(chosen), len(edits)


class ReadingsConfig(Strict):
    """Settings of the readings of a spec by several models."""

    models: tuple[ModelConfig, ...] = Field(min_length=2)
    reading: ReadingSettings = ReadingSettings()


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadSpecStep(Step):
    """What several models make of each clause: findings.json, readings.jsonl and rejects.jsonl.

    Attributes:
        spec: the spec's file.
        config: the models.
        access: how they are reached.
        questions: questions about its clauses, used as situations; written by the first model where there are none.
    """

    kind = "spec-readings"
    opens_model = False
    spec: File
    config: ReadingsConfig
    access: Access
    questions: File | None = None

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"spec": Path(self.spec.path).stem, **self.config.model_dump(mode="json")}

    def _asked(self) -> tuple[str, tuple[ReadClause, ...], dict[str, list[str]]]:
        spec = spec_at(self.spec.path, Path(self.spec.path).stem)
        clauses = tuple(
            ReadClause(clause.id, clause.text, " / ".join(filter(None, section.path)))
            for section in spec.sections
            for clause in section.clauses
            if clause.kind in ("sentence", "item", "row")
        )
        if not clauses:
            hint = "Give a spec with sentences or list items"
            raise ConfigError("there is nothing that models could read", where=str(self.spec.path), hint=hint)
        return spec.text, clauses, questions_by_clause(Path(self.questions.path)) if self.questions else {}

    def forecasts(self) -> list[Forecast]:
        """Forecast tokens and dollars of each model; nothing is sent."""
        from midspec.spec_tools import estimate_readings

        text, clauses, questions = self._asked()
        stages = estimate_readings(text, clauses, len(self.config.models), questions)
        pairs = zip(stages, self.config.models, strict=True)
        return [forecast_of(found, model.model, self.access) for found, model in pairs]

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.spec_tools import read_ambiguities

        text, clauses, questions = self._asked()

        async def read(store: Store) -> Built:
            async with AsyncExitStack() as stack:
                readers = {
                    model.model: (
                        model,
                        await stack.enter_async_context(open_model(model, self.access, store, "judge")),
                    )
                    for model in self.config.models
                }
                settings, tell, width = self.config.reading, job.on_progress, self.access.width
                found = await read_ambiguities(
                    text, clauses, readers, store, settings, questions=questions, on_progress=tell, width=width
                )
            write_json(folder / "findings.json", [each.model_dump(mode="json") for each in found.findings])
            write_rows(folder / "readings.jsonl", found.readings)
            write_rows(folder / "rejects.jsonl", found.rejects)
            summary: dict[str, JsonValue] = {
                "n_clauses": len(clauses),
                "n_situations": len(found.readings),
                "n_ambiguous": len(found.findings),
                "n_rejects": len(found.rejects),
            }
            return Built(outputs=("findings.json", "readings.jsonl", "rejects.jsonl"), summary=summary)

        with open_store(job.store) as store:
            return with_spent(asyncio.run(read(store)), store)


def questions_by_clause(path: Path) -> dict[str, list[str]]:
    """Return the questions of a file (questions.jsonl of `midspec questions`) by the clause that they ask about.

    Raises:
        MissingError, DataError: see `read_spec_questions`.
        ConfigError: none says which clause it asks about.
    """
    from midspec.evals.tasks.spec_qa import read_spec_questions

    found: dict[str, list[str]] = {}
    for row in read_spec_questions(str(path)):
        for clause in row.clauses:
            found.setdefault(clause, []).append(row.text)
    if not found:
        hint = "Give the questions.jsonl that midspec questions wrote"
        raise ConfigError("no question says which clauses it asks about", where=str(path), hint=hint)
    return found


STEPS = (SpecVariantStep, ReadSpecStep)
