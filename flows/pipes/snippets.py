"""The lines of a Camel route that start a flow, in Camel's three languages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from xml.sax.saxutils import escape


@dataclass(frozen=True, slots=True)
class Snippet:
    language: str
    code: str


def snippets(flow_name: str) -> list[Snippet]:
    """Return what goes after `from(…)` in a route, for a flow of any name."""
    return [
        Snippet("Java", _java(flow_name)),
        Snippet("XML", _xml(flow_name)),
        Snippet("YAML", _yaml(flow_name)),
    ]


def _java(name: str) -> str:
    literal = _quoted(_without_placeholders(name))
    return f'.setProperty("flowName", constant({literal}))\n.to("direct:callAsyncEngine");'


def _xml(name: str) -> str:
    return (
        '<setProperty name="flowName">\n'
        f"  <constant>{escape(_without_placeholders(name))}</constant>\n"
        "</setProperty>\n"
        '<to uri="direct:callAsyncEngine"/>'
    )


def _yaml(name: str) -> str:
    return (
        "- setProperty:\n"
        "    name: flowName\n"
        f"    constant: {_quoted(_without_placeholders(name))}\n"
        "- to: direct:callAsyncEngine"
    )


def _quoted(text: str) -> str:
    """Return a literal that Java and YAML read alike: as JSON, and what cannot be seen escaped."""
    literal = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in literal)


def _without_placeholders(text: str) -> str:
    """Keep Camel from taking braces in a constant for a property."""
    return text.replace("{{", "\\{{").replace("}}", "\\}}")
