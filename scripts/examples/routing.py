"""Sends what needs a person to another step. Its own step lists "manual check" in goesTo."""


def run(message, context):
    score = message["payload"]["score"]
    if score is None:
        return context.go("manual check", message)
    message["payload"]["approved"] = score >= 0.7
    return message
