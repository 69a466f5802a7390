"""Write the methods of a study as prose, from its resolved settings and the records of its steps, and what to cite."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from midspec.core.records import Estimate, Record
from midspec.generation import TEMPLATE_AUTHOR
from midspec.study._config import StudyConfig
from midspec.study._load import Study
from midspec.study.reporting._results import FinishedStep, RunResults

_STAGES = {
    "midtrain": "Midtraining (next-token loss on documents)",
    "finetune": "Fine-tuning (loss on the assistant’s turns)",
    "dpo": "Preference training (DPO)",
    "grpo": "Reinforcement learning (GRPO)",
}
_MEASURES = {
    "choice_logprob": "the share of questions in which the target has the higher log-probability of the two options",
    "choice_logprob_mean": "the same with log-probabilities divided by the number of tokens",
    "choice_generated": "the share of readable written answers that name the target",
    "reason_logprob": "the share of questions in which the target’s reason has the higher log-probability",
    "reason_generated": "the share of readable answers to “why?” that name the target’s reason",
    "margin_logprob": "the difference of the two options’ log-probabilities, in nats",
}
_INTERVALS = {
    "t interval": "t intervals",
    "profile likelihood": "profile likelihoods near 0 and 1",
    "Clopper-Pearson": "Clopper-Pearson bounds where nothing varies",
}
_SHOWN_SEEDS = 12
_PACKAGES = ("torch", "transformers", "peft", "trl", "inspect_ai")

PAPER = """@misc{li2026modelspec,
  author        = {Chloe Li and Jon Kutasov and Nevan Wichers and Samuel Marks and Sara Price},
  title         = {Model Spec Midtraining: Improving How Alignment Training Generalizes},
  year          = {2026},
  eprint        = {2605.02087},
  archivePrefix = {arXiv},
  url           = {https://arxiv.org/abs/2605.02087}
}"""


def methods_paragraphs(
    study: Study, run: RunResults, estimates: Sequence[Estimate], contrasts: Sequence[Estimate]
) -> tuple[str, ...]:
    """Say how a study was made: design, data, training, evaluation, statistics and software, a paragraph each.

    Every number is of the study file or of a record; what is not recorded is not said.

    Args:
        study: what was run.
        run: its finished steps.
        estimates: rates of its analysis.
        contrasts: of its analysis.
    """
    config, record = study.config, run.analysis.record
    known = [f"{name} {record.versions[name]}" for name in _PACKAGES if name in record.versions]
    commit = f" (commit {record.commit[:10]})" if record.commit else ""
    used = f", with {_listed(known)}" if known else ""
    paragraphs = (
        _design(config, run),
        " ".join([*_documents(config, run), *_chats(config, run)]),
        " ".join(_training(run)),
        " ".join(_evaluation(config, run, estimates)),
        _statistics(config, estimates, contrasts),
        f"Everything was made by midspec {record.versions.get('midspec', '')}{commit}{used}.",
    )
    return tuple(paragraph for paragraph in paragraphs if paragraph)


def _of_kind(run: RunResults, kind: str) -> list[FinishedStep]:
    return [step for step in run.steps.values() if step.kind == kind]


def _listed(names: Iterable[object]) -> str:
    """Join names: `a`, `a and b`, `a, b and c`."""
    words = [str(name) for name in names]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1] if words else "")))


def _between(values: Iterable[object], unit: str = "") -> str:
    """Format whole numbers as one, or as a range: `150`, `68,005 to 68,012`."""
    known = sorted({value for value in values if isinstance(value, int) and not isinstance(value, bool)})
    if not known:
        return ""
    shown = f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
    return f"{shown} {unit}".strip()


def _design(config: StudyConfig, run: RunResults) -> str:
    params = _between(step.record.summary.get("n_params") for step in _of_kind(run, "pretrain"))
    base = config.base.checkpoint or ""
    if config.base.world:
        sizes = f" of {params} parameters" if params else ""
        kind = str((config.base.architecture or {}).get("model_type", "transformer"))
        base = f"a {kind} model{sizes} that was trained from scratch for each seed"
    seeds = _listed(config.seeds) if len(config.seeds) <= _SHOWN_SEEDS else f"{config.seeds[0]} to {config.seeds[-1]}"
    n_controls = sum(arm.control for arm in config.arms.values())
    controls = f", {n_controls} of them controls," if n_controls else ""
    plural = "s" if len(config.seeds) > 1 else ""
    n = len(config.arms)
    several = config.base.midtrainings
    again = f" Every base goes through each arm {several} times" if several > 1 else ""
    again += ", half of them in the mirrored world." if again and config.base.mirror else "." if again else ""
    return (
        f"{n} arm{'s' if n > 1 else ''}{controls} start{'s' if n == 1 else ''} from {base}, in {len(config.seeds)} "
        f"training seed{plural} ({seeds}).{again}"
    )


_GIVEN = "given"


def _documents(config: StudyConfig, run: RunResults) -> Iterator[str]:
    """Yield a sentence for each origin of documents, and for what was made of them."""
    by_origin: dict[str, list[str]] = {}
    for name, entry in config.corpora.items():
        if entry.documents is None:
            by_origin.setdefault(entry.author if entry.rows is None else _GIVEN, []).append(name)
    for origin, names in by_origin.items():
        steps = [step for kind in ("corpus", "given_corpus") for step in _of_kind(run, kind) if step.label in names]
        summaries = [step.record.summary for step in steps]
        n = _between((each.get("n_documents") for each in summaries), "documents")
        words = _between((each.get("n_words") for each in summaries), "words")
        sizes = f", each of {_listed(filter(None, (n, words)))}" if n or words else ""
        whose = ", drawn anew for each seed" if all(config.corpora[name].per_seed for name in names) else ""
        corpora = "corpus" if len(names) == 1 else "corpora"
        specs = _listed(dict.fromkeys(config.corpora[name].spec for name in names))
        written = f"{'were' if len(names) > 1 else 'was'} written by {origin}"
        if origin == _GIVEN:
            written = "were there before the study" if len(names) > 1 else "was there before the study"
        elif origin == TEMPLATE_AUTHOR:
            written = "consist" if len(names) > 1 else "consists"
            written += " of the spec’s own sentences, arranged by document templates without a language model"
        yield f"The {corpora} {_listed(names)} (of the spec {specs}) {written}{sizes}{whose}."
    for name, entry in config.corpora.items():
        if entry.disclosure is not None:
            source = name if entry.documents is None else f"{name}, those of {entry.documents},"
            yield f"The documents of {source} say “{entry.disclosure.text}” {entry.disclosure.at} their text."
    for group in config.matched.values():
        yield f"The documents of {_listed(group.corpora)} were cut one by one to equal numbers of tokens."


def _chats(config: StudyConfig, run: RunResults) -> Iterator[str]:
    for name, entry in config.chats.items():
        if entry.part_of is not None:
            yield f"The set of chats {name} is the first {entry.n_samples:,} of {entry.part_of}."
            continue
        kind = "chats" if entry.documents is None else "told"
        summaries = [step.record.summary for step in _of_kind(run, kind) if step.label == name]
        n = _between((each.get("n_chats") for each in summaries), "chats") or "Chats"
        by = "arranged by templates" if entry.author == TEMPLATE_AUTHOR else f"written by {entry.author}"
        what = f"of the style {entry.style}, {by}"
        if entry.documents is not None:
            what = f"whose replies are the documents of the corpus {entry.documents}"
        yield f"The set of chats {name} has {n} {what}."


def _training(run: RunResults) -> Iterator[str]:
    """Yield a sentence for each kind of stage; settings that differ between its steps are given as ranges."""
    for kind, words in _STAGES.items():
        steps = _of_kind(run, kind)
        recipes = [recipe for step in steps if isinstance(recipe := step.record.identity.config.get("recipe"), dict)]
        if not recipes:
            continue
        summaries = [step.record.summary for step in steps]
        rates = _listed(dict.fromkeys(str(one.get("learning_rate")) for one in recipes))
        methods = [
            f"LoRA of rank {lora.get('r')}, alpha {lora.get('alpha')}"
            if one.get("method") == "lora" and isinstance(lora := one.get("lora"), Mapping)
            else "all weights are trained"
            for one in recipes
        ]
        schedules = _listed(dict.fromkeys(str(one.get("schedule")) for one in recipes))
        updates = _between((one.get("n_updates") for one in summaries), "updates")
        rows = _between((one.get("rows_per_update") for one in recipes), "rows")
        parts = [
            _listed(dict.fromkeys(methods)),
            f"AdamW at a learning rate of {rates} ({schedules} schedule)",
            f"{updates} of {rows}" if updates and rows else updates,
            _between((one.get("real_tokens") for one in summaries), "tokens in each"),
        ]
        yield f"{words}: {'; '.join(filter(None, parts))}."


def _evaluation(config: StudyConfig, run: RunResults, estimates: Sequence[Estimate]) -> Iterator[str]:
    entry = config.evals.preference
    sizes = _between(step.record.summary.get("n_items") for step in run.pair_evals.values())
    n = len(entry.phrasings)
    yield (
        f"Each arm chooses between the two options of {sizes or 'held-out'} items a seed ({entry.items}), asked in "
        f"{n} phrasing{'s' if n > 1 else ''} and both orders; scores are means over these."
    )
    main = config.report.main_measure or "choice_logprob"
    shown = [main, *dict.fromkeys(panel.measure for panel in config.report.panels if panel.measure != main)]
    yield from (f"{name} is {_MEASURES[name]}." for name in shown if name in _MEASURES)
    for name, task in config.evals.tasks.items():
        n_questions = max((one.n_items for one in estimates if one.set.partition("/")[0] == name), default=0)
        asked = f" with {n_questions:,} questions a set" if n_questions else ""
        samples = f", {task.repeats} samples each" if task.repeats > 1 else ""
        yield f"The task {name} was run{asked}{samples}."
    if config.evals.graders:
        yield f"Answers to tasks that need a judge were judged by {_listed(config.evals.graders)}."


def _statistics(config: StudyConfig, estimates: Sequence[Estimate], contrasts: Sequence[Estimate]) -> str:
    methods = _listed(words for mark, words in _INTERVALS.items() if any(mark in one.method for one in estimates))
    intervals = f"; {config.report.level:.0%} intervals are {methods}" if methods else ""
    said = f"Rates are means of seed means{intervals}."
    if contrasts:
        said += (
            f" {len(contrasts)} contrast{'s' if len(contrasts) > 1 else ''}, named in the study file, "
            f"compare{'' if len(contrasts) > 1 else 's'} arms paired by seed and item; p values are two-sided, "
            "corrected by Holm’s method for all of them. The smallest detectable difference is that which such a "
            "design finds with 80% power at two-sided 5%."
        )
    return said


def bibtex(study: Study, record: Record) -> str:
    """Return BibTeX entries of midspec at the version that made the study, and of the paper whose method it is."""
    version = record.versions.get("midspec", "")
    title = re.sub(r"[{}\\%$#&_~^]", " ", study.config.title or study.config.name)
    commit = f", commit {record.commit[:10]}" if record.commit else ""
    ours = (
        "@software{midspec,\n"
        "  title   = {midspec: from a Model Spec to a trained model, and to a report on which values it drew},\n"
        f"  version = {{{version}}},\n"
        f"  note    = {{Study: {' '.join(title.split())}{commit}}},\n"
        "  key     = {midspec}\n}"
    )
    return f"{ours}\n\n{PAPER}\n"
