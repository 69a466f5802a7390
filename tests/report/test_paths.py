"""The path of arms over their stages: every evaluated point on the page, in the data and in a figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from midspec.report import ArmPath, PathPoint, ReportData, write_report

from .simulated import SETS, simulated_report
from .test_page import Reader

# The points of two arms, each with the arm whose simulated rates it has.
POINTS = {
    "MSM(america)+AFT": (("base", "base"), ("midtrain", "MSM(america)"), ("finetune", "MSM(america)+AFT")),
    "ablated(america)+AFT": (
        ("base", "base"),
        ("midtrain", "ablated(america)"),
        ("finetune", "ablated(america)+AFT"),
    ),
    "AFT": (("finetune:10", "base"), ("finetune", "AFT")),
}


def report_with_paths() -> ReportData:
    data = simulated_report()
    estimates = list(data.estimates)
    paths = []
    for arm, points in POINTS.items():
        last = points[-1][0]
        named = [(title, arm if title == last else f"{arm}@{title}") for title, _ in points]
        for (_, name), (_, of) in zip(named, points, strict=True):
            if name != arm:
                estimates += [one.model_copy(update={"arm": name}) for one in data.estimates if one.arm == of]
        made = [PathPoint(name=name, title=title, updates=50 * at) for at, (title, name) in enumerate(named)]
        paths.append(ArmPath(arm=arm, points=tuple(made)))
    return data.model_copy(update={"paths": tuple(paths), "estimates": tuple(estimates)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("paths")
    write_report(report_with_paths(), found)
    return found


def test_every_point_of_a_path_is_on_the_page_with_its_rate(folder: Path) -> None:
    page = Reader((folder / "report.html").read_text(encoding="utf-8"))
    text = " ".join(" ".join(page.text).split())
    section = text[text.index("The path over the stages") : text.index("Had each base learned its world?")]
    data = report_with_paths()
    rates = {(one.arm, one.set, one.measure): one.value for one in data.estimates}
    for path in data.paths:
        for point in path.points:
            assert point.title in section
            for name in SETS:
                value = rates[point.name, name, data.main_measure]
                assert value is not None
                assert f"{100 * value:.1f}" in section
    ids = [attrs["id"] for tag, attrs in page.tags if "id" in attrs and tag == "section"]
    assert ids.index("paths") == ids.index("rates") + 1


def test_points_are_rows_of_no_other_table_and_arms_stay_as_they_were(folder: Path) -> None:
    text = " ".join(Reader((folder / "report.html").read_text(encoding="utf-8")).text)
    assert "AFT@" not in text


def test_arms_with_points_of_the_same_names_share_a_figure(folder: Path) -> None:
    drawn = {path.stem for path in (folder / "figures").glob("path_*.png")}
    narrow = {f"path_{group}_{panel}" for group in (1, 2) for panel in range(1, len(SETS) + 1)}
    assert drawn == {"path_1", "path_2"} | narrow
    svg = (folder / "figures" / "path_1.svg").read_text(encoding="utf-8")
    assert all(word in svg for word in ("base", "midtrain", "finetune", "MSM(america)+AFT", "ablated(america)+AFT"))
    with Image.open(folder / "figures" / "path_1.png") as picture:
        width, height = picture.size
        assert width > 1500
        assert 0.2 < height / width < 1.2


def test_the_data_hold_the_paths_and_a_report_without_any_is_as_it_was(folder: Path) -> None:
    data = json.loads((folder / "report_data.json").read_text(encoding="utf-8"))
    assert [path["arm"] for path in data["paths"]] == list(POINTS)
    assert ReportData.model_validate(data).paths == report_with_paths().paths
    assert "paths" not in simulated_report().model_dump(mode="json")


def test_the_same_paths_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_report(report_with_paths(), tmp_path)
    for name in ("report_data.json", "figures/path_1.svg", "figures/path_1.png"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name
