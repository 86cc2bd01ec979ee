"""Keys that never come again."""

from secrets import randbits


def unrepeatable_id() -> int:
    """Return a random key below 2^52, which JavaScript's numbers hold, too.

    SQLite gives the number of a row that was rolled back to the next row. Processes keep in memory
    what such a number stood for, so that the versions of scripts, flows and steps are not counted.
    """
    return randbits(52)
