"""The READMEs lead somewhere: their links, headings and the files that they name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.shell_blocks import ELSEWHERE, NOT_RUN, RUN, blocks_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for folder in (".", "asyncengine", "flows", "scripts", "tests")
    for page in (ROOT / folder).glob("README.md" if folder == "." else "**/README.md")
)
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
NAMED = re.compile(r"`((?:asyncengine|flows|scripts|tests)/[\w./-]*)`")


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_to_a_file_and_to_a_heading_of_it(page):
    links = [link for link in LINK.findall(text_of(page)) if "://" not in link[0]]

    assert [link for link in links if not leads_somewhere(page, *link)] == []


@pytest.mark.parametrize("page", PAGES)
def test_each_file_and_folder_that_is_named_is_there(page):
    named = NAMED.findall(text_of(page))

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_way_of_a_message_names_files_in_the_page_of_flows():
    assert len(NAMED.findall(the_way())) > 20


def test_the_way_of_a_message_names_methods_that_are_there():
    methods = re.findall(r"`([A-Z]\w+)\.(\w+)`", the_way())
    code = [path.read_text(encoding="utf-8") for path in ROOT.glob("flows/**/*.py")]

    assert len(methods) > 5
    assert [
        f"{name}.{method}"
        for name, method in methods
        if not any(f"class {name}" in text and f"def {method}(" in text for text in code)
    ] == []


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_each_shell_block_is_run_by_a_test_or_has_a_reason_why_not(page):
    known = [beginning for of, beginning in (*RUN, *ELSEWHERE, *NOT_RUN) if of == page]
    blocks = [code.strip() for code in blocks_of(page)]

    assert [code for code in blocks if not code.startswith(tuple(known))] == []
    assert [each for each in known if not any(code.startswith(each) for code in blocks)] == []


def test_the_files_that_run_shell_blocks_are_there():
    assert [file for file in ELSEWHERE.values() if not (ROOT / file).exists()] == []
    assert len({*RUN, *ELSEWHERE, *NOT_RUN}) == len(RUN) + len(ELSEWHERE) + len(NOT_RUN)


def test_every_room_has_its_rule():
    rooms = {
        f"{app}/{folder.name}/"
        for app in ("flows", "scripts")
        for folder in (ROOT / app).iterdir()
        if (folder / "__init__.py").exists()
    }
    listed = text_of("flows/README.md").split("### The rooms")[1]

    assert (
        sorted(
            room for room in rooms if f"| `{room}` |" not in listed and not room.endswith(OF_DJANGO)
        )
        == []
    )


# Django's own, and what editors read.
OF_DJANGO = ("migrations/", "scripts/management/", "scripts/typings/")


@pytest.mark.parametrize(
    ("page", "most_bytes"), [("README.md", 6_144), ("scripts/README.md", 12_288)]
)
def test_the_first_pages_stay_short(page, most_bytes):
    assert len((ROOT / page).read_bytes()) <= most_bytes


def leads_somewhere(page: str, path: str, heading: str) -> bool:
    target = (ROOT / page).parent / path if path else ROOT / page
    if not target.exists():
        return False
    return not heading or heading in headings_of(target.read_text(encoding="utf-8"))


def headings_of(text: str) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    found = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in found}


def the_way() -> str:
    return text_of("flows/README.md").split("### The way of one message")[1].split("\n### ")[0]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")
