"""What every page and table in HTML is made by: values are escaped, and controls in them shown."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from poisonbench.visible import shown


def pages(package: str, folder: str = "templates") -> Environment:
    """The templates of a package's folder; a name that nobody gave them is an error."""
    return Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
