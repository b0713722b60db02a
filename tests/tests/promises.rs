//! Checks that every test that `docs/promises.md` names exists, and that its links work.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, File, Item, ItemFn, ItemMacro, ItemMod,
    visit::{self, Visit},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The tests in a file, and its modules that have some.
#[derive(Default)]
struct Tests {
    names: BTreeSet<String>,
    functions: BTreeSet<String>,
    /// The macros that create tests, of this file and of the modules that it takes macros from.
    makers: BTreeSet<String>,
}

impl Tests {
    /// `shared` returns the text of a module that the file takes macros from.
    fn of(text: &str, shared: impl Fn(&str) -> Option<String>) -> syn::Result<Self> {
        let file: File = syn::parse_file(text)?;
        let mut tests = Self::default();
        for item in &file.items {
            let Item::Mod(module) = item else { continue };
            if module.attrs.iter().any(|attribute| is(attribute, "macro_use")) {
                let text = shared(&module.ident.to_string()).expect("a module with macros is a folder");
                tests.makers.extend(Self::of(&text, no_module)?.makers);
            }
        }
        tests.visit_file(&file);
        Ok(tests)
    }
}

fn no_module(_: &str) -> Option<String> {
    None
}

impl<'ast> Visit<'ast> for Tests {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        let name = item.sig.ident.to_string();
        let has = |name| item.attrs.iter().any(|attribute| is(attribute, name));
        if has("test") && !has("ignore") {
            self.names.insert(name.clone());
        }
        self.functions.insert(name);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let before = self.names.len();
        visit::visit_item_mod(self, item);
        if self.names.len() > before {
            self.names.insert(item.ident.to_string());
        }
    }

    /// Recognizes `proptest!`, and macros of the file that turn each given function into a test.
    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        let tokens = item.mac.tokens.to_string();
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
        let words: Vec<_> = tokens.split(|letter| !is_part(letter)).filter(|word| !word.is_empty()).collect();
        if let Some(name) = &item.ident {
            if words.contains(&"test") {
                self.makers.insert(name.to_string());
            }
        } else if item.mac.path.is_ident("proptest") {
            let tests = words.windows(3).filter(|words| words[..2] == ["test", "fn"]);
            self.names.extend(tests.map(|words| words[2].to_owned()));
        } else if item.mac.path.get_ident().is_some_and(|name| self.makers.contains(&name.to_string())) {
            let tests = words.into_iter().filter(|word| self.functions.contains(*word));
            self.names.extend(tests.map(str::to_owned));
        }
    }
}

fn is(attribute: &Attribute, name: &str) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == name)
}

/// The files that were read.
#[derive(Default)]
struct Sources(BTreeMap<PathBuf, Tests>);

impl Sources {
    fn tests(&mut self, file: &Path) -> Option<&Tests> {
        if !self.0.contains_key(file) {
            let text = fs::read_to_string(file).ok()?;
            let folder = file.parent().expect("a file is in a folder");
            let shared = |module: &str| fs::read_to_string(folder.join(module).join("mod.rs")).ok();
            let tests =
                Tests::of(&text, shared).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            self.0.insert(file.to_owned(), tests);
        }
        self.0.get(file)
    }

    /// Returns whether this test exists: `folder/file::name`, or `folder/file` for all tests of a file or folder.
    fn have(&mut self, name: &str) -> bool {
        let (path, test) = name.split_once("::").map_or((name, None), |(path, test)| (path, Some(test)));
        let path = root().join(path);
        let file = path.with_extension("rs");
        match test {
            Some(test) => self.tests(&file).is_some_and(|tests| tests.names.contains(test)),
            None if file.is_file() => self.tests(&file).is_some_and(|tests| !tests.names.is_empty()),
            None => sources_in(&path)
                .iter()
                .any(|file| self.tests(file).is_some_and(|tests| !tests.names.is_empty())),
        }
    }
}

fn sources_in(folder: &Path) -> Vec<PathBuf> {
    files_in(folder, &|file| file.extension() == Some(OsStr::new("rs")))
}

/// Returns the files below a folder, except build output.
fn files_in(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_source = |folder: &PathBuf| {
        let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name != "target" && !name.starts_with('.')
    };
    let below = folders.iter().filter(|folder| is_source(folder)).flat_map(|folder| files_in(folder, wanted));
    files.into_iter().filter(|file| wanted(file)).chain(below).collect()
}

/// Returns the rows of the tables with the heading `test`: the promise, and the names of its tests.
fn promises(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut rows = Vec::new();
    let mut is_of_promises = false;
    for line in page.lines() {
        let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else {
            // The line below the headings has no spaces.
            is_of_promises &= line.starts_with("|--");
            continue;
        };
        let (promise, tests) = row.rsplit_once(" | ").expect("two columns");
        if is_of_promises {
            rows.push((promise, tests.split('`').skip(1).step_by(2).collect()));
        }
        is_of_promises |= tests == "test";
    }
    rows
}

/// Returns the problems with the promises, one per line.
fn broken_promises(page: &str) -> String {
    let mut sources = Sources::default();
    let mut broken = String::new();
    for (promise, tests) in promises(page) {
        if tests.is_empty() {
            broken += &format!("no test: {promise}\n");
        }
        for test in tests.iter().filter(|test| !sources.have(test)) {
            broken += &format!("there is no `{test}`: {promise}\n");
        }
    }
    broken
}

/// Returns the problems with the table that compares the ways to keep jobs, one per line. Each cell names its tests, says that the
/// engine promises it, or that there is nothing to promise.
fn broken_cells(page: &str) -> String {
    let mut sources = Sources::default();
    let mut broken = String::new();
    let rows = page.lines().skip_while(|line| !line.starts_with("### Four ways")).skip(1);
    let rows = rows.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with("| "));
    for (number, row) in rows.enumerate() {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        // The first row names the ways.
        for cell in cells.iter().skip(1).filter(|_| number > 0) {
            let tests: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
            let is_plain = matches!(*cell, "no" | "lost" | "not measured") || cell.contains("](");
            if tests.is_empty() && !is_plain && !cell.contains("the engine's") {
                broken += &format!("no test: {}: {cell}\n", cells[0]);
            }
            for test in tests.iter().filter(|test| !sources.have(test)) {
                broken += &format!("there is no `{test}`: {}\n", cells[0]);
            }
        }
    }
    broken
}

/// Returns the targets of the links.
fn links(page: &str) -> impl Iterator<Item = &str> {
    page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// Returns the anchors of a page's headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let letters = heading.trim_start_matches('#').trim().to_lowercase();
        let known = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        letters.chars().filter(|letter| known(*letter)).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// Returns the broken links. All links are relative to the file.
fn broken_links(file: &Path, page: &str) -> Vec<String> {
    let folder = file.parent().expect("a file is in a folder");
    let leads_nowhere = |target: &&str| {
        let (path, anchor) = target.split_once('#').map_or((*target, None), |(path, at)| (path, Some(at)));
        let linked = if path.is_empty() { file.to_owned() } else { folder.join(path) };
        let is_relative = !path.contains("://") && !path.starts_with('/');
        let has = |anchor| fs::read_to_string(&linked).is_ok_and(|page| anchors(&page).contains(anchor));
        !is_relative || !linked.exists() || !anchor.is_none_or(has)
    };
    links(page).filter(leads_nowhere).map(str::to_owned).collect()
}

fn page() -> (PathBuf, String) {
    let file = root().join("docs/promises.md");
    let page = fs::read_to_string(&file).expect("the page is there");
    (file, page)
}

#[test]
fn each_promise_has_its_test() {
    let (_, page) = page();
    assert!(promises(&page).len() > 100, "the promises are not seen");
    let broken = broken_promises(&page);
    assert!(broken.is_empty(), "docs/promises.md:\n{broken}");
}

#[test]
fn each_cell_of_the_four_ways_has_its_test_or_is_the_engines() {
    let (_, page) = page();
    assert!(page.contains("\n### Four ways"), "the table is not seen");
    let broken = broken_cells(&page);
    assert!(broken.is_empty(), "docs/promises.md:\n{broken}");
}

#[test]
fn each_link_leads_somewhere() {
    let (file, page) = page();
    assert!(links(&page).count() > 5, "the links are not seen");
    assert_eq!(broken_links(&file, &page), [""; 0]);
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let manifest = |file: &Path| fs::read_to_string(file).expect("a manifest");
    let forbids = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n";
    assert!(manifest(&root().join("Cargo.toml")).contains(forbids));
    let crates = files_in(&root(), &|file| file.file_name() == Some(OsStr::new("Cargo.toml")));
    let crates = crates.iter().map(|file| (file, manifest(file)));
    let crates: Vec<_> = crates.filter(|(_, manifest)| manifest.contains("[package]")).collect();
    assert!(crates.len() > 10, "the crates are not seen");
    for (file, manifest) in crates {
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} has lints of its own", file.display());
    }
}

#[test]
fn a_test_that_is_not_there_is_named() {
    let page = "\
        | promise | test |\n|---|---|\n\
        | One | `tests/tests/promises::a_test_that_is_not_there_is_named`, `tests/tests/promises::of` |\n\
        | Two | `defer-core/tests/model::so_it_is_on_several_threads` |\n\
        | Three | `defer-core/tests/gone`, `tests/tests/bounds/progress` |\n\
        | Four | `tests/queue/tests/away`, `tests/queue/tests/crashes::acknowledged_jobs_survive_sigkill` |\n\
        | Five | none |\n\
        \n| other | column |\n|---|---|\n| Six | `of another table` |\n";
    assert_eq!(
        broken_promises(page),
        "there is no `tests/tests/promises::of`: One\nthere is no `defer-core/tests/gone`: Three\nno test: Five\n"
    );
}

#[test]
fn a_cell_without_a_test_is_named() {
    let page = "\
        ### Four ways\n| | a | b | c | d |\n|---|---|---|---|---|\n\
        | order | yes: `tests/tests/promises::each_link_leads_somewhere` | yes | no | yes, the engine's |\n\
        | cost | [measured](x) | lost | yes: `tests/tests/gone` | not measured |\n";
    assert_eq!(broken_cells(page), "no test: order: yes\nthere is no `tests/tests/gone`: cost\n");
}

#[test]
fn a_test_that_is_ignored_is_none() {
    let tests = Tests::of(
        "#[test] #[ignore] fn one() {} #[tokio::test(start_paused = true)] async fn two() {}",
        no_module,
    );
    assert_eq!(tests.expect("it is Rust").names, BTreeSet::from(["two".to_owned()]));
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let file = root().join("docs/promises.md");
    let page =
        "[a](../README.md) [b](gone.md) [c](../README.md#testing) [d](../README.md#gone) [e](/README.md)";
    assert_eq!(broken_links(&file, page), ["gone.md", "../README.md#gone", "/README.md"]);
}
