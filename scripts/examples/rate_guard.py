"""A counter that expires guards a partner who takes 100 calls a minute, over all workers."""

MOST = 100


def run(message, context):
    if context.state.get("calls", 0) >= MOST:
        raise Wait(after=10, reason="the partner takes no more calls in this minute")
    # The minute begins with the first of its calls.
    context.state.increment("calls", expires=60)
    url = context.config["api.url"] + "/quote"
    message["payload"]["quote"] = context.http.get(url).raise_for_status().json()["quote"]
    return message
