"""Makes the 1,000 applications of `flows/demo/applications.json`, always the same."""

from __future__ import annotations

import json
import random
from datetime import date, timedelta
from typing import Any

SAMPLE_SIZE = 1_000


def make_sample() -> str:
    """Return the text of the sample file: a JSON list, an application a line, always the same."""
    rng = random.Random(2026)
    lines = [
        json.dumps(_application(rng, number), separators=(",", ":"))
        for number in range(1, SAMPLE_SIZE + 1)
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _application(rng: random.Random, number: int) -> dict[str, Any]:
    submitted = date(2026, 1, 1) + timedelta(days=rng.randrange(90))
    employment = rng.choice(["employed"] * 6 + ["self-employed"] * 2 + ["retired", "unemployed"])
    ages = (60, 76) if employment == "retired" else (18, 64)
    age = timedelta(days=rng.randint(ages[0] * 366, ages[1] * 366))
    incomes = (0, 1_200) if employment == "unemployed" else (1_300, 6_500)
    amounts = [1_500, 3_000, 5_000, 8_000, 12_000, 15_000, 20_000, 30_000, 60_000]
    return {
        "applicationId": f"LA-{number:04}",
        "submittedOn": submitted.isoformat(),
        "name": f"Applicant {number:04}",
        "birthDate": (submitted - age).isoformat(),
        "iban": _iban(number),
        "amount": rng.choice(amounts),
        "termMonths": rng.choice([12, 24, 36, 48, 60, 84]),
        "purpose": rng.choice(["car", "education", "home", "debt", "other"]),
        "monthlyIncome": rng.randint(*incomes),
        "monthlyDebt": rng.choice([0, 0, 0, 100, 250, 400, 800]),
        "employment": employment,
        "yearsEmployed": 0 if employment == "unemployed" else rng.randint(0, 20),
        "missedPayments": rng.choice([0] * 7 + [1, 2, 5]),
    }


def _iban(number: int) -> str:
    """Return an IBAN with valid check digits at a bank that does not exist."""
    account = f"{number:018}"
    check = 98 - int(f"{account}131400") % 97  # 13 and 14 are D and E
    return f"DE{check:02}{account}"
