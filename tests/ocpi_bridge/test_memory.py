"""What a process held for a while, the operating system has again."""

import platform
import sys
from pathlib import Path

import pytest

from ocpi_bridge import memory

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@glibc_only
def test_what_was_needed_for_a_while_is_given_back() -> None:
    before = resident_mb()
    held = [bytes([number % 255]) * 20_000 for number in range(5_000)]
    last = held[-1]  # what lies behind keeps the C library from giving back what lies before
    assert resident_mb() - before > 80
    held.clear()
    memory.give_back()
    assert resident_mb() - before < 20
    assert len(last) == 20_000


def test_where_the_c_library_is_another_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    memory.keep_little()
    memory.give_back()
    assert memory._glibc() is None
