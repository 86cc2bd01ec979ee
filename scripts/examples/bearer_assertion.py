"""Gets a token of a bank by a signed assertion (RFC 7523). The private key stays outside."""


def run(message, context):
    client, url = context.config["bank.client"], context.config["api.url"] + "/token"
    claims = {"iss": client, "sub": client, "aud": url, "jti": context.delivery_id}
    assertion = context.jwt(claims, "bank.key", "ES256", expires=300)
    answer = context.http.post(
        url,
        form={
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion,
        },
    )
    scope = answer.raise_for_status().json()["scope"]
    message["payload"]["scope"] = scope
    return message
