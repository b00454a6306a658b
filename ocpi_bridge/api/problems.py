"""Every no is a problem document (RFC 9457), whoever says it, and tells nothing that its reader may not know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from csms import (
    alerts,
    certificates,
    configuration,
    credits,
    diagnostics,
    firmware,
    firmware_campaigns,
    firmware_images,
    refunds,
    remote,
    reservations,
    resets,
    reviews,
    stations,
    tariff_changes,
    users,
)
from csms import station_security as security
from csms.billing.charge_records import NotBillable
from csms.local_list.lists import NoList
from csms.sealing import SealBroken
from csms.signed_urls import AddressTooLong
from csms.smart_charging.profiles import ProfileRefused

MEDIA_TYPE = "application/problem+json"


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """`code` is for programs and stays; `title` and `detail` are for people."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str = ""


@dataclass(kw_only=True, eq=False)  # not frozen: whoever passes an exception on writes its traceback into it
class Problem(Exception):
    status: int
    code: str
    detail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        details = ProblemDetails(
            title=HTTPStatus(self.status).phrase, status=self.status, code=self.code, detail=self.detail
        )
        return Response(msgspec.json.encode(details), self.status, headers=dict(self.headers), media_type=MEDIA_TYPE)


def not_found(what: str, name: object) -> Problem:
    return Problem(status=404, code=f"unknown_{what.replace(' ', '_')}", detail=f"there is no {what} {name}")


# What the core's own words mean here: status and code; the text is the exception's.
MEANING: dict[type[Exception], tuple[int, str]] = {
    stations.UnknownStation: (404, "unknown_station"),
    users.UnknownKey: (404, "unknown_key"),
    reservations.UnknownEvse: (404, "unknown_evse"),
    reservations.UnknownReservation: (404, "unknown_reservation"),
    reservations.ReservationOver: (409, "reservation_over"),
    reservations.NotReservable: (409, "not_reservable"),
    configuration.NotWritable: (409, "not_writable"),
    configuration.Unwise: (409, "unwise"),
    resets.Charging: (409, "charging"),
    ProfileRefused: (409, "profile_refused"),
    NoList: (404, "no_local_list"),
    firmware_images.UnknownImage: (404, "unknown_image"),
    firmware.UnknownUpdate: (404, "unknown_update"),
    firmware_images.ImageRefused: (409, "update_refused"),
    firmware.UpdateRefused: (409, "update_refused"),
    firmware_campaigns.UnknownCampaign: (404, "unknown_campaign"),
    firmware_campaigns.CampaignRefused: (409, "campaign_refused"),
    alerts.UnknownAlert: (404, "unknown_alert"),
    SealBroken: (409, "seal_broken"),
    remote.UnknownEvse: (404, "unknown_evse"),
    remote.UnknownCard: (404, "unknown_card"),
    diagnostics.UnknownUpload: (404, "unknown_upload"),
    AddressTooLong: (409, "address_too_long"),
    certificates.UnknownCertificate: (404, "unknown_certificate"),
    certificates.NoCertificate: (422, "no_certificate"),
    security.NotNow: (409, "not_now"),
    credits.UnknownRecord: (404, "unknown_charge_record"),
    reviews.UnknownReview: (404, "unknown_review"),
    reviews.AlreadyDecided: (409, "already_decided"),
    reviews.InvalidAdjustment: (409, "invalid_adjustment"),
    refunds.UnknownRefund: (404, "unknown_refund"),
    refunds.RefundDecided: (409, "already_decided"),
    NotBillable: (409, "not_billable"),
    credits.UnknownRecord: (404, "unknown_charge_record"),
    credits.NotCreditable: (409, "not_creditable"),
    credits.InvalidCorrection: (409, "invalid_correction"),
    tariff_changes.UnknownTariff: (404, "unknown_tariff"),
    tariff_changes.TariffInUse: (409, "tariff_in_use"),
}


def meant(error: Exception) -> Problem | None:
    """The problem that a word of the core's is; None for what is no word of its."""
    for kind, (status, code) in MEANING.items():
        if isinstance(error, kind):
            return Problem(status=status, code=code, detail=str(error))
    return None
