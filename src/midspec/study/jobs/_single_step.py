"""One step on its own, outside a study: what `midspec corpus`, `chats`, `train` and `eval` do.

The steps are those of a study, made by the same makers, so that there is one way to make anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from midspec.core import artifact
from midspec.core.errors import ConfigError, MissingError
from midspec.core.progress import ProgressCallback
from midspec.core.records import Record
from midspec.study._steps import SHIPPED, Source, Step, identity, locate
from midspec.study._task_steps import check_graders, task_step, with_names
from midspec.study.jobs._make import make

if TYPE_CHECKING:
    from midspec.chats import ChatConfig
    from midspec.corpus import CorpusConfig, Framing
    from midspec.evals import PreferenceConfig, TaskConfig
    from midspec.study.jobs._llm_authors import ModelEndpoints
    from midspec.train import TrainJob

_HUB_NAME = r"[\w-][\w.-]*/[\w-][\w-]*"


def build_step(
    step: Step, folder: Path, *, redo: bool = False, on_progress: ProgressCallback = lambda _at, _of, _note: None
) -> tuple[Record, bool]:
    """Make a step whose sources are all outside; gives its record, and whether it was made now.

    Args:
        step: what to make.
        folder: the result's final place.
        redo: replace a result of other inputs.
        on_progress: is told how far it is.
    """
    inputs = {role: locate(source, {}) for role, source in step.sources.items()}
    placed = step.model_copy(update={"options": step.options | {"folder": str(folder)}})
    return artifact.build(
        folder,
        identity(step, {}),
        lambda draft: make(placed, inputs, draft, on_progress),
        redo=redo,
        resumable=step.resumable,
    )


def corpus_step(spec: Path, config: CorpusConfig, way: ModelEndpoints | None = None) -> Step:
    """Documents from a spec file; `way` is how the model is reached that writes them."""
    settings = config.model_dump(mode="json", exclude={"frames"})
    sources = _with_frames(spec, config.frames)
    return Step(kind="corpus", sources=sources, config={"spec": spec.stem, "corpus": settings}, options=_options(way))


def chats_step(spec: Path, config: ChatConfig, way: ModelEndpoints | None = None) -> Step:
    """Chats from a spec file; `way` is how the models are reached that write and judge them."""
    settings = config.model_dump(mode="json", exclude={"frames"})
    sources = _with_frames(spec, config.frames)
    return Step(kind="chats", sources=sources, config={"spec": spec.stem, "chats": settings}, options=_options(way))


def reframe_step(documents: Path, framing: Framing, config: CorpusConfig, way: ModelEndpoints) -> Step:
    """A finished corpus (its folder, or its file of documents) written again in one framing."""
    settings = config.model_dump(mode="json", include={"author", "model_name", "provider_name", "seed", "writing"})
    file = documents / "documents.jsonl" if documents.is_dir() else documents
    asked = {"framing": framing, "corpus": settings}
    return Step(kind="reframe", sources={"documents": _file(file)}, config=asked, options=way.options)


def _options(way: ModelEndpoints | None) -> dict[str, JsonValue]:
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
    model: str, items: Path | str, config: PreferenceConfig, *, device: str = "auto", base_url: str | None = None
) -> Step:
    """One evaluation of a checkpoint (folder or hub name) or of an Inspect model.

    Items are a file, a shipped set (`shipped:<value>`), or a data set's name on the hub.
    """
    named = str(items)
    elsewhere = named.startswith(SHIPPED) or (not Path(named).exists() and re.fullmatch(_HUB_NAME, named))
    return Step(
        kind="eval",
        sources={"model": Source(checkpoint=model), "items": Source(asked=named) if elsewhere else _file(Path(named))},
        config={"preference": config.model_dump(mode="json")},
        options={"device": device, "base_url": base_url},
    )


def single_task_step(
    model: str,
    name: str,
    config: TaskConfig,
    way: ModelEndpoints | None,
    *,
    graders: Sequence[str] = (),
    temperature: float | None = 0.0,
    files: Mapping[str, Path] | None = None,
    who: Mapping[str, str | None] | None = None,
    device: str = "auto",
    base_url: str | None = None,
) -> Step:
    """One exam of a checkpoint (folder or hub name) or of an Inspect model, judged by `graders`.

    Args:
        model: who is asked.
        name: the exam.
        config: its settings.
        way: how judges are reached, and where their replies are kept.
        graders: the judges, as `anthropic/<model>` or `openai/<model>`.
        temperature: of the judges; `None` for those that take none.
        files: questions (`items`) and a spec to judge by (`spec`).
        who: what fills the spec's placeholders, `model_name` and `provider_name`.
        device: what a checkpoint runs on.
        base_url: the server of an Inspect model.

    Raises:
        ConfigError: a judge is missing or none, the exam takes no such file, or a setting can't be.
        MissingError: there is no such exam or file.
    """
    sources = {role: _file(path) for role, path in (files or {}).items()}
    for role in sources:
        if role not in type(config).model_fields:
            raise ConfigError(f"{name} takes no such file", where=f"--{role}", hint="Leave it out")
    check_graders(graders, "--grader")
    names = {key: (who or {}).get(key) for key in ("model_name", "provider_name")}
    return task_step(
        name,
        with_names(config, names),
        Source(checkpoint=model),
        graders=graders,
        temperature=temperature,
        files=sources,
        places={role: str(source.path) for role, source in sources.items()},
        who={"spec": {"spec": files["spec"].stem, **names}} if files and "spec" in files else {},
        options={"device": device, "base_url": base_url, **_options(way)},
        where="--grader",
    )


def rescore_step(log: Path, graders: Sequence[str], way: ModelEndpoints, *, temperature: float | None = 0.0) -> Step:
    """The answers in a stored log judged by `graders`; nothing is generated.

    Raises:
        ConfigError: a judge is missing or none, or the exam is not shipped.
        MissingError, DataError: there is no such log, or it is no log of an exam.
    """
    from midspec.evals import log_settings, task_identity, task_named

    check_graders(graders, "--grader")
    settings = log_settings(log)
    eval_task = task_named(str(settings["exam"]))
    config = eval_task.config.model_validate(settings["config"])
    rubric = eval_task.rubric(config)
    if rubric is not None and not graders:
        raise ConfigError(
            f"{eval_task.name} needs a judge", where="--grader", hint="Name anthropic/MODEL or openai/MODEL"
        )
    about = task_identity(eval_task, config, model={}, graders=graders).config
    judged = {"rubric_hash": about["rubric_hash"], "graders": about["graders"], "judge_temperature": temperature}
    return Step(
        kind="rescore",
        sources={"log": _file(log)},
        config={"exam": eval_task.name, **judged},
        options=_options(way),
    )


def _file(path: Path) -> Source:
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), hint="Check the path")
    return Source(path=str(path))
