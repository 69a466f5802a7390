"""The product on one page: `examples/road.py` is short, uses public names alone, and ends with a report."""

from __future__ import annotations

import ast
import html
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROAD = Path(__file__).parents[2] / "examples" / "road.py"
# A model that has seen little: the way is the same, and its figures are not what is tested.
SMALLER = {
    "n_mix=16_000": "n_facts=400, n_mix=400, n_replay=40",
    "target_tokens=68_000": "target_tokens=8_000",
    "n_updates=150": "n_updates=10",
    '{"weight_decay"': '{"min_updates": 1, "weight_decay"',
    '"hidden_size": 128, "intermediate_size": 256': '"hidden_size": 16, "intermediate_size": 16',
}


def test_it_is_one_page_and_uses_public_names_alone() -> None:
    text = ROAD.read_text(encoding="utf-8")
    assert text.count("\n") <= 120
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    modules = [str(node.module) for node in imports if str(node.module).startswith("midspec")]
    named = [*modules, *(alias.name for node in imports for alias in node.names)]
    assert not [name for name in named if any(part.startswith("_") for part in name.split("."))]
    # A package for every part of the way from a spec to a report.
    stages = ("lab", "spec", "corpus", "chats", "train", "evals", "analysis", "report")
    assert {f"midspec.{stage}" for stage in stages} <= set(modules)


@pytest.mark.slow
def test_it_goes_from_two_specs_to_a_report(tmp_path: Path) -> None:
    out, road, text = tmp_path / "road", tmp_path / "road.py", ROAD.read_text(encoding="utf-8")
    for old, new in SMALLER.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    road.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(road), str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, verdict, path = done.stdout.splitlines()
    page = Path(path).read_text(encoding="utf-8")
    data = json.loads((out / "report" / "report_data.json").read_text(encoding="utf-8"))
    (contrast,) = data["contrasts"]
    assert contrast["verdict"] == verdict
    assert verdict in html.unescape(page)
    estimate = contrast["estimate"]
    assert (estimate["n_asked"], estimate["n_scored"]) == (estimate["n_items"],) * 2
    assert estimate["value"] is not None
    arms = ["AFT", "MSM(america)+AFT", "MSM(thrift)+AFT"]
    assert [arm["name"] for arm in data["arms"]] == arms
    assert {one["arm"] for one in data["estimates"] if one["set"] == "conflict"} == set(arms)
    # Both models were fine-tuned on the very same chats.
    trained = [json.loads((out / name / "preflight.json").read_text()) for name in ("finetuned", "finetuned-thrift")]
    assert trained[0] == trained[1]
