"""The programs of a path: the service, whole or in its roles, a partner's platform, and what lies between them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.paths.partner import Emsp
from tests.paths.roles import Deployment
from tests.paths.service import Service
from tests.redis_server import RedisServer


@pytest.fixture(scope="session")
def emsp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emsp]:
    """One platform for all tests; each opens parties of its own in it."""
    emsp = Emsp(tmp_path_factory.mktemp("emsp"))
    yield emsp
    emsp.end()


@pytest.fixture(scope="session")
def emsp_211(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emsp]:
    """Another, of OCPI 2.1.1."""
    emsp = Emsp(tmp_path_factory.mktemp("emsp-211"), "2.1.1")
    yield emsp
    emsp.end()


@pytest.fixture
async def service(tmp_path: Path, database_url: str) -> AsyncIterator[Service]:
    """Running, with a site; on each of the two databases."""
    async with _running(tmp_path, database_url) as service:
        yield service


@pytest.fixture
async def deployment(tmp_path: Path, postgres_url: str, redis_server: RedisServer) -> AsyncIterator[Deployment]:
    """Nothing of it runs yet."""
    deployment = Deployment(tmp_path, postgres_url, redis_server.url)
    try:
        yield deployment
    finally:
        code = deployment.stop()
        print(deployment.told())
    assert code == 0


@asynccontextmanager
async def _running(folder: Path, database_url: str) -> AsyncIterator[Service]:
    service = Service(folder, database_url)
    try:
        await service.start()
        await service.open_site()
        yield service
    finally:
        code = service.stop()
        print(service.told())  # shown when the test failed
    assert code == 0
