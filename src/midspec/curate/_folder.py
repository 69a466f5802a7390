"""A folder of rows in, a folder of kept rows out, with rejects, coverage and health beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from midspec.core.artifact import Built
from midspec.core.errors import ConfigError
from midspec.core.progress import ProgressCallback
from midspec.core.records import Calibration, Comparison, Document
from midspec.curate._comparison import compare
from midspec.curate._config import CurateConfig
from midspec.curate._decontamination import Embed, Evaluation
from midspec.curate._judge import CALIBRATION_STAGE, STAGE, Judge, Judgement, calibrate, judge_documents
from midspec.curate._planted import Planter
from midspec.curate._run import Run, mark_of
from midspec.curate._source import open_source
from midspec.curate._stats import CorpusStats


def curate_folder(
    documents: Path,
    config: CurateConfig,
    folder: Path,
    *,
    evaluations: Mapping[str, Evaluation] | None = None,
    embed: Embed | None = None,
    spec_text: str = "",
    on_progress: ProgressCallback | None = None,
) -> Built:
    """Filter the rows at `documents` and measure them, without a judge.

    Args:
        documents: a folder of a corpus or of chats (twins are filtered together), or a JSONL file of rows.
        config: which rows are kept.
        folder: gets the kept rows, rejects.jsonl, coverage.json, health.json, and plan.jsonl where there is one.
        evaluations: name -> what the rows must not share with it.
        embed: gives vectors of texts, for contamination by meaning and for `meaning_threshold`.
        spec_text: the spec, its names filled in: what stands in it word for word is neither a leak nor a foreign name.
            Without it, what the plan beside the rows says of the clauses is taken for it.
        on_progress: is told (done, of how many, what) after each row.

    Raises:
        MissingError, DataError: no rows there, or malformed ones.
        ConfigError: a setting contradicts another.
    """
    run = Run.begin(documents, config, folder, evaluations or {}, embed, spec_text)
    run.filter_rows(on_progress)
    run.find_repeats()
    return run.finish(None, judged="not judged", calibration=None, cost_usd=None)


async def judge_folder(
    documents: Path,
    config: CurateConfig,
    folder: Path,
    judge: Judge,
    *,
    evaluations: Mapping[str, Evaluation] | None = None,
    embed: Embed | None = None,
    spec_text: str = "",
    on_progress: ProgressCallback | None = None,
) -> Built:
    """The same as `curate_folder`, and then a judge reads each document that the filters let pass.

    What the judge does not clearly keep is rejected: by `faithfulness`, as `reject: ...` or `hold: ...`. Verdicts are
    in the judge's store before anything is done with them, so a run that was stopped goes on from there.

    Args:
        documents: as in `curate_folder`; documents only.
        config: as in `curate_folder`. With `calibrate_each` the judge is measured on some of these documents; since
            they are not known to be faithful, `false_reject` is an upper bound (`calibrate` takes ones you know).
        folder: as in `curate_folder`.
        judge: who judges, by what.
        evaluations: as in `curate_folder`.
        embed: as in `curate_folder`.
        spec_text: as in `curate_folder`.
        on_progress: as in `curate_folder`.

    Raises:
        ConfigError: chats; or calibration without a model's name.
        MidspecError: what ends the run.
    """
    run = Run.begin(documents, config, folder, evaluations or {}, embed, spec_text)
    if run.source.kind != "documents":
        raise ConfigError("are judged where they are written", where="chats", hint="Curate them without a judge")
    if config.calibrate_each and not config.model_name:
        raise ConfigError("is needed to plant violations", where="model_name", hint="Give the model's name")
    run.filter_rows(on_progress)
    run.find_repeats()
    verdicts: dict[bytes, Judgement | None] = {}

    def settle(document: Document, judgement: Judgement) -> None:
        verdicts[mark_of(document)] = None if judgement.verdict == "keep" else judgement

    await judge_documents(run.passed_documents(), judge, settle, on_progress=on_progress, n_documents=run.n_passed)
    calibration = await _calibrated(run, config, judge, on_progress) if config.calibrate_each else None
    return run.finish(verdicts, judged=judge.model.model, calibration=calibration, cost_usd=_cost(judge))


async def _calibrated(
    run: Run, config: CurateConfig, judge: Judge, on_progress: ProgressCallback | None
) -> Calibration | None:
    """The judge's error rates on some of the documents that it has just judged; their clean verdicts are on record."""
    planter = Planter(config.model_name or "", config.provider_name or "", judge.clauses, seed=config.seed)
    gauge = CorpusStats(seed=config.seed)
    for document in run.passed_documents():
        gauge.add(document)
    known = [row for row in gauge.close if isinstance(row, Document)]
    return (
        await calibrate(known, judge, planter, n_each=config.calibrate_each, on_progress=on_progress) if known else None
    )


def _cost(judge: Judge) -> float | None:
    """What judging has cost so far, by the store; `None` where a price is unknown."""
    costs = [row.cost_usd for row in judge.store.ledger() if row.stage in (STAGE, CALIBRATION_STAGE)]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def compare_folders(path: Path, other: Path, *, names: tuple[str, str] | None = None, seed: int = 0) -> Comparison:
    """Two corpora, or two sets of chats, side by side; see `compare`.

    Args:
        path: a folder or a file of rows, as `curate_folder` takes it.
        other: the other one.
        names: what to call them; their folders' or files' names where not given.
        seed: decides which rows are drawn.

    Raises:
        MissingError, DataError: no rows there, or malformed ones.
        ConfigError: documents against chats.
    """
    sources = open_source(path), open_source(other)
    if sources[0].kind != sources[1].kind:
        raise ConfigError(
            f"are {sources[1].kind}, not {sources[0].kind}", where=str(other), hint="Compare like with like"
        )
    return compare(sources[0].rows(), sources[1].rows(), names=names or (path.stem, other.stem), seed=seed)
