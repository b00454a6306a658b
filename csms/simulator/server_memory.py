"""How much memory the CSMS under load takes, asked of the system or of its own metrics."""

import http.client
import os
import re
from collections.abc import Callable
from urllib.parse import urlsplit

ServerMemory = Callable[[], float]  # MB that it has in memory now; blocks

RESIDENT = re.compile(rb"^process_resident_memory_bytes (\S+)$", re.MULTILINE)
PATIENCE_S = 10.0


def of_process(pid: int) -> ServerMemory:
    """Linux only."""

    def read() -> float:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    return read


def of_metrics(url: str) -> ServerMemory:
    """`url`: of a /metrics page in Prometheus's format. What cannot be read is 0."""
    parts = urlsplit(url)

    def read() -> float:
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        line = connect(parts.hostname or "", parts.port, timeout=PATIENCE_S)
        try:
            line.request("GET", parts.path or "/metrics")
            found = RESIDENT.search(line.getresponse().read())
        except (OSError, http.client.HTTPException):
            return 0.0
        finally:
            line.close()
        return float(found[1]) / 2**20 if found else 0.0

    return read
