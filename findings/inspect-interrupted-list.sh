#!/usr/bin/env bash
# An evaluation that is interrupted while its samples run returns no log at all, though one is written.
#
# Versions: inspect_ai 0.3.285
#
# Guess from memory: eval() returns one log for each task, and that of an interrupted one has the status "cancelled";
#   so `(log,) = eval(task)` followed by a look at log.status tells an interruption.
# Behaviour: after Ctrl-C eval() returns normally, with an empty list. The log that was begun lies in the log folder
#   with the status "cancelled". Taking the one log of the list apart is what raises, with words of a wrong length.
# Fix: an empty list is an interruption; or read the newest log of the folder.
#
# Output seen:
#   eval() returned 0 logs, and raised nothing
#   in the folder: 1 log, its status: cancelled
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet inspect_ai==0.3.285
cd "$work"

cat > show.py <<'EOF'
import asyncio
import os
import signal
import sys
import threading

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import list_eval_logs, read_eval_log
from inspect_ai.solver import solver


@solver
def slow():
    async def solve(state, generate):
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        await asyncio.sleep(60)
        return state

    return solve


logs = eval(Task(dataset=[Sample(input="Wait.")], solver=slow()), model="mockllm/model", display="none", log_dir="logs")
print(f"eval() returned {len(logs)} logs, and raised nothing")
written = [read_eval_log(info).status for info in list_eval_logs("logs")]
print(f"in the folder: {len(written)} log, its status: {', '.join(written)}")
if len(logs) or written != ["cancelled"]:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
