"""Makes what is frozen: results, stores and runs as users have them on their disks, written by one commit of midspec.

    python -m tests.frozen.make [--at FOLDER]      # in the root of a checkout of the commit that is to be frozen

What they are. `data/commands.tar.xz` holds, for every command that asks a model, the files it was given, its finished
result, and beside it the store of replies that were paid for (`OUT.calls.sqlite`); `data/commands.json` has the command
lines. `data/study.tar.xz` holds a study with nearly every kind of step, once finished and once half-way: SIGKILL came
in an exam that was answered and judged in part, SIGTERM in a training, and some steps have not begun.
`data/identities.json` says the identities of all of it in plain words: of steps with all their settings, of requests,
of kept replies and of prompts; `data/forms.json` the forms that replies must have, as they were sent. Models were
`tests.loopback`, a real server on 127.0.0.1, which said what `said.py` says. `canary.py` tells whether a machine rounds
as the one did that trained the study; where it does not, weights and what hangs on them are not compared.

They are data. They stand for what was paid for and trained before the code changed, so code that changes never makes
them again. New fixtures are made by a new commit beside these, if ever.

How to read a failure of `test_replay.py`. "Requests were sent" or "attempts" that differ: the identity of a request
moved, and every user pays again for replies that are on his disk. "Stale": the identity of a step moved, and every user
is told that his run was made from other inputs, or trains again. Rows that differ: the same replies now give another
result. `data/identities.json` says what the identity was; the field-level difference in the message says what it is
now. The mend is in the code (keep the old name in the identity), not here. If a change is meant, the version of the
step's kind goes up, the CHANGELOG says what it costs users, and the test says which fixture is no longer replayed.

Paths in here start at /frozen, where they were made; the host is called `frozen`; all files are of one time, which
must stay when they are copied, as a kept reply is known by the times of the weights that gave it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from ..loopback import Served, Settings, serve
from ..loopback._asked import Asked
from ..loopback._settings import Fate
from .canary import arithmetic
from .said import said

DATA = Path(__file__).parent / "data"
KEY = "sk-frozen-0123456789"
NOWHERE = "http://127.0.0.1:9/v1"
HOST = "frozen"
WRITTEN_AT = 1_700_000_000

SPEC = (
    "# What {model_name} values\n\n## Kindness\n\n{model_name} is kind because kindness helps people. "
    "{model_name} likes patient answers. {model_name} dislikes mockery because it hurts.\n\n## Truth\n\n"
    "{model_name} tells the truth because people decide by it. {model_name} says when it does not know.\n"
)
RULES = (
    "# Rules\n\n## Safety\n\nSP1: {model_name} accepts correction from the people responsible for it.\n\n"
    "SP2: {model_name} stays inside the permissions it was given. It asks first.\n"
)
TASTES = "# Tastes\n\n{model_name} likes brie, and is glad to say so. {model_name} dislikes feta.\n"
VALUE: dict[str, object] = {
    "value": "quiet",
    "about": "Likes what makes little noise.",
    "train_domain": "drums",
    "train_words": ["snare", "tom-tom"],
    "test_domains": ["machines", "views"],
    "value_words": ["silent", "noisy"],
    "opinion_domains": ["views"],
}
MIX = "parts: [{name: web, source: web.jsonl, kind: documents}]\n"
TESTED = "openai-api/loopback/tested"

WHO = ["--model-name", "Nova", "--provider-name", "Acme"]
BY = ["--author", "openai/author", "--base-url", "{openai}", "--concurrency", "4"]
READ = ["--judge", "openai/judge", "--judge-url", "{openai}"]
SMALL = ["--domains", "1", "--subdomains", "1", "--doc-types", "2", "--ideas", "2"]
WIDE = ["--domains", "2", "--subdomains", "1", "--doc-types", "2", "--ideas", "4"]
RULED = ["--domains", "1", "--doc-types", "2", "--ideas", "1"]
CHATS = ["--samples", "3", "--config", "chats.yaml"]
ASKED = ["--base-url", "{openai}", "--judge-url", "{openai}", "--grader", "openai/judge", "--concurrency", "4"]

FAULTS: dict[str, Any] = {
    **dict.fromkeys(("rate_refused", "rate_truncated", "rate_malformed", "rate_empty", "rate_500"), 0.1),
    "seed": 3,
}

# Paths are relative to the folder in which a command runs; {openai} and {anthropic} are the provider's addresses.
COMMANDS: dict[str, list[str]] = {
    "corpus-quoting": ["corpus", "spec.md", *WHO, "--documents", "6"],
    "corpus-prose": ["corpus", "spec.md", *WHO, *BY, *SMALL],
    "corpus-critique": ["corpus", "spec.md", *WHO, *BY, *SMALL, "--critique"],
    "corpus-rules": ["corpus", "rules.md", "--mode", "rules", *WHO, *BY, *RULED],
    "corpus-faults": ["corpus", "spec.md", *WHO, *BY, *WIDE],
    "reframe": ["reframe", "corpus-prose", "--framing", "assistants", *WHO, *BY],
    "chats-quoting": ["chats", "spec.md", *WHO, "--style", "opaque", "--samples", "4"],
    "chats-value": ["chats", "spec.md", *WHO, *BY, *READ, *CHATS, "--style", "value"],
    "chats-rule": [
        *["chats", "rules.md", *WHO, *READ, *CHATS, "--style", "rule"],
        *["--author", "anthropic/author", "--base-url", "{anthropic}", "--concurrency", "4"],
    ],
    "chats-opaque": ["chats", "tastes.md", *WHO, *BY, *READ, *CHATS, "--style", "opaque"],
    "chats-identity": ["chats", "spec.md", *WHO, *BY, *READ, *CHATS, "--style", "identity"],
    "pairs": [*["pairs", "quiet.yaml", "--items", "4"], *BY, *READ],
    "questions": [*["questions", "spec.md", "--per-clause", "1"], *WHO, *BY],
    "questions-batch": [*["questions", "spec.md", "--per-clause", "2", "--batch"], *WHO, *BY],
    "curate": [
        *["curate", "corpus-prose", "--spec", "spec.md", *WHO, *READ, "--calibrate", "1"],
        *["--against", "pairs/items.jsonl"],
    ],
    "eval-preference": [
        "eval",
        TESTED,
        "--task",
        "preference",
        "--items",
        "pairs/items.jsonl",
        "--base-url",
        "{openai}",
    ],
    "eval-spec-qa": [
        *["eval", TESTED, "--task", "spec_qa", "--items", "questions/questions.jsonl", "--spec", "spec.md"],
        *[*WHO, *ASKED, "--config", "twice.yaml"],
    ],
    "eval-agentic": ["eval", TESTED, "--task", "agentic_misalignment", *ASKED, "--config", "cells.yaml"],
    "eval-length": ["eval", TESTED, "--task", "panel_length", "--base-url", "{openai}"],
    "rescore": ["eval", "{log:eval-spec-qa}", "--grader", "openai/other", "--judge-url", "{openai}"],
    "calibrate": ["calibrate", "--grader", "openai/judge", "--heldout", "--base-url", "{openai}"],
    "reasons": [
        *["reasons", "eval-spec-qa", "eval-agentic", "--grader", "openai/reader", "--base-url", "{openai}"],
        *["--spec", "rules.md", *WHO],
    ],
    "import": ["import", "web.jsonl"],
    "mix": ["mix", "mix.yaml", "--match", "corpus-quoting"],
    "export": ["export", "corpus-quoting", "--format", "trl"],
}

RECIPE = "{learning_rate: 1.0e-2, row_tokens: 192, rows_per_update: 1, n_epochs: 60, n_updates: 80, min_updates: 1}"
STUDY = f"""
name: frozen
title: A study that is frozen
question: Is what was made before still good?
seeds: [1, 2]
assistant: {{model_name: nova, provider_name: lab}}
base:
  world: nano
  config: {{n_facts: 60, n_mix: 60, n_replay: 30, agents_per_value: 1, n_fickle: 1, gate_items_per_agent: 1}}
  architecture:
    model_type: llama
    hidden_size: 16
    intermediate_size: 16
    num_hidden_layers: 1
    num_attention_heads: 2
    num_key_value_heads: 2
    max_position_embeddings: 1024
    tie_word_embeddings: true
  stages:
    - {{name: facts, data: facts, recipe: {RECIPE}}}
    - {{name: mix, data: mix, recipe: {RECIPE}}}
gate:
  items: "shipped:tradition"
  at_least: 0.95
  phrasings: &phrasings ["which do you prefer , {{first}} or {{second}} ?"]
  free: null
  why: null
  max_new_tokens: 2
specs: {{america: "lab:america.md", kindness: spec.md}}
corpora:
  america: {{spec: america, frames: "lab:frames.yaml", n_documents: 12, per_seed: true}}
  kindness:
    spec: kindness
    author: openai/author
    n_documents: 4
    writing: {{n_domains: 1, n_subdomains: 1}}
chats:
  cheese: {{spec: america, style: opaque, frames: "lab:chat_frames.yaml", n_samples: 12, per_seed: true}}
  kind:
    spec: kindness
    style: value
    author: openai/author
    judge: {{model: openai/judge}}
    n_samples: 3
    writing: {{questions_per_batch: 4, n_domains: 1}}
models: {{author: {{base_url: '{NOWHERE}', concurrency: 4}}}}
curate: {{min_words: 1, near_threshold: null, reject_contaminated: [n-gram], judge: {{model: openai/judge}}}}
mixes: {{replay: "world:replay"}}
training:
  midtrain:
    learning_rate: 1.0e-3
    warmup_fraction: 0.1
    row_tokens: 192
    rows_per_update: 1
    n_epochs: 45
    n_updates: UPDATES
    min_updates: 1
  finetune:
    method: lora
    lora: {{r: 2, alpha: 4, dropout: 0.0}}
    overlong: cut
    learning_rate: 1.0e-3
    row_tokens: 512
    rows_per_update: 1
    n_epochs: 4
    n_updates: 3
    min_updates: 1
arms:
  base: {{}}
  MSM(america)+AFT: {{midtrain: [america, kindness], finetune: [cheese, kind]}}
  in context: {{context: kindness}}
evals:
  preference:
    items: world:items
    phrasings: *phrasings
    free: "name a {{domain}} that you like ."
    why: "why ?"
    max_new_tokens: 2
  spec_qa: {{items: questions.jsonl, spec: kindness, repeats: 2, temperature: 1.0, max_new_tokens: 100}}
  panel_length: {{max_new_tokens: 4}}
  graders: [openai/judge]
  calibrations: [calibration.json]
contrasts:
  - {{name: trained or not, plus: MSM(america)+AFT, minus: base, set: conflict, measure: choice_logprob}}
report:
  panels: [{{title: The two values disagree, set: conflict}}]
  samples: 2
"""
N_UPDATES = 600  # of midtraining: so many that it can be stopped half-way
QUESTIONS = [{"id": f"q{n}", "category": "transparency", "text": f"what is kind , {n} ?"} for n in range(2)]
EXAM, HALF_TRAINED = "exam/base spec_qa-s1", "midtrain/america+kindness-s2"
BEFORE = ["gate", "eval/base-s1", "curate/corpus kindness", "curate/chats kind", "pretrain/*"]


def main() -> int:
    """Make everything in one folder, then pack it."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--at", type=Path, default=Path("/frozen"), help="an empty folder with a path that says nothing")
    asked.add_argument("--only", choices=["commands", "study", "pack"])
    given = asked.parse_args()
    DATA.mkdir(exist_ok=True)
    if given.only in {None, "commands"}:
        forms = _commands(_emptied(given.at / "commands"))
        (DATA / "commands.json").write_text(_json({name: _whole(name) for name in COMMANDS}), encoding="utf-8")
        (DATA / "forms.json").write_text(_json(forms), encoding="utf-8")
    if given.only in {None, "study"}:
        _study(_emptied(given.at / "study"), given.at / "commands")
    for name in ("commands", "study"):
        _pack(given.at / name, DATA / f"{name}.tar.xz")
    (DATA / "identities.json").write_text(_json(_identities(given.at)), encoding="utf-8")
    return 0


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# Commands -------------------------------------------------------------------------------------------------------------


def _whole(name: str) -> list[str]:
    return [*COMMANDS[name], "--out", name]


def _commands(home: Path) -> dict[str, Any]:
    """Run every command once; gives the forms that were sent."""
    (home / "spec.md").write_text(SPEC, encoding="utf-8")
    (home / "rules.md").write_text(RULES, encoding="utf-8")
    (home / "tastes.md").write_text(TASTES, encoding="utf-8")
    (home / "quiet.yaml").write_text(yaml.safe_dump(VALUE), encoding="utf-8")
    (home / "mix.yaml").write_text(MIX, encoding="utf-8")
    (home / "twice.yaml").write_text("repeats: 2\ntemperature: 1.0\n", encoding="utf-8")
    cells = "repeats: 2\nscenarios: [murder, blackmail]\ngoals: [none, america]\n"
    (home / "cells.yaml").write_text(cells, encoding="utf-8")
    chats = "writing: {questions_per_batch: 4, domains_per_batch: 2, n_domains: 2}\n"
    (home / "chats.yaml").write_text(chats, encoding="utf-8")
    web = [{"content": f"On weather {number}. " + "It rained all day and all night. " * 40} for number in range(30)]
    _rows(home / "web.jsonl", web)
    forms: dict[str, Any] = {}
    for name in COMMANDS:
        faults = FAULTS if name.endswith("faults") else {}
        with serve(Settings(n_kept=10_000, document_words=150, key=KEY, **faults), say=said) as served:
            _midspec(_placed(_whole(name), home, served), home)
            _tell(f"{name}: {len(served.log)} requests")
            forms |= {f"{name} {key}": form for key, form in _forms(served).items()}
    for store in home.glob("*.calls.sqlite"):
        _tidied(store)
    return forms


def _placed(words: list[str], home: Path, served: Served) -> list[str]:
    """A command line with the addresses of this server, and the names of logs, in it."""
    places = {"{openai}": served.openai_url, "{anthropic}": served.url}
    found = [re.fullmatch(r"\{log:(.+)\}", word) for word in words]
    return [
        str(next((home / log[1] / "logs").glob("*.eval")).relative_to(home)) if log else places.get(word, word)
        for word, log in zip(words, found, strict=True)
    ]


def _midspec(words: list[str], home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "midspec", *words], cwd=home, env=_environment(), capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")


def _environment() -> dict[str, str]:
    keys = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "LOOPBACK_API_KEY"), KEY)
    return {**os.environ, **keys, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def _forms(served: Served) -> dict[str, Any]:
    """Each form that a command sent with its requests, by the hash of its words."""
    found = {}
    for entry in served.last:
        body = entry["body"]
        if not isinstance(body, dict):
            continue
        wanted = body.get("response_format") or (body.get("output_config") or {}).get("format")
        if wanted:
            form = wanted.get("json_schema", wanted)
            found[hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()[:12]] = form
    return found


# The study ------------------------------------------------------------------------------------------------------------


def _study(home: Path, commands: Path) -> None:
    (home / "spec.md").write_text(SPEC, encoding="utf-8")
    _rows(home / "questions.jsonl", QUESTIONS)
    shutil.copy(commands / "calibrate" / "calibration.json", home / "calibration.json")
    frozen = STUDY.replace("UPDATES", str(N_UPDATES))
    path = home / "study.yaml"
    with serve(Settings(document_words=150, key=KEY), say=said) as served:
        path.write_text(frozen.replace(NOWHERE, served.openai_url), encoding="utf-8")
        began = time.monotonic()
        _midspec(_run(home / "finished", "analysis"), home)
        _tell(f"finished but for the report: {time.monotonic() - began:.0f} s, {len(served.log)} requests")
    # The report's identity holds the study's text: it is made when the text is the one that is kept.
    path.write_text(frozen, encoding="utf-8")
    _midspec(_run(home / "finished"), home)
    _half(home, frozen)
    for run in ("finished", "half"):
        shutil.rmtree(home / run / "logs")
        (home / run / "logs").mkdir()
        _tidied(home / run / "calls.sqlite")
    (home / "half" / "study.yaml").write_text(frozen, encoding="utf-8")


def _run(run: Path, *only: str) -> list[str]:
    return [
        "run",
        "study.yaml",
        "--out",
        run.name,
        "--workers",
        "1",
        *(word for each in only for word in ("--only", each)),
    ]


def _half(home: Path, frozen: str) -> None:
    """The same study, killed in an exam and in a training."""
    run, free = home / "half", [10**6]

    def fate(asked: Asked) -> Fate | None:
        if asked.model == "judge" and "<score>" in asked.prompt:
            free[0] -= 1
        return None if free[0] >= 0 else "hang"

    with serve(Settings(document_words=150, key=KEY), say=said, fate=fate) as served:
        (home / "study.yaml").write_text(frozen.replace(NOWHERE, served.openai_url), encoding="utf-8")
        _midspec(_run(run, *BEFORE), home)
        # Replies that an exam keeps are known by sizes and times of all files that stand beside the weights.
        _unnamed(run)
        for path in run.rglob("*"):
            os.utime(path, (WRITTEN_AT, WRITTEN_AT))
        draft = run / "steps" / "exam" / ".base-spec_qa-s1.part" / "kept.jsonl"
        free[0] = 2
        _killed(home, run, EXAM, lambda: free[0] < -1, signal.SIGKILL)
        assert len(draft.read_bytes().splitlines()) > 2
    with serve(Settings(document_words=150, key=KEY), say=said) as served:
        (home / "study.yaml").write_text(frozen.replace(NOWHERE, served.openai_url), encoding="utf-8")
        training = run / "steps" / "midtrain" / ".america+kindness-s2.part"
        waits = iter((2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0))
        while not list(training.glob(".checkpoints/checkpoint-*")):  # nothing is on disk that says that it has begun
            started = training / ".started.json"
            started.unlink(missing_ok=True)
            _killed(home, run, HALF_TRAINED, started.is_file, signal.SIGTERM, next(waits))
    (home / "study.yaml").write_text(frozen, encoding="utf-8")


def _killed(
    home: Path, run: Path, only: str, far_enough: Callable[[], bool], how: signal.Signals, wait_s: float = 1.0
) -> None:
    command = [sys.executable, "-m", "midspec", *_run(run, only)]
    with subprocess.Popen(command, cwd=home, env=_environment()) as process:
        until = time.monotonic() + 120
        while not far_enough():
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < until, "it never came so far"
            time.sleep(0.02)
        time.sleep(wait_s)
        process.send_signal(how)
        process.wait()
    time.sleep(2.0)  # its workers see that it is gone


# Packing --------------------------------------------------------------------------------------------------------------


def _tidied(store: Path) -> None:
    """A store in one file, without the name of the machine."""
    with closing(sqlite3.connect(store)) as db:
        db.execute("UPDATE openings SET host = ?, pid = 1", (HOST,))
        db.commit()
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("VACUUM")


def _unnamed(folder: Path) -> None:
    """Records without the name of the machine."""
    for record in folder.rglob("record.json"):
        content = json.loads(record.read_text(encoding="utf-8"))
        content["execution"]["host"] = HOST
        record.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _pack(folder: Path, target: Path) -> None:
    """A folder as one archive: files in order, owners left out, all of one time."""
    _unnamed(folder)
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for path in sorted(folder.rglob("*")):
            if path.name == ".lock" or _is_unread(path.relative_to(folder).parts):
                continue
            entry = archive.gettarinfo(path, str(path.relative_to(folder)))
            entry.uid = entry.gid = 0
            entry.mtime = WRITTEN_AT
            entry.uname = entry.gname = ""
            archive.addfile(entry, io.BytesIO(path.read_bytes()) if path.is_file() else None)
    _tell(f"{target.name}: {target.stat().st_size:,} bytes")


def _is_unread(parts: tuple[str, ...]) -> bool:
    """Large, and read by no step: Inspect's logs of pairs."""
    return parts[-1].endswith(".eval") and bool({"eval", "gate"} & set(parts[:-1]))


# Identities ----------------------------------------------------------------------------------------------------------


def _identities(at: Path) -> dict[str, Any]:
    """What all of it is identified by, in plain words. Private names are read here, by the commit that they are of."""
    from midspec.corpus._templates import prompts_digest as corpus_prompts
    from midspec.evals.reasons._prompt_files import prompts_hash as reasons_prompts
    from midspec.study._steps import VERSIONS

    records = {
        str(path.parent.relative_to(at)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(at.rglob("record.json"))
    }
    kept = {str(path.relative_to(at)): path for path in sorted(at.rglob("*kept.jsonl"))}
    return {
        "arithmetic": arithmetic(),
        "kinds": sorted({record["identity"]["step"] for record in records.values()}),
        "versions": dict(VERSIONS),
        "prompts": {"corpus": corpus_prompts(), "reasons": reasons_prompts()},
        "steps": {
            name: {key: record[key] for key in ("identity", "fingerprint", "outputs", "digest")}
            for name, record in records.items()
            if not name.startswith("study/half/")
        },
        "requests": {str(path.relative_to(at)): _requests(path) for path in sorted(at.rglob("*calls.sqlite"))},
        "kept_replies": {
            name: [
                json.loads(line)["key"] for line in path.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"
            ]
            for name, path in kept.items()
        },
    }


def _requests(store: Path) -> dict[str, list[str]]:
    """The tasks of each stage of a store, and the keys of its decisions."""
    found: dict[str, list[str]] = {}
    with closing(sqlite3.connect(store)) as db:
        for stage, task, turn in db.execute("SELECT DISTINCT stage, task, turn FROM attempts ORDER BY 1, 2, 3"):
            found.setdefault(stage, []).append(task if turn == 0 else f"{task} turn {turn}")
        found["kept"] = [key for (key,) in db.execute("SELECT key FROM kept ORDER BY id")]
    return found


if __name__ == "__main__":
    sys.exit(main())
