"""A program runs beside the test as it would in the field, and ends with the test however that ends."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
END_LIMIT_S = 30.0
PR_SET_PDEATHSIG = 1


def start(arguments: Sequence[str], *, folder: Path, log: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Python with `arguments` in `folder`, with no environment but `environ`: nobody's proxies, settings or .env."""
    with log.open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            preexec_fn=_leave_with_parent if sys.platform == "linux" else None,
        )


def end(process: subprocess.Popen[bytes], *, kindly: bool = True) -> int:
    """Its exit code. One that does not leave when asked is killed, and that is an error."""
    try:
        if kindly:
            process.terminate()
        else:
            process.kill()
        process.wait(END_LIMIT_S)
    finally:
        process.kill()
        process.communicate()
    return process.returncode


def free_ports(count: int) -> list[int]:
    """Below those that outgoing connections take, so that a process finds its own again after it was killed."""
    found: list[socket.socket] = []
    try:
        while len(found) < count:
            candidate = socket.socket()
            found.append(candidate)
            port = 15_000 + int.from_bytes(os.urandom(2)) % 15_000
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                found.pop().close()
        return [taken.getsockname()[1] for taken in found]
    finally:
        for taken in found:
            taken.close()


def _leave_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
