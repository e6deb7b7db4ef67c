# SPDX-License-Identifier: Apache-2.0
"""The one Jinja environment: strict, so that a misspelt name is an error and not an empty text."""

from functools import cache

import jinja2

from flow import resources


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.templates()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # C++ and Tcl, not HTML
    )
    environment.filters["indent_code"] = _indent_code
    return environment


def _indent_code(text: str, spaces: int) -> str:
    """Indents code; pragmas stay at the margin, as HLS code has them."""
    lines = text.rstrip("\n").split("\n")
    return "\n".join(line if line.startswith("#") or not line else " " * spaces + line for line in lines)


def render(template: str, **values: object) -> str:
    """The text of a template, by its path below ``templates/``."""
    return _environment().get_template(template).render(**values)


def static(path: str) -> str:
    """The text of a file below ``templates/`` that is not a template."""
    return (resources.templates() / path).read_text()
