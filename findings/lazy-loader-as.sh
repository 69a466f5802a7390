#!/usr/bin/env bash
# lazy_loader passes over `as` in a stub: the name that type checkers allow is not there, the one they refuse is.
#
# Versions: lazy-loader 0.6, mypy 2.4.1
#
# Guess from memory: attach_stub makes the package offer what its stub says, so `from ._scores import score as
#   score_rows` offers score_rows.
# Behaviour: it reads the first of the two names alone. The package has score, in dir() and in __all__, and no
#   score_rows, while mypy says the opposite of both, as the stub's own __all__ does. A renaming in the stub, which is
#   how an old name is kept for users, passes every type check and fails at the first use; importing the package tells
#   nothing.
# Fix: name the object in its module as it is to be called outside, and test that each name of the stub can be had.
#
# Output seen:
#   dir(): ['run', 'score']
#   pkg.run         at run time there          mypy no complaint
#   pkg.score_rows  at run time AttributeError mypy no complaint
#   pkg.score       at run time there          mypy has no attribute "score"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet lazy-loader==0.6 mypy==2.4.1
cd "$work"

mkdir pkg
cat > pkg/__init__.py <<'EOF'
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
EOF
cat > pkg/__init__.pyi <<'EOF'
from ._scores import run as run
from ._scores import score as score_rows

__all__ = ["run", "score_rows"]
EOF
cat > pkg/_scores.py <<'EOF'
def run() -> None: ...


def score() -> None: ...
EOF
cat > show.py <<'EOF'
import subprocess
import sys

import pkg

print(f"dir(): {dir(pkg)}")
seen = {}
for name in ("run", "score_rows", "score"):
    try:
        getattr(pkg, name)
        there = "there"
    except AttributeError as error:
        there = type(error).__name__
    check = [sys.executable, "-m", "mypy", "-c", f"import pkg\npkg.{name}()"]
    said = subprocess.run(check, capture_output=True, text=True).stdout.strip().splitlines()
    complaint = said[0].partition("Module ")[2].partition("  [")[0] or "no complaint"
    seen[name] = (there, complaint)
    print(f"pkg.{name:<11} at run time {there:<14} mypy {complaint}")
expected = {
    "run": ("there", "no complaint"),
    "score_rows": ("AttributeError", "no complaint"),
    "score": ("there", 'has no attribute "score"'),
}
if seen != expected:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
