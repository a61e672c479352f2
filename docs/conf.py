"""Sphinx's configuration; `make docs` builds the site from what docs/site.py has gathered."""

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
autodoc_class_signature = "separated"
toc_object_entries_show_parents = "hide"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"Pound {release}"
html_copy_source = False
html_show_sphinx = False
