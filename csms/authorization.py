"""May this card charge? One decision for an Authorize, a Start and a Stop, and a log row for each."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
from sqlalchemy import Row

from csms.events import AuthorizationReply, AuthorizationStatus
from csms.models import OWN

TAP_LASTS = timedelta(seconds=60)  # between Authorize and Start the card is taken (D07)
DECISION_LASTS = timedelta(minutes=15)  # an owner's answer may be used again at the same station (decision 3, CM-22)
OWNER_BUDGET_S = 5.0  # below the charger's own patience


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Is this card good, here, now? The place is None for a station that no site knows."""

    token_id: int
    owner_id: int
    uid: str
    type: str
    country_code: str
    party_id: str
    station_id: str
    location_id: str | None = None
    evse_uids: tuple[str, ...] = ()


class OwnerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`status` None: the owner gave no answer in time."""

    status: AuthorizationStatus | None
    authorization_reference: str | None = None
    message: str | None = None


class TokenOwner(Protocol):
    """Who issued the card. Never raises; silence is an answer without status."""

    async def ask(self, question: Question, *, timeout_s: float) -> OwnerAnswer: ...


class Stranger(msgspec.Struct, frozen=True, kw_only=True):
    """A card that nobody has told us of. The place is None for a station that no site knows."""

    uid: str
    station_id: str
    location_id: str | None = None
    evse_uids: tuple[str, ...] = ()


class TokenFinder(Protocol):
    """Those who may know a stranger. None: nobody lets it charge; else its card is kept by now, and this is its owner's word.
    Never raises."""

    async def find(self, stranger: Stranger, *, timeout_s: float) -> OwnerAnswer | None: ...


ASK_OWNER = frozenset({"ALLOWED_OFFLINE", "NEVER"})


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`reason` is for the log and the operator; `asked` whether the owner's word decided."""

    status: AuthorizationStatus
    reason: str
    token: Any = None  # the Token row, None when no card was found
    asked: bool = False
    authorization_reference: str | None = None
    message: str | None = None

    @property
    def accepted(self) -> bool:
        return self.status is AuthorizationStatus.ACCEPTED

    def reply(self, *, now: datetime) -> AuthorizationReply:
        """What the charger may know. It may keep an acceptance for as long as the card lasts (D08), and not at all when
        the owner must be asked each time."""
        token = self.token
        until = None
        if token is not None:
            until = now if token.whitelist in ASK_OWNER else token.expires_at
        return AuthorizationReply(
            status=self.status,
            expires_at=until,
            group_id=token.group_id if token is not None else None,
            message=self.message,
        )


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the cards with one uid is meant: `token` None when there is none, or several and no way to tell."""

    token: Any = None
    ambiguous: bool = False


def choose(candidates: Sequence[Row[Any]]) -> Choice:
    """The operator's own card, else the single one that may be good, else the only one there is (decision 1)."""
    own = [token for token in candidates if token.owner_id == OWN]
    if own:
        return Choice(token=own[0])
    usable = [token for token in candidates if token.valid or token.whitelist in ASK_OWNER]
    if len(usable) == 1:
        return Choice(token=usable[0])
    if len(usable) > 1:
        return Choice(ambiguous=True)
    return Choice(token=candidates[0]) if len(candidates) == 1 else Choice(ambiguous=bool(candidates))


def decide(choice: Choice, at: datetime, *, answer: OwnerAnswer | None = None) -> Decision:
    """Whether the card is good at `at`, were it nowhere else in use.

    `answer` is what the owner said, None when it was not asked. Cards whose owner must be asked (NEVER, ALLOWED_OFFLINE)
    and was not, are judged as if it had not answered (TK-30 to TK-34).
    """
    token = choice.token
    if token is None:
        reason = "several_owners" if choice.ambiguous else "unknown"
        return Decision(status=AuthorizationStatus.INVALID, reason=reason)
    if answer is not None and answer.status is not None and token.whitelist in ASK_OWNER:
        return Decision(
            status=answer.status,
            reason="owner",
            token=token,
            asked=True,
            authorization_reference=answer.authorization_reference,
            message=answer.message,
        )
    if token.whitelist == "NEVER":
        return Decision(status=AuthorizationStatus.INVALID, reason="owner_silent", token=token)
    if not token.valid:
        return Decision(status=AuthorizationStatus.BLOCKED, reason="blocked", token=token)
    if token.expires_at is not None and token.expires_at <= at:
        return Decision(status=AuthorizationStatus.EXPIRED, reason="expired", token=token)
    reason = "owner_silent_offline_allowed" if token.whitelist == "ALLOWED_OFFLINE" else "whitelist"
    return Decision(status=AuthorizationStatus.ACCEPTED, reason=reason, token=token)


def concurrent(decision: Decision, reason: str) -> Decision:
    """The card is good, but in use elsewhere (D06, D07)."""
    return Decision(status=AuthorizationStatus.CONCURRENT_TX, reason=reason, token=decision.token, asked=decision.asked)
