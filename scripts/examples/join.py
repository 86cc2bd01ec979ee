"""Joins the branches of an order: the payload is the list of theirs, in the order of the split."""


def run(message, context):
    items = message["payload"]
    message["payload"] = {
        "order": items[0]["order"],
        "count": sum(item["count"] for item in items),
    }
    return message
