from datetime import timedelta

from scripts.admin.diff import MAX_LINES, TimeLeft, diff
from scripts.models import Script


def content(code="a\nb\nc\n", libraries=(), **fields):
    script = Script(name="s", code=code, **fields)
    return {
        **{name: getattr(script, name) for name in Script.CONTENT_FIELDS},
        "libraries": [{"name": name, "code": text} for name, text in libraries],
    }


def test_equal_contents_have_no_differences():
    found = diff(content(), content())

    assert not found
    assert str(found) == ""


def test_lines_that_came_and_went_have_their_numbers():
    [code] = diff(content("a\nb\nc\n"), content("a\nx\ny\nc\n")).texts

    assert (code.title, code.added, code.removed) == ("Code", 2, 1)
    assert [(line.kind, line.before, line.after, line.text) for line in code.lines] == [
        ("same", 1, 1, "a"),
        ("gone", 2, None, "b"),
        ("new", None, 2, "x"),
        ("new", None, 3, "y"),
        ("same", 3, 4, "c"),
    ]


def test_long_equal_parts_are_left_out():
    middle = "\n".join(f"line {number}" for number in range(50))

    [code] = diff(content(f"a\n{middle}\nb"), content(f"x\n{middle}\ny")).texts

    assert [line.kind for line in code.lines].count("gap") == 1
    assert len(code.lines) == 1 + 2 * (2 + 3)


def test_libraries_and_schemas_are_compared_as_texts_and_settings_as_values():
    before = content(libraries=[("money", "x = 1")], timeout=timedelta(seconds=5))
    after = content(
        libraries=[("dates", "y = 2")],
        input_schema={"type": "object"},
        timeout=timedelta(minutes=1),
        memory_mb=64,
        network=True,
        allowed_hosts=["example.org", "example.com"],
    )

    found = diff(before, after)

    assert [text.title for text in found.texts] == [
        "Library money",
        "Library dates",
        "Input schema",
    ]
    assert [(value.title, value.before, value.after) for value in found.values] == [
        ("Timeout", "5 s", "60 s"),
        ("Memory (MB)", "256", "64"),
        ("Network", "no", "yes"),
        ("Allowed hosts", "\N{EN DASH}", "example.org, example.com"),
    ]
    assert str(found) == (
        "library money, library dates, input schema, timeout, memory (MB), network, allowed hosts"
    )


def test_a_change_of_code_is_summed_up_by_its_lines():
    assert str(diff(content("a\n"), content("a\nb\n"))) == "+1 \N{MINUS SIGN}0"


def test_texts_that_are_too_different_are_only_said_to_differ():
    # Each line is there 300 times, in another order.
    old = "\n".join(str(n * 7 % 120) for n in range(35_000))
    new = "\n".join(str(n * 11 % 120) for n in range(35_000))

    found = diff(content(old), content(new))

    [code] = found.texts
    assert code.is_too_different
    assert code.lines == []
    assert str(found) == "code"


def test_nothing_is_compared_when_patience_is_over():
    [code] = diff(content("a"), content("b"), TimeLeft(-1)).texts

    assert code.is_too_different


def test_of_many_differences_the_first_are_shown():
    found = diff(content("\n".join(map(str, range(9_000)))), content("x"))

    [code] = found.texts
    assert code.is_cut
    assert len(code.lines) == MAX_LINES
    assert str(found) == "+0 \N{MINUS SIGN}2000 and more"


def test_a_difference_behind_the_end_of_what_is_shown_of_a_line_is_one():
    [code] = diff(content("x" * 5_000 + "a"), content("x" * 5_000 + "b")).texts

    assert [line.kind for line in code.lines] == ["gone", "new"]
    assert all(len(line.text) == 1_001 for line in code.lines)
