"""The rate of a parcel, by the zone of its postal code: a look-up in two reference tables."""

from decimal import Decimal


def run(message, context):
    parcel = message["payload"]
    place = context.table("zip").get(parcel["zip"])
    if place is None:
        raise Reject(f"unknown postal code {parcel['zip']}", code="unknown-zip")
    rate = Decimal(context.table("rates")[place["zone"]]["rate"])
    parcel["town"] = place["town"]
    parcel["price"] = str(rate * parcel["weight"])
    return message
