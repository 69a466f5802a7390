#!/usr/bin/env bash
# An optimizer made after an evaluation of an FSDP2 model never moves the root's own parameters.
#
# Versions: torch 2.13.0 (gloo, two processes on CPU)
#
# Guess from memory: fully_shard frees gathered parameters after each forward pass (reshard_after_forward is True
#   by default), so a forward pass without a backward pass leaves the model as it was, and the order of a first
#   evaluation and the making of the optimizer doesn't matter.
# Behaviour: for the root the default is False, since a backward pass is thought to follow at once. After a forward
#   pass alone the root's own parameters (embedding, norm, head) stay gathered, and model.parameters() gives those
#   plain tensors. An optimizer made then holds tensors that never get a gradient. Training goes on without a
#   message: the blocks learn, the root does not.
# Fix: model.reshard() before the optimizer is made, or reshard_after_forward=True at the root.
#
# Output seen:
#   no evaluation first:
#     plain tensors in the optimizer  none
#     moved by a training step        embed.weight, block.weight, block.bias, head.weight, head.bias
#   evaluation first:
#     plain tensors in the optimizer  embed.weight, head.weight, head.bias
#     moved by a training step        block.weight, block.bias
#   evaluation, then reshard():
#     plain tensors in the optimizer  none
#     moved by a training step        embed.weight, block.weight, block.bias, head.weight, head.bias
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy
cd "$work"
export CUDA_VISIBLE_DEVICES="" GLOO_SOCKET_IFNAME=lo OMP_NUM_THREADS=1

cat > show.py <<'EOF'
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(16, 8)
        self.block = nn.Linear(8, 8)
        self.head = nn.Linear(8, 16)

    def forward(self, tokens):
        return self.head(torch.tanh(self.block(self.embed(tokens))))


def moved(mesh, evaluate, reshard):
    """Give which parameters are plain tensors when the optimizer is made, and which move in one step."""
    torch.manual_seed(0)
    net = Net()
    fully_shard(net.block, mesh=mesh)
    fully_shard(net, mesh=mesh)
    tokens = torch.arange(16)
    if evaluate:
        with torch.no_grad():
            net(tokens)
    if reshard:
        net.reshard()
    plain = [name for name, parameter in net.named_parameters() if not isinstance(parameter, DTensor)]
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    nn.functional.cross_entropy(net(tokens), tokens).backward()
    before = {name: parameter.full_tensor().clone() for name, parameter in net.named_parameters()}
    optimizer.step()
    net.reshard()
    after = {name: parameter.full_tensor() for name, parameter in net.named_parameters()}
    return plain, [name for name in before if not torch.equal(before[name], after[name])]


def main(rank, meeting):
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    runs = {
        "no evaluation first": (False, False),
        "evaluation first": (True, False),
        "evaluation, then reshard()": (True, True),
    }
    seen = {}
    for title, (evaluate, reshard) in runs.items():
        plain, changed = seen[title] = moved(mesh, evaluate, reshard)
        if rank == 0:
            print(f"{title}:")
            print(f"  plain tensors in the optimizer  {', '.join(plain) or 'none'}")
            print(f"  moved by a training step        {', '.join(changed) or 'none'}")
    dist.barrier()
    dist.destroy_process_group()
    everything = [name for name, _ in Net().named_parameters()]
    of_root = [name for name in everything if not name.startswith("block")]
    of_block = [name for name in everything if name.startswith("block")]
    expected = {
        "no evaluation first": ([], everything),
        "evaluation first": (of_root, of_block),
        "evaluation, then reshard()": ([], everything),
    }
    if seen != expected:
        sys.exit(f"the behaviour changed: {seen}")


if __name__ == "__main__":
    mp.spawn(main, args=(str(Path("meeting").absolute()),), nprocs=2)
EOF
"$work/venv/bin/python" show.py
