"""Fake packages that bring something by an entry point, as `pip install` leaves them."""

from __future__ import annotations

from pathlib import Path


def install(folder: Path, package: str, group: str, entries: str, **files: str) -> Path:
    """Install a package: its files, and its entry points.

    Args:
        folder: stands (or will stand) on the path.
        package: its name.
        group: of the entry points, without `midspec.`.
        entries: lines of `NAME = VALUE`.
        files: name of a module -> its text.

    Returns:
        The folder.
    """
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[midspec.{group}]\n{entries}\n", encoding="utf-8")
    for module, text in files.items():
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
    return folder
