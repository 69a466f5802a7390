"""The benchmark for GPUs runs through on a CPU, in small: it is seldom where a GPU is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import training_cuda
sizes = {"head_dim": 8, "num_key_value_heads": 2, "vocab_size": 90, "hidden_size": 32, "intermediate_size": 48}
sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "tie_word_embeddings": True}
for shape in training_cuda.SHAPES.values():
    training_cuda.measure(shape._replace(row_tokens=1024, sizes=sizes), 4, torch.device("cpu"))
"""


@pytest.mark.slow
def test_each_shape_gives_its_speed_and_its_memory() -> None:
    done = subprocess.run([sys.executable, "-c", SMALL, str(BENCHMARKS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 9
    assert [line.split(", ")[0].strip() for line in lines[::3]] == ["Qwen3-0.6B", "Qwen3-4B", "Qwen3-4B"]
    assert all(" tokens a second, " in line for line in lines[1::3])
    assert all("GB at most" in line for line in lines[2::3])
