"""One step on its own, outside a study: what `midspec corpus`, `chats`, `train` and `eval` do.

The steps are those of a study, made by the same makers, so that there is one way to make anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from midspec import artifact
from midspec.errors import MissingError
from midspec.records import Record
from midspec.study._make import Tell, make
from midspec.study._steps import Source, Step, identity, locate

if TYPE_CHECKING:
    from midspec.chats import ChatConfig
    from midspec.corpus import CorpusConfig, Framing
    from midspec.evals import PreferenceConfig
    from midspec.study._authors import Way
    from midspec.train import TrainJob

__all__ = ["build_alone", "chats_step", "corpus_step", "eval_step", "reframe_step", "train_step"]


def build_alone(
    step: Step, folder: Path, *, redo: bool = False, tell: Tell = lambda _at, _of, _note: None
) -> tuple[Record, bool]:
    """Make a step whose sources are all outside; gives its record, and whether it was made now.

    Args:
        step: what to make.
        folder: the result's final place.
        redo: replace a result of other inputs.
        tell: is told how far it is.
    """
    inputs = {role: locate(source, {}) for role, source in step.sources.items()}
    return artifact.build(
        folder,
        identity(step, {}),
        lambda draft: make(step, inputs, draft, tell),
        redo=redo,
        resumable=step.resumable,
    )


def corpus_step(spec: Path, config: CorpusConfig, way: Way | None = None) -> Step:
    """Documents from a spec file; `way` is how the model is reached that writes them."""
    settings = config.model_dump(mode="json", exclude={"frames"})
    sources = _with_frames(spec, config.frames)
    return Step(kind="corpus", sources=sources, config={"spec": spec.stem, "corpus": settings}, options=_options(way))


def chats_step(spec: Path, config: ChatConfig, way: Way | None = None) -> Step:
    """Chats from a spec file; `way` is how the models are reached that write and judge them."""
    settings = config.model_dump(mode="json", exclude={"frames"})
    sources = _with_frames(spec, config.frames)
    return Step(kind="chats", sources=sources, config={"spec": spec.stem, "chats": settings}, options=_options(way))


def reframe_step(documents: Path, framing: Framing, config: CorpusConfig, way: Way) -> Step:
    """A finished corpus (its folder, or its file of documents) written again in one framing."""
    settings = config.model_dump(mode="json", include={"author", "model_name", "provider_name", "seed", "writing"})
    file = documents / "documents.jsonl" if documents.is_dir() else documents
    asked = {"framing": framing, "corpus": settings}
    return Step(kind="reframe", sources={"documents": _file(file)}, config=asked, options=way.options)


def _options(way: Way | None) -> dict[str, JsonValue]:
    return way.options if way else {}


def _with_frames(spec: Path, frames: str) -> dict[str, Source]:
    found = {"spec": _file(spec)}
    return found if frames == "english" else found | {"frames": _file(Path(frames))}


def train_step(job: TrainJob, *, device: str = "auto") -> Step:
    """One stage of training."""
    sources = {f"data[{index}]": _file(Path(path)) for index, path in enumerate(job.data)}
    if job.parent is not None:
        sources["parent"] = Source(checkpoint=job.parent)
    if job.tokenizer is not None:
        sources["tokenizer"] = Source(tokenizer=job.tokenizer)
    return Step(
        kind=job.stage,
        sources=sources,
        config={
            "seed": job.seed,
            "recipe": job.recipe.model_dump(mode="json", exclude={"micro_batch"}),
            **({"architecture": job.architecture} if job.architecture else {}),
        },
        options={
            "micro_batch": job.recipe.micro_batch,
            "execution": job.execution.model_dump(mode="json"),
            "device": device,
        },
    )


def eval_step(
    model: str, items: Path, config: PreferenceConfig, *, device: str = "auto", base_url: str | None = None
) -> Step:
    """One evaluation of a checkpoint (folder or hub name) or of an Inspect model."""
    return Step(
        kind="eval",
        sources={"model": Source(checkpoint=model), "items": _file(items)},
        config={"preference": config.model_dump(mode="json")},
        options={"device": device, "base_url": base_url},
    )


def _file(path: Path) -> Source:
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), mend="Check the path")
    return Source(path=str(path))
