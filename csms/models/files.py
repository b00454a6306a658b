"""Firmware that stations fetch, and files that they bring."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import Base, Big, Rowid


class FirmwareImage(Base):
    """A file under DATA_DIR/firmware. `certificate` and `signature` are the manufacturer's; with both it can be installed
    signed."""

    __tablename__ = "firmware_images"
    id: Mapped[Rowid]
    name: Mapped[str] = mapped_column(unique=True)
    vendor: Mapped[str]
    model: Mapped[str | None]
    version: Mapped[str]
    size: Mapped[Big]
    sha256: Mapped[str]
    certificate: Mapped[str | None]
    signature: Mapped[str | None]
    added_by: Mapped[str]
    created_at: Mapped[datetime]


class FirmwareCampaign(Base):
    """One image to all stations of a vendor and model: one station first, then waves of `wave_size` (R08). `state`: draft,
    canary, running, paused, done, cancelled. `counted_from`: failures before it were looked at by whoever resumed it."""

    __tablename__ = "firmware_campaigns"
    id: Mapped[Rowid]
    vendor: Mapped[str]
    model: Mapped[str | None]
    image: Mapped[int | None] = mapped_column("image_row", ForeignKey("firmware_images.id"))
    state: Mapped[str] = mapped_column(index=True)
    wave: Mapped[int] = mapped_column(default=0)
    wave_size: Mapped[int]
    failure_limit_percent: Mapped[int]
    detail: Mapped[str | None]  # why it paused
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    counted_from: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class FirmwareUpdate(Base):
    """One station's way to one image (R07); `id` is the request id on the wire. `state`: requested, sent, downloading,
    downloaded, installing, installed, failed, cancelled. `status` is the station's last word. `progress_at`: when it last came
    nearer; `stuck_at`: when an alert said that it does not any more."""

    __tablename__ = "firmware_updates"
    id: Mapped[Rowid]
    station_id: Mapped[str]
    image: Mapped[int] = mapped_column("image_row", ForeignKey("firmware_images.id"))
    signed: Mapped[bool]
    state: Mapped[str]
    status: Mapped[str | None]
    status_at: Mapped[datetime | None]
    detail: Mapped[str | None]  # why it failed
    evidence: Mapped[str | None]  # what showed that it is installed: "status" or "boot"
    version_before: Mapped[str | None]
    retrieve_at: Mapped[datetime]
    install_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]  # of the signed address
    progress_at: Mapped[datetime]
    installing_at: Mapped[datetime | None]
    stuck_at: Mapped[datetime | None]
    campaign: Mapped[int | None] = mapped_column("campaign_row", ForeignKey("firmware_campaigns.id"), index=True)
    wave: Mapped[int | None]
    requested_by: Mapped[str]
    remote_request_id: Mapped[str | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    __table_args__ = (Index(None, "station_id", "state"), Index(None, "state"), {"sqlite_autoincrement": True})


class Upload(Base):
    """A place for one file of one station (R09); `id` is the request id on the wire. `key_digest`: of the secret in its
    address. `state`: waiting, receiving, received, failed, expired. `filename` is the station's word, `path` ours, below
    DATA_DIR/uploads; None when there is no file, or not any more."""

    __tablename__ = "uploads"
    id: Mapped[Rowid]
    station_id: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]  # diagnostics, security
    key_digest: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str]
    status: Mapped[str | None]  # the station's last word
    status_at: Mapped[datetime | None]
    detail: Mapped[str | None]  # why it failed
    filename: Mapped[str | None]
    path: Mapped[str | None]
    size: Mapped[Big | None]
    content_type: Mapped[str | None]
    requested_by: Mapped[str]
    remote_request_id: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    received_at: Mapped[datetime | None]
    __table_args__ = (Index(None, "state", "expires_at"), {"sqlite_autoincrement": True})
