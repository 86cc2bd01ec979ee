"""Signs an order. The key is a secret that never enters the script; with RSA it is an RS256."""

import base64
import json


def run(message, context):
    order = json.dumps(message["payload"], sort_keys=True, separators=(",", ":"))
    signature = context.sign("HS256", "partner.key", order)
    message["payload"]["signature"] = base64.b64encode(signature).decode()
    return message
