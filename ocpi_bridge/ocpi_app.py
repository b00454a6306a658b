"""The OCPI surface for partners: py_ocpi's routers, each route made conformant, on an application of ours."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from crud.caller import Caller, Party, PresentedToken, Refusal
from ocpi_bridge.conformance.allowance import Allowance
from ocpi_bridge.conformance.edge import Edge
from ocpi_bridge.conformance.modules import SERVED, endpoints_of, served_routes
from ocpi_bridge.conformance.plugs import Crud
from ocpi_bridge.conformance.refusals import refused
from ocpi_bridge.conformance.routes import register
from ocpi_bridge.conformance.treatments import CredentialsService, Surroundings

__all__ = [
    "Caller",
    "CredentialsService",
    "Crud",
    "PartnerDirectory",
    "PresentedToken",
    "Refusal",
    "create_ocpi_app",
]


class PartnerDirectory(Protocol):
    """Whose token is this? Compared in constant time or by digest, and a raw reading only with partners that may send one.
    `working`: it is used for more than versions and credentials."""

    async def caller(self, presented: tuple[PresentedToken, ...], working: bool, /) -> Caller | None: ...


def create_ocpi_app(
    *,
    crud: Crud,
    adapter: Any,
    partners: PartnerDirectory,
    credentials: CredentialsService,
    public_url: str,
    our_parties: Collection[Party],
    clock: Callable[[], datetime],
    page_limit: int = 100,
    requests_per_minute: int = 0,
) -> FastAPI:
    """To be mounted at /ocpi. `adapter` has `<object>_adapter(data, version)`, whose result is bytes of JSON, a dict, or an
    object with `.json_bytes` or `.dict()`; `clock` returns aware UTC; `our_parties` is read anew for each request;
    `requests_per_minute` is of one partner, 0 any number."""
    base_url = public_url.rstrip("/") + "/ocpi"
    given = Surroundings(
        crud=crud,
        adapter=adapter,
        credentials=credentials,
        clock=clock,
        base_url=base_url,
        page_limit=page_limit,
        versions=[{"version": version.value, "url": f"{base_url}/{version.value}"} for version in SERVED],
        endpoints={version: endpoints_of(version, base_url) for version in SERVED},
    )

    async def refuse(_: Request, error: Exception) -> Response:
        return refused(error, clock())

    app = FastAPI(
        docs_url=None,  # D22
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # TR-31
        exception_handlers={HTTPException: refuse, RequestValidationError: refuse},
    )
    app.add_middleware(
        Edge,
        caller=partners.caller,
        our_parties=our_parties,
        clock=clock,
        allowance=Allowance(requests_per_minute),
    )
    for served in served_routes():
        register(app, served, given)
    return app
