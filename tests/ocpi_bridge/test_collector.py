"""After a wave of chargers has come to rest, what they hold is set aside from the collector."""

import pytest

from ocpi_bridge.collector import Waves


@pytest.mark.parametrize(
    ("connected", "over"),
    [
        ([0, 50, 150, 150], [False] * 4),  # too few to be a wave
        ([1_000, 5_000, 10_000, 10_001, 10_001], [False, False, False, True, False]),
        ([300, 300, 310, 600, 610], [False, True, False, False, True]),  # the next wave
        ([1_000, 1_000, 0, 1_000, 1_000], [False, True, False, False, True]),  # all were cut, and came back
        ([1_000, 1_000, 700, 900, 905], [False, True, False, False, True]),
    ],
)
def test_a_wave_is_over_when_no_more_are_coming(connected: list[int], over: list[bool]) -> None:  # B01
    waves = Waves(iter(connected).__next__)
    assert [waves.over() for _ in connected] == over
