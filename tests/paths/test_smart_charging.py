"""An eMSP reserves, starts, steers and stops a charge: every word of its reaches the charger, and every answer comes back."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from ocpp.routing import on

from ocpi_bridge.emsp_simulator import EmspSimulator
from ocpi_bridge.emsp_simulator.cpo import Command
from tests.paths.charger import SmartCharger, charging_point, wire_time
from tests.paths.records import records_of
from tests.paths.service import PASSWORD, Service

PATIENCE_S = 30.0
OFFERED = ("REMOTE_START_STOP_CAPABLE", "UNLOCK_CAPABLE", "RESERVABLE", "CHARGING_PROFILE_CAPABLE")
OFFERED += ("CHARGING_PREFERENCES_CAPABLE",)
GREEN = """tariffs:
  - id: green-ac
    currency: EUR
    type: PROFILE_GREEN
    elements: [{price_components: [{type: ENERGY, price: "0.25", vat: "10.0", step_size: 1}]}]
"""
PLACE = {"location_id": "LOC1", "evse_uid": "GENT-3-1"}


async def test_a_driver_is_kept_a_place_and_charges_as_the_partner_wishes(service: Service) -> None:  # K05
    async with EmspSimulator(party=("NL", "SMA"), strict=True) as emsp:
        await _offer_preferences(service)
        token_a, versions_url = await service.invite("Smart partner")
        await emsp.register(versions_url, token_a)
        card = emsp.issue_token("04B1C2D3E4F5A6")
        async with charging_point(service.ocpp_url, "GENT-3", PASSWORD, SmartCharger) as charger:
            await charger.boot()
            await charger.status("Available")
            await emsp.wait_for(lambda: _can(emsp, *OFFERED), PATIENCE_S)

            number = await _reserved(emsp, charger, card)
            session = await _started(emsp, charger, card, number)
            await _wished(emsp, charger, session)
            await _steered(emsp, charger, session)
            await _stopped(emsp, charger, session)
            await _given_up(emsp, charger, card)
    assert emsp.complaints == []


class SlowCharger(SmartCharger):
    """It never answers a remote start, and starts all the same."""

    @on("RemoteStartTransaction")
    async def remote_start(self, **fields: Any) -> Any:
        self.asked.put_nowait(("RemoteStartTransaction", fields))
        await asyncio.Event().wait()


async def test_what_a_partner_waits_for_outlives_the_service(service: Service) -> None:  # CM-06, CM-25
    async with EmspSimulator(party=("NL", "SLO"), strict=True) as emsp:
        token_a, versions_url = await service.invite("Slow partner")
        await emsp.register(versions_url, token_a)
        card = emsp.issue_token("04C1C2D3E4F5A6", type="APP_USER")
        async with charging_point(service.ocpp_url, "GENT-3", PASSWORD, SlowCharger) as charger:
            await charger.boot()
            await charger.status("Preparing")
            command = await emsp.start_session(card, **PLACE, authorization_reference="SLO-START")
            assert command.result == "ACCEPTED"
            asked = await charger.asked_for("RemoteStartTransaction")
            service.kill()

        with records_of(service.database_url) as records:
            records.lose_patience()
        await service.start()
        result = await emsp.wait_for(lambda: emsp.command_results.get(command.uid), PATIENCE_S)
        assert result["result"] == "TIMEOUT"

        async with charging_point(service.ocpp_url, "GENT-3", PASSWORD, SlowCharger) as charger:
            started = await charger.begin(asked["id_tag"], at=datetime.now(UTC))
            assert started.id_tag_info["status"] == "Accepted"
            await emsp.wait_for(lambda: _statuses(emsp) == ["ACTIVE"], PATIENCE_S)
    session = _session(emsp)
    assert (session["auth_method"], session["authorization_reference"]) == ("COMMAND", "SLO-START")
    assert emsp.complaints == []


async def _offer_preferences(service: Service) -> None:
    """The operator's file names them, and a tariff for one of the types."""
    text = service.network_file.read_text().replace("[standard-ac]", "[standard-ac, green-ac]")
    text = text.replace("uid: GENT-3-1\n", f"uid: GENT-3-1\n            capabilities: [{', '.join(OFFERED)}]\n")
    service.network_file.write_text(text.replace("tariffs:\n", GREEN, 1))
    await service.command("import", str(service.network_file))


async def _reserved(emsp: EmspSimulator, charger: SmartCharger, card: Any) -> int:
    """CM-40 to CM-43: its own name for it stays with us, and it is a Session already."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=30)
    wish = {**PLACE, "token": card, "expiry_date": wire_time(until), "reservation_id": "SMA-1"}
    await _done(emsp, await emsp.command("RESERVE_NOW", wish))
    asked = await charger.asked_for("ReserveNow")
    assert (asked["connector_id"], asked["id_tag"]) == (1, card["uid"])
    assert datetime.fromisoformat(asked["expiry_date"]) == until
    await charger.status("Reserved")
    await emsp.wait_for(lambda: _statuses(emsp) == ["RESERVATION"], PATIENCE_S)
    return int(asked["reservation_id"])


async def _started(emsp: EmspSimulator, charger: SmartCharger, card: Any, number: int) -> str:
    await _done(emsp, await emsp.start_session(card, **PLACE, authorization_reference="SMA-START"))
    asked = await charger.asked_for("RemoteStartTransaction")
    assert (asked["connector_id"], asked["id_tag"]) == (1, card["uid"])
    began = datetime.now(UTC) - timedelta(minutes=8)
    started = await charger.begin(asked["id_tag"], at=began, reservation=number)
    assert started.id_tag_info["status"] == "Accepted"
    await charger.status("Charging")
    charger.runs = started.transaction_id
    await emsp.wait_for(lambda: _statuses(emsp) == ["ACTIVE"], PATIENCE_S)  # SE-14: it is the same one
    session = _session(emsp)
    assert (session["auth_method"], session["authorization_reference"]) == ("COMMAND", "SMA-START")
    return str(session["id"])


async def _wished(emsp: EmspSimulator, charger: SmartCharger, session: str) -> None:
    """SE-30 to SE-33: evenly until the departure, and then as fast as it can."""
    assert (await emsp.set_preferences(session, {"profile_type": "FAST"})).data == "PROFILE_TYPE_NOT_SUPPORTED"
    leaves = wire_time(datetime.now(UTC) + timedelta(hours=4))
    green = {"profile_type": "GREEN", "departure_time": leaves, "energy_need": 40}
    assert (await emsp.set_preferences(session, green)).data == "ACCEPTED"
    asked = (await charger.asked_for("SetChargingProfile"))["cs_charging_profiles"]
    (only,) = asked["charging_schedule"]["charging_schedule_period"]
    assert (asked["charging_profile_purpose"], asked["charging_schedule"]["charging_rate_unit"]) == ("TxProfile", "W")
    assert 10_000 <= only["limit"] <= 10_100
    assert (await emsp.set_preferences(session, {"profile_type": "REGULAR"})).data == "ACCEPTED"
    assert (await charger.asked_for("ClearChargingProfile"))["id"] == asked["charging_profile_id"]
    assert session not in emsp.active_profiles  # it has set none itself yet


async def _steered(emsp: EmspSimulator, charger: SmartCharger, session: str) -> None:
    """CP-01 to CP-07, CP-11."""
    slower = {"charging_rate_unit": "A", "charging_profile_period": [{"start_period": 0, "limit": 8.1}]}
    assert await _profile(emsp, await emsp.set_profile(session, slower)) == {"result": "ACCEPTED"}
    asked = (await charger.asked_for("SetChargingProfile"))["cs_charging_profiles"]
    assert (asked["charging_profile_purpose"], asked["transaction_id"]) == ("TxProfile", charger.runs)
    (only,) = asked["charging_schedule"]["charging_schedule_period"]
    assert (only["start_period"], float(only["limit"])) == (0, 8.1)
    await emsp.wait_for(lambda: emsp.active_profiles.get(session), PATIENCE_S)
    assert _limits(emsp.active_profiles[session][-1]) == [8.1]

    told = await _profile(emsp, await emsp.active_profile(session, 900))
    assert (await charger.asked_for("GetCompositeSchedule"))["duration"] == 900
    assert (told["result"], _limits(told["profile"])) == ("ACCEPTED", [8.1])
    assert told["profile"]["charging_profile"]["duration"] == 900

    assert await _profile(emsp, await emsp.clear_profile(session)) == {"result": "ACCEPTED"}
    assert (await charger.asked_for("ClearChargingProfile"))["id"] == asked["charging_profile_id"]
    await emsp.wait_for(lambda: _limits(emsp.active_profiles[session][-1]) == [32], PATIENCE_S)
    assert charger.profiles == {}


async def _stopped(emsp: EmspSimulator, charger: SmartCharger, session: str) -> None:
    await _done(emsp, await emsp.stop_session(session))
    assert (await charger.asked_for("RemoteStopTransaction"))["transaction_id"] == charger.runs
    await charger.finish(charger.runs, 3000, at=datetime.now(UTC))
    await charger.status("Finishing")
    await _done(emsp, await emsp.unlock_connector(PLACE["location_id"], PLACE["evse_uid"], "1"))
    assert (await charger.asked_for("UnlockConnector"))["connector_id"] == 1
    await charger.status("Available")
    await emsp.wait_for(lambda: _statuses(emsp) == ["COMPLETED"] and emsp.cdrs, PATIENCE_S)
    assert emsp.cdrs[0]["session_id"] == session


async def _given_up(emsp: EmspSimulator, charger: SmartCharger, card: Any) -> None:
    """CM-46."""
    until = datetime.now(UTC) + timedelta(minutes=30)
    wish = {**PLACE, "token": card, "expiry_date": wire_time(until), "reservation_id": "SMA-2"}
    await _done(emsp, await emsp.command("RESERVE_NOW", wish))
    kept = await charger.asked_for("ReserveNow")
    await _done(emsp, await emsp.command("CANCEL_RESERVATION", {"reservation_id": "sma-2"}))
    assert (await charger.asked_for("CancelReservation"))["reservation_id"] == kept["reservation_id"]
    await emsp.wait_for(lambda: _statuses(emsp) == ["COMPLETED", "COMPLETED"], PATIENCE_S)
    refused = await emsp.command("CANCEL_RESERVATION", {"reservation_id": "SMA-2"})
    assert refused.result == "REJECTED"


async def _done(emsp: EmspSimulator, command: Command) -> None:
    """Accepted by us, and then by the charger."""
    assert command.result == "ACCEPTED", command.reply
    result = await emsp.wait_for(lambda: emsp.command_results.get(command.uid), PATIENCE_S)
    assert result["result"] == "ACCEPTED"


async def _profile(emsp: EmspSimulator, request: Command) -> Any:
    """What reached its response_url."""
    assert request.result == "ACCEPTED", request.reply
    return await emsp.wait_for(lambda: emsp.profile_results.get(request.uid), PATIENCE_S)


def _can(emsp: EmspSimulator, *capabilities: str) -> bool:
    known = emsp.locations.get("LOC1", {"evses": []})["evses"]
    return any(evse["uid"] == PLACE["evse_uid"] and set(capabilities) <= set(evse["capabilities"]) for evse in known)


def _session(emsp: EmspSimulator) -> dict[str, Any]:
    return next(iter(emsp.sessions.values()), {})


def _statuses(emsp: EmspSimulator) -> list[str]:
    return [session["status"] for session in emsp.sessions.values()]


def _limits(active: dict[str, Any]) -> list[float]:
    return [float(period["limit"]) for period in active["charging_profile"]["charging_profile_period"]]
