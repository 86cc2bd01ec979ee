"""Starts an invoice for each item, once an order. Its flow lists "invoice" in starts."""


def run(message, context):
    order = message["payload"]
    order["invoices"] = [
        context.start("invoice", {"order": order["id"], **item}, key=f"{order['id']}-{number}")
        for number, item in enumerate(order.pop("items"))
    ]
    order["invoices"] = len(order["invoices"])
    return message
