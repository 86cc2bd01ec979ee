"""Writes the text of a mail from a template, with amounts as people read them."""

import jinja2

TEMPLATE = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(
    """Dear {{ name }},
{% for item in items %}
- {{ "%-8s" % item.name }} {{ "%8.2f" % item.price }} EUR
{%- endfor %}

Yours, the shop"""
)


def run(message, context):
    message["payload"]["text"] = TEMPLATE.render(message["payload"])
    return message
