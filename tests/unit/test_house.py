"""The rules of the house that a reader can count: places, sizes and words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("asyncengine", "flows", "scripts", "templates", "tests")
ENDINGS = {".css", ".html", ".java", ".js", ".md", ".py", ".pyi", ".xml", ".yaml"}
LONGEST_FUNCTION = 60

# Words that the field has another word for, each with the one to use.
REPLACED = {
    "almighty": "superuser",
    "be it": "a condition with `if`",
    "bell": "waker",
    "bells": "wakers",
    "blame": "attribute",
    "booked": "reserved",
    "booked_at": "reserved_at",
    "books": "totals, counters or conservation",
    "buried": "dead-lettered",
    "buries": "dead-letters",
    "bury": "dead-letter",
    "carry_out": "apply",
    "clock_ahead": "clock_skew_seconds",
    "condemn": "kill",
    "crew": "thread pool",
    "doom": "kill",
    "doomed": "killed",
    "everybody": "the subject by its name",
    "fate": "disposition",
    "free_in": "next_start_seconds",
    "greet": "mark as ready",
    "guilty": "failed",
    "home_id": "home_queue_id",
    "hungry": "ready",
    "intent": "plan",
    "judge": "check or decide",
    "judges": "checks or decides",
    "ledger": "counters",
    "let through": "bypass the pause",
    "let_through": "bypasses_pause",
    "misfits": "unserializable",
    "nobody": "the subject that does not",
    "nobody_works": "no_live_workers",
    "of which": "whose, or two sentences",
    "put back": "requeue",
    "put_back": "requeue",
    "puts back": "requeues",
    "rests": "backs off or waits",
    "seal": "sandbox",
    "sealed": "sandboxed",
    "so many": "the number",
    "somebody": "the subject by its name",
    "spilled": "pending_outputs",
    "start_within": "start_margin_seconds",
    "strays": "orphans",
    "tally": "totals",
    "test bench": "trial",
    "verdict": "decision",
    "was_at": "source_queue_id",
    "was_of": "previous_flow",
    "whose own": "two sentences",
    "whoever": "the subject by its name",
    "whom": "a sentence with a named subject",
    "yes_or_no": "the flag by its name",
}
# Names of classes that had a meaning of their own here.
REPLACED_CLASSES = {
    "AskFailed": "RequestFailed",
    "Asker": "ServiceClient",
    "Bell": "Waker",
    "Nonsense": "ProtocolError",
    "Part": "Child",
    "PartUnsteady": "RestartLimitReached",
    "Situation": "QueueSnapshot",
    "SteadyCluster": "CrashSafeCluster",
    "Tally": "FlowTotals",
    "Verdict": "Decision",
    "Wanted": "DesiredState",
}


def files() -> list[Path]:
    """Return the files of the product and its tests. Migrations stay as they were applied."""
    found = [path for room in ROOMS for path in (ROOT / room).rglob("*")]
    found += ROOT.glob("*.md")
    skipped = {"migrations", "vendor", "node_modules", "target", "__pycache__"}
    return sorted(
        path
        for path in found
        if path.suffix in ENDINGS
        and path.name != "CHANGELOG.md"
        and path != Path(__file__)
        and not skipped & {*path.relative_to(ROOT).parts}
    )


def long_functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines"


def uses(words: dict[str, str]) -> list[str]:
    """Return where the words stand, each with the one to use."""
    # A fixed word after a hyphen is a part of an address or a problem type.
    pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, words))})\b")
    return [
        f"{path.relative_to(ROOT)}:{number}: {found[0]}, better: {words[found[0]]}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for found in pattern.finditer(line)
    ]


def in_any_case(words: dict[str, str]) -> dict[str, str]:
    """Return the words as they stand in text, at the beginning of a sentence and in constants."""
    return {form: words[w] for w in words for form in (w, w.capitalize(), w.upper())}


@pytest.mark.parametrize(("room", "most"), [("flows", 16), ("scripts", 8)])
def test_few_modules_stand_directly_in_an_app(room, most):
    modules = sorted(path.name for path in (ROOT / room).glob("*.py"))

    assert len(modules) <= most, modules


def test_no_function_is_longer_than_a_screen():
    product = [path for path in files() if "tests" not in path.relative_to(ROOT).parts]
    modules = [path for path in product if path.suffix == ".py"]

    found = [each for path in modules for each in long_functions(path)]

    assert len(modules) > 100
    assert found == []


def test_words_of_the_field_are_used_instead_of_own_ones():
    assert uses(in_any_case(REPLACED)) == []


def test_classes_have_the_names_of_the_field():
    assert uses(REPLACED_CLASSES) == []
