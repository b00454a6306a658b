"""OCPI 2.1.1's objects, as `fields` tells those of 2.2.1."""

OBJECTS_211: dict[str, str] = {
    "Location": """
        id:s39 type:LocationType name:s255? address:s45 city:s45 postal_code:s10 country:s3 coordinates:GeoLocation
        related_locations:AdditionalGeoLocation* evses:EVSE* directions:DisplayText* operator:BusinessDetails?
        suboperator:BusinessDetails? owner:BusinessDetails? facilities:Facility* time_zone:s255?
        opening_times:Hours? charging_when_closed:bool? images:Image* energy_mix:EnergyMix? last_updated:time
    """,
    "GeoLocation": "latitude:s10 longitude:s11",
    "AdditionalGeoLocation": "latitude:s10 longitude:s11 name:DisplayText?",
    "DisplayText": "language:s2 text:s512",
    "EVSE": """
        uid:s39 evse_id:s48? status:Status status_schedule:StatusSchedule* capabilities:Capability*
        connectors:Connector+ floor_level:s4? coordinates:GeoLocation? physical_reference:s16?
        directions:DisplayText* parking_restrictions:ParkingRestriction* images:Image* last_updated:time
    """,
    "StatusSchedule": "period_begin:time period_end:time? status:Status",
    "Connector": """
        id:s36 standard:ConnectorType format:ConnectorFormat power_type:PowerType voltage:int amperage:int
        tariff_id:s36? terms_and_conditions:url? last_updated:time
    """,
    "Image": "url:url thumbnail:url? category:ImageCategory type:s4 width:int? height:int?",
    "BusinessDetails": "name:s100 website:url? logo:Image?",
    "Hours": """
        exceptional_openings:ExceptionalPeriod* exceptional_closings:ExceptionalPeriod* regular_hours:RegularHours*
        twentyfourseven:bool?
    """,
    "ExceptionalPeriod": "period_begin:time period_end:time",
    "RegularHours": "weekday:int period_begin:s5 period_end:s5",
    "EnergyMix": """
        is_green_energy:bool energy_sources:EnergySource* environ_impact:EnvironmentalImpact* supplier_name:s64?
        energy_product_name:s64?
    """,
    "EnergySource": "source:EnergySourceCategory percentage:number",
    "EnvironmentalImpact": "source:EnvironmentalImpactCategory amount:number",
    "Session": """
        id:s36 start_datetime:time end_datetime:time? kwh:number auth_id:s36 auth_method:AuthMethod
        location:Location meter_id:s255? currency:s3 charging_periods:ChargingPeriod* total_cost:number?
        status:SessionStatus last_updated:time
    """,
    "ChargingPeriod": "start_date_time:time dimensions:CdrDimension+",
    "CdrDimension": "type:CdrDimensionType volume:number",
    "CDR": """
        id:ci36 start_date_time:time stop_date_time:time auth_id:s36 auth_method:AuthMethod location:Location
        meter_id:s255? currency:s3 tariffs:Tariff* charging_periods:ChargingPeriod+ total_cost:number
        total_energy:number total_time:number total_parking_time:number? remark:s255? last_updated:time
    """,
    "Tariff": """
        id:s36 currency:s3 tariff_alt_text:DisplayText* tariff_alt_url:url? elements:TariffElement+
        energy_mix:EnergyMix? last_updated:time
    """,
    "TariffElement": "price_components:PriceComponent+ restrictions:TariffRestrictions?",
    "PriceComponent": "type:TariffDimensionType price:number step_size:int",
    "TariffRestrictions": """
        start_time:s5? end_time:s5? start_date:s10? end_date:s10? min_kwh:number? max_kwh:number? min_power:number?
        max_power:number? min_duration:int? max_duration:int? day_of_week:DayOfWeek*
    """,
    "Credentials": "token:s64 url:url business_details:BusinessDetails party_id:s3 country_code:s2",
    "Endpoint": "identifier:ModuleID url:url",
    "CommandResponse": "result:CommandResponseType",
    "LocationReferences": "location_id:s39 evse_uids:s39* connector_ids:s36*",
}

ENUMS_211: dict[str, str] = {
    "AuthMethod": "AUTH_REQUEST WHITELIST",
    "Capability": """
        CHARGING_PROFILE_CAPABLE CREDIT_CARD_PAYABLE REMOTE_START_STOP_CAPABLE RESERVABLE RFID_READER UNLOCK_CAPABLE
    """,
    "CdrDimensionType": "ENERGY FLAT MAX_CURRENT MIN_CURRENT PARKING_TIME TIME",
    "CommandResponseType": "ACCEPTED NOT_SUPPORTED REJECTED TIMEOUT UNKNOWN_SESSION",
    "ConnectorFormat": "CABLE SOCKET",
    "ConnectorType": """
        CHADEMO DOMESTIC_A DOMESTIC_B DOMESTIC_C DOMESTIC_D DOMESTIC_E DOMESTIC_F DOMESTIC_G DOMESTIC_H DOMESTIC_I
        DOMESTIC_J DOMESTIC_K DOMESTIC_L IEC_60309_2_single_16 IEC_60309_2_three_16 IEC_60309_2_three_32
        IEC_60309_2_three_64 IEC_62196_T1 IEC_62196_T1_COMBO IEC_62196_T2 IEC_62196_T2_COMBO IEC_62196_T3A
        IEC_62196_T3C TESLA_R TESLA_S
    """,
    "DayOfWeek": "FRIDAY MONDAY SATURDAY SUNDAY THURSDAY TUESDAY WEDNESDAY",
    "EnergySourceCategory": "COAL GAS GENERAL_FOSSIL GENERAL_GREEN NUCLEAR SOLAR WATER WIND",
    "EnvironmentalImpactCategory": "CARBON_DIOXIDE NUCLEAR_WASTE",
    "Facility": """
        AIRPORT BUS_STOP CAFE CARPOOL_PARKING FUEL_STATION HOTEL MALL MUSEUM NATURE RECREATION_AREA RESTAURANT SPORT
        SUPERMARKET TAXI_STAND TRAIN_STATION WIFI
    """,
    "ImageCategory": "CHARGER ENTRANCE LOCATION NETWORK OPERATOR OTHER OWNER",
    "LocationType": "ON_STREET OTHER PARKING_GARAGE PARKING_LOT UNDERGROUND_GARAGE UNKNOWN",
    "ModuleID": "cdrs commands credentials locations sessions tariffs tokens",
    "ParkingRestriction": "CUSTOMERS DISABLED EV_ONLY MOTORCYCLES PLUGGED",
    "PowerType": "AC_1_PHASE AC_3_PHASE DC",
    "SessionStatus": "ACTIVE COMPLETED INVALID PENDING",
    "Status": "AVAILABLE BLOCKED CHARGING INOPERATIVE OUTOFORDER PLANNED REMOVED RESERVED UNKNOWN",
    "TariffDimensionType": "ENERGY FLAT PARKING_TIME TIME",
}
