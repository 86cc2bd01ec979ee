"""Calls a SOAP service: writes the envelope, reads the answer, and makes a fault a dead letter."""

from html import escape
from xml.etree import ElementTree

SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
RATES = "{urn:rates}"
ENVELOPE = """<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">
<s:Body><r:GetRate xmlns:r="urn:rates"><r:Currency>%s</r:Currency></r:GetRate></s:Body>
</s:Envelope>"""


def run(message, context):
    answer = context.http.post(
        context.config["api.url"] + "/rates",
        data=ENVELOPE % escape(message["payload"]["currency"]),
        headers={"Content-Type": "text/xml; charset=utf-8", "SOAPAction": "urn:rates/GetRate"},
    )
    body = ElementTree.fromstring(answer.text).find(f"{SOAP}Body")
    fault = body.findtext(f"{SOAP}Fault/faultstring")
    if fault:
        raise Reject(fault, code="soap-fault")
    # Text: a float would not keep its digits.
    message["payload"]["rate"] = body.findtext(f"{RATES}GetRateResponse/{RATES}Rate")
    return message
