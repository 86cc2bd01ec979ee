"""Relies on its input parameters: the JSON Schema beside it has checked them before it runs."""


def run(message, context):
    loan = message["payload"]
    loan["rate"] = round(loan["amount"] * (1 + loan["percent"] / 100) / loan["months"], 2)
    return message
