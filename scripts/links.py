#!/usr/bin/env python3
"""Checks offline that the links in the pages and in the documentation work.

    scripts/links.py target/doc

A relative link has to lead to a file, and to a heading in it. A link to this repository counts as a relative one. A docs.rs link
to one of our crates has to exist in the output of `cargo doc`, in the given folder. For other links only the host is checked:
check a new host yourself before you add it here. rustdoc checks links between items; this checks that their pages exist.
"""

import pathlib
import re
import subprocess
import sys

REPOSITORY = "https://github.com/defer-axum/defer-axum/"
HOSTS = {"docs.rs", "github.com", "keepachangelog.com", "semver.org", "www.rfc-editor.org", "www.w3.org", "kubernetes.io",
         "docs.docker.com", "fastapi.tiangolo.com", "laravel.com", "img.shields.io", "riverqueue.com"}
CRATES = ["defer_core", "defer_macros", "defer_axum", "defer_sqlx", "defer_river", "defer_apalis"]
OURS = re.compile(r"https://docs\.rs/(defer-(?:core|macros|axum|sqlx|river|apalis))(?:/[^/]+/?(.*))?$")


def anchors(page: pathlib.Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def wrong(root: pathlib.Path, docs: pathlib.Path, source: pathlib.Path, link: str) -> str | None:
    if link.startswith(REPOSITORY):
        path = re.sub(r"^(blob|tree)/main/", "", link.removeprefix(REPOSITORY))
        if path.startswith(("compare/", "releases/")):
            return None
        return wrong(root, docs, root / "README.md", path)
    if ours := OURS.match(link):
        crate, path = ours.groups()
        path, _, anchor = (path or "").partition("#")
        page = docs / (path or crate.replace("-", "_") + "/")
        page = page / "index.html" if not page.suffix else page
        if not page.exists():
            return f"cargo doc has made no {page}"
        return None if not anchor or f'id="{anchor}"' in page.read_text() else f"{page} has no #{anchor}"
    if host := re.match(r"https?://([^/]+)", link):
        return None if host[1] in HOSTS else "a host that scripts/links.py does not know"
    path, _, anchor = link.partition("#")
    target = source.parent / path if path else source
    if not target.exists():
        return "no such file"
    return None if not anchor or anchor in anchors(target) else "no such heading"


def main() -> int:
    docs = pathlib.Path(sys.argv[1])
    root = pathlib.Path(__file__).resolve().parent.parent
    names = subprocess.run(["git", "ls-files", "*.md", "*.rs"], cwd=root, check=True, capture_output=True, text=True)
    checked, failed = 0, 0
    for name in names.stdout.split():
        text = (root / name).read_text()
        if name.endswith(".md"):
            text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
            links = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$|src(?:set)?=\"([^\"]+)\"", text, re.MULTILINE)
            links = ["".join(found) for found in links]
        else:
            text = "\n".join(line for line in text.splitlines() if line.lstrip().startswith(("//!", "///")))
            links = re.findall(r"\]\((https?://[^)\s]+)\)|\]: (https?://\S+)", text)
            links = ["".join(found) for found in links]
        for link in links:
            checked += 1
            if reason := wrong(root, docs, root / name, link):
                failed += 1
                print(f"{name}: {link}: {reason}", file=sys.stderr)
    for page in [page for crate in CRATES for page in (docs / crate).rglob("*.html")]:
        for link in set(re.findall(r'href="((?:\.\./)*[^":#]+\.html)(?:#[^"]*)?"', page.read_text())):
            checked += 1
            # Anything not documented here, such as other crates, has an absolute link.
            if not (page.parent / link).exists():
                failed += 1
                print(f"{page}: {link}: cargo doc has made no such page", file=sys.stderr)
    print(f"{checked} links, {failed} of them wrong")
    return 1 if failed or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
