"""Spares a partner who takes about 100 calls a minute, and counts failing calls, too.

Exact is the rate limit of the queue. This counter is stored with the step, so messages that run at
the same time do not see each other's calls: leave room for as many as run at once.
"""

MOST = 100 - 10


def run(message, context):
    if context.state.get("calls", 0) >= MOST:
        raise Wait(after=10, reason="the partner takes no more calls in this minute")
    # The minute begins with the first of its calls.
    context.state.increment("calls", expires=60)
    try:
        answer = context.http.get(context.config["api.url"] + "/quote").raise_for_status()
    except context.http.Error as error:
        # Stored with a Retry, but not with a failure.
        raise Retry(getattr(error, "after", None), str(error)) from error
    message["payload"]["quote"] = answer.json()["quote"]
    return message
