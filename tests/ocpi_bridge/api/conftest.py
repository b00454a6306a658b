from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from csms.database import Database
from tests.ocpi_bridge.api.rig import Rig, running


@pytest.fixture
async def rig(database: Database, tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(database, tmp_path) as rig:
        yield rig
