import math
import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with jitter and a cap.

    The n-th redelivery waits `initial * multiplier ** (n - 1)`, at most `maximum`. A random part of
    up to `jitter` of it is added or subtracted, so that messages that failed together are not
    delivered again together.
    """

    initial: timedelta
    multiplier: float
    maximum: timedelta
    jitter: float

    def delay(self, deliveries: int, rng: random.Random | None = None) -> timedelta:
        longest = self.maximum.total_seconds()
        try:
            growth = self.multiplier ** max(deliveries - 1, 0)
        except OverflowError:
            growth = math.inf
        # Zero stays zero: zero times infinity is not a number.
        seconds = min(self.initial.total_seconds() * growth, longest) if self.initial else 0.0
        spread = (rng or random).uniform(-self.jitter, self.jitter)
        return timedelta(seconds=min(seconds * (1 + spread), longest))
