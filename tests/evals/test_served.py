"""A real HTTP server answers with the checkpoint, its base, or another model, and its answers alone tell which."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from midspec.cli import main
from midspec.core.errors import CheckpointError, ConfigError
from midspec.core.records import Message
from midspec.evals import Server, check_served, read_prompts
from midspec.models import LanguageModel, export_weights, find_checkpoint, open_checkpoint, quiet

from ..models.conftest import byte_tokenizer, saved  # noqa: F401 (fixtures)

Serve = Callable[..., str]


class _Handler(BaseHTTPRequestHandler):
    """OpenAI's chat completions and list of models, over checkpoints of ours."""

    models: dict[str, LanguageModel]
    reasons: bool
    alternate: bool
    asked: list[str]

    def do_GET(self) -> None:
        self._reply(200, {"object": "list", "data": [{"id": name} for name in self.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["model"] not in self.models:
            self._reply(404, {"error": f"there is no {body['model']}"})
            return
        assert body["temperature"] == 0
        prompt = [Message.model_validate(turn) for turn in body["messages"]]
        self.asked.append(body["model"])
        name = [*self.models][len(self.asked) % 2] if self.alternate else body["model"]
        [found] = self.models[name].generate([prompt], max_new_tokens=body["max_tokens"])
        message = {"role": "assistant", "content": found.text}
        if self.reasons:
            half = len(found.text) // 2
            message |= {"reasoning_content": found.text[:half], "content": found.text[half:]}
        self._reply(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def _reply(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves checkpoints by name on 127.0.0.1; returns the address."""
    running: list[ThreadingHTTPServer] = []

    def start(*, reasons: bool = False, alternate: bool = False, **folders: Path) -> str:
        models = {name: open_checkpoint(find_checkpoint(str(folder)), device="cpu") for name, folder in folders.items()}
        handler = type(
            "Handler", (_Handler,), {"models": models, "reasons": reasons, "alternate": alternate, "asked": []}
        )
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        running.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def trained(saved: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:  # noqa: F811
    """An adapter that changes answers, and its base."""
    base = saved("llama")
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"])
    with quiet():  # PEFT asks for an old name
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.5)
    model.save_pretrained(tmp_path / "adapter")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", base


def _another(base: Path, folder: Path) -> Path:
    torch.manual_seed(11)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def test_the_trained_model_its_base_and_another_are_told_apart(
    trained: tuple[Path, Path], serve: Serve, tmp_path: Path
) -> None:
    adapter, base = trained
    (tmp_path / "merged").mkdir()
    export_weights(find_checkpoint(str(adapter)), tmp_path / "merged")
    served = {"aligned": tmp_path / "merged", "plain": base, "another": _another(base, tmp_path / "another")}
    url = serve(**served)
    for name, verdict in (("aligned", "trained"), ("plain", "base"), ("another", "neither")):
        found = check_served(str(adapter), Server(url, name), n=8, device="cpu")
        assert found.verdict == verdict
        assert len(found.answers) == found.n_trained + found.n_base + found.n_neither == 8
        assert [answer.margin for answer in found.answers] == sorted((a.margin for a in found.answers), reverse=True)
    assert found.n_neither >= 6


def test_merged_weights_are_told_from_a_base_that_is_named(
    trained: tuple[Path, Path], serve: Serve, tmp_path: Path
) -> None:
    adapter, base = trained
    (tmp_path / "merged").mkdir()
    export_weights(find_checkpoint(str(adapter)), tmp_path / "merged")
    url = serve(only=tmp_path / "merged")
    merged = str(tmp_path / "merged")
    with pytest.raises(ConfigError, match="does not name what it was trained from"):
        check_served(merged, Server(url), device="cpu")
    found = check_served(merged, Server(url), base=str(base), n=4, device="cpu")
    assert (found.verdict, found.model, found.n_trained) == ("trained", "only", 4)


def test_reasoning_that_a_server_takes_out_of_the_text_counts_as_said(trained: tuple[Path, Path], serve: Serve) -> None:
    adapter, _ = trained
    url = f"{serve(reasons=True, one=adapter)}/chat/completions"
    assert check_served(str(adapter), Server(url), n=4, device="cpu").verdict == "trained"


def test_replicas_of_which_one_lacks_the_adapter_are_told_as_unclear(
    trained: tuple[Path, Path], serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, base = trained
    url = serve(alternate=True, aligned=adapter, plain=base)
    found = check_served(str(adapter), Server(url, "aligned"), n=8, device="cpu")
    assert (found.verdict, found.n_trained, found.n_base) == ("unclear", 4, 4)
    assert main(["check-served", str(adapter), "--base-url", url, "--model", "aligned", "-n", "8"]) == 2
    assert "some answers go the checkpoint's way (4 of 8) and some do not" in capsys.readouterr().err


def test_models_that_answer_alike_can_not_be_told_apart(trained: tuple[Path, Path], serve: Serve) -> None:
    _, base = trained
    with pytest.raises(CheckpointError, match="answers all 40 prompts as its base does"):
        check_served(str(base), Server(serve(one=base)), base=str(base), device="cpu")


def test_the_command_ends_with_0_for_the_trained_model_and_2_for_its_base(
    trained: tuple[Path, Path], serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, base = trained
    url = serve(aligned=adapter, plain=base)
    ask = ["check-served", str(adapter), "--base-url", url, "-n", "4", "--device", "cpu"]
    out = tmp_path / "served.json"
    assert main([*ask, "--model", "aligned", "--out", str(out)]) == 0
    assert "verdict                              trained" in capsys.readouterr().out
    assert json.loads(out.read_text())["n_trained"] == 4
    assert main([*ask, "--model", "plain"]) == 2
    assert "it is the base that answers (4 of 4)" in capsys.readouterr().err
    assert main(ask) == 2
    assert "the server has 2 models (aligned, plain)" in capsys.readouterr().err
    assert main([*ask, "--model", "wrong"]) == 2
    assert "the server answered 404" in capsys.readouterr().err
    ask[3] = "http://127.0.0.1:1/v1"
    assert main([*ask, "--model", "aligned"]) == 2
    assert "no server answers" in capsys.readouterr().err


def test_prompts_are_lines_or_rows(tmp_path: Path) -> None:
    lines = tmp_path / "prompts.txt"
    lines.write_text("first one\n\nsecond one\n")
    assert [[turn.content for turn in prompt] for prompt in read_prompts(lines)] == [["first one"], ["second one"]]
    rows = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows.write_text(json.dumps({"messages": turns}) + "\n" + json.dumps({"prompt": "p"}) + "\n")
    assert [[turn.content for turn in prompt] for prompt in read_prompts(rows)] == [["q"], ["p"]]
    rows.write_text('{"text": "no prompt"}\n')
    with pytest.raises(ValueError, match=r"rows.jsonl:1: is no prompt"):
        read_prompts(rows)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError("the server did not start")


def _sample(server: Server, seed: int) -> str:
    messages = [{"role": "user", "content": "Who are you?"}]
    body = {"model": server.model, "messages": messages, "temperature": 1.5, "max_tokens": 12, "seed": seed}
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.base_url}/chat/completions", json.dumps(body).encode(), head)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(json.loads(reply.read())["choices"][0]["message"]["content"])


@pytest.mark.slow
def test_transformers_serve_runs_an_exported_folder_and_is_told_from_its_base(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    adapter, base = trained
    (tmp_path / "merged").mkdir()
    export_weights(find_checkpoint(str(adapter)), tmp_path / "merged")
    for folder, verdict in ((tmp_path / "merged", "trained"), (base, "base")):
        port = _free_port()
        run = "from transformers.cli.transformers import main; main()"
        command = [sys.executable, "-c", run, "serve", str(folder), "--host", "127.0.0.1"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with subprocess.Popen([*command, "--port", str(port), "--device", "cpu"], env=environment, **quiet) as process:
            try:
                _wait_for(f"http://127.0.0.1:{port}/health", process)
                server = Server(f"http://127.0.0.1:{port}/v1", str(folder))
                found = check_served(str(adapter), server, n=6, device="cpu")
                answers = {_sample(server, seed) for seed in range(5)} if verdict == "trained" else set()
            finally:
                process.kill()
        assert (found.verdict, found.n_neither) == (verdict, 0)
        # It samples: without do_sample in the folder's generation_config.json the server ignores the temperature.
        assert verdict == "base" or len(answers) > 1
