"""A charger that was alone for hours tells everything later, and more than once."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from csms.models import ChargeRecord, Transaction
from tests.paths.charger import Charger, charging_point
from tests.paths.partner import Emsp
from tests.paths.records import records_of
from tests.paths.service import PASSWORD, Service

DRIVER = "04FFEEDDCCBBAA"


async def test_a_charge_made_offline_and_told_late_and_twice_is_billed_once_by_the_chargers_time(
    service: Service, emsp: Emsp
) -> None:
    partner = await emsp.party("NL-OFF", kind="C")
    await partner.register(*await service.invite("Offline partner"))
    await partner.push(await partner.issue(DRIVER, listed=False))
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=5)
    ended = began + timedelta(minutes=30)

    async def tell_all(charger: Charger) -> int:
        """The package gives each message a new id each time."""
        started = await charger.begin(DRIVER, at=began)
        assert started.id_tag_info["status"] == "Accepted"
        for minute in (10, 20, 29):
            at = began + timedelta(minutes=minute)
            await charger.meter(started.transaction_id, 1000 + 300 * minute, at=at)
        answer = await charger.finish(started.transaction_id, 10_000, at=ended, uid=DRIVER)
        assert answer.id_tag_info is None or answer.id_tag_info["status"] == "Accepted"
        return int(started.transaction_id)

    with records_of(service.database_url) as records:
        async with charging_point(service.ocpp_url, "GENT-3", PASSWORD) as charger:
            await charger.boot()
        await records.away_for("GENT-3", timedelta(hours=6))

        async with charging_point(service.ocpp_url, "GENT-3", PASSWORD) as charger:
            started = await charger.begin(DRIVER, at=began)  # the line breaks before the rest
        async with charging_point(service.ocpp_url, "GENT-3", PASSWORD) as charger:
            first = await tell_all(charger)
        async with charging_point(service.ocpp_url, "GENT-3", PASSWORD) as charger:
            second = await tell_all(charger)
        assert started.transaction_id == first == second  # E03

        session = await partner.session("COMPLETED")
        cdr = await partner.cdr()
        assert cdr["session_id"] == session["id"]
        assert len(records.rows(select(Transaction.id))) == len(records.rows(select(ChargeRecord.id))) == 1

    # E02: the charger's word is what is billed.
    assert (cdr["start_date_time"], cdr["end_date_time"]) == tuple(
        at.strftime("%Y-%m-%dT%H:%M:%SZ") for at in (began, ended)
    )
    assert (cdr["total_energy"], cdr["total_time"]) == (9, 0.5)
    assert await partner.list("cdrs") == [cdr]
    assert len(await partner.list("sessions")) == 1
    await partner.is_content()
