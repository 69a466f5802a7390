"""Set two reports side by side: which estimates moved, whether their intervals overlap, and which settings differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from midspec.core.artifact import Built, writable, write_text
from midspec.core.errors import plural
from midspec.core.records import Estimate
from midspec.core.yaml_files import parse_yaml
from midspec.report._data import ReportData
from midspec.report._format import csv_text, is_share, main_contrasts, signed, span, unit
from midspec.report._html import render

PAGE, ROWS = "against.html", "against.csv"
_ENDS = ("value", "low", "high", "n_scored", "n_seeds")
_MAX_LETTERS = 160
Found = Literal["apart", "moved", "alike", "not comparable", "only here", "only there"]
_ORDER: tuple[Found, ...] = ("apart", "moved", "not comparable", "only here", "only there", "alike")
_WORDS: Mapping[Found, str] = {
    "apart": "the intervals have no value in common",
    "moved": "the intervals overlap, and one leaves out the other’s value",
    "alike": "each interval holds the other’s value",
    "not comparable": "one has no value or no interval",
    "only here": "not in the other report",
    "only there": "not in this report",
}


class Pair(NamedTuple):
    """One estimate in two reports."""

    here: Estimate | None
    there: Estimate | None
    found: Found

    @classmethod
    def of(cls, here: Estimate | None, there: Estimate | None) -> Pair:
        """Compare two estimates by their intervals."""
        if here is None or there is None:
            return cls(here, there, "only there" if here is None else "only here")
        ends = (here.value, here.low, here.high, there.value, there.low, there.high)
        if any(end is None for end in ends):
            return cls(here, there, "not comparable")
        value, low, high, other, other_low, other_high = (float(end) for end in ends if end is not None)
        if low > other_high or other_low > high:
            return cls(here, there, "apart")
        return cls(here, there, "alike" if low <= other <= high and other_low <= value <= other_high else "moved")

    @property
    def one(self) -> Estimate:
        """Return the estimate that says what both are of."""
        one = self.here or self.there
        assert one is not None
        return one

    @property
    def change(self) -> float | None:
        """Return this report's value minus the other's."""
        if self.here is None or self.there is None or self.here.value is None or self.there.value is None:
            return None
        return self.here.value - self.there.value


class Difference(NamedTuple):
    """A setting that is not the same in both."""

    key: str
    here: str
    there: str


class Against(NamedTuple):
    """Two reports compared: estimates, settings, versions, and the content of what the studies only name."""

    pairs: tuple[Pair, ...]
    settings: tuple[Difference, ...]
    versions: tuple[Difference, ...]
    inputs: tuple[Difference, ...] = ()

    def counts(self, kind: str) -> dict[Found, int]:
        """Return how many estimates of a kind were found each way, the most different first."""
        own = [pair.found for pair in self.pairs if pair.one.kind == kind]
        return {found: n for found in _ORDER if (n := own.count(found))}

    def sentences(self, here: ReportData, names: tuple[str, str]) -> tuple[str, ...]:
        """Say what changed: the main contrast first, then how many contrasts and rates, then what was set otherwise."""
        sentences = []
        by_name = {pair.one.name: pair for pair in self.pairs if pair.one.kind == "contrast"}
        for contrast in main_contrasts(here)[:1]:
            pair = by_name.get(contrast.estimate.name)
            if pair is not None and pair.here is not None and pair.there is not None:
                values = " and ".join(
                    f"{signed(one.value, one.measure) if one.value is not None else 'no value'}"
                    f"{f' ({span(one)})' if span(one) else ''} in {name}"
                    for one, name in ((pair.here, names[0]), (pair.there, names[1]))
                )
                what = f"{pair.one.arm} minus {pair.one.minus}, in {unit(pair.one.measure)}, is {values}"
                sentences.append(f"{what}: {_WORDS[pair.found]}.")
        for kind, noun in (("contrast", "comparison"), ("rate", "rate")):
            counts = self.counts(kind)
            both = sum(counts.get(each, 0) for each in ("apart", "moved", "alike"))
            if both:
                far = counts.get("apart", 0), counts.get("moved", 0)
                sentences.append(
                    f"Of {plural(both, noun)} with an interval in both, {far[0]} have none of it in common, and in "
                    f"{far[1]} one leaves out the other’s value."
                )
        n = len(self.settings)
        sentences.append(
            f"{plural(n, 'setting')} {'differs' if n == 1 else 'differ'}." if n else "The study files say the same."
        )
        if self.inputs:
            n = len(self.inputs)
            what = f"{plural(n, 'input')} {'is' if n == 1 else 'are'} not the same in content"
            sentences.append(f"{what}: {', '.join(one.key for one in self.inputs)}.")
        return tuple(sentences)


def compare_reports(
    here: ReportData, there: ReportData, inputs: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
) -> Against:
    """Compare every rate and contrast by arm, set and measure, and the two study files key by key.

    Intervals are compared as they are: the page makes no test of the difference, since two runs may share seeds, items
    or bases, and then their estimates are not independent.

    Args:
        here: the report that is compared.
        there: the other.
        inputs: of each, by name, the hash of what comes from outside; what only one has is no difference.
    """
    mine, theirs = _estimates(here), _estimates(there)
    pairs = [Pair.of(mine.get(key), theirs.get(key)) for key in dict.fromkeys([*mine, *theirs])]
    # Contrasts first, then by how different they are; else in the order of the reports.
    pairs.sort(key=lambda pair: (pair.one.kind == "rate", _ORDER.index(pair.found)))
    settings = _differences(
        *(_flat(parse_yaml(data.config_yaml, "study") if data.config_yaml else {}) for data in (here, there))
    )
    about = ({**data.versions, "commit": data.commit or "unknown"} for data in (here, there))
    both = [{name: side[name] for name in inputs[0] if name in inputs[1]} for side in inputs]
    return Against(tuple(pairs), tuple(settings), tuple(_differences(*about)), tuple(_differences(*both)))


def write_against(
    here: ReportData,
    there: ReportData,
    folder: Path,
    *,
    names: tuple[str, str],
    inputs: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> Built:
    """Write `against.html` and `against.csv` into `folder`.

    Args:
        here: the report that is compared.
        there: the other.
        folder: where to write; made if it is not there.
        names: of the two, as the page calls them.
        inputs: of each, by name, the hash of what comes from outside.

    Raises:
        FolderError: the folder can't be written.
    """
    found = compare_reports(here, there, inputs)
    # Rates of the main measures, and what is apart; the file of rows has all.
    measures = {panel.measure for data in (here, there) for panel in data.panels}
    measures |= {column.measure for data in (here, there) for task in data.eval_tasks for column in task.columns}
    shown = [
        pair
        for pair in found.pairs
        if pair.one.kind == "contrast" or pair.one.measure in measures or pair.found == "apart"
    ]
    content: dict[str, Any] = {
        "title": f"{names[0]} against {names[1]}",
        "names": names,
        "studies": (here.title, there.title),
        "says": found.sentences(here, names),
        "tables": [
            ("Comparisons", [pair for pair in shown if pair.one.kind == "contrast"]),
            ("Rates", [pair for pair in shown if pair.one.kind == "rate"]),
        ],
        "words": _WORDS,
        "against": found,
        "sets": {one.name: one.title for data in (there, here) for one in data.sets},
        "level": here.level,
        "rows": ROWS,
    }
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / PAGE, render("against.html.j2", content, None))
        write_text(folder / ROWS, _csv(found))
    return Built(outputs=(PAGE, ROWS), summary={"says": list(content["says"])})


def _estimates(data: ReportData) -> dict[tuple[str, ...], Estimate]:
    rates = [*data.estimates, *(score for task in data.eval_tasks for score in task.scores)]
    found: dict[tuple[str, ...], Estimate] = {}
    for one in (*(each.estimate for each in data.contrasts), *rates):
        found.setdefault((one.kind, one.arm, one.minus or "", one.set, one.measure), one)
    return found


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Return nested settings as one level: `training.midtrain.learning_rate`; entries of lists by name or number."""
    if isinstance(value, Mapping):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        parts = [
            (str(part.get("name", i)) if isinstance(part, Mapping) else str(i), part) for i, part in enumerate(value)
        ]
    else:
        return {name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)}
    return {k: text for key, part in parts for k, text in _flat(part, f"{name}.{key}" if name else key).items()}


def _differences(here: Mapping[str, str], there: Mapping[str, str]) -> Iterator[Difference]:
    for key in dict.fromkeys([*here, *there]):
        mine, other = (" ".join(side.get(key, "not set").split()) for side in (here, there))
        if mine != other:
            yield Difference(
                key, *(text if len(text) <= _MAX_LETTERS else f"{text[:_MAX_LETTERS]}…" for text in (mine, other))
            )


def _csv(found: Against) -> str:
    about = ("kind", "arm", "minus", "set", "measure")
    ends = [(f"{end}_{side}", side, end) for side in ("here", "there") for end in _ENDS]
    rows = (
        {name: getattr(pair.one, name) for name in about}
        | {"unit": "share" if is_share(pair.one.measure) else unit(pair.one.measure)}
        | {"found": pair.found, "change": pair.change}
        | {name: getattr(getattr(pair, side), end, None) for name, side, end in ends}
        for pair in found.pairs
    )
    return csv_text([*about, "unit", "found", "change", *(name for name, _, _ in ends)], rows)
