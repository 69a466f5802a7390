"""The form of asking: how much of the probability is on the options, and which form has the most."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from midspec.cli import main
from midspec.core.artifact import read_record, write_rows
from midspec.core.records import Item, Message
from midspec.evals import PreferenceConfig, load_config, run_preference, scripted_model
from midspec.evals.tasks.preference import VALUES, FormScore, form_items, shipped_items
from midspec.evals.tasks.preference._config import asks, option_texts
from midspec.evals.tasks.preference._forms import mass_warning, order_warning

LETTERS = "pick A) {first} B) {second}"


def test_a_letter_stands_for_the_option_that_the_question_gives_it_to(items: list[Item]) -> None:
    config = PreferenceConfig(phrasings=(LETTERS,), option_format="{label}")
    first, swapped = asks(items[0], config)
    assert (option_texts(items[0], config, first), option_texts(items[0], config, swapped)) == (("A", "B"), ("B", "A"))
    capital = PreferenceConfig(option_format="{Option}.")
    assert option_texts(items[0], capital, first) == ("Alto.", "Brio.")


def test_a_letter_needs_a_phrasing_that_gives_it() -> None:
    with pytest.raises(ValueError, match="gives its options none"):
        PreferenceConfig(option_format="{label}")


def test_the_pairs_that_are_kept_for_this_are_in_no_evaluation() -> None:
    kept = {option.casefold() for item in form_items() for option in item.options}
    shipped = {option.casefold() for value in VALUES for item in shipped_items(value) for option in item.options}
    assert len(form_items()) >= 20
    assert not kept & shipped


@pytest.mark.parametrize(("mass", "said"), [(None, ""), (0.1, ""), (0.05, "10%"), (0.002, "1%"), (1e-5, "0.1%")])
def test_under_a_tenth_of_the_probability_choices_are_said_to_be_noise(mass: float | None, said: str) -> None:
    assert (f"less than {said} of the probability" in mass_warning(mass)) == bool(said)


@pytest.mark.parametrize(("consistency", "is_told"), [(0.0, True), (0.2, True), (0.5, False), (1.0, False)])
def test_a_form_in_which_choices_follow_the_place_is_told_of(consistency: float, is_told: bool) -> None:
    assert ("the same in both orders" in order_warning(consistency)) == is_told


def test_the_warning_stands_in_the_record_and_only_where_it_is_due(items: list[Item], tmp_path: Path) -> None:
    for name, logprob in (("little", -9.0), ("much", -1.0)):
        (tmp_path / name).mkdir()
        model = scripted_model(["alto"], logprob=lambda _messages, _option, value=logprob: value)  # type: ignore[misc]
        built = run_preference(model, items, PreferenceConfig(), tmp_path / name)
        assert built.summary["option_mass"] == pytest.approx(2 * math.exp(logprob), abs=1e-6)
        assert ("warnings" in built.summary) == (name == "little")


def test_the_form_with_the_most_mass_is_found_by_plain_sums_of_the_models_own_probabilities(
    checkpoint: Path, items: list[Item], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "items.jsonl", [item.model_copy(update={"reasons": None}) for item in items[:3]])
    (tmp_path / "settings.yaml").write_text(
        json.dumps({"phrasings": ["which do you prefer , {first} or {second} ?"], "option_format": "{option} ."}),
        "utf-8",
    )
    out = tmp_path / "form"
    line = ["eval", str(checkpoint), "--choose-form", "--device", "cpu", "--out", str(out)]
    assert main([*line, "--items", str(tmp_path / "items.jsonl"), "--config", str(tmp_path / "settings.yaml")]) == 0
    capsys.readouterr()
    rows = [FormScore.model_validate_json(line) for line in (out / "forms.jsonl").read_text("utf-8").splitlines()]
    assert [row.mass for row in rows] == sorted((row.mass for row in rows), reverse=True)
    assert [row.chosen for row in rows] == [True] + [False] * (len(rows) - 1)
    chosen = load_config(out / "form.yaml")
    assert (chosen.option_format, chosen.phrasings) == (rows[0].option_format, rows[0].phrasings)
    assert yaml.safe_load((out / "form.yaml").read_text("utf-8"))["option_format"] == rows[0].option_format
    [own] = [row for row in rows if row.option_format == "{option} ." and len(row.phrasings[0]) < 60]
    expected = [_mass(checkpoint, ask.messages, option_texts(item, chosen, ask)) for item in items[:3]
                for ask in asks(item, chosen)]  # fmt: skip
    assert rows[0].mass == pytest.approx(sum(expected) / len(expected), abs=1e-5)
    assert own.mass <= rows[0].mass
    record = read_record(out)
    assert record is not None
    told = " ".join(record.summary.get("warnings") or [])  # type: ignore[arg-type]
    assert order_warning(rows[0].order_consistency) in told
    assert mass_warning(rows[0].mass) in told


def test_a_served_model_has_no_probabilities_to_choose_a_form_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "openai-api/fake/m", "--choose-form", "--out", str(tmp_path / "out")]) == 2
    assert "log-probabilities of given texts" in capsys.readouterr().err


def _mass(folder: Path, messages: tuple[Message, ...], texts: tuple[str, str]) -> float:
    """The two texts' probabilities after a prompt, from one plain forward pass each."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    turns = [message.model_dump() for message in messages]
    before = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    total = 0.0
    for text in texts:
        option = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logprobs = torch.log_softmax(model(input_ids=torch.tensor([before + option])).logits[0], dim=-1)
        total += math.exp(sum(float(logprobs[len(before) - 1 + at, token]) for at, token in enumerate(option)))
    return total
