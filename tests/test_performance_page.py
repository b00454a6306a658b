"""docs/performance.md and docs/chaos.md show the last runs as they were, and a table says pass only where a target is met."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import kept, page, pricing, table
from tests.bench.table import Row, at_least, at_most
from tests.test_living_lists import ACCEPTANCE, read


def test_the_page_shows_the_run_that_is_kept() -> None:  # B01, B03
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.with_table(text, json.loads(page.KEPT.read_text(encoding="utf-8"))) == text


def test_the_pages_show_the_soaks_and_the_faults_that_are_kept() -> None:  # A01
    text = kept.SOAK_PAGE.read_text(encoding="utf-8")
    assert kept.with_soaks(text, kept.read(kept.SOAK_KEPT)) == text
    text = kept.CHAOS_PAGE.read_text(encoding="utf-8")
    assert kept.with_chaos(text, kept.read(kept.CHAOS_KEPT)) == text


FULL_SIZE = {  # by row of docs/acceptance.md: what the kept run must have before the row is called done
    "B01": ["memory of the process with 10,000 chargers"],
    "B02": [
        "one process, 100 chargers, 200 MeterValues/s, the API busy",
        "three roles, 100 chargers, 200 MeterValues/s",
    ],
    "B03": ["memory of an idle charger", "memory of the process with 10,000 chargers"],
    "P14": ["10,000 chargers, 1,000 MeterValues/s", "10,000 chargers cut at once"],
    "J07": ["two gateways and two workers: "],
}


def test_what_the_kept_run_should_show_is_in_it_before_it_is_called_done() -> None:  # A01, B01, B02, B03, P14, J07
    done = {line.id for line in read(ACCEPTANCE) if line.state == "done"}
    told = json.loads(page.KEPT.read_text(encoding="utf-8"))
    measured = [row["what"] for row in told["rows"] if not row["reached"].startswith(("failed: ", "not measured: "))]
    missing = {
        row: [what for what in wanted if not any(name.startswith(what) for name in measured)]
        for row, wanted in FULL_SIZE.items()
        if row in done
    }
    assert {row: names for row, names in missing.items() if names} == {}
    if "J07" in done:
        assert "--quick" not in told["command"]
    if "A01" in done:
        soaks = kept.read(kept.SOAK_KEPT).values()
        assert {told["stations"] for told in soaks if told["minutes"] >= 60 and not told["losses"]} >= {40, 200}


SOAKED: dict[str, Any] = {
    "minutes": 60.0,
    "stations": 200,
    "database": "sqlite",
    "mb_an_hour": 0.5,
    "error": 0.25,
    "mb": [140.0, 141.0],
    "calls": {"answered": 12_345},
    "p99_ms": 12.3456,
    "losses": [],
}


def test_the_last_soak_of_each_kind_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SOAK_PAGE", tmp_path / "performance.md")
    monkeypatch.setattr(kept, "SOAK_KEPT", tmp_path / "soak.json")
    kept.SOAK_PAGE.write_text(f"before\n{kept.SOAK_BEGINS}\n{kept.SOAK_ENDS}\nafter\n")
    few, lossy = SOAKED | {"stations": 40, "error": None, "p99_ms": None}, SOAKED | {"losses": ["1 lost", "2 lost"]}
    for told, words in ((lossy, ["--page"]), (few, ["--stations", "40"]), (SOAKED, ["--page"])):
        kept.keep_soak(kept.stamped(told, "soak", words, "a machine"))
    text = kept.SOAK_PAGE.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    first, second = [line for line in text.splitlines() if line.startswith(("| 40 |", "| 200 |"))]
    assert "| 140 to 141 MB, +0.50 MB an hour | 12,345 |  | 0 |" in first
    assert '`make soak ARGS="--stations 40"` on ' in first
    assert "| 60 | sqlite | 140 to 141 MB, +0.50 ± 0.25 MB an hour | 12,345 | 12.35 ms | 0 |" in second
    assert "lost" not in text.partition(kept.SOAK_BEGINS)[2].replace("| lost |", "")


def test_the_last_chaos_is_kept_with_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # B15
    monkeypatch.setattr(kept, "CHAOS_PAGE", tmp_path / "chaos.md")
    monkeypatch.setattr(kept, "CHAOS_KEPT", tmp_path / "chaos.json")
    kept.CHAOS_PAGE.write_text(f"{kept.CHAOS_BEGINS}\n{kept.CHAOS_ENDS}\n")
    told = {
        **{"minutes": 3.0, "stations": 30, "answered": 7_988, "cut": 12, "charges": 877, "bills": 876},
        **{
            "faults": [(1.0, "redis", 2.0), (9.0, "redis", 3.5), (20.0, "worker", 0.1)],
            "wrong": ["a charge without a bill"],
        },
    }
    kept.keep_chaos(kept.stamped(told, "chaos", ["--page"], "a machine"))
    text = kept.CHAOS_PAGE.read_text()
    assert '`make chaos ARGS="--page"` on ' in text
    assert "7,988 calls answered, 12 cut and sent again, 877 charges, 876 bills. Lost, doubled or different: 1." in text
    assert "- a charge without a bill" in text
    assert "| redis | 2 | 3.5 s |" in text
    assert kept.with_chaos(text, kept.read(kept.CHAOS_KEPT)) == text


@pytest.mark.parametrize(
    ("row", "ratio", "met"),
    [
        (at_least("rate", 6_000, 5_000, "/s"), 1.2, True),
        (at_least("rate", 4_000, 5_000, "/s"), 0.8, False),
        (at_most("time", 25, 50, "ms"), 2.0, True),
        (at_most("time", 100, 50, "ms"), 0.5, False),
        (at_most("time", 25, 50, "ms", also=False), 0.0, False),
        (at_most("nothing was measured", 0, 50, "ms"), 0.0, False),
        (Row(what="no target", reached="1"), None, None),
    ],
    ids=lambda value: value.what if isinstance(value, Row) else "",
)
def test_a_target_is_met_from_a_ratio_of_one_on(row: Row, ratio: float | None, met: bool | None) -> None:
    assert (row.ratio, row.met) == (ratio, met)
    told = table.as_json([row], "make bench", "a machine")
    assert told["rows"][0]["met"] is met
    assert f"| {table.WORDS[met]} |" in table.markdown(told)


def test_what_is_priced_for_the_benchmark_has_all_that_pricing_looks_at() -> None:
    assert pricing.sessions_per_second(count=1, rounds=1) > 0
