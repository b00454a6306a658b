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


def test_each_endpoint_of_the_served_modules_is_mounted_once_under_its_version() -> None:  # TR-34, VE-04, V1-16
    mounted = [(route.path, *sorted(route.methods)) for route in app().routes if isinstance(route, APIRoute)]
    assert len(set(mounted)) == len(mounted) == len(list(served_routes()))
    both = [path for version in ("2.2.1", "2.1.1") for path in in_version(f"/cpo/{version}")]
    assert sorted(mounted) == sorted(
        [
            ("/versions", "GET"),
            ("/2.2.1", "GET"),
            ("/2.1.1", "GET"),
            *both,
            ("/cpo/2.2.1/sessions/{session_id}/charging_preferences", "PUT"),
            *(("/cpo/2.2.1/chargingprofiles/{session_id}", method) for method in ("GET", "PUT", "DELETE")),
            *(("/cpo/2.2.1/hubclientinfo/{country_code}/{party_id}", method) for method in ("GET", "PUT")),
        ]
    )


def in_version(cpo: str) -> list[tuple[str, str]]:
    """What every version has (V1-16)."""
    return [
        *((f"{cpo}/credentials", method) for method in ("GET", "POST", "PUT", "DELETE")),
        (f"{cpo}/locations", "GET"),
        (f"{cpo}/locations/{{location_id}}", "GET"),
        (f"{cpo}/locations/{{location_id}}/{{evse_uid}}", "GET"),
        (f"{cpo}/locations/{{location_id}}/{{evse_uid}}/{{connector_id}}", "GET"),
        (f"{cpo}/sessions", "GET"),
        (f"{cpo}/cdrs", "GET"),
        (f"{cpo}/tariffs", "GET"),
        *((f"{cpo}/tokens/{{country_code}}/{{party_id}}/{{token_uid}}", method) for method in ("GET", "PUT", "PATCH")),
        (f"{cpo}/commands/{{command}}", "POST"),
    ]


def test_an_endpoint_nobody_decided_about_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    undecided = {module: served for module, served in CPO_2_2_1.items() if module.value != "cdrs"}
    undecided |= {module: modules.Served(role=served.role, endpoints={}) for module, served in CPO_2_2_1.items()}
    monkeypatch.setattr(modules, "SERVED", dict.fromkeys(modules.SERVED, undecided))
    with pytest.raises(KeyError):
        app()


def test_nothing_describes_the_surface_to_strangers() -> None:
    made = app()
    assert (made.docs_url, made.redoc_url, made.openapi_url, made.router.redirect_slashes) == (None, None, None, False)
