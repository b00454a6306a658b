"""OCPI 2.2.1's objects as a strict reader sees them: every field with its type, and how often it may stand there.

`name:type` is required; `?` optional, `*` a list that may be missing, `+` a list with at least one entry. `ci36` is a
CiString of at most 36 characters, `s45` a string of at most 45; other types are objects and enums of the tables below.
"""

OBJECTS: dict[str, str] = {
    "Location": """
        country_code:ci2 party_id:ci3 id:ci36 publish:bool publish_allowed_to:PublishTokenType* name:s255?
        address:s255 city:s45 postal_code:s10? state:s45? country:s3 coordinates:GeoLocation
        related_locations:AdditionalGeoLocation* parking_type:ParkingType? evses:EVSE* directions:DisplayText*
        operator:BusinessDetails? suboperator:BusinessDetails? owner:BusinessDetails? facilities:Facility*
        time_zone:s255 opening_times:Hours? charging_when_closed:bool? images:Image* energy_mix:EnergyMix?
        last_updated:time
    """,
    "EVSE": """
        uid:ci36 evse_id:ci48? status:Status status_schedule:StatusSchedule* capabilities:Capability*
        connectors:Connector+ floor_level:s4? coordinates:GeoLocation? physical_reference:s16?
        directions:DisplayText* parking_restrictions:ParkingRestriction* images:Image* last_updated:time
    """,
    "Connector": """
        id:ci36 standard:ConnectorType format:ConnectorFormat power_type:PowerType max_voltage:int
        max_amperage:int max_electric_power:int? tariff_ids:ci36* terms_and_conditions:url? last_updated:time
    """,
    "AdditionalGeoLocation": "latitude:s10 longitude:s11 name:DisplayText?",
    "BusinessDetails": "name:s100 website:url? logo:Image?",
    "EnergyMix": """
        is_green_energy:bool energy_sources:EnergySource* environ_impact:EnvironmentalImpact* supplier_name:s64?
        energy_product_name:s64?
    """,
    "EnergySource": "source:EnergySourceCategory percentage:number",
    "EnvironmentalImpact": "category:EnvironmentalImpactCategory amount:number",
    "ExceptionalPeriod": "period_begin:time period_end:time",
    "GeoLocation": "latitude:s10 longitude:s11",
    "Hours": """
        twentyfourseven:bool regular_hours:RegularHours* exceptional_openings:ExceptionalPeriod*
        exceptional_closings:ExceptionalPeriod*
    """,
    "Image": "url:url thumbnail:url? category:ImageCategory type:ci4 width:int? height:int?",
    "PublishTokenType": "uid:ci36? type:TokenType? visual_number:s64? issuer:s64? group_id:ci36?",
    "RegularHours": "weekday:int period_begin:s5 period_end:s5",
    "StatusSchedule": "period_begin:time period_end:time? status:Status",
    "Session": """
        country_code:ci2 party_id:ci3 id:ci36 start_date_time:time end_date_time:time? kwh:number
        cdr_token:CdrToken auth_method:AuthMethod authorization_reference:ci36? location_id:ci36 evse_uid:ci36
        connector_id:ci36 meter_id:s255? currency:s3 charging_periods:ChargingPeriod* total_cost:Price?
        status:SessionStatus last_updated:time
    """,
    "CdrToken": "country_code:ci2 party_id:ci3 uid:ci36 type:TokenType contract_id:ci36",
    "ChargingPeriod": "start_date_time:time dimensions:CdrDimension+ tariff_id:ci36?",
    "CdrDimension": "type:CdrDimensionType volume:number",
    "CDR": """
        country_code:ci2 party_id:ci3 id:ci39 start_date_time:time end_date_time:time session_id:ci36?
        cdr_token:CdrToken auth_method:AuthMethod authorization_reference:ci36? cdr_location:CdrLocation
        meter_id:s255? currency:s3 tariffs:Tariff* charging_periods:ChargingPeriod+ signed_data:SignedData?
        total_cost:Price total_fixed_cost:Price? total_energy:number total_energy_cost:Price? total_time:number
        total_time_cost:Price? total_parking_time:number? total_parking_cost:Price? total_reservation_cost:Price?
        remark:s255? invoice_reference_id:ci39? credit:bool? credit_reference_id:ci39?
        home_charging_compensation:bool? last_updated:time
    """,
    "CdrLocation": """
        id:ci36 name:s255? address:s45 city:s45 postal_code:s10? state:s20? country:s3 coordinates:GeoLocation
        evse_uid:ci36 evse_id:ci48 connector_id:ci36 connector_standard:ConnectorType
        connector_format:ConnectorFormat connector_power_type:PowerType
    """,
    "SignedData": """
        encoding_method:ci36 encoding_method_version:int? public_key:s512? signed_values:SignedValue+ url:s512?
    """,
    "SignedValue": "nature:ci32 plain_data:s5000 signed_data:s5000",
    "Tariff": """
        country_code:ci2 party_id:ci3 id:ci36 currency:s3 type:TariffType? tariff_alt_text:DisplayText*
        tariff_alt_url:url? min_price:Price? max_price:Price? elements:TariffElement+ start_date_time:time?
        end_date_time:time? energy_mix:EnergyMix? last_updated:time
    """,
    "TariffElement": "price_components:PriceComponent+ restrictions:TariffRestrictions?",
    "PriceComponent": "type:TariffDimensionType price:number vat:number? step_size:int",
    "TariffRestrictions": """
        start_time:s5? end_time:s5? start_date:s10? end_date:s10? min_kwh:number? max_kwh:number?
        min_current:number? max_current:number? min_power:number? max_power:number? min_duration:int?
        max_duration:int? day_of_week:DayOfWeek* reservation:ReservationRestrictionType?
    """,
    "Token": """
        country_code:ci2 party_id:ci3 uid:ci36 type:TokenType contract_id:ci36 visual_number:s64? issuer:s64
        group_id:ci36? valid:bool whitelist:WhitelistType language:s2? default_profile_type:ProfileType?
        energy_contract:EnergyContract? last_updated:time
    """,
    "EnergyContract": "supplier_name:s64 contract_id:s64?",
    "LocationReferences": "location_id:ci36 evse_uids:ci36*",
    "CommandResponse": "result:CommandResponseType timeout:int message:DisplayText*",
    "CommandResult": "result:CommandResultType message:DisplayText*",
    "ChargingProfileResponse": "result:ChargingProfileResponseType timeout:int",
    "ActiveChargingProfileResult": "result:ChargingProfileResultType profile:ActiveChargingProfile?",
    "ChargingProfileResult": "result:ChargingProfileResultType",
    "ClearProfileResult": "result:ChargingProfileResultType",
    "ActiveChargingProfile": "start_date_time:time charging_profile:ChargingProfile",
    "ChargingProfile": """
        start_date_time:time? duration:int? charging_rate_unit:ChargingRateUnit min_charging_rate:number?
        charging_profile_period:ChargingProfilePeriod*
    """,
    "ChargingProfilePeriod": "start_period:int limit:number",
    "Credentials": "token:s64 url:url roles:CredentialsRole+",
    "CredentialsRole": "role:Role business_details:BusinessDetails party_id:ci3 country_code:ci2",
    "DisplayText": "language:s2 text:s512",
    "Price": "excl_vat:number incl_vat:number?",
    "Version": "version:VersionNumber url:url",
    "Endpoint": "identifier:ModuleID role:InterfaceRole url:url",
}

ENUMS: dict[str, str] = {
    "AuthMethod": "AUTH_REQUEST COMMAND WHITELIST",
    "CdrDimensionType": """
        CURRENT ENERGY ENERGY_EXPORT ENERGY_IMPORT MAX_CURRENT MAX_POWER MIN_CURRENT MIN_POWER PARKING_TIME POWER
        RESERVATION_TIME STATE_OF_CHARGE TIME
    """,
    "CommandResponseType": "ACCEPTED NOT_SUPPORTED REJECTED UNKNOWN_SESSION",
    "CommandResultType": """
        ACCEPTED CANCELED_RESERVATION EVSE_INOPERATIVE EVSE_OCCUPIED FAILED NOT_SUPPORTED REJECTED TIMEOUT
        UNKNOWN_RESERVATION
    """,
    "Capability": """
        CHARGING_PREFERENCES_CAPABLE CHARGING_PROFILE_CAPABLE CHIP_CARD_SUPPORT CONTACTLESS_CARD_SUPPORT
        CREDIT_CARD_PAYABLE DEBIT_CARD_PAYABLE PED_TERMINAL REMOTE_START_STOP_CAPABLE RESERVABLE RFID_READER
        START_SESSION_CONNECTOR_REQUIRED TOKEN_GROUP_CAPABLE UNLOCK_CAPABLE
    """,
    "ChargingProfileResponseType": "ACCEPTED NOT_SUPPORTED REJECTED TOO_OFTEN UNKNOWN_SESSION",
    "ChargingProfileResultType": "ACCEPTED REJECTED UNKNOWN",
    "ChargingRateUnit": "A W",
    "ConnectorFormat": "CABLE SOCKET",
    "ConnectorType": """
        CHADEMO CHAOJI DOMESTIC_A DOMESTIC_B DOMESTIC_C DOMESTIC_D DOMESTIC_E DOMESTIC_F DOMESTIC_G DOMESTIC_H
        DOMESTIC_I DOMESTIC_J DOMESTIC_K DOMESTIC_L DOMESTIC_M DOMESTIC_N DOMESTIC_O GBT_AC GBT_DC
        IEC_60309_2_single_16 IEC_60309_2_three_16 IEC_60309_2_three_32 IEC_60309_2_three_64 IEC_62196_T1
        IEC_62196_T1_COMBO IEC_62196_T2 IEC_62196_T2_COMBO IEC_62196_T3A IEC_62196_T3C NEMA_10_30 NEMA_10_50
        NEMA_14_30 NEMA_14_50 NEMA_5_20 NEMA_6_30 NEMA_6_50 PANTOGRAPH_BOTTOM_UP PANTOGRAPH_TOP_DOWN TESLA_R
        TESLA_S
    """,
    "EnergySourceCategory": "COAL GAS GENERAL_FOSSIL GENERAL_GREEN NUCLEAR SOLAR WATER WIND",
    "EnvironmentalImpactCategory": "CARBON_DIOXIDE NUCLEAR_WASTE",
    "Facility": """
        AIRPORT BIKE_SHARING BUS_STOP CAFE CARPOOL_PARKING FUEL_STATION HOTEL MALL METRO_STATION MUSEUM NATURE
        PARKING_LOT RECREATION_AREA RESTAURANT SPORT SUPERMARKET TAXI_STAND TRAIN_STATION TRAM_STOP WIFI
    """,
    "ImageCategory": "CHARGER ENTRANCE LOCATION NETWORK OPERATOR OTHER OWNER",
    "ParkingRestriction": "CUSTOMERS DISABLED EV_ONLY MOTORCYCLES PLUGGED",
    "ParkingType": "ALONG_MOTORWAY ON_DRIVEWAY ON_STREET PARKING_GARAGE PARKING_LOT UNDERGROUND_GARAGE",
    "PowerType": "AC_1_PHASE AC_2_PHASE AC_2_PHASE_SPLIT AC_3_PHASE DC",
    "Status": "AVAILABLE BLOCKED CHARGING INOPERATIVE OUTOFORDER PLANNED REMOVED RESERVED UNKNOWN",
    "ProfileType": "CHEAP FAST GREEN REGULAR",
    "SessionStatus": "ACTIVE COMPLETED INVALID PENDING RESERVATION",
    "DayOfWeek": "FRIDAY MONDAY SATURDAY SUNDAY THURSDAY TUESDAY WEDNESDAY",
    "ReservationRestrictionType": "RESERVATION RESERVATION_EXPIRES",
    "TariffDimensionType": "ENERGY FLAT PARKING_TIME TIME",
    "TariffType": "AD_HOC_PAYMENT PROFILE_CHEAP PROFILE_FAST PROFILE_GREEN REGULAR",
    "TokenType": "AD_HOC_USER APP_USER OTHER RFID",
    "WhitelistType": "ALLOWED ALLOWED_OFFLINE ALWAYS NEVER",
    "Role": "CPO EMSP HUB NAP NSP OTHER SCSP",
    "InterfaceRole": "RECEIVER SENDER",
    "ModuleID": "cdrs chargingprofiles commands credentials hubclientinfo locations sessions tariffs tokens",
    "VersionNumber": "2.0 2.1 2.1.1 2.2 2.2.1",
}
