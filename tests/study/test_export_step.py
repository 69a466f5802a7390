"""A study exports the arms that it names under `steps`, with their whole lineage."""

from __future__ import annotations

from pathlib import Path

import pytest

from midspec.core.artifact import read_record
from midspec.core.errors import ConfigError
from midspec.study import parse_study, run_study, study_steps


def _with_export(tiny_text: str, settings: str) -> str:
    entry = f"\nsteps:\n  served: {{kind: export_model, {settings}}}\nevals:"
    return tiny_text.replace("seeds: [1, 2]", "seeds: [1]").replace("\nevals:", entry)


def test_an_arm_is_exported_with_all_stages_of_its_study(tiny_text: str, tmp_path: Path) -> None:
    text = _with_export(tiny_text, 'arms: ["MSM(america)+AFT"], form: merged, dtype: float16')
    run_study(parse_study(text, home=tmp_path), tmp_path / "run", only=["export_model/*"], workers=1)
    [folder] = (tmp_path / "run" / "steps" / "export_model").iterdir()
    record = read_record(folder)
    assert record is not None
    assert record.summary["stages"] == ["pretrain", "pretrain", "midtrain", "finetune"]
    assert record.summary["name"] == "MSM-america+AFT-s1"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "`documents.jsonl` of corpus@" in card
    assert str(tmp_path) not in card


def test_a_wrong_setting_is_named(tiny_text: str) -> None:
    with pytest.raises(ConfigError, match=r"steps.served.form: Input should be 'peft', 'merged' or 'gguf'"):
        study_steps(parse_study(_with_export(tiny_text, "form: zip"), home=Path()))
