"""Splits an order into a message for each of its items. Each goes on as a branch of its own."""


def run(message, context):
    order = message["payload"]
    return [{"payload": {"order": order["id"], **item}} for item in order["items"]]
