"""A soak tells how its service's memory moves, with the error of that, and what was lost."""

import json
import math
from pathlib import Path

import pytest

from tests.bench import soak


def test_a_slope_is_found_with_its_error() -> None:
    assert soak.slope([(x / 10, 5 + 3 * x / 10) for x in range(10)]) == (pytest.approx(3), pytest.approx(0, abs=1e-6))
    found, error = soak.slope([(0, 0), (1, 2), (2, 1), (3, 3)])
    assert (found, error) == (pytest.approx(0.8), pytest.approx(0.424, abs=0.001))
    assert soak.slope([(0, 1), (1, 2)]) == (0.0, math.inf)


def test_a_short_soak_loses_nothing_and_tells_its_slope(tmp_path: Path) -> None:  # A01
    file = tmp_path / "soak.json"
    short = ("--minutes", "0.1", "--stations", "20", "--heartbeat", "1", "--sample-interval", "0.5", "--charge", "2")
    assert soak.main([*short, "--limit", "1e9", "--json", str(file)]) == 0
    told = json.loads(file.read_text())
    assert told["losses"] == []
    assert told["calls"]["answered"] > 100
    assert told["error"] >= 0
    assert all(mb > 10 for mb in told["mb"])
