"""The step that scores corpora by the model that is trained on them: arms whose losses differ are no matched arms."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

from midspec.core.artifact import Built, ProgressCallback, read_rows, write_json
from midspec.core.errors import ConfigError, DataError
from midspec.core.records import Z95, CorpusLoss, Document, Strict
from midspec.study._inputs import Input
from midspec.study._step import Job, Step, StudyOutputs, ignore_progress, settings_of

if TYPE_CHECKING:
    from midspec.models import LanguageModel

LOSS_FILE = "loss.json"
_BATCH = 16


class LossConfig(Strict):
    """How corpora are scored.

    Attributes:
        n_documents: of each corpus, drawn by seed; of corpora of one size the same places.
        row_tokens: longer documents are cut into rows of so many tokens.
        seed: of the draw.
    """

    n_documents: int = Field(default=200, ge=1)
    row_tokens: int = Field(default=1024, ge=16)
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class CorpusLossStep(Step):
    """The loss of each corpus under the base.

    Attributes:
        model: before any training.
        corpora: files of documents by name.
        config: of the scoring.
    """

    kind = "corpus-loss"
    model: Input
    corpora: Mapping[str, Input]
    config: LossConfig

    @classmethod
    def from_study(cls, name: str, settings: Mapping[str, JsonValue], made: StudyOutputs) -> Iterator[CorpusLossStep]:
        """Yield a step for each base; one for all seeds where they share it and the corpora."""
        config = settings_of(name, settings, LossConfig)
        if not made.documents:
            raise ConfigError("the study has no corpora to score", where=f"steps.{name}", hint="Remove that step")
        found: list[CorpusLossStep] = []
        for seed, model in made.bases.items():
            corpora = {corpus: source for (corpus, each), source in made.documents.items() if each == seed}
            if not any(step.model == model and step.corpora == corpora for step in found):
                found.append(cls(label=name, seed=seed, model=model, corpora=corpora, config=config))
        for step in found:
            yield step if len(found) > 1 else cls(label=name, model=step.model, corpora=step.corpora, config=config)

    @property
    def inputs(self) -> dict[str, Input]:
        return {"model": self.model, **{f"corpus/{name}": source for name, source in self.corpora.items()}}

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"loss": self.config.model_dump(mode="json")}

    def run(self, job: Job, folder: Path) -> Built:
        model, name = open_scorer(job.locate(self.model), job.device), Path(job.locate(self.model)).name
        losses = []
        for corpus, source in self.corpora.items():
            documents = [row.text for row in read_rows(job.path(source), Document)]
            losses.append(corpus_loss(model, documents, self.config, names=(corpus, name), on_progress=job.on_progress))
        from midspec.report import unmatched_losses

        write_json(folder / LOSS_FILE, [loss.model_dump(mode="json") for loss in losses])
        summary: dict[str, JsonValue] = {
            loss.name: f"{loss.loss:.3f} nats a token in {loss.n_tokens:,} tokens of {loss.n_documents:,} documents"
            for loss in losses
        }
        return Built(outputs=(LOSS_FILE,), summary=summary | {"unmatched": unmatched_losses(losses) or "none"})


def open_scorer(model: str, device: str = "auto") -> LanguageModel:
    """Open a checkpoint for scoring.

    Raises:
        CheckpointError: there is none, or it does not open.
    """
    from midspec.models import find_checkpoint, open_checkpoint

    return open_checkpoint(find_checkpoint(model), device=device)


def corpus_loss(
    model: LanguageModel,
    documents: Sequence[str],
    config: LossConfig,
    *,
    names: tuple[str, str],
    on_progress: ProgressCallback = ignore_progress,
) -> CorpusLoss:
    """Return the mean loss a token of documents, drawn by seed, with an interval by the spread between them.

    Args:
        model: that scores.
        documents: of one corpus.
        config: of the scoring.
        names: of the corpus and of the model.
        on_progress: called after each batch.

    Raises:
        DataError: there is no document.
    """
    if not documents:
        raise DataError("there is no document to score", where=names[0], hint="Give a corpus that holds some")
    places = random.Random(f"{config.seed}:loss").sample(range(len(documents)), len(documents))[: config.n_documents]
    losses, n_tokens = list[float](), list[int]()
    for start in range(0, len(places), _BATCH):
        texts = [documents[at] for at in places[start : start + _BATCH]]
        for score in model.document_logprobs(texts, row_tokens=config.row_tokens):
            losses.append(-score.logprob)
            n_tokens.append(score.n_tokens)
        on_progress(len(losses), len(places), f"scored {names[0]}")
    total, n = sum(n_tokens), len(losses)
    mean = sum(losses) / total
    # The error of a ratio of two sums over documents.
    squares = sum((loss - mean * tokens) ** 2 for loss, tokens in zip(losses, n_tokens, strict=True))
    half = Z95 * (squares * n / (n - 1)) ** 0.5 / total if n > 1 else None
    return CorpusLoss(
        name=names[0],
        model=names[1],
        n_documents=n,
        n_all=len(documents),
        n_tokens=total,
        loss=mean,
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
    )


STEPS = CorpusLossStep
