"""How much processor time the CSMS under load takes, asked of the system."""

import os
from collections.abc import Callable

CpuSeconds = Callable[[], float]  # of processor time that a process has taken so far


def of_process(pid: int) -> CpuSeconds:
    """All its threads; what it took at last when it is gone. Linux only."""
    spent_s = 0.0

    def read() -> float:
        nonlocal spent_s
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                of_user, of_system = stat.read().rpartition(b")")[2].split()[11:13]
        except OSError:
            return spent_s
        spent_s = (int(of_user) + int(of_system)) / os.sysconf("SC_CLK_TCK")
        return spent_s

    return read
