"""`make demo ONCE=1` is the promise to whoever looks for the first time."""

import asyncio
import subprocess
from pathlib import Path

from tests.paths import processes

LIMIT_S = 60


async def test_the_demo_tells_its_story_and_ends_well(tmp_path: Path) -> None:
    log = tmp_path / "demo.log"
    demo = processes.start(["-m", "ocpi_bridge.demo", "--once"], folder=tmp_path, log=log, environ={"COLUMNS": "120"})
    try:
        told, _ = await asyncio.to_thread(demo.communicate, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        processes.end(demo, kindly=False)
        raise
    story = told.decode()
    assert demo.returncode == 0, story + log.read_text()
    for line in ("FLAT", "ENERGY", "total", "the CDR at the partner equals the one in our database"):
        assert line in story
