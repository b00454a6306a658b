"""A card that was presented is taken where that was, until it starts there or its time is over (D07)."""

from collections.abc import Mapping

from csms.authorization import TAP_LASTS, Decision
from csms.batch import Batch
from csms.events import AuthorizationReply, AuthorizationStatus, IdTokenPresented
from csms.models import Tap
from csms.standing import Consulted, Standing, auth_method


class Taps:
    """The cards presented in one batch."""

    def __init__(self, batch: Batch, standing: Standing, consulted: Mapping[str, Consulted]) -> None:
        self._batch = batch
        self._standing = standing
        self._consulted = consulted

    def authorize(self, event: IdTokenPresented) -> AuthorizationReply:
        """C04, D06, D07. A card that charges at this very station is accepted: it wants to stop (T3)."""
        standing = self._standing
        request = standing.claimable(event.station_id, event.id_token, None)
        consulted = self._consulted.get(event.event_id, Consulted())
        decision = standing.decide(event, event.received_at, consulted, request)
        token = decision.token
        here = standing.charging_here(event)
        if here is not None:
            decision = Decision(status=AuthorizationStatus.ACCEPTED, reason="own_transaction_here", token=here)
        elif token is not None:
            decision = standing.unless_concurrent(decision, standing.active_on(token.id))
            if decision.accepted and not token.exempt and standing.tapped_elsewhere(token.id, event.station_id):
                decision = standing.unless_concurrent(decision, [{"tapped": "elsewhere"}])
        method = auth_method(decision, request)
        if decision.accepted and token is not None and here is None:
            self._hold(event, decision, method)
        standing.log_decision(event, "authorize", decision, method)
        return decision.reply(now=event.received_at)

    def _hold(self, event: IdTokenPresented, decision: Decision, method: str) -> None:
        """The card is taken until it starts or the time is over (D07)."""
        held = {
            "station_id": event.station_id,
            "authorization_reference": decision.authorization_reference,
            "auth_method": method,
            "tapped_at": event.received_at,
            "expires_at": event.received_at + TAP_LASTS,
        }
        token_id = decision.token.id
        if token_id in self._standing.taps:
            self._batch.update(Tap, "token_id", token_id, held)
        else:
            self._batch.claim(Tap, {"token_id": token_id, **held})
        self._standing.taps[token_id] = {"token_id": token_id, **held}
