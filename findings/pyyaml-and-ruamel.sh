#!/usr/bin/env bash
# The two YAML libraries of Python read each other's files wrongly: ids become numbers, small learning rates text.
#
# Versions: PyYAML 6.0.3, ruamel.yaml 0.19.1
#
# Guess from memory: each puts into quotes whatever a YAML reader could take for something else; where they differ
#   (1.1 and 1.2) it is in files written by hand.
# Behaviour: each quotes what it would itself misread. PyYAML writes the texts 12e5 (a short commit or digest), 1E5,
#   08 and 0o17 bare, and ruamel.yaml, like all readers of YAML 1.2, takes them for numbers. ruamel.yaml writes the
#   texts yes, no, on and 12:30 bare, which are truth values and 750 to PyYAML, and the number 1e-07 without a point,
#   which is text to PyYAML. A settings file that one tool rewrites and another one reads changes so without a change
#   by anybody. No warning.
# Fix: one library for both directions, or JSON, which is YAML to both of them.
#
# Output seen:
#   PyYAML to ruamel  '12e5'   written v: 12e5   read 1200000.0
#   PyYAML to ruamel  '1E5'    written v: 1E5    read 100000.0
#   PyYAML to ruamel  '08'     written v: 08     read 8
#   PyYAML to ruamel  '0o17'   written v: 0o17   read 15
#   ruamel to PyYAML  'yes'    written v: yes    read True
#   ruamel to PyYAML  'no'     written v: no     read False
#   ruamel to PyYAML  'on'     written v: on     read True
#   ruamel to PyYAML  '12:30'  written v: 12:30  read 750
#   ruamel to PyYAML  1e-07    written v: 1e-07  read '1e-07'
#   ruamel to PyYAML  1e+16    written v: 1e+16  read '1e+16'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet PyYAML==6.0.3 ruamel.yaml==0.19.1
cd "$work"

cat > show.py <<'EOF'
import io
import sys

import yaml
from ruamel.yaml import YAML

ruamel = YAML(typ="safe")
ruamel.default_flow_style = False
VALUES = ["12e5", "1E5", "08", "0o17", "yes", "no", "on", "12:30", 1e-07, 1e16, 0.0001]


def by_ruamel(data):
    stream = io.StringIO()
    ruamel.dump(data, stream)
    return stream.getvalue()


seen = {"PyYAML to ruamel": {}, "ruamel to PyYAML": {}}
for value in VALUES:
    for way, write, read in (
        ("PyYAML to ruamel", yaml.safe_dump, ruamel.load), ("ruamel to PyYAML", by_ruamel, yaml.safe_load),
    ):
        text = write({"v": value})
        result = read(text)["v"]
        if repr(result) != repr(value):
            seen[way][value] = result
            print(f"{way}  {value!r:<8} written {text.strip():<9} read {result!r}")

expected = {
    "PyYAML to ruamel": {"12e5": 1200000.0, "1E5": 100000.0, "08": 8, "0o17": 15},
    "ruamel to PyYAML": {"yes": True, "no": False, "on": True, "12:30": 750, 1e-07: "1e-07", 1e16: "1e+16"},
}
if seen != expected:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
