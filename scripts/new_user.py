#!/usr/bin/env python3
"""Tries the crates as a new user would: from their packages, in new projects, following the guide and the readmes.

    scripts/new_user.py [page ..]

Packages the crates, unpacks them elsewhere, and for each page makes a project with `cargo new`, runs the page's own `cargo add`
lines, pastes each of its whole programs into src/main.rs, and builds it. If the page shows the output of a program that ends by
itself, the program is run, and its output is printed beside the page's.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CRATES = ["defer-core", "defer-macros", "defer-axum", "defer-sqlx", "defer-river", "defer-apalis"]
# rustdoc treats a block as Rust unless it says otherwise.
RUST = {"", "rust", "no_run", "test_harness"}
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def run(command: list[str], where: pathlib.Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=where, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)


def checked(command: list[str], where: pathlib.Path) -> str:
    done = run(command, where)
    if done.returncode:
        sys.exit(f"{' '.join(command)}, in {where}:\n{done.stdout}")
    return done.stdout


def unpack(work: pathlib.Path) -> dict[str, pathlib.Path]:
    target = work / "packages"
    packages = [part for crate in CRATES for part in ("-p", crate)]
    checked(["cargo", "package", "--quiet", "--no-verify", "--allow-dirty", "--target-dir", str(target), *packages], ROOT)
    folders = {}
    for package in sorted((target / "package").glob("*.crate")):
        shutil.unpack_archive(package, work / "crates", "gztar")
        folder = work / "crates" / package.stem
        folders[re.sub(r"-\d.*", "", package.stem)] = folder
        if missing := [name for name in ("README.md", "LICENSE-MIT", "LICENSE-APACHE") if not (folder / name).is_file()]:
            sys.exit(f"{package.name} has no {', '.join(missing)}")
    return folders


def pages(crates: dict[str, pathlib.Path]) -> dict[str, str]:
    found = {f"{name}/README.md": (folder / "README.md").read_text() for name, folder in crates.items()}
    for name, folder in crates.items():
        for source in [*folder.glob("src/guide/*.rs"), *folder.glob("src/guide.rs")]:
            # A block that needs a feature is written in an attribute. Without the feature it is text.
            text = re.sub(r'^#!\[cfg_attr\(feature = "[\w-]+", doc = "(.*)"\)\]$', r"//! \1", source.read_text(), flags=re.MULTILINE)
            lines = [line.removeprefix("//!").removeprefix(" ") for line in text.splitlines() if line.startswith("//!")]
            found[f"{name}/{source.relative_to(folder)}"] = "\n".join(lines) + "\n"
    return found


def project(work: pathlib.Path, page: str, text: str, crates: dict[str, pathlib.Path]) -> pathlib.Path:
    folder = work / "projects" / re.sub(r"\W+", "-", page)
    folder.parent.mkdir(exist_ok=True)
    checked(["cargo", "new", "--quiet", "--vcs", "none", str(folder)], work)
    with (folder / "Cargo.toml").open("a") as manifest:
        manifest.write("\n[patch.crates-io]\n")
        manifest.writelines(f'{name} = {{ path = "{path}" }}\n' for name, path in crates.items())
    shell = "\n".join(code for language, _, code in FENCE.findall(text) if language == "sh")
    added = re.findall(r"^cargo add .*$", shell, re.MULTILINE)
    for line in added:
        words = line.split("#")[0].split()
        # cargo takes one path per call.
        ours = [word for word in words[2:] if word in crates]
        others = [word for word in words[2:] if word not in ours]
        options = others[next((at for at, word in enumerate(others) if word.startswith("-")), len(others)):]
        for name in ours:
            checked(["cargo", "add", "--quiet", "--path", str(crates[name]), *options], folder)
        if len(others) > len(options) or not ours:
            checked(["cargo", "add", "--quiet", *others], folder)
    return folder


def main() -> int:
    only = sys.argv[1:] or [""]
    environment = os.environ | {"CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target/new-user"))}
    failed, built = 0, 0
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        crates = unpack(work)
        for page, text in pages(crates).items():
            blocks = FENCE.findall(text)
            is_program = re.compile(r"^(async )?fn main|^ *#\[(tokio::)?test\]$", re.MULTILINE)
            programs = [at for at, (language, _, code) in enumerate(blocks) if language in RUST and is_program.search(code)]
            if not programs or not any(part in page for part in only):
                continue
            folder = project(work, page, text, crates)
            for at in programs:
                language, flags, code = blocks[at]
                has_main = "fn main" in code
                has_tests = "test]" in code
                (folder / "src/main.rs").write_text(code if has_main else code + "\nfn main() {}\n")
                command = ["cargo", "test" if has_tests else "build", "--quiet"]
                done = run(command, folder, env=environment)
                built += 1
                # Warnings are stumbles, too, except for unused items in a fragment.
                verdict = "ok" if done.returncode == 0 and (has_tests or not has_main or not done.stdout) else "STUMBLES"
                failed += verdict != "ok"
                print(f"{verdict:8} {page}: program {programs.index(at) + 1}, {len(code.splitlines())} lines")
                if verdict != "ok":
                    print(done.stdout)
                    continue
                follows = blocks[at + 1:at + 3]
                says = next((code for language, _, code in follows if language == "text"), None)
                if has_main and not has_tests and says and "no_run" not in language + flags:
                    ran = run(["cargo", "run", "--quiet"], folder, env=environment, timeout=120)
                    print(f"         it says:\n{says}         it prints:\n{ran.stdout}")
    print(f"{built} programs, {failed} of them stumble")
    return 1 if failed or not built else 0


if __name__ == "__main__":
    sys.exit(main())
