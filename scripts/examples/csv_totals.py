"""Reads a CSV text and adds up its amounts by customer, to the cent."""

import csv
import io
from collections import defaultdict
from decimal import Decimal, InvalidOperation


def run(message, context):
    totals = defaultdict(Decimal)
    rows = csv.DictReader(io.StringIO(message["payload"].pop("csv")), delimiter=";")
    for row in rows:
        try:
            # 1.234,50 as people write it in German.
            totals[row["customer"]] += Decimal(row["amount"].replace(".", "").replace(",", "."))
        except (InvalidOperation, KeyError) as error:
            raise Reject(f"line {rows.line_num} has no amount", code="csv") from error
    message["payload"]["totals"] = {name: f"{total:.2f}" for name, total in sorted(totals.items())}
    return message
