"""The step that analyses the reasons in the answers of several folders.

A folder is a run (with each arm's answers to each task), or the folder of one evaluation (an arm by the folder's name).
It is no step of a study.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from midspec.core.artifact import Built, read_record, read_rows, write_json
from midspec.core.errors import ConfigError, DataError, MissingError
from midspec.core.records import ArmScore, ReasonCluster, ReasonLabel, TaskAnswer
from midspec.llm import Access, Forecast, check_access
from midspec.study._inputs import File, Input, Value
from midspec.study._step import Job, Step, slug
from midspec.study.jobs._endpoints import forecast_of

if TYPE_CHECKING:
    from midspec.reasons import ReasonsConfig, Transcript

TABLE = "table.json"
_ANSWERS = "answers.jsonl"
_SEED = re.compile(r"(.+)-s(\d+)")
_WORD = re.compile(r"[^\W_]+")
_BLANK_LINE = re.compile(r"\n\s*\n")
_RULE = re.compile(r"\W*([A-Z]{1,3}-?\d+(?:\.\d+)*)\b")


@dataclass(frozen=True, kw_only=True, eq=False)
class ReasonsStep(Step):
    """The reasons that arms give, by their own words. Made by `ReasonsStep.of_folders`.

    Attributes:
        answers: files of answers, by arm, task and seed.
        config: judges and settings.
        access: of the judges, with their budget.
        clusters: a file of edited clusters.
        clauses: a spec's clauses by id, to count their citations.
    """

    kind = "reasons"
    opens_model = False
    answers: Mapping[tuple[str, str, int], Path]
    config: ReasonsConfig
    access: Access
    clusters: File | None = None
    clauses: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_folders(
        cls,
        folders: Sequence[Path],
        config: ReasonsConfig,
        access: Access,
        *,
        clusters: Path | None = None,
        clauses: Mapping[str, str] | None = None,
    ) -> ReasonsStep:
        """Create the step for the answers in `folders`.

        Args:
            folders: runs, or folders of single evaluations.
            config: judges and settings.
            access: of the judges, with their budget.
            clusters: a file of edited clusters.
            clauses: a spec's clauses by id.

        Raises:
            ConfigError: a judge is the model under test, or can't be reached.
            DataError: an answer is there twice.
            MissingError: a folder has no answers.
        """
        files = _answer_files(folders)
        _check_judges(config, files)
        for judge in config.judges:
            check_access(judge.as_model(), access)
        return cls(
            answers=files,
            config=config,
            access=access,
            clusters=File(str(clusters)) if clusters else None,
            clauses=clauses or {},
        )

    @property
    def inputs(self) -> dict[str, Input]:
        inputs: dict[str, Input] = {
            f"answers[{arm} {task} {seed}]": File(str(path)) for (arm, task, seed), path in self.answers.items()
        }
        inputs |= {"clusters": self.clusters} if self.clusters else {}
        return inputs | ({"clauses": Value(dict(self.clauses))} if self.clauses else {})

    @property
    def settings(self) -> dict[str, JsonValue]:
        from midspec.reasons import prompts_hash

        return {"reasons": self.config.model_dump(mode="json"), "prompts": prompts_hash()}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.reasons import analyse_reasons, read_clusters

        clusters, tell = read_clusters(Path(self.clusters.path)) if self.clusters else None, job.on_progress
        transcripts = _transcripts(self.answers)
        built = analyse_reasons(
            transcripts, self.config, self.access, job.store, folder, clusters=clusters, on_progress=tell
        )
        return _write_table(built, transcripts, self.clauses, folder) if self.config.classify else built


def read_transcripts(folders: Sequence[Path]) -> list[Transcript]:
    """Read the answers of all folders, each with its arm, seed and task.

    Raises:
        MissingError, DataError: a folder has no answers, or those of another one.
    """
    return _transcripts(_answer_files(folders))


def forecast_reasons(folders: Sequence[Path], config: ReasonsConfig, access: Access) -> tuple[Forecast, ...]:
    """Forecast tokens and dollars by judge and stage; nothing is sent."""
    from midspec.reasons import estimate_reasons

    transcripts = read_transcripts(folders)
    return tuple(
        forecast_of(estimate_reasons(transcripts, config, is_first=not at), judge.model, access)
        for at, judge in enumerate(config.judges)
    )


def clause_texts(
    path: Path,
    *,
    model_name: str | None = None,
    provider_name: str | None = None,
    called: Mapping[str, str] | None = None,
    leave_out: Sequence[str] | None = None,
) -> dict[str, str]:
    """Return a spec's clauses by the ids that a model can cite: `SP1`, where a clause begins so; else by its own id.

    Clauses after one that begins with a label, in the same paragraph and up to the next label, belong to it. The names
    fill the placeholders, so that words are found as a model writes them.

    Args:
        path: of the spec.
        model_name: as in `midspec.spec.fill`, like those that follow.
        provider_name: of the assistant's maker.
        called: names that the spec uses.
        leave_out: what is no part of it.

    Raises:
        MissingError, SpecError: the spec can't be read, or has a placeholder that nothing fills.
    """
    from midspec.spec import fill, read_spec

    names = {"model_name": model_name, "provider_name": provider_name}
    spec = fill(read_spec(path), **names, called=called, leave_out=leave_out or ())
    paragraphs = [_words(part) for part in _BLANK_LINE.split(spec.text)]
    texts: dict[str, str] = {}
    label, around = "", ""
    for clause in spec.clauses:
        words = _words(clause.text)
        if rule := _RULE.match(clause.text):
            label, around = rule[1], next((each for each in paragraphs if words in each), words)
        elif words not in around:
            label, around = "", ""
        name = label or clause.id
        texts[name] = f"{texts[name]} {clause.text}" if name in texts else clause.text
    return texts


def _words(text: str) -> str:
    return " ".join(["", *_WORD.findall(text), ""])


def _answer_files(folders: Sequence[Path]) -> dict[tuple[str, str, int], Path]:
    """Find the files of answers, by arm, task and seed."""
    files: dict[tuple[str, str, int], Path] = {}
    for folder in folders:
        is_run = not (folder / _ANSWERS).is_file()
        paths = sorted((folder / "steps" / "exam").glob(f"*/{_ANSWERS}")) if is_run else [folder / _ANSWERS]
        if not paths:
            hint = "Name a run with evaluation tasks, or the folder of one evaluation"
            raise MissingError(f"there are no answers to a task ({_ANSWERS})", where=str(folder), hint=hint)
        for path in paths:
            key = _key_of(path.parent, is_run=is_run)
            if key in files:
                what = f"answers of {' '.join(map(str, key))} are in {files[key].parent} too"
                raise DataError(what, where=str(folder), hint="Name each once, and give the folders other names")
            files[key] = path
    return files


def _key_of(folder: Path, *, is_run: bool) -> tuple[str, str, int]:
    """Return the arm, task and seed of an evaluation; in a run its folder is named `<arm>-<task>-s<seed>`."""
    record = read_record(folder)
    recorded = record.identity.config.get("exam") if record else None
    eval_task = recorded if isinstance(recorded, str) else "exam"
    if not is_run:
        return folder.resolve().name, eval_task, 0
    match = _SEED.fullmatch(folder.name)
    arm, seed = (match[1], int(match[2])) if match else (folder.name, 0)
    return arm.removesuffix(f"-{slug(eval_task)}"), eval_task, seed


def _transcripts(files: Mapping[tuple[str, str, int], Path]) -> list[Transcript]:
    from midspec.reasons import Transcript

    return [
        Transcript(arm=arm, seed=seed, task=task, answer=answer)
        for (arm, task, seed), path in files.items()
        for answer in read_rows(path, TaskAnswer)
    ]


def _check_judges(config: ReasonsConfig, files: Mapping[tuple[str, str, int], Path]) -> None:
    """Refuse a judge that is the model whose answers it reads."""
    for path in files.values():
        record = read_record(path.parent)
        model = str(record.execution.extra.get("model", "")) if record else ""
        for judge in config.judges:
            if model and model.removeprefix("midspec-judge/").removeprefix("midspec/") == judge.model:
                what = f"{judge.model} gave these answers itself"
                raise ConfigError(what, where=str(path.parent), hint="Name another judge")


def _write_table(built: Built, transcripts: Sequence[Transcript], clauses: Mapping[str, str], folder: Path) -> Built:
    """Write the table of reasons by arm: shares with intervals, agreement, citations."""
    from midspec.analysis import reason_agreements, reason_shares
    from midspec.reasons import count_citations

    merged = list(read_rows(folder / "merged.jsonl", ReasonCluster))
    shares = reason_shares(list(read_rows(folder / "drivers.jsonl", ArmScore)), merged)
    agreements = reason_agreements(list(read_rows(folder / "labels.jsonl", ReasonLabel)))
    table: dict[str, JsonValue] = {
        "shares": [each.model_dump(mode="json") for each in shares],
        "agreements": [each.model_dump(mode="json") for each in agreements],
        "citations": [each.model_dump(mode="json") for each in count_citations(transcripts, clauses)],
    }
    write_json(folder / TABLE, table)
    return built.model_copy(update={"outputs": (*built.outputs, TABLE)})


STEPS = ReasonsStep
