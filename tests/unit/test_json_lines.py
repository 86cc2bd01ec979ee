import tracemalloc

from scripts.admin.json_lines import lines_of

TEXT = """\
{
  "payload": {
    "na}me": "a\\n\\"[",
    "items": [
      1, {"x": null},
      [
        true
      ]
    ]
  },
  "rest":
    -1.5e3
}
"""


def test_every_value_is_found_on_the_line_where_it_begins():
    lines = {
        "$": 1,
        "$.payload": 2,
        "$.payload.na}me": 3,
        "$.payload.items": 4,
        "$.payload.items[0]": 5,
        "$.payload.items[1]": 5,
        "$.payload.items[1].x": 5,
        "$.payload.items[2]": 6,
        "$.payload.items[2][0]": 7,
        "$.rest": 11,
    }

    assert lines_of(TEXT, lines.keys() | {"$.nowhere"}) == lines
    assert lines_of(TEXT, ["$.payload.items[1]"]) == {"$.payload.items[1]": 5}


def test_a_part_has_the_path_of_what_it_is_a_part_of():
    lines = {"$.payload": 2, "$.payload[0]": 3}

    assert lines_of('\n[\n"a"]', lines, root="$.payload") == lines


def test_of_what_is_not_json_or_too_deep_the_beginning_is_known():
    known = {"$": 1, "$.a": 1, "$.a[0]": 2}

    assert lines_of('{"a": [\n1, ', {*known, "$.a[1]"}) == known
    assert lines_of("", ["$"]) == {}
    assert lines_of("[" * 100_000, ["$[0]"]) == {"$[0]": 1}


def test_long_names_of_values_around_others_take_no_memory_for_each():
    members = ",".join(f'"{n}":1' for n in range(2000))
    text = f'{{"{"k" * 100_000}":{{{members}}}, "a":\n1}}'

    tracemalloc.start()
    try:
        lines = lines_of(text, ["$.a"])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert lines == {"$.a": 1}
    assert most < 50_000_000
