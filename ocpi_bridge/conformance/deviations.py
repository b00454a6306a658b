"""Where py_ocpi differs from OCPI: what it does, how to see it, what we do instead, and what the specification says.

Each entry has a test of its name, and a probe of the unrepaired library that fails once the entry is no longer needed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """`repair` is the module of this package; `spec` the chapter, with our checklist's number."""

    name: str
    library: str
    repro: str
    repair: str
    spec: str


DEVIATIONS = (
    Deviation(
        name="next_link_cannot_be_followed",
        library="Link names enum members, a fixed https host, date_from=None, and dates that are not OCPI's",
        repro="GET locations/?limit=1 with two locations",
        repair="paging",
        spec="transport_and_format, Paginated Response (PG-07, PG-08)",
    ),
    Deviation(
        name="empty_link_on_the_last_page",
        library="Link: with nothing in it",
        repro="GET locations/ with one location",
        repair="paging",
        spec="transport_and_format, Paginated Response (PG-07)",
    ),
    Deviation(
        name="limit_without_cap",
        library="limit=100000 reaches crud, and X-Limit: 100000",
        repro="GET locations/?limit=100000",
        repair="paging",
        spec="transport_and_format, Paginated Response (PG-04, PG-06)",
    ),
    Deviation(
        name="nonsense_paging_accepted",
        library="limit=0, limit=-1 and offset=-5 are served; limit=0 links to itself for ever",
        repro="GET locations/?limit=0",
        repair="paging",
        spec="status_codes, 2001 (PG-17)",
    ),
    Deviation(
        name="date_without_zone_is_naive",
        library="crud gets a datetime without zone",
        repro="GET locations/?date_from=2026-01-01T00:00:00",
        repair="paging",
        spec="types, DateTime (TY-02)",
    ),
    Deviation(
        name="epoch_accepted_as_date",
        library="date_from=1735862400 is read as seconds since 1970",
        repro="GET locations/?date_from=1735862400",
        repair="paging",
        spec="types, DateTime (PG-17)",
    ),
    Deviation(
        name="sessions_without_date_from",
        library="lists all sessions although date_from is required",
        repro="GET sessions/",
        repair="modules",
        spec="mod_sessions, GET (SE-01)",
    ),
    Deviation(
        name="redirect_for_a_slash",
        library="307, on which clients drop the body or the Authorization header",
        repro="GET locations",
        repair="edge",
        spec="transport_and_format uses both forms (TR-31)",
    ),
    Deviation(
        name="encoded_slash_splits_an_id",
        library="an id with %2F is taken apart and not found",
        repro="GET locations/A%2FB",
        repair="edge",
        spec="types, CiString (TR-36)",
    ),
    Deviation(
        name="single_object_in_a_list",
        library="data: [{...}] where the cardinality is 1",
        repro="GET locations/LOC1",
        repair="routes",
        spec="transport_and_format, Response format (TR-15)",
    ),
    Deviation(
        name="written_token_echoed",
        library="PUT and PATCH answer with the token although no data is specified",
        repro="PUT tokens/NL/TNM/012345678",
        repair="treatments",
        spec="transport_and_format, Response format, NOTE (TR-16)",
    ),
    Deviation(
        name="unknown_token_is_403",
        library="HTTP 403 for a token nobody has",
        repro="GET locations/ with Token of an unknown value",
        repair="edge",
        spec="transport_and_format, Authorization header (TR-07)",
    ),
    Deviation(
        name="bad_base64_is_success",
        library="HTTP 200 with OCPI 3000 when the token is no Base64",
        repro="GET locations/ with Authorization: Token abcde",
        repair="authentication",
        spec="transport_and_format, Authorization header (TR-06, TR-07)",
    ),
    Deviation(
        name="any_scheme_accepted",
        library="the word before the token is not looked at",
        repro="GET locations/ with Authorization: Bearer",
        repair="authentication",
        spec="transport_and_format, Authorization header (TR-02)",
    ),
    Deviation(
        name="error_without_envelope",
        library='{"detail": ...} for 401, 403, 404 and 405',
        repro="GET locations/ without Authorization; GET locations/nowhere",
        repair="refusals",
        spec="transport_and_format, Response format (TR-13)",
    ),
    Deviation(
        name="invalid_object_is_422",
        library="HTTP 422 for JSON that was read but is no Token",
        repro="PUT tokens/NL/TNM/012345678 without issuer",
        repair="refusals",
        spec="status_codes (TR-19, TR-26)",
    ),
    Deviation(
        name="invalid_json_is_422",
        library="HTTP 422 for a body that is not JSON",
        repro="PUT tokens/NL/TNM/012345678 with {",
        repair="routes",
        spec="status_codes (TR-18)",
    ),
    Deviation(
        name="number_as_time_is_server_error",
        library="last_updated: 5 fails inside the library, OCPI 3000",
        repro="PUT tokens/NL/TNM/012345678 with last_updated 5",
        repair="library",
        spec="status_codes, 2001 (TR-26)",
    ),
    Deviation(
        name="message_ids_not_echoed",
        library="X-Request-ID, X-Correlation-ID and the routing headers are neither read nor set",
        repro="GET locations/ with X-Request-ID: 1",
        repair="routing",
        spec="transport_and_format, Unique message IDs, Message Routing (ID-01, ID-02, RT-01)",
    ),
    Deviation(
        name="body_read_before_authentication",
        library="50 MB of a stranger are read and parsed before the 401",
        repro="PUT tokens/NL/TNM/1 with a body and without Authorization",
        repair="edge, routes",
        spec="no section: denial of service",
    ),
    Deviation(
        name="documentation_open",
        library="/ocpi/docs and /ocpi/openapi.json for everybody",
        repro="GET /ocpi/openapi.json",
        repair="ocpi_app",
        spec="no section: exposure",
    ),
    Deviation(
        name="ids_lower_cased",
        library="every CiString loses its case, in requests and in answers",
        repro="PUT tokens/NL/TNM/AbC: crud gets abc",
        repair="library",
        spec="types, CiString (TY-04)",
    ),
    Deviation(
        name="nulls_everywhere",
        library="optional fields without value are sent as null",
        repro="GET tokens/NL/TNM/012345678",
        repair="envelope",
        spec="transport_and_format, GET and PUT (TY-10)",
    ),
    Deviation(
        name="money_as_binary_float",
        library="a Decimal becomes a float: 0.1 + 0.2 shows",
        repro="GET cdrs/ with a total of Decimal('1.10')",
        repair="envelope",
        spec="types, number (TY-08)",
    ),
    Deviation(
        name="offset_not_converted_to_utc",
        library="a time with +02:00 stays so, and one without zone stays without",
        repro="PUT tokens with last_updated 2026-01-01T02:00:00+02:00",
        repair="library",
        spec="types, DateTime (TY-01, TY-03)",
    ),
    Deviation(
        name="control_characters_accepted",
        library="line breaks and NUL pass in String and CiString",
        repro="PUT tokens with issuer 'a\\nb'",
        repair="library",
        spec="types, string, CiString (TY-05)",
    ),
    Deviation(
        name="created_token_is_200",
        library="201 is never used",
        repro="PUT of a new token",
        repair="routes",
        spec="status_codes (TR-21, TK-03)",
    ),
    Deviation(
        name="token_type_misnamed",
        library="the query parameter is token_type; type is ignored, whatever it says",
        repro="GET tokens/NL/TNM/1?type=BOGUS",
        repair="routes",
        spec="mod_tokens, Receiver Interface (TK-01)",
    ),
    Deviation(
        name="address_and_body_may_differ",
        library="a token with another uid than its address is stored",
        repro="PUT tokens/NL/TNM/other with uid 012345678",
        repair="tokens",
        spec="transport_and_format, Errors (TR-24, TK-05)",
    ),
    Deviation(
        name="foreign_party_in_the_address",
        library="any partner writes at any party's address",
        repro="PUT tokens/DE/XXX/1",
        repair="tokens",
        spec="transport_and_format, Client Owned Object Push (TR-23)",
    ),
    Deviation(
        name="patch_without_last_updated",
        library="accepted",
        repro='PATCH tokens/NL/TNM/1 {"valid": false}',
        repair="tokens",
        spec="mod_tokens, PATCH; status_codes, 2001 (TK-04)",
    ),
    Deviation(
        name="patch_cannot_clear",
        library="a null is ignored",
        repro='PATCH tokens/NL/TNM/1 {"group_id": null, ...}',
        repair="tokens",
        spec="transport_and_format, PATCH",
    ),
    Deviation(
        name="credentials_by_the_library",
        library="fetches any URL with the partner's token, unbounded, and answers 3000 whatever went wrong",
        repro="POST credentials with url http://127.0.0.1:1/",
        repair="credentials",
        spec="credentials, Registration (CR-03, CR-06, TR-35)",
    ),
    Deviation(
        name="credentials_not_checked",
        library="no roles, and a token with spaces, are accepted",
        repro="POST credentials with roles []",
        repair="credentials",
        spec="credentials, Credentials object (CR-30, CR-31)",
    ),
    Deviation(
        name="served_modules_not_listed",
        library="version details leave out commands and name credentials RECEIVER, at addresses of its own settings",
        repro="GET 2.2.1/details",
        repair="modules",
        spec="version_information_endpoint (VE-03, VE-04)",
    ),
    Deviation(
        name="command_result_by_the_library",
        library="polls crud every 2 s for minutes, then posts FAILED to any URL",
        repro="POST commands/STOP_SESSION that is accepted",
        repair="plugs",
        spec="mod_commands, CommandResult (CM-04, CM-06, TR-35)",
    ),
    Deviation(
        name="invalid_command_is_422",
        library="HTTP 422 with detail",
        repro="POST commands/STOP_SESSION without session_id",
        repair="commands",
        spec="status_codes (TR-19, TR-26)",
    ),
    Deviation(
        name="connector_without_evse",
        library="connector_id without evse_uid is forwarded",
        repro="POST commands/START_SESSION with connector_id only",
        repair="commands",
        spec="mod_commands, StartSession (CM-23)",
    ),
    Deviation(
        name="response_url_not_a_url",
        library="response_url 'not a url' is accepted",
        repro="POST commands/STOP_SESSION with it",
        repair="commands",
        spec="types, URL (CM-07)",
    ),
    Deviation(
        name="charging_preferences_echoed",
        library="answers with the preferences in a list, never with the enum",
        repro="PUT sessions/1/charging_preferences",
        repair="modules",
        spec="mod_sessions, ChargingPreferencesResponse (SE-30, SE-31)",
    ),
    Deviation(
        name="settings_from_any_environment",
        library="unprefixed variables and any .env steer it; ENVIRONMENT=staging stops the import",
        repro="ENVIRONMENT=staging python -c 'import py_ocpi'",
        repair="library",
        spec="no section",
    ),
    Deviation(
        name="token_uids_logged",
        library="whole uids at INFO on a stderr handler of its own",
        repro="GET tokens/NL/TNM/012345678",
        repair="library",
        spec="no section: personal data",
    ),
)
