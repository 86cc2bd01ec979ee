import math
import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with jitter and a cap.

    The n-th redelivery waits `initial * multiplier ** (n - 1)`, at most `maximum`, of which a
    share of up to `jitter` is taken off or put on at random, so that messages that failed
    together do not come back together.
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
        # An initial wait of zero stays zero: it would be no number times infinity.
        seconds = min(self.initial.total_seconds() * growth, longest) if self.initial else 0.0
        spread = (rng or random).uniform(-self.jitter, self.jitter)
        return timedelta(seconds=min(seconds * (1 + spread), longest))
