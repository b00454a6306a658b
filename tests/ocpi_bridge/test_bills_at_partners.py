"""What partners receive of bills that are held, taken back, corrected and paid back: each CDR once, in order, none changed."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection

from crud.caller import Caller
from crud.cdrs import CdrsCrud
from csms import credits, refunds, reviews
from csms.billing.charge_records import bill
from csms.database import Database
from csms.journal import FactType, Recorded, Subscriber, Wake
from csms.models import ChargeRecord, RefundEvaluation, Review
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.push import RULES
from tests.adapters import rows
from tests.crud.network import ALL, asked_by
from tests.ocpi_bridge.roaming_world import PARTY, SESSION, World, until, world_of

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
ANN, WHY = "cli:ann", "seen on the spot"
# 2 kWh at 0.25 and 10 % VAT, and 0.50 for the start at 20 %
COST = {"excl_vat": Decimal("1"), "incl_vat": Decimal("1.15")}


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        world.site()
        yield world


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY, strict=True) as emsp:
        yield emsp
        assert emsp.complaints == []


class Bills:
    """One session of the partner's card, and what people decide of its bill."""

    def __init__(self, world: World, emsp: EmspSimulator) -> None:
        self.world, self.emsp = world, emsp
        self.partner = world.trust(emsp)
        self.decided_at = world.clock()
        self._billing = Subscriber("billing", world.database, self._bill, wake=Wake())

    def _bill(self, connection: Connection, facts: Sequence[Recorded]) -> None:
        bill(connection, facts, now=self.world.clock())

    def billed(self) -> None:
        """As far as nothing holds the bill."""
        while self._billing.catch_up():
            pass
        self.world.heard()

    async def told(self) -> None:
        await self.world.all_told(pass_time=True)

    def charged(self, *, energy_mwh: int = 2_000_000, cause: str = "local", flags: tuple[str, ...] = ()) -> None:
        """Half an hour; told, and billed as far as nothing holds the bill."""
        self.world.session(self.partner, tariff=1, energy_mwh=0, meter_start_mwh=0, power_w=None)
        self.world.clock.advance(minutes=30)
        self.world.end(
            energy_mwh=energy_mwh,
            cause=cause,
            flags=list(flags),
            ended_received_at=self.world.clock(),
            ended_rule="charger",
        )
        self.billed()

    def decide(self, verb: Callable[..., Any], *words: Any, **more: Any) -> Any:
        self.decided_at = self.world.clock.advance(minutes=10)
        with self.world.database.write() as connection:
            made = verb(connection, *words, ANN, WHY, self.world.clock(), **more)
        self.world.heard()
        return made

    def row(self, model: Any, *which: Any) -> Any:
        with self.world.database.read() as connection:
            return connection.execute(model.__table__.select().where(*which)).one()

    @property
    def first(self) -> str:
        return str(self.row(ChargeRecord, ChargeRecord.corrects.is_(None), ChargeRecord.credit.is_(False)).id)

    def posted(self) -> list[str]:
        """The ids of the CDRs that were posted, as often as they were."""
        return [request.body["id"] for request in self.emsp.requests if request.method == "POST"]

    def held(self) -> list[str]:
        """Those that the partner holds, in the order in which they came."""
        return [cdr["id"] for cdr in self.emsp.cdrs]

    async def listed(self) -> list[Any]:
        """What its GET of our CDRs shows."""
        caller = Caller(
            partner_id=self.partner, name="emsp", token_state="C", our_party=("BE", "BEC"), roles=((*PARTY, "EMSP"),)
        )
        with asked_by(caller):
            return [each.dict() for each in (await CdrsCrud(self.world.database).list(ALL))[0]]


@pytest.fixture
async def bills(world: World, emsp: EmspSimulator) -> Bills:
    return Bills(world, emsp)


# ---- credits and corrections ----------------------------------------------------------------------------------------


async def test_a_partner_holds_the_bill_its_credit_and_the_corrected_one(
    bills: Bills,
) -> None:  # CD-06, CD-07, CD-08, K04
    bills.charged()
    async with bills.world.delivering():
        await bills.told()
        first = bills.first
        (original,) = [dict(cdr) for cdr in bills.emsp.cdrs]
        credit, corrected = bills.decide(credits.correct, first, energy_mwh=1_000_000)
        await bills.told()
    assert bills.posted() == bills.held() == [first, credit, corrected]
    kept, negative, new = bills.emsp.cdrs
    assert kept == original
    own = {"id", "credit", "credit_reference_id", "total_cost", "last_updated"}
    assert {k: v for k, v in negative.items() if k not in own} == {k: v for k, v in kept.items() if k not in own}
    assert (negative["credit"], negative["credit_reference_id"]) == (True, first)
    assert (kept["total_cost"], negative["total_cost"]) == (COST, {name: -value for name, value in COST.items()})
    assert not new.keys() & {"credit", "credit_reference_id"}
    assert (new["session_id"], new["total_energy"]) == (SESSION, 1)
    assert new["total_cost"] == {"excl_vat": Decimal("0.75"), "incl_vat": Decimal("0.875")}
    assert [cdr["id"] for cdr in await bills.listed()] == [first, credit, corrected]


@only_sqlite
async def test_nothing_is_doubled_or_out_of_order_when_answers_are_lost(bills: Bills) -> None:  # CD-32, PU-11
    bills.charged()
    bills.emsp.fault("cdrs", Fault.LOST_ANSWER, times=1)
    credit, corrected = bills.decide(credits.correct, bills.first, energy_mwh=1_000_000)
    again = bills.decide(credits.credit, corrected)
    async with bills.world.delivering():
        await until(lambda: len(bills.held()) == 1)
        bills.emsp.fault("cdrs", Fault.LOST_ANSWER, times=2)
        await bills.told()
    assert bills.held() == [bills.first, credit, corrected, again]
    assert sorted(set(bills.posted()), key=bills.held().index) == bills.held()
    assert len(bills.posted()) == 4 + 3
    assert sum(cdr["total_cost"]["incl_vat"] for cdr in bills.emsp.cdrs) == 0


@only_sqlite
async def test_a_credit_in_flight_at_a_crash_arrives_once(bills: Bills) -> None:  # CD-32
    bills.charged()
    async with bills.world.delivering():
        await bills.told()
        bills.emsp.fault("cdrs", Fault.HANG, times=1)
        credit = bills.decide(credits.credit, bills.first)
        await until(lambda: credit in bills.posted())  # and it dies there, with nothing recorded
    assert bills.held() == [bills.first]
    async with bills.world.delivering():
        bills.world.clock.advance(seconds=16)
        await bills.told()
    assert bills.held() == [bills.first, credit]
    assert bills.posted().count(credit) == 2


@only_sqlite
async def test_what_a_partner_refused_is_not_credited_to_it(bills: Bills) -> None:  # CD-33
    bills.charged()
    bills.emsp.fault("cdrs", Fault.ERROR_2001, times=1)
    async with bills.world.delivering():
        await until(lambda: (row := bills.world.delivery("cdrs", bills.first)) and row.stopped)
        credit, corrected = bills.decide(credits.correct, bills.first, energy_mwh=1_000_000)
        await bills.told()
    assert bills.held() == [corrected]
    assert bills.world.delivery("cdrs", credit).stopped == f"the CDR {bills.first}, which goes before it, was stopped"


@only_sqlite
async def test_a_bill_that_was_never_told_goes_before_its_credit(bills: Bills) -> None:  # CD-07
    world = bills.world
    world.keep(rows.transaction(SESSION, owner_id=bills.partner, tariff=1, state="ended", ended_at=world.clock()))
    old = rows.charge_record(SESSION, id="an-old-bill", owner_id=bills.partner, tariff=1)
    world.keep(old)  # of the time before the partner took CDRs
    credit = bills.decide(credits.credit, "an-old-bill")
    async with world.delivering():
        await world.all_told(pass_time=True)
    assert bills.posted() == ["an-old-bill", credit]


# ---- held bills -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def doubted(bills: Bills) -> AsyncIterator[Bills]:
    """The partner knows that the session is over, and not what it costs: COMPLETED is final (SE-11, SE-22)."""
    bills.charged(flags=("meter_mismatch",))
    async with bills.world.delivering():
        await bills.told()
        session = bills.emsp.sessions[SESSION]
        assert (session["status"], "total_cost" in session) == ("COMPLETED", False)
        assert bills.posted() == []
        yield bills
        await bills.told()
        assert bills.emsp.sessions[SESSION] == session
        assert len([request for request in bills.emsp.requests if "/sessions/" in request.path]) == 1


@only_sqlite
async def test_an_accepted_bill_reaches_its_partner(doubted: Bills) -> None:  # E07, E12
    made = doubted.decide(reviews.release, doubted.row(Review).id)
    await doubted.told()
    (cdr,) = doubted.emsp.cdrs
    assert (cdr["id"], cdr["total_cost"], cdr["total_energy"]) == (made, COST, 2)


@only_sqlite
async def test_an_adjusted_bill_reaches_its_partner_as_adjusted(doubted: Bills) -> None:  # E07, E12
    ended = rows.NOON + timedelta(minutes=15)
    made = doubted.decide(reviews.adjust, doubted.row(Review).id, energy_mwh=1_000_000, ended_at=ended)
    await doubted.told()
    (cdr,) = doubted.emsp.cdrs
    assert (cdr["id"], cdr["total_energy"], cdr["total_time"]) == (made, 1, Decimal("0.25"))
    assert (cdr["end_date_time"], cdr["total_cost"]["excl_vat"]) == ("2026-03-04T12:15:00Z", Decimal("0.75"))


@only_sqlite
async def test_of_a_bill_that_is_written_off_no_cdr_comes(doubted: Bills) -> None:  # E12, CD-30
    doubted.decide(reviews.write_off, doubted.row(Review).id)
    await doubted.told()
    assert (doubted.held(), await doubted.listed()) == ([], [])


@only_sqlite
async def test_of_unknown_times_there_is_no_cdr_until_a_person_says_them(bills: Bills) -> None:  # CD-30, X19
    bills.charged(flags=("missing_start",))
    async with bills.world.delivering():
        await bills.told()
        assert bills.posted() == []
        began = rows.NOON + timedelta(minutes=5)
        bills.decide(reviews.adjust, bills.row(Review).id, started_at=began)
        await bills.told()
    (cdr,) = bills.emsp.cdrs
    assert cdr["start_date_time"] == "2026-03-04T12:05:00Z"


# ---- refunds --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def failed(bills: Bills) -> AsyncIterator[Bills]:
    """The power went, the bill was issued all the same, and somebody may judge it."""
    bills.charged(cause="power_loss")
    async with bills.world.delivering():
        await bills.told()
        assert bills.held() == [bills.first]
        assert bills.row(RefundEvaluation).state == "open"
        yield bills
        refund = bills.row(RefundEvaluation)
        assert (refund.decided_by, refund.decision, refund.closed_at) == (ANN, WHY, bills.decided_at)


@only_sqlite
async def test_a_refund_in_full_is_a_credit_at_the_partner(failed: Bills) -> None:  # E05
    credit, other = failed.decide(credits.pay_back, failed.row(RefundEvaluation).id)
    await failed.told()
    assert (failed.held(), other) == ([failed.first, credit], None)
    assert sum(cdr["total_cost"]["incl_vat"] for cdr in failed.emsp.cdrs) == 0


@only_sqlite
async def test_a_refund_in_part_is_a_credit_and_a_lower_bill_at_the_partner(failed: Bills) -> None:  # E05, CD-22, CD-29
    made = failed.decide(credits.pay_back, failed.row(RefundEvaluation).id, amount=Decimal("0.23"))
    await failed.told()
    assert failed.held() == [failed.first, *made]
    lower = failed.emsp.cdrs[-1]
    assert lower["total_cost"] == {"excl_vat": Decimal("0.8"), "incl_vat": Decimal("0.92")}
    assert lower["remark"] == "0.23 EUR incl. VAT was paid back"
    parts = [lower[name]["incl_vat"] for name in ("total_fixed_cost", "total_energy_cost")]
    assert sum(parts) == COST["incl_vat"]  # parts need not add up to a bounded total


@only_sqlite
async def test_a_refund_that_is_declined_changes_nothing_at_the_partner(failed: Bills) -> None:  # E05
    failed.decide(refunds.decline, failed.row(RefundEvaluation).id)
    await failed.told()
    assert failed.held() == [failed.first]
    assert failed.row(RefundEvaluation).state == "declined"


# ---- what else becomes a CDR ----------------------------------------------------------------------------------------


@only_sqlite
async def test_a_session_without_energy_has_a_cdr(bills: Bills) -> None:  # CD-27
    bills.charged(energy_mwh=0)
    async with bills.world.delivering():
        await bills.told()
    (cdr,) = bills.emsp.cdrs
    assert (cdr["total_energy"], cdr["total_cost"]["excl_vat"]) == (0, Decimal("0.5"))


@only_sqlite
async def test_a_session_at_a_site_that_is_not_published_has_a_cdr(bills: Bills) -> None:  # CD-31
    snapshot = {**rows.SNAPSHOT, "location": {**rows.SNAPSHOT["location"], "location_id": "HOME-1"}}
    bills.world.keep(rows.location(id=2, location_id="HOME-1", location_key="home-1", publish=False))
    bills.world.session(bills.partner, "at-home", tariff=1, snapshot=snapshot)
    bills.world.end("at-home", cause="local", ended_received_at=bills.world.clock.advance(hours=1))
    assert bills.world.delivery("sessions", "at-home") is not None
    bills.billed()
    async with bills.world.delivering():
        await bills.told()
    (cdr,) = bills.emsp.cdrs
    assert (cdr["session_id"], cdr["cdr_location"]["id"]) == ("at-home", "HOME-1")


def test_a_credit_is_told_to_who_pays_the_bill() -> None:  # CD-05
    assert RULES[FactType.CHARGE_RECORD_CREDITED] == RULES[FactType.CHARGE_RECORD_ISSUED]
