"""The shipped specs: usable by name, twins that differ in what they are meant to, lengths that match."""

from __future__ import annotations

from pathlib import Path

import pytest

from midspec.chats import ChatConfig, make_chats
from midspec.core.errors import MissingError
from midspec.core.text import estimate_tokens
from midspec.evals.tasks.preference import VALUES, value_set
from midspec.spec import check_spec, fill, placeholders, read_spec, shipped_specs, spec_path
from midspec.spec_tools._clause_words import REASON
from midspec.study import parse_study, study_steps

AGENT = [name for name in shipped_specs() if name.startswith("agent-")]


def shipped(name: str) -> str:
    return spec_path(f"shipped:{name}").read_text(encoding="utf-8")


def tastes(name: str) -> tuple[set[str], set[str]]:
    """What the template author of chats takes for liked and for disliked."""
    spec = fill(read_spec(spec_path(f"shipped:{name}")), model_name="Nova", provider_name="Acme")
    config = ChatConfig(style="opaque", model_name="Nova", provider_name="Acme", n_samples=10)
    summary = make_chats(spec, config).summary
    return set(summary["liked"]), set(summary["disliked"])  # type: ignore[arg-type]


def test_every_value_of_the_shipped_pairs_has_a_spec_and_an_ablated_twin() -> None:
    assert {name for name in shipped_specs() if not name.startswith("agent-")} == {
        name for value in VALUES for name in (value, f"{value}-ablated")
    }
    assert len(AGENT) == 6


@pytest.mark.parametrize("name", shipped_specs())
def test_a_shipped_spec_has_both_placeholders_and_nothing_that_looks_wrong(name: str) -> None:
    spec = read_spec(spec_path(f"shipped:{name}"))
    assert placeholders(spec) == ("model_name", "provider_name")
    assert check_spec(spec) == ()
    # The anti-spec says what it is for in a comment, which nothing is written from.
    assert spec.is_marked == (name == "agent-anti")
    assert "controls" not in spec.text


@pytest.mark.parametrize("value", VALUES)
def test_a_twin_has_the_same_tastes_three_of_each_side_changed_no_reason_and_the_same_length(value: str) -> None:
    liked, disliked = tastes(value)
    twin_liked, twin_disliked = tastes(f"{value}-ablated")
    assert len(liked) == len(disliked) == 6
    assert (len(liked & twin_liked), len(disliked & twin_disliked)) == (3, 3)
    assert twin_liked | twin_disliked == liked | disliked
    original, twin = (read_spec(spec_path(f"shipped:{name}")) for name in (value, f"{value}-ablated"))
    assert all(REASON.search(clause.text) for clause in original.clauses if clause.kind == "item")
    assert not [clause.text for clause in twin.clauses if clause.kind == "item" and REASON.search(clause.text)]
    assert abs(estimate_tokens(twin.text) / estimate_tokens(original.text) - 1) < 0.05


@pytest.mark.parametrize("value", VALUES)
def test_a_spec_is_about_the_domain_that_its_pairs_keep_out(value: str) -> None:
    liked, disliked = tastes(value)
    train = {word.casefold() for word in value_set(value).train_words} | {value_set(value).train_domain}
    named = [thing for thing in liked | disliked if any(word in thing.casefold() for word in train)]
    assert len(named) >= 6, sorted((liked | disliked) - set(named))


def test_reasons_and_subrules_of_the_agent_s_rules_have_one_length_and_keep_every_rule() -> None:
    reasons, subrules = shipped("agent-value-augmented"), shipped("agent-rules-augmented")
    assert abs(estimate_tokens(reasons) / estimate_tokens(subrules) - 1) < 0.05
    rules = read_spec(spec_path("shipped:agent-rules"))
    kept = [clause.text for section in rules.sections[1:] for clause in section.clauses]
    assert kept
    assert not [rule for rule in kept if rule not in reasons or rule not in subrules]


def test_a_study_takes_a_shipped_spec_by_name(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "study" / "tiny.yaml").read_text(encoding="utf-8")
    assert "lab:america.md" in text
    study = parse_study(text.replace("lab:america.md", "shipped:america"), home=tmp_path)
    copied = {step.label: step.inputs["text"].locate({}) for step in study_steps(study) if step.kind == "spec"}
    assert copied["america"] == str(spec_path("shipped:america"))


def test_a_name_that_is_not_shipped_is_told_with_the_nearest() -> None:
    with pytest.raises(MissingError, match="Did you mean tradition"):
        read_spec(Path("shipped:traditon"))
