"""Calls an API with a token that it gets by its client id and secret: OAuth2."""


def run(message, context):
    api = context.config["api.url"]
    answer = context.http.post(
        f"{api}/token",
        form={"grant_type": "client_credentials", "scope": "orders"},
        auth=(context.config["api.client"], context.secrets["api.secret"]),
    )
    token = answer.raise_for_status().json()["access_token"]
    order = message["payload"]["order"]
    found = context.http.get(f"{api}/orders/{order}", auth=token).raise_for_status().json()
    message["payload"]["state"] = found["state"]
    return message
