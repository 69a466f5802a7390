#!/usr/bin/env bash
# An .eval log is a zip archive that unzip and Python's zipfile list and cannot read.
#
# Versions: inspect_ai 0.3.285, on Python 3.11 to 3.13
#
# Guess from memory: .eval logs are zip archives of JSON, so a script without Inspect reads header.json with zipfile or
#   `unzip -p`.
# Behaviour: the members are compressed with Zstandard, zip method 93, which Python's zipfile has since 3.14 and
#   Info-ZIP's unzip 6.0 has not. Names and sizes are listed, so the archive looks fine; zipfile raises NotImplementedError at the
#   first read, and unzip skips all members. `import inspect_ai` changes zipfile for the whole process: the same line
#   works in a notebook that has it, and fails in the job that has not.
# Fix: `inspect log dump FILE`, `inspect log convert --to json`, read_eval_log, or `import zipfile_zstd` before.
#
# Output seen (Python 3.11):
#   5 members listed, compressed by methods {93}
#   zipfile: NotImplementedError('That compression method is not supported')
#   zipfile after import inspect_ai: success
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet inspect_ai==0.3.285
cd "$work"

cat > write.py <<'EOF'
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model

reply = ModelOutput.from_content("mockllm/model", "yes")
reply.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
eval(
    Task(dataset=[Sample(input="?")]), model=get_model("mockllm/model", custom_outputs=[reply]), display="none",
    log_dir="logs",
)
EOF
cat > read.py <<'EOF'
import json
import pathlib
import sys
import zipfile

(path,) = pathlib.Path("logs").glob("*.eval")


def status():
    with zipfile.ZipFile(path) as log:
        return json.loads(log.read("header.json"))["status"]


with zipfile.ZipFile(path) as log:
    methods = {member.compress_type for member in log.infolist()}
    print(f"{len(log.namelist())} members listed, compressed by methods {methods}")
try:
    seen = status()
except NotImplementedError as error:
    seen = repr(error)
print("zipfile:", seen)

import inspect_ai  # noqa: E402, F401

print("zipfile after import inspect_ai:", status())
has_zstd = sys.version_info >= (3, 14)
if methods != {93} or (seen == "success") != has_zstd or status() != "success":
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" write.py
"$work/venv/bin/python" read.py
