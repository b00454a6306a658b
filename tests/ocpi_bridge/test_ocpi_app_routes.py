"""The OCPI application serves every endpoint of py_ocpi's routers that belongs to a module we list, and no other."""

from typing import Any

import pytest
from fastapi.routing import APIRoute

from ocpi_bridge.conformance import modules
from ocpi_bridge.conformance.modules import CPO_2_2_1, served_routes
from ocpi_bridge.ocpi_app import create_ocpi_app


def app() -> Any:
    given: dict[str, Any] = dict.fromkeys(("crud", "adapter", "credentials", "clock"))
    return create_ocpi_app(
        **given, partners=type("None_", (), {"caller": None})(), public_url="https://x", our_parties=()
    )


def test_each_endpoint_of_the_served_modules_is_mounted_once_under_its_version() -> None:  # TR-34, VE-04
    mounted = [(route.path, *sorted(route.methods)) for route in app().routes if isinstance(route, APIRoute)]
    assert len(set(mounted)) == len(mounted) == len(list(served_routes()))
    locations = "/cpo/2.2.1/locations"
    assert sorted(mounted) == sorted(
        [
            ("/versions", "GET"),
            ("/2.2.1", "GET"),
            *(("/cpo/2.2.1/credentials", method) for method in ("GET", "POST", "PUT", "DELETE")),
            (locations, "GET"),
            (locations + "/{location_id}", "GET"),
            (locations + "/{location_id}/{evse_uid}", "GET"),
            (locations + "/{location_id}/{evse_uid}/{connector_id}", "GET"),
            ("/cpo/2.2.1/sessions", "GET"),
            ("/cpo/2.2.1/sessions/{session_id}/charging_preferences", "PUT"),
            ("/cpo/2.2.1/cdrs", "GET"),
            ("/cpo/2.2.1/tariffs", "GET"),
            *(
                ("/cpo/2.2.1/tokens/{country_code}/{party_id}/{token_uid}", method)
                for method in ("GET", "PUT", "PATCH")
            ),
            ("/cpo/2.2.1/commands/{command}", "POST"),
        ]
    )


def test_an_endpoint_nobody_decided_about_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    undecided = {module: served for module, served in CPO_2_2_1.items() if module.value != "cdrs"}
    undecided |= {module: modules.Served(role=served.role, endpoints={}) for module, served in CPO_2_2_1.items()}
    monkeypatch.setattr(modules, "SERVED", dict.fromkeys(modules.SERVED, undecided))
    with pytest.raises(KeyError):
        app()


def test_nothing_describes_the_surface_to_strangers() -> None:
    made = app()
    assert (made.docs_url, made.redoc_url, made.openapi_url, made.router.redirect_slashes) == (None, None, None, False)
