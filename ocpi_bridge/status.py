"""Whether this process lives, is ready, and how it does, for whoever watches over it."""

import asyncio
from collections.abc import Callable, Sequence

from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from csms.database import Database
from csms.metrics import Metrics

READY_WITHIN_S = 3.0


def health_routes(database: Database, missing: Callable[[], str | None]) -> Sequence[BaseRoute]:
    """`missing`: the part that is not there yet or any more; None when all of them are."""

    def reach_database() -> None:
        with database.read() as connection:
            connection.execute(text("SELECT 1"))

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_: Request) -> Response:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await asyncio.to_thread(reach_database)
        except Exception as error:
            return JSONResponse({"status": "database", "error": type(error).__name__}, status_code=503)
        part = missing()
        return JSONResponse({"status": part or "ready"}, status_code=200 if part is None else 503)

    return [Route("/health/live", live), Route("/health/ready", ready)]


def metrics_route(metrics: Metrics) -> BaseRoute:
    async def scrape(_: Request) -> Response:
        return Response(await asyncio.to_thread(metrics.text), media_type="text/plain; version=0.0.4")

    return Route("/metrics", scrape)


def status_app(health: Sequence[BaseRoute], metrics: Metrics) -> Starlette:
    """For a listener of its own."""
    return Starlette(routes=[*health, metrics_route(metrics)])
