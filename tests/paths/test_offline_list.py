"""A charger without a line lets in whom its list knows, and tells us hours later."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from ocpp.routing import on
from ocpp.v16 import call_result
from sqlalchemy import select

from csms.models import ChargeRecord, Transaction
from tests.paths.charger import Charger, charging_point
from tests.paths.partner import Emsp
from tests.paths.records import records_of
from tests.paths.service import PASSWORD, Service

DRIVER, ASKED = "04D05D05D05D05", "04D05FFFFFFFFF"
STATION = "GENT-4"


class Memory:
    """What a charger keeps when its line breaks."""

    def __init__(self) -> None:
        self.settings = {
            "LocalAuthListEnabled": "false",
            "LocalAuthListMaxLength": "48",
            "SendLocalListMaxLength": "3",
            "SupportedFeatureProfiles": "Core,LocalAuthListManagement",
        }
        self.version = 0
        self.cards: dict[str, Any] = {}
        self.messages: list[tuple[str, int]] = []

    def lets_in(self, uid: str) -> bool:
        """As OCPP says: without a line, whoever is on the list and accepted there."""
        return self.cards.get(uid.casefold(), {}).get("status") == "Accepted"


class Listing(Charger):
    def __init__(self, station_id: str, socket: Any, memory: Memory) -> None:
        super().__init__(station_id, socket)
        self.memory = memory

    @on("GetConfiguration")
    async def get_configuration(self, key: list[str], **_fields: Any) -> Any:
        known = [
            {"key": name, "readonly": False, "value": self.memory.settings[name]}
            for name in key
            if name in self.memory.settings
        ]
        return call_result.GetConfiguration(configuration_key=known, unknown_key=[])

    @on("ChangeConfiguration")
    async def change_configuration(self, key: str, value: str, **_fields: Any) -> Any:
        self.memory.settings[key] = value
        return call_result.ChangeConfiguration(status="Accepted")

    @on("GetLocalListVersion")
    async def list_version(self, **_fields: Any) -> Any:
        enabled = self.memory.settings["LocalAuthListEnabled"] == "true"
        return call_result.GetLocalListVersion(list_version=self.memory.version if enabled else -1)

    @on("SendLocalList")
    async def send_local_list(
        self, list_version: int, update_type: str, local_authorization_list: Any = (), **_fields: Any
    ) -> Any:
        self.memory.messages.append((update_type, len(local_authorization_list)))
        if len(local_authorization_list) > 3:
            return call_result.SendLocalList(status="Failed")
        if update_type == "Full":
            self.memory.cards.clear()
        for entry in local_authorization_list:
            if entry.get("id_tag_info") is None:
                self.memory.cards.pop(entry["id_tag"].casefold(), None)
            else:
                self.memory.cards[entry["id_tag"].casefold()] = entry["id_tag_info"]
        self.memory.version = list_version
        return call_result.SendLocalList(status="Accepted")


def with_memory(memory: Memory) -> Callable[[str, Any], Listing]:
    return lambda station_id, socket: Listing(station_id, socket, memory)


async def test_a_charge_let_in_by_the_list_without_a_line_is_accepted_and_billed_by_its_own_time(
    service: Service, emsp: Emsp
) -> None:  # D05, D04, X06
    partner = await emsp.party("NL-LST", kind="C")
    await partner.register(*await service.invite("Listed partner"))
    await partner.push(await partner.issue(DRIVER, listed=False))
    await partner.push({**await partner.issue(ASKED, listed=False), "whitelist": "NEVER"})
    memory = Memory()
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=5)
    ended = began + timedelta(minutes=30)

    with records_of(service.database_url) as records:
        async with charging_point(service.ocpp_url, STATION, PASSWORD, kind=with_memory(memory)) as charger:
            await charger.boot()
            await service.command("locallist", "enable", STATION)
            assert "knows 7 cards (version 3)" in await service.command("locallist", "push", STATION)
            assert memory.messages == [("Full", 3), ("Differential", 3), ("Differential", 1)]
            await service.command("token", "block", "OWN-CARD-2")
            assert "knows 6 cards (version 4)" in await service.command("locallist", "push", STATION)
        await records.away_for(STATION, timedelta(hours=6))

        # Nobody to ask: the list decides.
        assert memory.lets_in(DRIVER)
        assert memory.lets_in("OWN-CARD-1")
        assert not any(memory.lets_in(uid) for uid in (ASKED, "OWN-CARD-2", "A STRANGER"))

        async with charging_point(service.ocpp_url, STATION, PASSWORD, kind=with_memory(memory)) as charger:
            started = await charger.begin(DRIVER, at=began)
            assert started.id_tag_info["status"] == "Accepted"
            await charger.meter(started.transaction_id, 5500, at=began + timedelta(minutes=15))
            await charger.finish(started.transaction_id, 10_000, at=ended, uid=DRIVER)

        session = await partner.session("COMPLETED")
        cdr = await partner.cdr()
        assert cdr["session_id"] == session["id"]
        assert len(records.rows(select(Transaction.id))) == len(records.rows(select(ChargeRecord.id))) == 1

    assert (cdr["start_date_time"], cdr["end_date_time"]) == tuple(
        at.strftime("%Y-%m-%dT%H:%M:%SZ") for at in (began, ended)
    )
    assert (cdr["total_energy"], cdr["total_time"]) == (9, 0.5)
    await partner.is_content()
