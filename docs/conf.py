"""Sphinx's configuration; `make docs` builds the site from what docs/site.py has gathered."""

from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

from pound import __version__

project = "Pound"
author = "The Pound developers"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
exclude_patterns = ["files"]

default_role = "py:obj"  # `name` in a docstring is a link where there is something to lead to
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_param = False  # else the words of a type lead to attributes of that name
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_class_signature = "mixed"
toc_object_entries_show_parents = "hide"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"Pound {release}"
html_copy_source = False
html_show_sphinx = False

# The overloads of a constructor are for type checkers, which see what `copy` decides.
OVERLOADED = ("pound.client", "pound.aio.client")
MADE_FOR_THE_CALLER = ("pound.Stream", "pound.Task", "pound.aio.Stream", "pound.aio.Task")


def forget_overloads(app: Sphinx) -> None:
    """Have the constructor's own signature shown, once."""
    for name in OVERLOADED:
        analyzer = ModuleAnalyzer.for_module(name)
        analyzer.analyze()
        analyzer.overloads.clear()


def hide_constructor(
    app: Sphinx, what: str, name: str, made: Any, options: Any, signature: str | None, *_: Any
) -> tuple[str, str] | None:
    """Show no arguments of what no program makes, nor again those that an error inherits."""
    inherits = what == "exception" and "__init__" not in vars(made)
    return ("", "") if signature and (inherits or name in MADE_FOR_THE_CALLER) else None


def setup(app: Sphinx) -> None:
    """Change what autodoc shows."""
    app.connect("builder-inited", forget_overloads)
    app.connect("autodoc-process-signature", hide_constructor)
