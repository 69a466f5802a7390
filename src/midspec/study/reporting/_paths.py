"""The path of each arm over its stages: which points were evaluated, and after how many updates in all."""

from __future__ import annotations

from collections.abc import Iterator

from midspec.report import ArmPath, PathPoint
from midspec.study._chains import ArmPoint, arm_points, training_stages
from midspec.study._config import StudyConfig
from midspec.study._step import step_name
from midspec.study.reporting._results import RunResults


def arm_paths(config: StudyConfig, run: RunResults) -> tuple[ArmPath, ...]:
    """Return the path of each arm that is evaluated at more points than its end."""
    paths = []
    for name, arm in config.arms.items():
        points = arm_points(name, arm)
        if len(points) == 1:
            continue
        made = tuple(_updates(config, name, run))

        def updates_at(point: ArmPoint, made: tuple[int, ...] = made) -> int:
            if point.update is None:
                return sum(made[: point.stage + 1])
            return sum(made[: point.stage]) + point.update

        known = (PathPoint(name=each.name, title=each.title, updates=updates_at(each)) for each in points)
        paths.append(ArmPath(arm=name, points=tuple(known)))
    return tuple(paths)


def _updates(config: StudyConfig, name: str, run: RunResults) -> Iterator[int]:
    """Yield how many updates each stage of an arm made, in the first seed."""
    for each in training_stages(config.arms[name], config.recipes):
        step = run.steps[step_name(each.stage.kind, each.label, config.seeds[0])]
        made = step.record.summary.get("n_updates")
        yield made if isinstance(made, int) else 0
