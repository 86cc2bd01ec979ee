"""Counts on by business days: no Saturday, no Sunday, none of the holidays that the message has."""

from datetime import date, timedelta


def run(message, context):
    order = message["payload"]
    holidays = {date.fromisoformat(day) for day in order["holidays"]}
    day, left = date.fromisoformat(order["from"]), order["days"]
    while left:
        day += timedelta(days=1)
        if day.weekday() < 5 and day not in holidays:
            left -= 1
    order["due"] = day.isoformat()
    return message
