"""Runs again after the time that a busy server names; another error of it counts as a failure."""


def run(message, context):
    # A 429 or 503 with Retry-After is a Retry: there is nothing to catch.
    answer = context.http.get(context.config["api.url"] + "/busy").raise_for_status()
    message["payload"]["answer"] = answer.json()
    return message
