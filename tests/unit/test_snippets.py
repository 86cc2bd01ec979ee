from xml.etree import ElementTree

import pytest

from flows.pipes.snippets import snippets

# What Camel makes of them is tried in tests/pipes.
NAMES = ["order", "größe & <more>", "a 'b' \"c\" \\u0041 $1", "tab\tand\x7f", "]]>", "{{x}}"]


def codes(name: str) -> dict[str, str]:
    return {snippet.language: snippet.code for snippet in snippets(name)}


def test_a_plain_name_gives_the_lines_of_the_documentation():
    assert codes("your-flow-name") == {
        "Java": (
            '.setProperty("flowName", constant("your-flow-name"))\n.to("direct:callAsyncEngine");'
        ),
        "XML": (
            '<setProperty name="flowName">\n'
            "  <constant>your-flow-name</constant>\n"
            "</setProperty>\n"
            '<to uri="direct:callAsyncEngine"/>'
        ),
        "YAML": (
            "- setProperty:\n"
            "    name: flowName\n"
            '    constant: "your-flow-name"\n'
            "- to: direct:callAsyncEngine"
        ),
    }


@pytest.mark.parametrize("name", NAMES)
def test_xml_is_well_formed_and_holds_the_name(name: str):
    root = ElementTree.fromstring(f"<route>{codes(name)['XML']}</route>")

    constant = root.findtext("setProperty/constant")
    assert constant is not None
    assert constant.replace("\\{{", "{{").replace("\\}}", "}}") == name


@pytest.mark.parametrize("name", NAMES)
def test_literals_are_in_one_line_with_nothing_unseen(name: str):
    assert codes(name)["Java"].count("\n") == 1
    assert codes(name)["YAML"].count("\n") == 3
    for language in ("Java", "YAML"):
        assert codes(name)[language].replace("\n", "").isprintable()


def test_braces_are_no_property_of_camel():
    assert 'constant("a\\\\{{b\\\\}}")' in codes("a{{b}}")["Java"]
    assert r"<constant>a\{{b\}}</constant>" in codes("a{{b}}")["XML"]
    assert 'constant: "a\\\\{{b\\\\}}"' in codes("a{{b}}")["YAML"]
