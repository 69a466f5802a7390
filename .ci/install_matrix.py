"""Install the wheel into empty environments, with the newest and the oldest dependencies, and try it there.

    python .ci/install_matrix.py [--pythons python3.11 python3.13] [--extras all] [--only newest] [--torch TORCH]

Every Python that is found is taken with the newest releases; the first of them once more with the oldest that
pyproject.toml allows (uv's `lowest-direct`). In each: `midspec doctor`, a study of seconds to its report, fast tests.
It takes minutes, gigabytes and the network, so it is no test; `--quick` runs fewer tests. All that was made is removed
in the end (but for `--keep`), as an environment with a CUDA build of torch takes 6 GB. Ends with one line for each, and
exit code 1 if one of them failed or no Python was found.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "matrix"
PYTHONS = tuple(f"python3.{minor}" for minor in (11, 12, 13, 14))
# Fast tests of packages that lean on others in many places; the second part needs extras.
ROOMS = ("tests/core", "tests/spec", "tests/corpus", "tests/analysis")
ROOMS_WITH_MODELS = (
    *("tests/models", "tests/llm", "tests/exchange", "tests/report", "tests/curate"),
    *("tests/train/test_pack.py", "tests/cli/test_doctor.py"),
)
# A file or two for each package whose versions differ most in what they do.
QUICK = (
    *("tests/core/test_records.py", "tests/core/test_yaml_files.py"),  # pydantic, PyYAML
    *("tests/models/test_parents.py", "tests/train/test_adapter.py"),  # transformers, peft, accelerate
    *("tests/evals/engine/test_run_exam.py", "tests/evals/test_any_log.py"),  # inspect_ai
    *("tests/llm/test_openai.py", "tests/llm/test_anthropic.py", "tests/llm/test_prices.py"),  # the SDKs, genai-prices
    *("tests/exchange/test_read.py", "tests/analysis/test_estimates.py"),  # pyarrow, scipy
)
NEED_EXTRAS = ("tests/core/test_remote.py", "tests/corpus/test_author_live.py")
STUDY = ROOT / "tests" / "study" / "tiny.yaml"
TOOLS = ("pytest>=9.0", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "hypothesis>=6.150", "orjson>=3.10")


def call(command: list[str | Path], folder: Path = ROOT) -> None:
    """Run a command, shown; raises where it fails."""
    print("$", " ".join(map(str, command)), flush=True)
    subprocess.run(list(map(str, command)), cwd=folder, check=True)


def found(names: tuple[str, ...]) -> Iterator[Path]:
    """Yield the Pythons of these names: on the path, or pyenv's."""
    for name in names:
        versions = sorted(Path.home().glob(f".pyenv/versions/{name.removeprefix('python')}.*/bin/python"))
        place = shutil.which(name) or (versions[-1] if versions else None)
        if place is None:
            print(f"{name}: not here")
        else:
            yield Path(place)


def try_one(python: Path, wheel: Path, given: argparse.Namespace, *, is_oldest: bool) -> Path:
    """Make one environment, run what is installed in it, and return its folder."""
    home = WORK / f"{python.name}-{'oldest' if is_oldest else 'newest'}"
    shutil.rmtree(home, ignore_errors=True)
    call([python, "-m", "venv", home])
    pip = [home / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    wanted = f"{wheel}[{given.extras}]" if given.extras else str(wheel)
    if given.torch and given.extras:
        call([*pip, "--no-compile", given.torch])
    if is_oldest:
        tools = WORK / "tools"
        if not tools.exists():
            call([sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, "uv"])
        uv = [tools / "bin" / "uv", "pip", "install", "--quiet", "--python", home / "bin" / "python"]
        uv += ["--exclude-newer", given.before] if given.before else []
        # A torch that is given is kept: which one there is depends on where wheels come from.
        kept = ["--excludes", _written("torch\n")] if given.torch and given.extras else []
        # What is direct is what pyproject.toml names; of a wheel's requirements uv would take the newest.
        extras = [f"--extra={name}" for name in given.extras.split(",") if name]
        call([*uv, "--resolution", "lowest-direct", *kept, "-r", ROOT / "pyproject.toml", *extras])
        call([*uv, "--no-deps", wheel])
        call([*uv, *TOOLS])
    else:
        call([*pip, wanted, *TOOLS])
    with tempfile.TemporaryDirectory() as empty:
        call([home / "bin" / "midspec", "doctor"], Path(empty))
        call([home / "bin" / "midspec", "demo", "--help"], Path(empty))
        if given.extras:
            call([home / "bin" / "midspec", "run", STUDY, "--out", "run"], Path(empty))
    more = ROOMS_WITH_MODELS if given.extras else tuple(f"--ignore={name}" for name in NEED_EXTRAS)
    rooms = QUICK if given.quick else (*ROOMS, *more)
    pytest = [home / "bin" / "python", "-m", "pytest", "-q", "-x", "-n", "2", "-m", "not slow"]
    # Warnings of releases that were not there when this was written are no errors here.
    call([*pytest, "-p", "no:cacheprovider", "-W", "default", *rooms])
    return home


def _written(text: str) -> Path:
    path = WORK / "excludes.txt"
    path.write_text(text, encoding="utf-8")
    return path


def try_all(given: argparse.Namespace) -> bool:
    """Try the wheel in each environment, and say how it went; returns whether one failed or there was none."""
    shutil.rmtree(WORK / "wheel", ignore_errors=True)
    call([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", WORK / "wheel", ROOT])
    (wheel,) = (WORK / "wheel").glob("*.whl")
    pythons = list(found(tuple(given.pythons)))
    cases = [(python, False) for python in pythons if given.only != "oldest"]
    cases += [(python, True) for python in pythons[:1] if given.only != "newest"]
    said, has_failed = [], not cases
    for python, is_oldest in cases:
        start = time.monotonic()
        try:
            home = try_one(python, wheel, given, is_oldest=is_oldest)
            end = "passed"
            if not given.keep:
                shutil.rmtree(home)
        except subprocess.CalledProcessError as error:
            end, has_failed = f"FAILED: {error.cmd[0]} {error.cmd[-1]}", True
        said.append(f"{python} {'oldest' if is_oldest else 'newest'}: {end} ({time.monotonic() - start:.0f} s)")
    print("\n".join(said))
    return has_failed


def main() -> None:
    """Try all environments, and say which failed."""
    parser = argparse.ArgumentParser(description="Install the wheel into empty environments, and try it there.")
    parser.add_argument("--pythons", nargs="+", default=PYTHONS)
    parser.add_argument("--extras", default="all", help="of the wheel; an empty text for none")
    parser.add_argument("--only", choices=("newest", "oldest"))
    parser.add_argument("--quick", action="store_true", help="a choice of the tests; all extras must be there")
    parser.add_argument("--before", default="", help="a date: of what the oldest need, the newest before it")
    parser.add_argument("--torch", default="", help="a torch to install first, as pip names it")
    parser.add_argument("--keep", action="store_true", help="what was made, to look at")
    given = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        has_failed = try_all(given)
    finally:
        if not given.keep:
            shutil.rmtree(WORK)
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
