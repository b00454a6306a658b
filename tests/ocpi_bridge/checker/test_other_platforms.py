"""eMSPs and platforms of OCPI 2.1.1 are read as what they are."""

import contextlib
import copy
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocpi_bridge.checker import Limits, Report, check
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.outbound import Guarded, OutboundPolicy
from tests.ocpi_bridge.checker.surface import LIMITS, ids, shown
from tests.ocpi_bridge.checker.v211 import Platform211
from tests.paths.partner import Emsp

TOKEN = "ours-at-the-partner"
US = ("BE", "BEC")


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    guarded = Guarded(OutboundPolicy(["127.0.0.0/8"]), timeout_s=5.0)
    yield guarded
    await guarded.aclose()


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator() as emsp:
        emsp.trust(TOKEN, US)
        for number in range(4):
            emsp.issue_token(f"CARD{number}", last_updated=f"2026-03-0{number + 1}T00:00:00Z")
        yield emsp


async def checked(guarded: Guarded, url: str, token: str = TOKEN, **options: Any) -> Report:
    return await check(guarded, url, token, **{"party": US, "limits": LIMITS, **options})


# ---- an eMSP ---------------------------------------------------------------------------------------------------------


async def test_an_emsp_that_keeps_the_rules_is_clean(guarded: Guarded, emsp: EmspSimulator) -> None:
    report = await checked(guarded, emsp.versions_url)
    assert report.clean, shown(report)
    assert ids(report) <= {"TR-31"}, shown(report)
    assert report.read == {"tokens": 4}
    assert {request.method for request in emsp.requests} == {"GET"}


FAULTS = [
    ("tokens", Fault.ERROR_500, "PG-15"),
    ("tokens", Fault.ERROR_3000, "PG-15"),
    ("tokens", Fault.GARBAGE, "TR-13"),
    ("tokens", Fault.REDIRECT, "PG-15"),
    ("tokens", Fault.DISCONNECT, "PG-15"),
    ("tokens", Fault.HUGE, "PG-15"),
    ("tokens", Fault.DRIP, "PG-15"),
    ("tokens", Fault.HANG, "PG-15"),
    ("tokens", Fault.ERROR_401, "TR-08"),
    ("credentials", Fault.ERROR_2001, "CR-11"),
    ("credentials", Fault.ERROR_404, "CR-11"),
    ("2.2.1", Fault.ERROR_500, "VE-02"),
    ("versions", Fault.ERROR_500, "VE-01"),
    ("locations", Fault.ERROR_500, "LO-02"),
    ("sessions", Fault.HANG, "TR-19"),
]


@pytest.mark.parametrize(("place", "fault", "due"), FAULTS)
async def test_a_fault_of_an_emsp_is_found_under_its_id(
    guarded: Guarded, emsp: EmspSimulator, place: str, fault: Fault, due: str
) -> None:  # XT-05
    emsp.fault(place, fault, times=None)
    limits = Limits(timeout_s=0.3, max_bytes=2**20)
    report = await checked(guarded, emsp.versions_url, limits=limits)
    assert due in ids(report), shown(report)


async def test_a_card_is_judged_and_not_shown_whole(guarded: Guarded, emsp: EmspSimulator) -> None:
    emsp.issue_token("04A1B2C3D4", whitelist="SOMETIMES")
    emsp.issue_token("04a1b2c3d4", type="OTHER", contract_id="x" * 37)
    report = await checked(guarded, emsp.versions_url)
    assert {"TY-17", "TY-06"} <= ids(report)
    assert "04A1B2C3D4" not in shown(report).upper()


async def test_py_ocpis_own_emsp_deviates_where_we_know_it_does(guarded: Guarded, tmp_path: Path) -> None:
    with _py_ocpi(tmp_path) as platform:
        partner = await platform.party("NL-EMA", kind="C")
        for uid in ("CARD1", "CARD2", "CARD3"):
            await partner.issue(uid)
        report = await checked(guarded, partner.versions_url, partner.token)
    assert report.version == "2.2.1"
    assert report.read == {"tokens": 3}
    found = {finding.id for finding in report.findings() if finding.level == "MUST"}
    # What ocpi_bridge/conformance repairs of py_ocpi for our own platform is seen from outside on one without that.
    assert {"TR-07", "ID-01", "ID-02", "TY-01"} & found, shown(report)
    assert not report.clean


@contextlib.contextmanager
def _py_ocpi(folder: Path) -> Iterator[Emsp]:
    platform = Emsp(folder)
    try:
        yield platform
    finally:
        platform.end()


# ---- OCPI 2.1.1 ------------------------------------------------------------------------------------------------------


async def test_a_cpo_of_2_1_1_that_keeps_the_rules_is_clean(guarded: Guarded) -> None:
    async with Platform211(TOKEN) as platform:
        report = await checked(guarded, platform.versions_url)
    assert ids(report) == set(), shown(report)
    assert report.version == "2.1.1"
    assert report.read == {"tariffs": 1, "locations": 1, "sessions": 1, "cdrs": 1}


async def test_an_emsp_of_2_1_1_that_keeps_the_rules_is_clean(guarded: Guarded) -> None:
    async with Platform211(TOKEN, emsp=True) as platform:
        report = await checked(guarded, platform.versions_url)
    assert ids(report) == set(), shown(report)
    assert report.read == {"tokens": 1}


async def test_a_token_that_2_1_1_wants_encoded_is_found(guarded: Guarded) -> None:  # TR-04
    async with Platform211(TOKEN, encoded=True) as platform:
        report = await checked(guarded, platform.versions_url)
    assert ids(report) == {"TR-04"}, shown(report)


SPOILT_211 = [
    ("V1-06", "locations", {"type": None}),
    ("V1-07", "locations.evses.connectors", {"voltage": None}),
    ("V1-09", "sessions", {"location": None}),
    ("V1-10", "cdrs", {"stop_date_time": None}),
    ("V1-11", "tariffs", {"currency": None}),
    ("TY-15", "locations.coordinates", {"latitude": "51.0475991"}),
    ("TY-17", "sessions", {"status": "RESERVATION"}),
    ("TY-16", "locations", {"country_code": "BE"}),
    ("CD-18", "cdrs", {"total_energy": 1}),
]


@pytest.mark.parametrize(("due", "where", "changes"), SPOILT_211)
async def test_what_is_spoilt_in_2_1_1_is_found_under_its_id(
    guarded: Guarded, due: str, where: str, changes: dict[str, Any]
) -> None:
    async with Platform211(TOKEN) as platform:
        module, *path = where.split(".")
        platform.objects = copy.deepcopy(platform.objects)
        entry: Any = platform.objects[module][0]
        for name in path:
            entry = entry[name][0] if isinstance(entry[name], list) else entry[name]
        for name, value in changes.items():
            entry.update({name: value}) if value is not None else entry.pop(name)
        report = await checked(guarded, platform.versions_url)
    assert ids(report) == {due}, shown(report)
