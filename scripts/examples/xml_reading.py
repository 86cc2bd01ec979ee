"""Reads an order in XML with a namespace into a payload."""

from xml.etree import ElementTree

NAMES = {"o": "urn:orders"}


def run(message, context):
    try:
        order = ElementTree.fromstring(message["payload"]["xml"])
    except ElementTree.ParseError as error:
        raise Reject(f"the order is no XML: {error}", code="xml") from error
    message["payload"] = {
        "id": order.get("id"),
        "items": [
            {"sku": item.get("sku"), "count": int(item.findtext("o:count", "1", NAMES))}
            for item in order.iterfind("o:item", NAMES)
        ],
    }
    return message
