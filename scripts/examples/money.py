"""Computes tax and splits an amount into parts that add up to the cent. Amounts are texts."""

from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")


def run(message, context):
    bill = message["payload"]
    net = Decimal(bill["net"])
    tax = (net * Decimal(bill["taxPercent"]) / 100).quantize(CENT, ROUND_HALF_UP)
    cents = int((net + tax) / CENT)
    part, more = divmod(cents, bill["parts"])
    parts = [(part + (number < more)) * CENT for number in range(bill["parts"])]
    bill.update(tax=str(tax), gross=str(net + tax), rates=[str(each) for each in parts])
    return message
