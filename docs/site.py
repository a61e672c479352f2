"""Builds the documentation site: ``python -m docs.site FOLDER``, which is `make docs`.

The pages are written to be read in the repository, in several folders and with links to sources.
For Sphinx they are copied into one folder. A link to another page leads to its copy, a link to any
other file of the repository to a copy that can be downloaded, and a link to a folder becomes text.
The folder of the examples becomes a page of its own. A warning of Sphinx fails the build.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
# Pages by their path in the repository, as they follow one another on the site.
PAGES = {
    "Using Pound": (
        "docs/configuration.md", "docs/operations.md", "docs/security.md", "docs/asyncio.md",
        "docs/api.rst", "examples", "docs/glossary.md",
    ),
    "Protocols": ("docs/dialects.md", "docs/protocol.md"),
    "Inside": (
        "docs/architecture.md", "docs/benchmarks.md", "bench/README.md", "bench/python/README.md",
        "docs/profiling.md",
    ),
    "Project": ("HACKING.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"),
}  # fmt: skip
FRONT = "README.md"
RENAMED = {"SECURITY.md": "security-policy.md"}  # where docs/ has a page of that name
EXAMPLES = "examples"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def pages() -> dict[str, str]:
    """Return the name of each page's file on the site, by its path in the repository.

    A README is named after its folder.
    """
    found = {FRONT: "index.md"}
    for path in (path for group in PAGES.values() for path in group):
        folder, _, name = path.rpartition("/")
        if path == EXAMPLES:
            found[path] = f"{EXAMPLES}.md"
        elif name == "README.md":
            found[path] = f"{folder.replace('/', '-')}.md"
        else:
            found[path] = RENAMED.get(path, name.lower())
    return found


def navigation() -> str:
    """Return the tables of contents that the front page adds to the sidebar."""
    known = pages()
    blocks = [
        f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
        + "\n".join(known[path].partition(".")[0] for path in group)
        + "\n```\n"
        for caption, group in PAGES.items()
    ]
    return "\n" + "\n".join(blocks)


def resolved(page: str, target: str) -> str:
    """Return the path in the repository that a link of a page means."""
    parts: list[str] = []
    for part in (PurePosixPath(page).parent / target).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def relinked(page: str, text: str, files: set[str]) -> str:
    """Return a page with its links led to the site; add to `files` the other files they mean."""
    known = pages()

    def link(found: re.Match[str]) -> str:
        mark, words, target = found.groups()
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return found[0]
        meant = resolved(page, path.rstrip("/"))
        if meant in known:
            words = "" if words.endswith(".md") else words  # Sphinx writes the page's title
            return f"[{words}]({known[meant]}{'#' + anchor if anchor else ''})"
        if (ROOT / meant).is_dir():
            return words
        files.add(meant)
        return f"{mark}[{words}](files/{meant})"

    kept: list[str] = []
    at = 0
    for fence in FENCE.finditer(text):
        kept += [LINK.sub(link, text[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*kept, LINK.sub(link, text[at:])])


def examples() -> str:
    """Return the page of the examples: each file as it is, under its name."""
    languages = {".py": "python", ".toml": "toml", ".service": "ini"}
    parts = ["# Examples\n"]
    for path in sorted((ROOT / EXAMPLES).iterdir()):
        if path.suffix in languages:
            fence = f"```{languages[path.suffix]}\n{path.read_text()}```\n"
            parts.append(f"## {EXAMPLES}/{path.name}\n\n{fence}")
    return "\n".join(parts)


def gather(folder: Path) -> None:
    """Fill a folder with the sources of the site."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files: set[str] = set()
    for path, name in pages().items():
        text = examples() if path == EXAMPLES else (ROOT / path).read_text()
        if name.endswith(".md"):
            text = relinked(path, text, files)
        (folder / name).write_text(text + (navigation() if path == FRONT else ""))
    for path in files:
        target = folder / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, target)


def build(folder: Path) -> int:
    """Build the site into ``html`` of a folder, from ``source`` there; return the exit code."""
    from sphinx.cmd.build import main

    gather(folder / "source")
    strict = ["--quiet", "--fail-on-warning", "--keep-going"]
    return main([*strict, "-c", str(ROOT / "docs"), str(folder / "source"), str(folder / "html")])


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1])))
