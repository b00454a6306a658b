"""Cards, cards that wait at a station, and every decision about one."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import OWN, Base, Rowid


class Token(Base):
    """A card, by owner. `uid` as its owner writes it, `uid_key` as it is compared (D01). `whitelist`: ALWAYS, ALLOWED,
    ALLOWED_OFFLINE, NEVER. `exempt`: may be active more than once (a fleet card)."""

    __tablename__ = "tokens"
    id: Mapped[Rowid]
    owner_id: Mapped[int] = mapped_column(default=OWN)
    country_code: Mapped[str]
    party_id: Mapped[str]
    uid: Mapped[str]
    uid_key: Mapped[str] = mapped_column(index=True)
    type: Mapped[str] = mapped_column(default="RFID")
    contract_id: Mapped[str]
    visual_number: Mapped[str | None]
    issuer: Mapped[str]
    group_id: Mapped[str | None]
    valid: Mapped[bool]
    whitelist: Mapped[str] = mapped_column(default="ALWAYS")
    expires_at: Mapped[datetime | None]
    exempt: Mapped[bool] = mapped_column(default=False)
    language: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)  # default_profile_type, energy_contract
    created_at: Mapped[datetime]
    last_updated: Mapped[datetime]  # the owner's own, not ours
    __table_args__ = (UniqueConstraint("owner_id", "country_code", "party_id", "uid_key", "type"),)


class TokenAlias(Base):
    """Another spelling of a card's number, declared by the operator and never guessed (D02)."""

    __tablename__ = "token_aliases"
    alias_key: Mapped[str] = mapped_column(primary_key=True)
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"), index=True)
    alias: Mapped[str]
    created_at: Mapped[datetime]


class Tap(Base):
    """A card was accepted at a station and has not started yet: it is taken until `expires_at` (D07)."""

    __tablename__ = "taps"
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"), primary_key=True)
    station_id: Mapped[str]
    authorization_reference: Mapped[str | None]
    auth_method: Mapped[str]
    tapped_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class AuthorizationDecision(Base):
    """One row for every Authorize, every Start and every question to a card's owner (D09). `id_token` is the raw text as
    hex of its UTF-8, so that no byte of it is lost or acts."""

    __tablename__ = "authorization_decisions"
    id: Mapped[Rowid]
    at: Mapped[datetime] = mapped_column(index=True)
    station_id: Mapped[str] = mapped_column(index=True)
    event_id: Mapped[str]
    kind: Mapped[str]  # authorize, start, stop, owner
    id_token: Mapped[str]
    id_token_key: Mapped[str] = mapped_column(index=True)
    token_id: Mapped[int | None]
    owner_id: Mapped[int | None]
    status: Mapped[str]
    reason: Mapped[str]
    auth_method: Mapped[str | None]
    authorization_reference: Mapped[str | None]
