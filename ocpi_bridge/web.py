"""What the HTTP address of the service answers: OCPI, the operator API, chargers' files, and how the service does."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route


def create_app(ocpi: FastAPI, routes: Sequence[BaseRoute]) -> FastAPI:
    app = FastAPI(title="roambridge", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.router.routes.extend(routes)
    app.mount("/ocpi", ocpi)
    app.router.routes.append(Route("/ocpi", ocpi))  # the mount alone would redirect its own bare address (TR-31)
    return app
