"""What the report puts above everything: arms that are not matched, bases that did not learn, leaks."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from midspec.core.records import Execution, Identity, Record
from midspec.report import GateResult
from midspec.study import load_study, parse_study
from midspec.study.reporting._health import HeldOutOverlap, stage_health
from midspec.study.reporting._results import FinishedStep
from midspec.study.reporting._warnings import run_warnings, unmatched_training

TINY = (Path(__file__).parent / "tiny.yaml").read_text(encoding="utf-8")
CONFIG = parse_study(TINY, home=Path()).config


def record(summary: dict[str, JsonValue], seed: int = 1, data: str = "same", floor: int | None = None) -> Record:
    config: dict[str, JsonValue] = {"seed": seed, "recipe": {"min_updates": floor}}
    return Record(
        identity=Identity(step="midtrain@1", inputs={"data[0]": data}, config=config),
        fingerprint="",
        outputs={},
        digest="",
        summary=summary,
        versions={},
        commit=None,
        execution=Execution(started_at="", finished_at="", seconds=0, host="", folder="", n_attempts=1),
    )


def steps(records: dict[str, Record]) -> dict[str, FinishedStep]:
    found = {}
    for name, record in records.items():
        kind, _, rest = name.partition("/")
        label, _, seed = rest.rpartition("s")
        numbered = seed.isdigit()
        found[name] = FinishedStep(
            kind, (label.rstrip("-") if numbered else rest), int(seed) if numbered else None, Path(), record
        )
    return found


def test_arms_of_equal_updates_and_nearly_equal_tokens_are_matched() -> None:
    records = {
        "midtrain/america-s1": record({"n_updates": 96, "real_tokens": 98_000}),
        "midtrain/thrift-s1": record({"n_updates": 96, "real_tokens": 98_900}),
        "midtrain/america-s2": record({"n_updates": 95, "real_tokens": 1}, seed=2),
    }
    assert list(unmatched_training(CONFIG, steps(records))) == []


def test_other_updates_or_tokens_are_told_with_the_arms() -> None:
    records = {
        "midtrain/america-s1": record({"n_updates": 96, "real_tokens": 98_000}),
        "midtrain/thrift-s1": record({"n_updates": 90, "real_tokens": 90_000}),
    }
    updates, tokens = unmatched_training(CONFIG, steps(records))
    assert "midtrain/america 96, midtrain/thrift 90 (seed 1)." in updates
    assert "midtraining tokens (within " in tokens
    records |= {f"{name[:-1]}2": record(dict(each.summary), seed=2) for name, each in records.items()}
    assert [told for told in unmatched_training(CONFIG, steps(records)) if "(seeds 1, 2)" in told] == [
        told.replace("(seed 1)", "(seeds 1, 2)") for told in (updates, tokens)
    ]


def test_fine_tuning_on_the_same_chats_must_have_the_same_rows() -> None:
    records = {
        "finetune/cheese-s1": record({"n_updates": 3}),
        "finetune/america+cheese-s1": record({"n_updates": 3}),
    }
    assert list(unmatched_training(CONFIG, steps(records))) == []
    records["finetune/thrift+cheese-s1"] = record({"n_updates": 3}, data="other")
    [told] = unmatched_training(CONFIG, steps(records))
    assert told.startswith("The arms are not matched in rows of cheese in fine-tuning: finetune/cheese (3 updates of ")
    assert len(told) < 300, "hashes are no words"


def test_chats_of_the_name_of_a_corpus_are_chats_of_their_own() -> None:
    config = load_study(Path("lab:paper/figure_14.yaml")).config
    records = {
        f"finetune/{before}{chats}-s1": record({"n_updates": 3}, data=chats)
        for before in ("", "rules+", "values+", "subrules+")
        for chats in ("rules", "values", "subrules")
    }
    assert list(unmatched_training(config, steps(records))) == []
    records["finetune/values+rules-s1"] = record({"n_updates": 3}, data="other")
    [told] = unmatched_training(config, steps(records))
    assert "rows of rules in fine-tuning" in told


def test_each_trouble_is_told_once_for_all_seeds() -> None:
    records = {f"midtrain/america-s{seed}": record({}, seed, floor=5) for seed in (1, 2)}
    records |= {f"corpus/america-s{seed}": record({"exhausted": "only 7 documents"}, seed) for seed in (1, 2)}
    gates = [
        GateResult(seed=1, value=0.97, threshold=0.95, passed=True),
        GateResult(seed=2, value=0.91, threshold=0.95, passed=False),
    ]
    leak = HeldOutOverlap("corpus/america", 3, 40)
    told = run_warnings(CONFIG, steps(records), gates, [leak])
    assert told == (
        (
            "The study lowered the floor of midtrain updates from 100 to 5. So few have been seen to teach nothing: "
            "raise n_updates for results."
        ),
        (
            "1 of 2 bases are below the competence gate of 0.95: seeds 2 (0.910). They are shown; the contrasts stand "
            "with and without them. Train bases longer, or take other seeds."
        ),
        "3 of 40 rows of corpus/america name what the evaluation holds out. A study's `curate` takes them out.",
        "corpus/america: only 7 documents",
    )


def test_health_shows_a_figure_that_differs_between_seeds_as_a_range() -> None:
    records = {
        "midtrain/america-s1": record({"n_updates": 96, "losses": {"first": 2.0}}),
        "midtrain/america-s2": record({"n_updates": 96, "losses": {"first": 1.0}}),
        "analysis": record({}),
    }
    [entry] = stage_health(steps(records).values())
    assert (entry.kind, entry.name) == ("midtrain", "america")
    shown = {row.label: row.value for row in entry.rows}
    assert shown == {"seeds": "2", "n updates": "96", "losses: first": "1 to 2"}
