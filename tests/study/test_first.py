"""The contrasts that a run began with are remembered."""

from __future__ import annotations

import json
from pathlib import Path

from midspec.study import parse_study
from midspec.study._first_contrasts import FIRST, contrasts_changed, first_contrasts, plain_contrasts
from midspec.study._graph import study_steps


def result_in(run: Path) -> None:
    (run / "steps" / "eval" / "base-s1").mkdir(parents=True)
    (run / "steps" / "eval" / "base-s1" / "record.json").touch()


def test_until_there_is_a_result_contrasts_are_free(tiny_text: str, tmp_path: Path) -> None:
    study = parse_study(tiny_text, home=tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({FIRST: []}), encoding="utf-8")
    assert first_contrasts(study, tmp_path) == plain_contrasts(study)
    result_in(tmp_path)
    assert first_contrasts(study, tmp_path) == []


def test_the_report_is_made_from_the_first_contrasts_only_where_they_differ(tiny_text: str, tmp_path: Path) -> None:
    study = parse_study(tiny_text, home=tmp_path)
    other = parse_study(tiny_text.replace("set: conflict, measure", "set: origin, measure"), home=tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({FIRST: plain_contrasts(study)}), encoding="utf-8")
    result_in(tmp_path)
    assert FIRST not in study_steps(study, tmp_path)[-1].settings
    assert study_steps(other, tmp_path)[-1].settings[FIRST] == plain_contrasts(study)


def test_every_change_is_told(tiny_text: str) -> None:
    config = parse_study(tiny_text, home=Path()).config
    [now] = config.contrasts
    before = [now.model_copy(update={"set": "origin", "says": "it does"}), now.model_copy(update={"name": "gone"})]
    assert contrasts_changed(before, config.contrasts) == (
        "The contrasts were changed after results existed: set of 'the spec decides' was 'origin' and is 'conflict'; "
        "says of 'the spec decides' was 'it does' and is ''; 'gone' was removed."
    )
    assert contrasts_changed([now], config.contrasts) == ""
