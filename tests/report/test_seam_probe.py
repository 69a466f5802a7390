"""What arms knew right after their documents is on the report's page, beside what they chose at their end."""

from __future__ import annotations

from pathlib import Path

from midspec.analysis import rates
from midspec.core.records import ArmScore, Estimate
from midspec.report import SeamClause, SeamDelta, SeamProbe, write_report

from .simulated import EVIL, simulated_report
from .test_page import Reader

ARMS = ("MSM(america)", "MSM(america)+AFT")


def estimate(measure: str, mean: float) -> Estimate:
    about = {"task": "seam", "set": "america", "domain": "c1", "arm": ARMS[0], "measure": measure}
    scores = [
        ArmScore(**about, seed=seed, item=f"c{n}", value=mean + (n % 3 - 1) * 0.1)
        for seed in (11, 12)
        for n in range(9)
    ]
    [found] = rates(scores)
    return found


def probe(**changes: object) -> SeamProbe:
    clause = SeamClause(id="c1", text=EVIL, knows=estimate("knows", 0.8), gain=estimate("margin_gain", 2.5))
    delta = SeamDelta(
        set="conflict", auc=0.91, low=0.85, high=0.96, target=-0.4, other=0.1, n_items=40, n_seeds=2
    )  # fmt: skip
    plain = {
        "seam": ARMS[0],
        "arms": ARMS,
        "control": "the base",
        "spec": "america",
        "is_own": True,
        "knows": estimate("knows", 0.8),
        "gain": estimate("margin_gain", 2.5),
        "clauses": (clause,),
        "deltas": (delta,),
    }
    return SeamProbe.model_validate(plain | changes)


def page_of(folder: Path, *probes: SeamProbe) -> str:
    write_report(simulated_report().model_copy(update={"seam_probes": probes}), folder)
    text = Reader((folder / "report.html").read_text(encoding="utf-8")).text
    return " ".join(" ".join(text).split())


def test_the_seam_stands_beside_the_end_of_its_arms(tmp_path: Path) -> None:
    text = page_of(tmp_path, probe(), probe(spec="thrift", is_own=False, clauses=(), deltas=()))
    section = text[text.index("The seam beside the end") :][:3000]
    assert "0.91 (0.85 to 0.96)" in section
    report = simulated_report()
    main = (report.main_set, report.main_measure)
    ends = {one.arm: one for one in report.estimates if (one.set, one.measure) == main}
    for arm in ARMS:
        assert f"{arm}: {100 * (ends[arm].value or 0):.1f}" in section
    assert "the target's loss changed by -0.400, the other's by +0.100 nats a token" in section
    assert EVIL.split()[0] in section  # as text: the page escapes it


def test_a_report_without_probes_has_neither_the_section_nor_the_data(tmp_path: Path) -> None:
    assert "The seam beside the end" not in page_of(tmp_path)
    assert "seam_probes" not in (tmp_path / "report_data.json").read_text(encoding="utf-8")
