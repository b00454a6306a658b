"""Transactions: a start is stored once however often it is sent, an end closes whatever it can be matched with."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import bindparam, select

from csms.alerts import Alarm
from csms.authorization import Decision
from csms.batch import Batch, fact_of
from csms.clock import Judged, end_not_before
from csms.database import Utc
from csms.ending import ended_by, is_of_card
from csms.events import (
    AuthorizationReply,
    AuthorizationStatus,
    EndReply,
    Event,
    MeterSample,
    StartReply,
    TransactionEnded,
    TransactionStarted,
)
from csms.journal import FactType
from csms.lifecycle import Flag, State, Trigger, cause_of, step
from csms.locations import max_power_w, snapshot
from csms.metering import (
    PowerReading,
    Reading,
    Reconciled,
    meter_readings,
    power_readings,
    reconcile,
    register_readings,
)
from csms.models import MeterSampleRow, RawEvent, RemoteRequest, Reservation, Tap, Transaction
from csms.reserved_sessions import OPEN as KEPT
from csms.reserved_sessions import kept_for, taken_over
from csms.sample_span import around, stretched
from csms.samples import SAMPLES, digest_of, points_of, raw_row, sample_row
from csms.standing import Consulted, Row_, Standing, auth_method, dedup_key, hexed, lost_start_key
from csms.tokens import normalize

LONGEST_ASSUMED = timedelta(days=7)  # how far back the samples of an end may date a start we never saw
FINDINGS_AT_MOST = 50  # of one transaction, whatever its charger goes on saying


class Transactions:
    """The starts and ends of one batch."""

    def __init__(
        self,
        batch: Batch,
        standing: Standing,
        consulted: Mapping[str, Consulted],
        ends: Sequence[TransactionEnded],
        our_party: tuple[str, str],
    ) -> None:
        self._batch = batch
        self._standing = standing
        self._consulted = consulted
        self._our_party = our_party
        self._matched = {event.event_id: ended_by(event, standing, batch.connection) for event in ends}
        self._samples = self._load_samples([t for t in self._matched.values() if t is not None])

    def _load_samples(self, transactions: Sequence[Row_]) -> dict[str, list[MeterSample]]:
        found: dict[str, list[MeterSample]] = {transaction["id"]: [] for transaction in transactions}
        if not found:
            return found
        span = around(transactions)
        wanted = {"ids": list(found), "since": span.since, "until": span.until}
        for transaction_id, samples in self._batch.connection.execute(_SAMPLED, wanted):
            found[transaction_id or ""].extend(SAMPLES.decode(samples))
        return found

    # ---- start ------------------------------------------------------------------------------------------------------

    def start(self, event: TransactionStarted) -> StartReply:
        """E02, E03, C05, D06. A repeat gets the first answer and changes nothing (T4)."""
        standing = self._standing
        repeated = standing.repeats(event.station_id, dedup_key(event))
        reused = bool(repeated) and self._is_new_session(event, repeated[0])
        if repeated and not reused:
            return first_answer(repeated[0], standing.card(repeated[0]["token_id"]))
        judged = standing.judge(event)
        consulted = self._consulted.get(event.event_id, Consulted())
        request = standing.claimable(event.station_id, event.id_token, event.evse)
        decision = standing.decide(event, judged.at, consulted, request)
        overtaken = [t for t in standing.running_at(event.station_id, event.evse) if t["started_at"] <= judged.at]
        if decision.token is not None:
            others = [t for t in standing.active_on(decision.token.id) if t not in overtaken]
            decision = standing.unless_concurrent(decision, others)
        for transaction in overtaken:
            self._overtake(transaction, event)
        flags = self._start_flags(event, judged, consulted, reused)
        epoch = repeated[0]["dedup_epoch"] + 1 if reused else 0
        transaction = self._begin(event, judged, decision, request, flags, epoch)
        reply = decision.reply(now=event.received_at)
        return StartReply(transaction_id=transaction["number"], authorization=reply)

    def _is_new_session(self, event: TransactionStarted, former: Row_) -> bool:
        """T4's tie-break: clock and register both begin again after a boot, and the former session delivered and ended.
        Without a readable time the key says too little to call what follows an end a repeat."""
        if former["state"] != State.ENDED:
            return False
        later_boot = self._standing.epoch(event.station_id) > former["boot_epoch"]
        return event.occurred_at is None or bool(later_boot and former["energy_mwh"] > 0)

    @staticmethod
    def _start_flags(event: TransactionStarted, judged: Judged, consulted: Consulted, reused: bool) -> set[Flag]:
        flags = {
            Flag.CLOCK_SKEWED: judged.skewed,
            Flag.UNCHECKED_TOKEN: consulted.unchecked,
            Flag.SCHEMA_VIOLATION: bool(event.violations),
            Flag.REPEATED_KEY: reused,
        }
        return {flag for flag, raised in flags.items() if raised}

    def _overtake(self, transaction: Row_, event: TransactionStarted) -> None:
        """Something starts where this one ran: its card is free, its end may still come."""
        if transaction["state"] == State.ORPHANED:
            return
        transaction["state"] = step(State(transaction["state"]), Trigger.NEW_START).value
        changes = {"state": transaction["state"], "last_updated": event.received_at}
        fact = fact_of(FactType.TRANSACTION_ORPHANED, transaction["id"], event)
        self._batch.update_first(Transaction, "id", transaction["id"], changes, fact)

    def _begin(
        self,
        event: TransactionStarted,
        judged: Judged,
        decision: Decision,
        request: Row_ | None,
        flags: set[Flag],
        dedup_epoch: int,
    ) -> Row_:
        batch, standing, token = self._batch, self._standing, decision.token
        place = standing.places.get((event.station_id, event.evse))
        tariff = standing.tariff_for(place, token, judged.at)
        state = step(None, Trigger.START_ACCEPTED if decision.accepted else Trigger.START_REFUSED)
        method = auth_method(decision, request)
        reservation = standing.reserved(event, token, judged.at) if decision.accepted else None
        reference = decision.authorization_reference or (reservation and reservation["authorization_reference"])
        owner_id = token.owner_id if token is not None else None
        transaction = {
            **self._row(event, place.location if place else None),
            **taken_over(reservation, token),
            "evse": event.evse,
            "connector": event.connector,
            "transaction_ref": event.transaction_ref,
            "state": state.value,
            "flags": sorted(flags if decision.accepted else flags | {Flag.REFUSED_START}),
            "token_id": token.id if token is not None else None,
            "owner_id": owner_id,
            "id_token": hexed(event.id_token),
            "id_token_key": normalize(event.id_token),
            "exempt": bool(token is not None and token.exempt),
            "authorization": decision.status.value,
            "auth_method": method,
            "authorization_reference": reference,
            "remote_request_id": request["id"] if request else None,
            "tariff_row": tariff.id if tariff is not None else None,
            "snapshot": snapshot(place, token, tariff) | kept_for(reservation, owner_id),
            "dedup_key": dedup_key(event),
            "dedup_epoch": dedup_epoch,
            "started_at": judged.at,
            "started_claimed_at": event.occurred_at,
            "started_received_at": event.received_at,
            "started_rule": judged.rule.value,
            "start_event_id": event.event_id,
            "meter_start_mwh": event.meter_start_mwh,
            "meter_last_mwh": event.meter_start_mwh,
            "energy_mwh": 0,
        }
        batch.claim(Transaction, transaction)
        standing.transactions.append(transaction | {"ended_at": None, "booted_inside": False, "repeated": False})
        self._keep_raw(event, transaction["id"])
        standing.log_decision(event, "start", decision, method)
        if token is not None and decision.accepted and token.id in standing.taps:
            batch.update(Tap, "token_id", token.id, {"expires_at": event.received_at})
        if request is not None:
            request["transaction_id"] = transaction["id"]
            claimed = {"transaction_id": transaction["id"], "state": "started" if decision.accepted else "rejected"}
            batch.update(RemoteRequest, "id", request["id"], claimed)
        fact = FactType.TRANSACTION_STARTED if decision.accepted else FactType.TRANSACTION_REFUSED
        batch.fact(fact, transaction["id"], event)
        if reservation is not None:
            self._use(reservation, transaction, event)
        if judged.skewed:
            batch.alarm(clock_alarm(event, judged))
        return transaction

    def _use(self, reservation: Row_, transaction: Row_, event: TransactionStarted) -> None:
        """What was kept for it is no longer kept; what was over is over since then."""
        number, transaction_id = reservation["number"], transaction["id"]
        changes = {"state": "used", "transaction_id": transaction_id}
        if reservation["state"] in KEPT:
            changes |= {"finished_at": event.received_at, "last_updated": event.received_at}
        reservation |= changes
        self._batch.update(Reservation, "number", number, changes)
        told = {"state": "used", "transaction_id": transaction_id}
        self._batch.fact(FactType.RESERVATION_CHANGED, str(number), event, **told)

    def _row(self, event: Event[Any], location: Any) -> Row_:
        country_code, party_id = (location.country_code, location.party_id) if location else self._our_party
        return {
            "id": str(uuid.uuid4()),
            "number": self._standing.next_number(),
            "country_code": country_code,
            "party_id": party_id,
            "station_id": event.station_id,
            "ocpp_version": event.ocpp_version,
            "boot_epoch": self._standing.epoch(event.station_id),
            "created_at": event.received_at,
            "last_updated": event.received_at,
        }

    # ---- end --------------------------------------------------------------------------------------------------------

    def end(self, event: TransactionEnded) -> EndReply:
        """E01, E06 to E09, C07. Never refused: what cannot be matched is kept as a transaction without a start (X04, X19),
        what does not add up is flagged."""
        transaction = self._matched[event.event_id]
        reply, stop_flags = self._stop_authorization(event, transaction)
        if transaction is None:
            self._end_unseen(event)
        elif transaction["state"] != State.ENDED:
            self._close(event, transaction, stop_flags)
        else:
            self._note_late_end(event, transaction)
        return EndReply(authorization=reply)

    def _note_late_end(self, event: TransactionEnded, transaction: Row_) -> None:
        """It was given up before, or ended by a word that was not its own: what is billed stands or is in review, the late
        word is evidence. A repeat says nothing new."""
        findings, said = transaction["findings"], (event.meter_stop_mwh, event.occurred_at)
        at = "-" if event.occurred_at is None else f"{event.occurred_at:%Y-%m-%dT%H:%M:%SZ}"
        word = f"late_end:{event.meter_stop_mwh}@{at}"
        ended = transaction["end_event_id"] is not None
        if ended and said == (transaction["meter_stop_mwh"], transaction["ended_claimed_at"]):
            return
        if word in findings or len(findings) >= FINDINGS_AT_MOST:
            return
        changes = {"findings": [*findings, word], "end_event_id": event.event_id}
        transaction |= changes
        self._batch.update(Transaction, "id", transaction["id"], changes)

    def _close(self, event: TransactionEnded, transaction: Row_, stop_flags: set[Flag]) -> None:
        refused = Flag.REFUSED_START in transaction["flags"]
        judged = end_not_before(transaction["started_at"], self._standing.judge(event))
        cause, cause_flags = cause_of(event.reason, refused)
        samples = [*self._samples.get(transaction["id"], ()), *event.samples]
        readings = meter_readings(samples, transaction["meter_start_mwh"])
        reconciled = self._reconcile(event, transaction, judged, readings, power_readings(samples))
        flags = set(transaction["flags"]) | cause_flags | stop_flags | end_flags(event, judged, reconciled)
        changes = {
            "state": step(State(transaction["state"]), Trigger.END).value,
            "cause": cause.value,
            "flags": sorted(flags),
            "findings": [*(transaction.get("findings") or ()), *reconciled.findings],
            "energy_mwh": reconciled.energy_mwh,
            **self._ending(event, judged),
        }
        transaction |= changes
        self._batch.update(Transaction, "id", transaction["id"], changes)
        self._keep_samples(event, transaction)
        self._keep_raw(event, transaction["id"])
        self._batch.fact(FactType.TRANSACTION_ENDED, transaction["id"], event)
        if judged.skewed:
            self._batch.alarm(clock_alarm(event, judged))

    @staticmethod
    def _ending(event: TransactionEnded, judged: Judged) -> Row_:
        return {
            "ended_at": judged.at,
            "ended_claimed_at": event.occurred_at,
            "ended_received_at": event.received_at,
            "ended_rule": judged.rule.value,
            "end_event_id": event.event_id,
            "stop_id_token": hexed(event.id_token) if event.id_token else None,
            "stop_reason_raw": event.reason_raw,
            "meter_stop_mwh": event.meter_stop_mwh,
            "power_w": None,
            "last_updated": event.received_at,
        }

    @staticmethod
    def _reconcile(
        event: TransactionEnded,
        transaction: Row_,
        judged: Judged,
        readings: Sequence[Reading],
        powers: Sequence[PowerReading],
    ) -> Reconciled:
        connector = (transaction["snapshot"] or {}).get("connector")
        return reconcile(
            meter_start_mwh=transaction["meter_start_mwh"],
            meter_stop_mwh=event.meter_stop_mwh,
            readings=readings,
            started_at=transaction["started_at"],
            ended_at=judged.at,
            interval_s=None,
            max_power_w=max_power_w(connector) if connector else None,
            booted_inside=transaction["booted_inside"],
            powers=powers,
        )

    def _end_unseen(self, event: TransactionEnded) -> None:
        """X19: the start is lost; what the end and its samples tell is kept, and somebody looks at it."""
        judged = self._standing.judge(event)
        readings = register_readings(event.samples)
        earliest = judged.at if judged.skewed else judged.at - LONGEST_ASSUMED
        read_at = [reading.at for reading in readings if reading.at is not None]
        first = min((at for at in read_at if earliest <= at <= judged.at), default=judged.at)
        refused = not self._standing.known(event.station_id)
        cause, cause_flags = cause_of(event.reason, refused)
        choice = self._standing.choose(event.id_token or "")
        token = choice.token
        transaction = {
            **self._row(event, None),
            "evse": 0,
            "connector": 0,
            "transaction_ref": event.transaction_ref,
            "state": State.ACTIVE.value,
            "token_id": token.id if token is not None else None,
            "owner_id": token.owner_id if token is not None else None,
            "id_token": hexed(event.id_token or ""),
            "id_token_key": normalize(event.id_token or ""),
            "authorization": AuthorizationStatus.INVALID.value,
            "auth_method": "WHITELIST",
            "snapshot": snapshot(None, token, None),
            "dedup_key": lost_start_key(event),
            "started_at": first,
            "started_received_at": event.received_at,
            "started_rule": judged.rule.value,
            "start_event_id": event.event_id,
            "meter_start_mwh": readings[0].energy_mwh if readings else None,
            "booted_inside": False,
        }
        reconciled = self._reconcile(event, transaction, judged, readings, power_readings(event.samples))
        transaction |= {
            **self._ending(event, judged),
            "state": step(None, Trigger.END_UNSEEN).value,
            "cause": cause.value,
            "flags": sorted({Flag.MISSING_START} | cause_flags | end_flags(event, judged, reconciled)),
            "findings": list(reconciled.findings),
            "energy_mwh": reconciled.energy_mwh,
        }
        self._batch.claim(Transaction, transaction)
        self._standing.transactions.append(transaction | {"dedup_epoch": 0, "repeated": False})
        self._keep_samples(event, transaction)
        self._keep_raw(event, transaction["id"])
        self._batch.fact(FactType.TRANSACTION_ENDED, transaction["id"], event)

    def _stop_authorization(
        self, event: TransactionEnded, transaction: Row_ | None
    ) -> tuple[AuthorizationReply | None, set[Flag]]:
        """C07: the same card, one of its group, or none at all may stop it; any other stops it too, and is flagged. Where
        the start was lost, any card we know may have been its own."""
        if event.id_token is None:
            return None, set()
        choice = self._standing.choose(event.id_token)
        if not self._standing.known(event.station_id):
            accepted = False  # a stranger learns nothing of our cards
        elif transaction is None or Flag.MISSING_START in transaction["flags"]:
            accepted = choice.token is not None
        else:
            accepted = is_of_card(event.id_token, transaction, self._standing)
        status = AuthorizationStatus.ACCEPTED if accepted else AuthorizationStatus.INVALID
        decision = Decision(status=status, reason="may_stop" if accepted else "foreign", token=choice.token)
        if transaction is None or transaction["end_event_id"] is None:  # a repeat is answered, and leaves no trace
            self._standing.log_decision(event, "stop", decision, None)
        flags = set() if accepted or transaction is None else {Flag.FOREIGN_STOP_TOKEN}
        return decision.reply(now=event.received_at), flags

    # ---- evidence ---------------------------------------------------------------------------------------------------

    def _keep_samples(self, event: TransactionEnded, transaction: Row_) -> None:
        if event.samples:
            encoded = msgspec.json.encode(event.samples).decode()
            digest = digest_of(event.station_id, event.transaction_ref, event.samples, encoded)
            row = sample_row(event, transaction["evse"], points_of(event.samples), encoded, digest)
            self._batch.insert(MeterSampleRow, row | {"transaction_id": transaction["id"], "late": False})
            if stretch := stretched(transaction, event.received_at):
                self._batch.update(Transaction, "id", transaction["id"], stretch)

    def _keep_raw(self, event: TransactionStarted | TransactionEnded, transaction_id: str) -> None:
        """T10: what broke the schema is kept as it came."""
        if event.violations:
            self._batch.insert(RawEvent, raw_row(event, transaction_id))


def end_flags(event: TransactionEnded, judged: Judged, reconciled: Reconciled) -> set[Flag]:
    flags = {
        Flag.CLOCK_SKEWED: judged.skewed,
        Flag.METER_MISMATCH: reconciled.mismatch,
        Flag.UNIT_SUSPECT: "unit_suspect" in reconciled.findings,
        Flag.SCHEMA_VIOLATION: bool(event.violations),
    }
    return {flag for flag, raised in flags.items() if raised}


def first_answer(transaction: Row_, card: Any) -> StartReply:
    """What the first of the repeated starts was told (E03)."""
    told = Decision(status=AuthorizationStatus(transaction["authorization"]), reason="repeated", token=card)
    reply = told.reply(now=transaction["started_received_at"])
    return StartReply(transaction_id=transaction["number"], authorization=reply)


def clock_alarm(event: Event[Any], judged: Judged) -> Alarm:
    """F06: one a charger a day."""
    detail = {"rule": judged.rule.value, "claimed": str(judged.claimed), "received": str(judged.received_at)}
    return Alarm(kind="clock_skew", subject=event.station_id, station_id=event.station_id, detail=detail)


_SAMPLED = (
    select(MeterSampleRow.transaction_id, MeterSampleRow.samples)
    .where(
        MeterSampleRow.transaction_id.in_(bindparam("ids", expanding=True)),
        MeterSampleRow.received_at.between(bindparam("since", type_=Utc), bindparam("until", type_=Utc)),
    )
    .order_by(MeterSampleRow.received_at)
)
