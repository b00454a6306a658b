"""One of our processes on a host whose clock a test sets: `python -m tests.paths.jumping FILE worker` is `roambridge worker`.

What it takes for now is off by the seconds that FILE says, from one moment to the next. All that a Python program asks for the
time is answered so; what is measured by the monotonic clock goes on as it did, as on a host whose clock was set.
"""

import ctypes
import datetime
import gc
import mmap
import runpy
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = struct.Struct("d")


def jump(clock: Path, seconds: float) -> None:
    """From now on the host is so much ahead of all others; makes the file."""
    if not clock.exists():
        clock.write_bytes(SECONDS.pack(0.0))
    with clock.open("r+b") as file:
        file.write(SECONDS.pack(seconds))


def follow(clock: Path) -> None:
    """This process lives by that clock until its end."""
    with clock.open("rb") as file:
        shared = mmap.mmap(file.fileno(), SECONDS.size, access=mmap.ACCESS_READ)

    def ahead_s() -> float:
        return float(SECONDS.unpack_from(shared)[0])

    own_time, own_time_ns, own_now = time.time, time.time_ns, datetime.datetime.now
    time.time = lambda: own_time() + ahead_s()
    time.time_ns = lambda: own_time_ns() + int(ahead_s() * 1e9)

    def now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return own_now(tz) + datetime.timedelta(seconds=ahead_s())

    def utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
        return now(cls, datetime.UTC).replace(tzinfo=None)

    _replace(datetime.datetime, now=now, utcnow=utcnow)


def _replace(type_: type, **methods: Callable[..., Any]) -> None:
    """In the type itself, which is C's: a subclass in its place would not be what the database and JSON return."""
    (names,) = gc.get_referents(type_.__dict__)
    for name, method in methods.items():
        names[name] = classmethod(method)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(type_))


if __name__ == "__main__":
    follow(Path(sys.argv[1]))
    del sys.argv[1]
    runpy.run_module("ocpi_bridge", run_name="__main__", alter_sys=True)
