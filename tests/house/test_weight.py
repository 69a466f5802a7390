"""Importing midspec is light: models and evaluations are loaded when they are used, and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[2] / "src" / "midspec"
HEAVY = ("torch", "transformers", "peft", "inspect_ai", "matplotlib", "scipy")
HEAVY += ("openai", "anthropic", "aiohttp", "genai_prices", "datasets", "pyarrow", "rensa", "py3langid")
PACKAGES = sorted(face.parent.name for face in SRC.glob("*/__init__.py"))
COMMANDS = ("", "demo", "spec", "spec show", "spec check", "corpus", "chats", "train", "eval", "plan", "run", "report")
COMMANDS += (
    "reasons",
    "curate",
    "reframe",
    "mix",
    "import",
    "export",
    "pairs",
    "questions",
    "export-model",
    "check-served",
    "doctor",
)

ASK = f"""
import sys
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


def _loaded_by(code: str) -> str:
    return _last_said(code + ASK)


def _last_said(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.strip().splitlines()[-1]


def test_importing_midspec_loads_neither_torch_nor_inspect() -> None:
    assert len(PACKAGES) > 10
    assert _loaded_by("import midspec\n" + "".join(f"import midspec.{name}\n" for name in PACKAGES)) == "[]"


def test_no_help_text_loads_torch_or_inspect() -> None:
    calls = "".join(f"main({[*command.split(), '--help']!r})\n" for command in COMMANDS)
    assert _loaded_by(f"from midspec.cli import main\n{calls}") == "[]"


def test_validating_a_study_loads_neither_torch_nor_inspect() -> None:
    assert _loaded_by("from midspec.study import study_schema\nstudy_schema()") == "[]"


def test_a_client_of_the_openai_protocol_does_without_the_sdk() -> None:
    """It has 650 modules, which take longer to load than a hundred requests to send; batches and embeddings use it."""
    code = "from midspec.llm import Access, ModelConfig\nfrom midspec.llm.providers._openai import OpenAIClient\n"
    code += "OpenAIClient(ModelConfig(model='openai/tiny'), Access(base_url='http://127.0.0.1:9/v1'))\n"
    assert _loaded_by(code) == "[]"


def test_inspect_finds_tasks_and_providers_and_asks_served_models_without_torch(tmp_path: Path) -> None:
    """Inspect imports what every installed package registers, whatever it is asked to run."""
    code = f"""
from pathlib import Path
import midspec.evals._registry
from midspec.evals import PreferenceConfig, calibrate_judge, run_preference, run_task, scripted_model, shipped_items
asked = scripted_model(lambda messages: "I would take the first.")
run_preference(asked, shipped_items("america")[:1], PreferenceConfig(), Path({str(tmp_path)!r}))
"""
    said = _loaded_by(code)
    assert "inspect_ai" in said
    assert not [name for name in ("torch", "transformers", "peft") if repr(name) in said]


def test_help_loads_few_modules() -> None:
    """It answers in half a second (`benchmarks/generation.py --only help`), and what takes time is loading modules."""
    code = "try: main(['--help'])\nexcept SystemExit: pass\nprint(len(sys.modules), file=sys.stderr)"
    assert int(_last_said(f"import sys\nfrom midspec.cli import main\n{code}")) < 220


def test_what_is_not_there_is_refused_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    spec, pairs = tmp_path / "spec.md", tmp_path / "pairs.jsonl"
    spec.write_text("# Spec\n\nAda asks.\n", encoding="utf-8")
    pairs.write_text('{"id": "1", "set": "s", "domain": "d", "options": ["a", "b"]}\n', encoding="utf-8")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "Ada asks."}\n', encoding="utf-8")
    model, file, out = "./nowhere", str(tmp_path / "nowhere.jsonl"), ["--out", str(tmp_path / "out")]
    commands = [
        ["eval", model, "--items", str(pairs), *out],
        ["eval", "some/model", "--items", file, *out],
        ["eval", "some/model", "--items", str(pairs), "--config", file, *out],
        ["eval", str(tmp_path / "nowhere.eval"), "--grader", "openai/judge", *out],
        ["eval", "some/model", "--items", str(pairs), "--prices", file, *out],
        ["calibrate", "--grader", "openai/judge", "--prices", file, *out],
        ["seam", model, "--spec", str(spec), *out],
        ["seam", "some/model", "--spec", str(spec), "--items", file, *out],
        ["compare", file, file],
        ["check-served", model, "--base-url", "http://127.0.0.1:9/v1"],
        ["export-model", model, *out],
        ["curate", str(rows), "--base", model, *out],
        ["train", file],
        ["run", file, *out],
    ]
    code = f"from midspec.cli import main\nassert [main(each) for each in {commands!r}] == {[2] * len(commands)}\n"
    assert _loaded_by(code) == "[]"
    assert not (tmp_path / "out").exists()
