"""A benchmark of which one part breaks keeps the rows of the others, from the moment they were measured."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bench import __main__ as bench
from tests.bench import page, run
from tests.bench.table import Row, at_most


def test_a_part_that_breaks_is_a_row_and_costs_the_others_nothing(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "told.json"
    kept: list[list[str]] = []

    def good(_size: Any, _url: str | None, database: str) -> Sequence[Row]:
        if file.exists():
            kept.append([row["reached"] for row in json.loads(file.read_text())["rows"]])
        return [at_most("a time", 25, 50, "ms", database=database)]

    def bad(*_: Any) -> Sequence[Row]:
        raise ExceptionGroup("several", [ValueError("the first\nof many")])

    def no_service(*_: Any) -> Sequence[Row]:
        raise SystemExit("nothing listens on port 1")

    parts: run.Parts = {
        "good": (good, ("sqlite",)),
        "bad": (bad, ("",)),
        "down": (no_service, ("sqlite",)),
        "last": (good, ("sqlite",)),
    }
    assert bench.main(["--json", str(file)], parts) == 1
    told = json.loads(file.read_text())
    failures = ["failed: ValueError: the first", "failed: SystemExit: nothing listens on port 1"]
    assert [row["reached"] for row in told["rows"]] == ["25 ms", *failures, "25 ms"]
    assert [row["met"] for row in told["rows"]] == [True, False, False, True]
    assert [(part["name"], part["failed"]) for part in told["parts"]] == [
        ("good sqlite", False),
        ("bad", True),
        ("down sqlite", True),
        ("last sqlite", False),
    ]
    assert kept == [["25 ms", *failures]]  # before the last part began
    printed = capsys.readouterr().out
    assert "down sqlite: 1 rows in 0 s, FAILED" in printed
    assert "last sqlite: 1 rows in 0 s\n" in printed


def test_what_is_not_installed_is_no_failure(tmp_path: Path) -> None:
    def missing(*_: Any) -> Sequence[Row]:
        raise LookupError("no redis-server on PATH")

    file = tmp_path / "told.json"
    assert bench.main(["--json", str(file)], {"bus": (missing, ("",))}) == 0
    (row,) = json.loads(file.read_text())["rows"]
    assert (row["reached"], row["met"]) == ("not measured: no redis-server on PATH", None)


def test_only_what_is_asked_for_is_measured_and_the_page_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "performance.md")
    monkeypatch.setattr(page, "KEPT", tmp_path / "performance.json")
    page.PAGE.write_text(f"before\n{page.BEGINS}\n{page.ENDS}\nafter\n")

    def part(_size: Any, url: str | None, database: str) -> Sequence[Row]:
        assert url is None
        return [Row(what="something", reached="1", database=database)]

    parts: run.Parts = {"one": (part, ("sqlite", "postgresql")), "two": (part, ("sqlite",))}
    assert bench.main(["--page", "--one", "--database", "sqlite"], parts) == 0
    text = page.PAGE.read_text()
    assert "| something | sqlite |  | 1 |  | - |" in text
    assert '`make bench ARGS="--page --one --database sqlite"` on ' in text
    assert "It took 0 minutes: one sqlite 0 s." in text
    assert page.with_table(text, json.loads(page.KEPT.read_text())) == text
