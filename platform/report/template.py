"""The one template of all pages: `page.html.j2` beside this file, whose macros take the pieces of a report."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.environment import TemplateModule
from markupsafe import Markup

from deepblur.platform.system.printable import printable


def filled(macro: str, *values: Any) -> Markup:
    """HTML of a macro of the template. Every text is escaped, whatever characters it has."""
    return getattr(_macros(), macro)(*values)


@cache
def _macros() -> TemplateModule:
    folder = Path(__file__).parent
    surroundings = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value, keep="\n\t"),
    )
    surroundings.globals["css"] = Markup((folder / "page.css").read_text(encoding="utf-8"))
    return surroundings.get_template("page.html.j2").module
