"""Moves times between zones: what a customer in New York sees of a deadline in Berlin."""

from datetime import datetime
from zoneinfo import ZoneInfo


def run(message, context):
    deadline = message["payload"]
    at = datetime.fromisoformat(deadline["local"]).replace(tzinfo=ZoneInfo(deadline["zone"]))
    deadline["utc"] = at.astimezone(ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%SZ")
    deadline["seen"] = at.astimezone(ZoneInfo(deadline["customer"])).isoformat()
    return message
