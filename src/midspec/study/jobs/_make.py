"""How each kind of step is made: the rooms, called with nothing but the step's own sources and config."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from pydantic import JsonValue

from midspec.core.artifact import Built, read_rows, write_rows
from midspec.core.progress import ProgressCallback
from midspec.core.records import ArmScore, Contrast, ScoreRow, Spec
from midspec.report import GateResult
from midspec.study._steps import Kind, Step

if TYPE_CHECKING:
    from midspec.corpus import Framing
    from midspec.train import Progress


class _Bench(NamedTuple):
    """All that a maker gets: the step, the places of its sources by role, where to write, whom to tell."""

    step: Step
    inputs: Mapping[str, str]
    folder: Path
    on_progress: ProgressCallback

    def config(self, key: str) -> dict[str, JsonValue]:
        """One block of the step's config."""
        value = self.step.config[key]
        assert isinstance(value, dict)
        return dict(value)


def make(step: Step, inputs: Mapping[str, str], folder: Path, on_progress: ProgressCallback) -> Built:
    """Make a step's result in `folder`.

    Args:
        step: what to make.
        inputs: for each role of its sources, the path (or hub name).
        folder: where to write.
        on_progress: is told how far it is (done, of how many, words).
    """
    return _MAKERS[step.kind](_Bench(step, inputs, folder, on_progress))


# Data ----------------------------------------------------------------------------------------------------------
def _spec(bench: _Bench) -> Built:
    from midspec.spec import check_spec, placeholders, read_spec

    source = Path(bench.inputs["text"])
    spec = read_spec(source)
    shutil.copyfile(source, bench.folder / "spec.md")
    findings = [f"{finding.where}: {finding.what}" for finding in check_spec(spec)]
    summary: dict[str, JsonValue] = {
        "n_words": len(spec.text.split()),
        "n_sections": len(spec.sections),
        "n_clauses": len(spec.clauses),
        "placeholders": list(placeholders(spec)),
        "findings": list(findings),
    }
    return Built(outputs=("spec.md",), summary=summary)


def _filled(bench: _Bench, role: str, who: Mapping[str, JsonValue], name: object) -> Spec:
    from midspec.spec import fill, parse_spec

    spec = parse_spec(Path(bench.inputs[role]).read_text(encoding="utf-8"), name=str(name))
    names = {key: str(who[key]) if who[key] is not None else None for key in ("model_name", "provider_name")}
    return fill(spec, model_name=names["model_name"], provider_name=names["provider_name"])


def _corpus(bench: _Bench) -> Built:
    from midspec.corpus import CorpusConfig, make_corpus, save_corpus

    asked = bench.config("corpus")
    spec = _filled(bench, "spec", asked, bench.step.config["spec"])
    config = CorpusConfig.model_validate(asked | {"frames": bench.inputs.get("frames", "english")})
    if config.author == "quoting":
        return save_corpus(make_corpus(spec, config), bench.folder)
    from midspec.study.jobs._llm_authors import ModelEndpoints, write_corpus_by_model

    return write_corpus_by_model(
        spec, config, ModelEndpoints.of(bench.step.options), bench.folder, on_progress=bench.on_progress
    )


def _reframe(bench: _Bench) -> Built:
    from midspec.corpus import CorpusConfig
    from midspec.study.jobs._llm_authors import ModelEndpoints, reframe_by_model

    config = CorpusConfig.model_validate(bench.config("corpus"))
    framing = cast("Framing", bench.step.config["framing"])
    way = ModelEndpoints.of(bench.step.options)
    return reframe_by_model(Path(bench.inputs["documents"]), framing, config, way, bench.folder, bench.on_progress)


def _chats(bench: _Bench) -> Built:
    from midspec.chats import ChatConfig, make_chats, save_chats

    asked = bench.config("chats")
    spec = _filled(bench, "spec", asked, bench.step.config["spec"])
    config = ChatConfig.model_validate(asked | {"frames": bench.inputs.get("frames", "english")})
    if config.author == "quoting":
        return save_chats(make_chats(spec, config), bench.folder, nested_sizes=config.nested_sizes)
    from midspec.study.jobs._llm_authors import ModelEndpoints, write_chats_by_model

    return write_chats_by_model(
        spec, config, ModelEndpoints.of(bench.step.options), bench.folder, on_progress=bench.on_progress
    )


def _curate(bench: _Bench) -> Built:
    from midspec.curate import CurateConfig
    from midspec.study.jobs._curate import curate_rows

    config = CurateConfig.model_validate(bench.config("curate"))
    way = None
    if config.judge is not None or config.embed is not None:
        from midspec.study.jobs._llm_authors import ModelEndpoints

        way = ModelEndpoints.of(bench.step.options)
    title = str(bench.step.config["title"])
    return curate_rows(bench.inputs, config, bench.folder, title=title, way=way, on_progress=bench.on_progress)


def _world(bench: _Bench) -> Built:
    from midspec.lab import WorldConfig, make_world, save_world

    settings = dict(bench.step.config)
    seed = settings.pop("seed")
    assert isinstance(seed, int)
    return save_world(make_world(seed, WorldConfig.model_validate(settings)), bench.folder)


# Models --------------------------------------------------------------------------------------------------------
def _train(bench: _Bench) -> Built:
    from midspec.train import Recipe, TrainJob, train

    config, options = bench.step.config, bench.step.options
    recipe = Recipe.model_validate(bench.config("recipe") | {"micro_batch": options.get("micro_batch")})
    job = TrainJob.model_validate(
        {
            "stage": bench.step.kind,
            "parent": bench.inputs.get("parent"),
            "architecture": config.get("architecture"),
            "tokenizer": bench.inputs.get("tokenizer"),
            "data": [place for role, place in bench.inputs.items() if role.startswith("data[")],
            "recipe": recipe,
            "seed": config["seed"],
            "execution": options.get("execution", {}),
        }
    )

    def show(progress: Progress) -> None:
        bench.on_progress(progress.update, progress.n_updates, f"loss {progress.loss:.3f}")

    return train(job, bench.folder, on_progress=show, device=str(options.get("device", "auto")))


# Measures ------------------------------------------------------------------------------------------------------
def _eval(bench: _Bench) -> Built:
    from midspec.evals import PreferenceConfig, resolve_items, run_preference

    config = PreferenceConfig.model_validate(bench.config("preference"))
    if "context" in bench.inputs:
        who = bench.config("context")
        spec = _filled(bench, "context", who, who["spec"])
        config = config.model_copy(update={"system": "\n\n".join(filter(None, (config.system, spec.text)))})
    items = resolve_items(bench.inputs["items"])
    return run_preference(bench.inputs["model"], items, config, bench.folder, model_args=_model_args(bench))


def _pairs(bench: _Bench) -> Built:
    """Pairs that are shipped or on the hub, as a file of the run."""
    from midspec.evals import resolve_items

    items = resolve_items(bench.inputs["items"])
    write_rows(bench.folder / "items.jsonl", items)
    return Built(outputs=("items.jsonl",), summary={"n_items": len(items)})


def _eval_task(bench: _Bench) -> Built:
    from midspec.study.jobs._task_run import examine

    return examine(bench.step, bench.inputs, bench.folder, model_args=_model_args(bench), on_progress=bench.on_progress)


def _rescore(bench: _Bench) -> Built:
    from midspec.study.jobs._task_run import judge_again

    return judge_again(bench.step, bench.inputs, bench.folder)


def _model_args(bench: _Bench) -> dict[str, JsonValue]:
    options = bench.step.options
    return {name: options[name] for name in ("device", "base_url") if options.get(name) not in {None, "auto"}}


def _analysis(bench: _Bench) -> Built:
    from midspec.analysis import contrasts, rates

    asked = bench.step.config["contrasts"]
    assert isinstance(asked, list)
    wanted = [Contrast.model_validate(entry) for entry in asked]
    level = float(str(bench.step.config["level"]))
    scores = list(_scores(bench))
    gates = list(_gates(bench))
    failed = {gate.seed for gate in gates if not gate.passed}
    kept = [score for score in scores if score.seed not in failed]
    found = {
        "estimates.jsonl": rates(scores, level=level),
        "contrasts.jsonl": contrasts(scores, wanted, level=level),
        "robust.jsonl": contrasts(kept, wanted, level=level) if failed and kept else [],
    }
    for name, rows in found.items():
        write_rows(bench.folder / name, rows)
    write_rows(bench.folder / "gates.jsonl", gates)
    summary: dict[str, JsonValue] = {
        "n_scores": len(scores),
        "n_unscored": sum(score.value is None for score in scores),
        "n_contrasts": len(wanted),
        "seeds_below_the_gate": [*sorted(failed)],
    }
    return Built(outputs=(*found, "gates.jsonl"), summary=summary)


def _scores(bench: _Bench) -> Iterator[ArmScore]:
    for role, place in bench.inputs.items():
        if role.startswith("scores/"):
            arm, _, seed = role.removeprefix("scores/").rpartition("/")
            for row in read_rows(Path(place), ScoreRow):
                yield ArmScore(**row.model_dump(), arm=arm, seed=int(seed))
        elif role.startswith("exam/"):
            yield from _task_scores(bench, role, Path(place))


def _task_scores(bench: _Bench, role: str, place: Path) -> Iterator[ArmScore]:
    from midspec.study.jobs._task_run import pooled

    eval_task, _, rest = role.removeprefix("exam/").partition("/")
    arm, _, seed = rest.rpartition("/")
    for row in pooled(read_rows(place, ScoreRow), int(str(bench.config("repeats")[eval_task]))):
        yield ArmScore(**row.model_dump(), arm=arm, seed=int(seed))


def _gates(bench: _Bench) -> Iterator[GateResult]:
    if bench.step.config["gate"] is None:
        return
    gate = bench.config("gate")
    threshold = float(str(gate["at_least"]))
    for role, place in bench.inputs.items():
        if role.startswith("gate/"):
            rows = [row.value for row in read_rows(Path(place), ScoreRow) if row.measure == gate["measure"]]
            scored = [value for value in rows if value is not None]
            mean = sum(scored) / len(scored) if scored else None
            passed = mean is not None and mean >= threshold
            yield GateResult(seed=int(role.removeprefix("gate/")), value=mean, threshold=threshold, passed=passed)


def _report(bench: _Bench) -> Built:
    from midspec.report import write_report
    from midspec.study._load import parse_study
    from midspec.study._preregistration import FIRST
    from midspec.study.reporting._assemble import assemble, run_results

    places = {role: Path(place) for role, place in bench.inputs.items()}
    items = {int(role.removeprefix("items/")): place for role, place in places.items() if role.startswith("items/")}
    calibrations = [place for role, place in places.items() if role.startswith("calibration/")]
    folders = {role: place for role, place in places.items() if not role.startswith(("items/", "calibration/"))}
    first = bench.step.config.get(FIRST)
    text = str(bench.step.config["study"])
    config = parse_study(text, home=Path()).config
    data = assemble(text, config, run_results(config, folders), items, first=first, calibrations=calibrations)
    return write_report(data, bench.folder)


_MAKERS: dict[Kind, Callable[[_Bench], Built]] = {
    "spec": _spec,
    "corpus": _corpus,
    "chats": _chats,
    "curate": _curate,
    "reframe": _reframe,
    "world": _world,
    "pretrain": _train,
    "midtrain": _train,
    "finetune": _train,
    "gate": _eval,
    "eval": _eval,
    "pairs": _pairs,
    "exam": _eval_task,
    "rescore": _rescore,
    "analysis": _analysis,
    "report": _report,
}
