"""What a process held for a while, the operating system has again."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ocpi_bridge import memory

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


# In a process of its own: what this one has free would be taken first.
NEEDED_FOR_A_WHILE = """
from pathlib import Path
from ocpi_bridge import memory

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

before = resident_mb()
held = [bytes([number % 255]) * 20_000 for number in range(5_000)]
last = held[-1]  # what lies behind keeps the C library from giving back what lies before
print(resident_mb() - before)
held.clear()
memory.give_back()
print(resident_mb() - before)
assert len(last) == 20_000
"""


@glibc_only
def test_what_was_needed_for_a_while_is_given_back() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", NEEDED_FOR_A_WHILE]
    told = subprocess.run(command, check=True, cwd=root, stdout=subprocess.PIPE, text=True, timeout=60).stdout
    needed_mb, kept_mb = (float(line) for line in told.split())
    assert needed_mb > 80
    assert kept_mb < 20


def test_where_the_c_library_is_another_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    memory.keep_little()
    memory.give_back()
    assert memory._glibc() is None
