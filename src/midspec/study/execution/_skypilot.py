"""Write a study as a pipeline of SkyPilot's managed jobs: a YAML for `sky jobs launch`, from which clouds are rented.

Each task is `midspec run` on another kind of machine: one without GPUs for what needs no model, one with GPUs, and one
without for the analysis. The run folder is a bucket's URL, so a machine that was taken away is followed by one that
goes on from its records.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from midspec.core.artifact import write_text
from midspec.core.errors import ConfigError, MidspecError
from midspec.core.yaml_files import parse_yaml
from midspec.lab import data_path
from midspec.study._execution_entry import SkyEntry
from midspec.study._load import EXTENDS, HERE, Study, load_study, parse_study, with_settings
from midspec.study._step import Step
from midspec.study.execution._selection import with_descendants

_HEAD = """\
# The study {name} as a pipeline of managed jobs, written by `midspec run --executor skypilot`. Start it with
#     sky jobs launch {secrets}{path}
# A task that is started again goes on from what is in {out}.
"""


def write_sky_pipeline(study: Study, folder: Path, steps: Sequence[Step], settings: Sequence[str] = ()) -> Path:
    """Write the pipeline into the run's folder; return its path.

    Args:
        study: to run.
        folder: of the run on this machine.
        steps: of the study.
        settings: with which it was changed after it was read; each task is given them.

    Raises:
        ConfigError: the study names no bucket, its file is not found again, or a setting is a path that no machine of
            a cloud has.
    """
    entry, name = study.config.execution.skypilot, study.config.name
    if entry.bucket is None:
        hint = "Name one, such as s3://mine/runs: it outlives the machines"
        raise ConfigError("there is no bucket for the run folder", where="execution.skypilot.bucket", hint=hint)
    out = f"{entry.bucket.rstrip('/')}/{name}"
    file, workdir = _study_file(study, settings)
    words = ["midspec", "run", file, "--out", out]
    for each in settings:
        words += ["--set", _set_there(each, workdir)]
    command = shlex.join(words)
    tasks: list[dict[str, Any]] = [{"name": f"midspec-{_plain(name)}"}]
    for label, only, has_gpu in _parts(steps):
        chosen = " ".join(f"--only {shlex.quote(one)}" for one in only)
        task = {
            "name": f"{_plain(name)}-{label}",
            **({"workdir": str(workdir)} if workdir else {}),
            "resources": _resources(entry, has_gpu=has_gpu),
            **({"secrets": dict.fromkeys(entry.env)} if entry.env else {}),
            "setup": entry.setup.rstrip() + "\n",
            "run": f"{command} {chosen}".rstrip() + "\n",
        }
        tasks.append(task)
    path = folder / "jobs" / "skypilot.yaml"
    path.parent.mkdir(exist_ok=True)
    secrets = "".join(f"--secret {variable} " for variable in entry.env)
    head = _HEAD.format(name=name, secrets=secrets, path=shlex.quote(str(path)), out=out)
    write_text(path, head + yaml.dump_all(tasks, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True))
    return path


def _parts(steps: Sequence[Step]) -> list[tuple[str, list[str], bool]]:
    """Return the tasks of the pipeline: label, kinds for `--only` (none means all), and whether it needs GPUs."""
    kinds = dict.fromkeys(step.kind for step in steps)
    computing = {step.name for step in steps if step.opens_model}
    late = {step.kind for step in steps if step.name in with_descendants(steps, computing)}
    with_model = {step.kind for step in steps if step.opens_model}
    parts = [
        ("data", [kind for kind in kinds if kind not in late], False),
        ("models", [kind for kind in kinds if kind in with_model], True),
    ]
    return [*(part for part in parts if part[1]), ("report", [], False)]


def _resources(entry: SkyEntry, *, has_gpu: bool) -> dict[str, Any]:
    asked = {
        "infra": entry.infra,
        "accelerators": entry.accelerators if has_gpu else None,
        "cpus": entry.cpus,
        "memory": entry.memory,
        "disk_size": entry.disk_gb,
        "use_spot": entry.use_spot,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _study_file(study: Study, settings: Sequence[str] = ()) -> tuple[str, Path | None]:
    """Return the study's file as the machine finds it, and the folder that is copied there; none for a shipped study.

    Args:
        study: as it is to run.
        settings: with which it was changed.

    Raises:
        ConfigError: the file is no longer where it was read from.
    """
    lab = data_path("nano.yaml").parent.resolve()
    for path in sorted(study.home.glob("*.y*ml")):
        with suppress(MidspecError, OSError):
            text = path.read_text(encoding="utf-8", errors="replace")
            # Of a file that extends another the study's text is what both say.
            read = load_study(path) if EXTENDS in text else parse_study(text, home=study.home)
            if with_settings(read, settings).text == study.text:
                is_shipped = path.resolve().is_relative_to(lab)
                return (f"lab:{path.relative_to(lab)}", None) if is_shipped else (path.name, study.home)
    hint = "Write it there as a .yaml file"
    raise ConfigError("holds no file with this study", where=str(study.home), hint=hint)


def _set_there(setting: str, workdir: Path | None) -> str:
    """Return a setting as a machine takes it, whose current folder is its copy of the study's.

    Raises:
        ConfigError: it is a path of this machine that is not in the study's folder.
    """
    key, _, text = setting.partition("=")
    value = parse_yaml(text, f"--set {key}")
    if not isinstance(value, str) or not value.startswith(HERE):
        return setting
    place = Path(value).expanduser().resolve()
    if workdir is None or not place.is_relative_to(workdir.resolve()):
        what = f"{value} is not in the study's folder, which is all that a cloud's machine gets"
        raise ConfigError(what, where=f"--set {key}", hint="Copy it there, or give a name on the hub or a URL")
    return f"{key}=./{place.relative_to(workdir.resolve())}"


def _plain(name: str) -> str:
    """Return a name that SkyPilot takes: lower case, a letter first, digits, and single hyphens between."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return plain if plain[:1].isalpha() else f"study-{plain}"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, which one can read."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
