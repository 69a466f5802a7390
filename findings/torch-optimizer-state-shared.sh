#!/usr/bin/env bash
# Two optimizers that load one state dict share their moments: training the first arm changes how the second one trains.
#
# Versions: torch 2.13.0 (with numpy, for torch's own sake)
#
# Guess from memory: load_state_dict copies what it is given, as that of a module does.
# Behaviour: Optimizer.load_state_dict keeps the tensors of the dict where dtype and device are right, and updates them in
#   place. Whoever reads a checkpoint once and starts several arms from it (a sweep, a control, a second seed) gives all
#   of them the same moments and the same step counter: the arms that come later start with the moments of the earlier
#   ones' last step. The dict itself, kept to go back to, changes as well; so does the first optimizer, if the dict is
#   its state_dict(). The weights are right, and losses look plausible. No warning.
# Fix: copy.deepcopy(state) for each load, or torch.load anew.
#
# Output seen (weight of the second arm after three steps):
#   alone                             0.10027
#   after the first arm was trained   0.07247
#   the same, each with a deepcopy    0.10027
#   step in the dict: 1 when it was read, 7 at the end
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"

cat > show.py <<'EOF'
import copy
import sys

import torch

model = torch.nn.Linear(1, 1, bias=False)
torch.nn.init.constant_(model.weight, 0.1)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
model(torch.ones(1, 1)).sum().backward()
optimizer.step()
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "checkpoint.pt")


def train(state, slope):
    arm = torch.nn.Linear(1, 1, bias=False)
    arm.load_state_dict(state["model"])
    of_arm = torch.optim.AdamW(arm.parameters(), lr=0.01)
    of_arm.load_state_dict(state["optimizer"])
    for _ in range(3):
        of_arm.zero_grad()
        (slope * arm(torch.ones(1, 1))).sum().backward()
        of_arm.step()
    return arm.weight.item()


alone = train(torch.load("checkpoint.pt"), -1.0)
read = torch.load("checkpoint.pt")
first_step = int(read["optimizer"]["state"][0]["step"])
train(read, 5.0)
after = train(read, -1.0)
last_step = int(read["optimizer"]["state"][0]["step"])
read = torch.load("checkpoint.pt")
train(copy.deepcopy(read), 5.0)
copied = train(copy.deepcopy(read), -1.0)
print("weight of the second arm after three steps")
print(f"  alone                            {alone:8.5f}")
print(f"  after the first arm was trained  {after:8.5f}")
print(f"  the same, each with a deepcopy   {copied:8.5f}")
print(f"step in the dict: {first_step} when it was read, {last_step} at the end")
if copied != alone or abs(after - alone) < 0.001 or (first_step, last_step) != (1, 7):
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
