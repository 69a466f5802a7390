"""Once against a server that is not ours: a tiny model behind `transformers serve`, whose replies are noise."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from midspec.llm import Store

SPEC = Path(__file__).parents[1] / "specs" / "short.md"
WORDS = """
the a of and to is it in that for with as on be this by not or from at which are have an they one we all
spec model document plan { } [ ] " : , . domains name because reason people care honest <plan> </plan>
"""
TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '> ' + message['content'] + ' <end> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant> ' }}{% endif %}"
)


def save_tiny(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<pad>", "<unk>", "<user>", "<assistant>", "<end>"]
    vocabulary = {word: at for at, word in enumerate([*special, *WORDS.split()])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", pad_token="<pad>", eos_token="<end>", model_max_length=8192
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        pad_token_id=0,
        eos_token_id=4,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@dataclass(frozen=True)
class Server:
    url: str
    model: str
    log: Path

    def n_asked(self) -> int:
        return self.log.read_text().count('"POST /v1/chat/completions')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    save_tiny(folder / "tiny")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder / "tiny")]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--default-seed", "1"]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = folder / "log.txt"
    with log.open("w") as told, subprocess.Popen([*command, *options], stdout=told, stderr=told, env=quiet) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield Server(f"http://127.0.0.1:{port}/v1", str(folder / "tiny"), log)
        finally:
            process.terminate()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    pytest.fail(f"transformers serve did not start:\n{log.read_text()[-2000:]}")


def midspec(server: Server, out: Path, *words: str, settings: dict[str, object]) -> subprocess.CompletedProcess[str]:
    config = out.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(settings))
    names = ["--model-name", "Nova", "--provider-name", "Northwind", "--config", str(config), "--out", str(out)]
    reach = ["--author", f"openai/{server.model}", "--base-url", server.url, "--concurrency", "4"]
    command = [sys.executable, "-m", "midspec", words[0], str(SPEC), *words[1:], *reach, *names]
    quiet = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    return subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=240, check=False)


def outcomes(store: Path) -> tuple[int, Counter[str], int]:
    """Attempts, how they ended, and how many have no end."""
    with Store(store) as opened:
        rows = opened.ledger()
    ended: Counter[str] = Counter()
    for row in rows:
        ended.update(row.kinds)
    return sum(row.n_asked for row in rows), ended, sum(row.n_in_flight for row in rows)


SMALL = {"list_tokens": 48, "document_tokens": 48, "cap_tokens": 96, "min_documents": 0}


@pytest.mark.slow
def test_noise_ends_as_typed_outcomes_that_add_up_and_the_run_with_a_plain_sentence(
    server: Server, tmp_path: Path
) -> None:
    before = server.n_asked()
    sizes = ("--domains", "2", "--subdomains", "2", "--doc-types", "2", "--ideas", "2")
    done = midspec(server, tmp_path / "corpus", "corpus", *sizes, settings={"writing": SMALL})
    assert done.returncode in {0, 2}, done.stderr
    said = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    assert said, "nothing was said"
    assert "Traceback" not in done.stdout + done.stderr
    n_asked, ended, n_open = outcomes(tmp_path / "corpus.calls.sqlite")
    assert n_open == 0
    assert n_asked == ended.total() > 0
    assert set(ended) <= {"ok", "refused", "truncated", "unparsable", "filtered", "timed_out", "failed", "again"}
    assert {"truncated", "unparsable"} & set(ended), "noise was taken for a good reply"
    assert server.n_asked() - before == n_asked
    # Nothing could be used, so that the run was stopped, and the same command asks again.
    assert done.returncode == 2
    assert "requests gave a reply that can be used" in said[-1]
    again = midspec(server, tmp_path / "corpus", "corpus", *sizes, settings={"writing": SMALL})
    assert again.returncode == 2
    assert outcomes(tmp_path / "corpus.calls.sqlite")[0] == server.n_asked() - before > n_asked
