"""What is free goes back to the operating system, so that a process is as large as what it holds."""

import ctypes
import sys
from typing import Any

# mallopt of glibc; by default each thread gets an arena of its own, and none of them gives back what another could use.
# The threads here take turns anyway, since Python runs one at a time.
ARENA_MAX, ARENAS = -8, 1


def keep_little() -> None:
    """Before the first thread begins. Does nothing where the C library is not glibc."""
    glibc = _glibc()
    if glibc is not None:
        glibc.mallopt(ARENA_MAX, ARENAS)


def give_back() -> None:
    """What was needed for a while is not any more: after a start, or after many came at once. Some milliseconds."""
    glibc = _glibc()
    if glibc is not None:
        glibc.malloc_trim(0)


def _glibc() -> Any:
    if sys.platform != "linux":
        return None
    found = ctypes.CDLL(None)
    return found if hasattr(found, "malloc_trim") and hasattr(found, "mallopt") else None
