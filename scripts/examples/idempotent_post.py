"""Makes an order only once, even where the message is delivered again: the key stays the same."""


def run(message, context):
    answer = context.http.post(
        context.config["api.url"] + "/orders",
        json={"item": message["payload"]["item"]},
        headers={"Idempotency-Key": context.delivery_id},
    )
    if answer.status == 409:
        raise Reject("the order is not possible", code="conflict", details=answer.json())
    message["payload"]["order"] = answer.raise_for_status().json()["id"]
    return message
