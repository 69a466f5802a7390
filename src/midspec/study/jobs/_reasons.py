"""Reasons across arms: folders with answers enter, one folder with reasons, a page and a table leaves.

A folder is a run (each arm's answers to each exam are found by their steps), or the folder of one evaluation (an arm by
the folder's name). It is no step of a study: what reasons there are is looked at when the answers are there.
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
from midspec.llm import Access, Forecast, Prices, check_access, forecast
from midspec.study._inputs import File, Input, Value
from midspec.study._step import Job, Step, slug

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
    """What drove the arms, by their own words. Made by `ReasonsStep.of_folders`.

    Attributes:
        answers: the files of answers by arm, task and seed.
        config: the judges, and how.
        access: how they are reached, and what they may cost.
        clusters: a file of clusters that somebody has looked at.
        clauses: a spec's clauses by id; how often they are cited is counted where given.
    """

    kind = "reasons"
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
        """The step for the answers in `folders`.

        Args:
            folders: runs, or folders of single evaluations.
            config: the judges, and how.
            access: how they are reached, and what they may cost.
            clusters: a file of clusters that somebody has looked at.
            clauses: a spec's clauses by id.

        Raises:
            ConfigError: a judge is the model under test, or can't be asked.
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
        found: dict[str, Input] = {
            f"answers[{arm} {task} {seed}]": File(str(path)) for (arm, task, seed), path in self.answers.items()
        }
        found |= {"clusters": self.clusters} if self.clusters else {}
        return found | ({"clauses": Value(dict(self.clauses))} if self.clauses else {})

    @property
    def settings(self) -> dict[str, JsonValue]:
        from midspec.reasons import prompts_hash

        return {"reasons": self.config.model_dump(mode="json"), "prompts": prompts_hash()}

    def run(self, job: Job, folder: Path) -> Built:
        """Analyse the reasons.

        Raises:
            ConfigError: the budget is used up.
            DataError: the clusters are of other transcripts.
        """
        from midspec.reasons import analyse_reasons, read_clusters

        given = read_clusters(Path(self.clusters.path)) if self.clusters else None
        transcripts = _transcripts(self.answers)
        built = analyse_reasons(
            transcripts, self.config, self.access, job.store, folder, clusters=given, on_progress=job.on_progress
        )
        return _tabulated(built, transcripts, self.clauses, folder) if self.config.classify else built


def read_transcripts(folders: Sequence[Path]) -> list[Transcript]:
    """The answers of all folders, each with its arm, seed and exam.

    Raises:
        MissingError: a folder has no answers.
        DataError: two folders are of one arm, exam and seed, or a file has a row that is none.
    """
    return _transcripts(_answer_files(folders))


def forecast_reasons(folders: Sequence[Path], config: ReasonsConfig, access: Access) -> tuple[Forecast, ...]:
    """Tokens and dollars by judge and stage, before anything is sent.

    Raises:
        MissingError, DataError: see `read_transcripts`.
    """
    from midspec.reasons import estimate_reasons

    transcripts, prices = read_transcripts(folders), Prices.load(access.prices, access.base_url)
    loads = [
        (judge.model, estimate_reasons(transcripts, config, is_first=not at)) for at, judge in enumerate(config.judges)
    ]
    return tuple(forecast(load, model, prices) for model, load in loads)


def clause_texts(path: Path, *, model_name: str | None = None, provider_name: str | None = None) -> dict[str, str]:
    """A spec's clauses by the ids that a model can cite: `SP1`, where a clause begins so; by its own id otherwise.

    What follows a clause that begins with a label, in the same paragraph and up to the next label, belongs to it.

    Args:
        path: the spec.
        model_name: fills `{model_name}`, so that words are found as a model says them.
        provider_name: fills `{provider_name}`.

    Raises:
        MissingError, SpecError: the spec can't be read, or has a placeholder that nothing fills.
    """
    from midspec.spec import fill, read_spec

    spec = fill(read_spec(path), model_name=model_name, provider_name=provider_name)
    paragraphs = [_words(part) for part in _BLANK_LINE.split(spec.text)]
    found: dict[str, str] = {}
    label, around = "", ""
    for clause in spec.clauses:
        words = _words(clause.text)
        if rule := _RULE.match(clause.text):
            label, around = rule[1], next((each for each in paragraphs if words in each), words)
        elif words not in around:
            label, around = "", ""
        name = label or clause.id
        found[name] = f"{found[name]} {clause.text}" if name in found else clause.text
    return found


def _words(text: str) -> str:
    return " ".join(["", *_WORD.findall(text), ""])


def _answer_files(folders: Sequence[Path]) -> dict[tuple[str, str, int], Path]:
    """By arm, exam and seed, where the answers are."""
    found: dict[tuple[str, str, int], Path] = {}
    for folder in folders:
        if (folder / _ANSWERS).is_file():
            places = [_alone(folder)]
        else:
            places = [_of_run(path) for path in sorted((folder / "steps" / "exam").glob(f"*/{_ANSWERS}"))]
        if not places:
            hint = "Name a run with exams, or the folder of one evaluation"
            raise MissingError(f"there are no answers to an exam ({_ANSWERS})", where=str(folder), hint=hint)
        for key, path in places:
            if key in found:
                what = f"answers of {' '.join(map(str, key))} are in {found[key].parent} too"
                raise DataError(what, where=str(folder), hint="Name each once, and give the folders other names")
            found[key] = path
    return found


def _alone(folder: Path) -> tuple[tuple[str, str, int], Path]:
    return (folder.resolve().name, _eval_task(folder), 0), folder / _ANSWERS


def _of_run(path: Path) -> tuple[tuple[str, str, int], Path]:
    """The arm, exam and seed of a step of a run, by the name of its folder: `<arm>-<exam>-s<seed>`."""
    eval_task, found = _eval_task(path.parent), _SEED.fullmatch(path.parent.name)
    arm, seed = (found[1], int(found[2])) if found else (path.parent.name, 0)
    return (arm.removesuffix(f"-{slug(eval_task)}"), eval_task, seed), path


def _eval_task(folder: Path) -> str:
    record = read_record(folder)
    name = record.identity.config.get("exam") if record else None
    return name if isinstance(name, str) else "exam"


def _transcripts(files: Mapping[tuple[str, str, int], Path]) -> list[Transcript]:
    from midspec.reasons import Transcript

    return [
        Transcript(arm=arm, seed=seed, task=task, answer=answer)
        for (arm, task, seed), path in files.items()
        for answer in read_rows(path, TaskAnswer)
    ]


def _check_judges(config: ReasonsConfig, files: Mapping[tuple[str, str, int], Path]) -> None:
    """A judge is never the model whose answers it reads."""
    for path in files.values():
        record = read_record(path.parent)
        model = str(record.execution.extra.get("model", "")) if record else ""
        for judge in config.judges:
            if model and model.removeprefix("midspec-judge/").removeprefix("midspec/") == judge.model:
                what = f"{judge.model} gave these answers itself"
                raise ConfigError(what, where=str(path.parent), hint="Name another judge")


def _tabulated(built: Built, transcripts: Sequence[Transcript], clauses: Mapping[str, str], folder: Path) -> Built:
    """The table of reasons by arm beside what was found: shares with intervals, agreement, citations."""
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
