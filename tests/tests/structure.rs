//! Checks that imports and paths form no cycle among the files of a crate, and that together with method calls they form none
//! among its folders: a folder uses only folders below it.
//!
//! A name counts as imported from the file that defines it, whatever re-exports it. A method belongs to the folder of its
//! `impl` or of its trait. The checks know names but not types: a call counts if exactly one folder has a method of that name
//! and number of arguments, and no other crate is known to have one ([`AMBIGUOUS`]).
//!
//! Also checks that no test is forgotten: each file of a test program belongs to it, and there are none where none run.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{
    Attribute, ExprMethodCall, ImplItem, ImplItemFn, Item, ItemImpl, ItemTrait, ItemUse, Macro, Signature,
    TraitItem, UseTree, Visibility,
    visit::{self, Visit},
};

type Names = Vec<String>;

/// A method's name, and the number of its arguments without `self`.
type Method<Name = String> = (Name, usize);

/// The names that one file or folder takes from another: keyed by the user and the definer.
type Edges<'a, Name> = BTreeMap<(&'a str, &'a str), BTreeSet<Name>>;

/// Methods of std and of other crates with the name and number of arguments of one of ours. A call to them says nothing
/// about folders. Methods of a foreign trait that the crate implements need not be listed.
const AMBIGUOUS: [Method<&str>; 33] = [
    // From std.
    ("as_str", 0),
    ("capacity", 0),
    ("clear", 0),
    ("extend", 1),
    ("finish", 0),
    ("get", 0),
    ("get", 1),
    ("get_mut", 1),
    ("insert", 1),
    ("insert", 2),
    ("is_empty", 0),
    ("iter", 0),
    ("iter_mut", 0),
    ("len", 0),
    ("lock", 0),
    ("next", 0),
    ("position", 1),
    ("push", 1),
    ("set", 1),
    ("spawn", 1), // and of Tokio
    ("split", 1),
    ("take", 0),
    ("take", 1),
    // From http, backon, metrics and sqlx, and for `defer-axum` from `defer-core`.
    ("body", 0),
    ("build", 0),
    ("record", 1),
    ("run", 1),
    ("runner", 0),
    ("name", 1),   // of a thread's builder
    ("close", 0),  // of a connection
    ("drain", 0),  // of a map
    ("drain", 1),  // of a Vec
    ("values", 0), // of a map
];

/// A crate's modules by their path from its root.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<Names, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    defined: BTreeSet<String>,
    /// The imported name, its path, and whether it is re-exported. A glob's name is `*`.
    imports: Vec<(String, Names, bool)>,
    /// Paths used in the code.
    paths: Vec<Names>,
    /// Methods of the types and traits.
    methods: BTreeSet<Method>,
    /// The path of a trait, and the methods in an `impl` of it.
    implemented: Vec<(Names, Vec<Method>)>,
    /// Methods called in the code.
    calls: BTreeSet<Method>,
}

impl Crate {
    fn read(source: &Path) -> Self {
        let mut krate = Self::default();
        krate.add_file(&|file| fs::read_to_string(source.join(file)).ok(), "lib.rs", Vec::new());
        krate
    }

    fn add_file(&mut self, read: &dyn Fn(&str) -> Option<String>, file: &str, module: Names) {
        let text = read(file).unwrap_or_else(|| panic!("{file} cannot be read"));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        self.add_items(read, file, module, &parsed.items);
    }

    fn add_items(
        &mut self,
        read: &dyn Fn(&str) -> Option<String>,
        file: &str,
        module: Names,
        items: &[Item],
    ) {
        let mut found = Module { file: file.to_owned(), ..Module::default() };
        for item in items.iter().filter(|item| !is_test_item(item)) {
            match item {
                Item::Mod(item) => {
                    let child = joined(&module, &item.ident.to_string());
                    match &item.content {
                        Some((_, items)) => self.add_items(read, file, child, items),
                        None => {
                            let path = child.join("/");
                            let file = format!("{path}.rs");
                            let file = if read(&file).is_some() { file } else { format!("{path}/mod.rs") };
                            self.add_file(read, &file, child);
                        }
                    }
                }
                Item::Use(item) => found.import(&module, item),
                item => {
                    found.defined.extend(name_of(item));
                    Uses { module: &module, found: &mut found }.visit_item(item);
                }
            }
        }
        self.modules.insert(module, found);
    }

    /// Returns the file that defines what the path names, if it is in the crate.
    fn definition(&self, path: &[String], depth: usize) -> Option<&str> {
        let mut at: Names = Vec::new();
        for (index, name) in path.iter().enumerate() {
            let child = joined(&at, name);
            if self.modules.contains_key(&child) {
                at = child;
                continue;
            }
            let module = self.modules.get(&at)?;
            if module.defined.contains(name) {
                return Some(&module.file);
            }
            let rest = &path[index + 1..];
            return module.imports.iter().filter(|_| depth < 9).find_map(|(known, target, _)| {
                let target: Names = match known.as_str() {
                    known if known == name => target.iter().chain(rest).cloned().collect(),
                    "*" => target.iter().chain([name]).chain(rest).cloned().collect(),
                    _ => return None,
                };
                self.definition(&target, depth + 1)
            });
        }
        self.modules.get(&at).map(|module| module.file.as_str())
    }

    /// Returns the names that each file takes from each other. Re-exports do not count.
    fn edges(&self) -> Edges<'_, &str> {
        self.edges_with_exports(|_| false)
    }

    /// Like [`edges`](Self::edges), and counts the re-exports of these files.
    fn edges_with_exports(&self, of: impl Fn(&str) -> bool) -> Edges<'_, &str> {
        let mut edges = Edges::new();
        for module in self.modules.values() {
            let counts = |exported: bool| !exported || of(&module.file);
            let imported =
                module.imports.iter().filter(|(.., exported)| counts(*exported)).map(|(_, path, _)| path);
            for path in imported.chain(&module.paths) {
                if let Some(file) = self.definition(path, 0).filter(|file| *file != module.file) {
                    let names: &mut BTreeSet<_> = edges.entry((module.file.as_str(), file)).or_default();
                    names.extend(path.last().map(String::as_str));
                }
            }
        }
        edges
    }

    /// Returns the folder of each method that belongs to exactly one.
    fn methods(&self) -> BTreeMap<Method<&str>, &str> {
        let mut folders: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for module in self.modules.values() {
            for (name, arguments) in &module.methods {
                folders.entry((name.as_str(), *arguments)).or_default().insert(folder(&module.file));
            }
        }
        let implemented = self.modules.values().flat_map(|module| &module.implemented);
        let foreign = implemented.filter(|(path, _)| self.definition(path, 0).is_none());
        let foreign =
            foreign.flat_map(|(_, methods)| methods).map(|(name, arguments)| (name.as_str(), *arguments));
        for method in foreign.chain(AMBIGUOUS) {
            folders.remove(&method);
        }
        folders.retain(|_, folders| folders.len() == 1);
        folders.into_iter().filter_map(|(method, mut folders)| Some((method, folders.pop_first()?))).collect()
    }

    /// Returns what each folder takes from each other, and where: names as in [`Self::edges`], and methods.
    fn folder_edges(&self) -> Edges<'_, String> {
        let mut edges = Edges::new();
        // The root re-exports from all folders.
        for ((from, to), names) in self.edges_with_exports(|file| file != "lib.rs") {
            let names = names.iter().map(|name| format!("{name} in {from}"));
            edges.entry((folder(from), folder(to))).or_default().extend(names);
        }
        let methods = self.methods();
        for Module { file, calls, .. } in self.modules.values() {
            for (name, arguments) in calls {
                if let Some(to) = methods.get(&(name.as_str(), *arguments)) {
                    edges.entry((folder(file), to)).or_default().insert(format!(".{name}() in {file}"));
                }
            }
        }
        edges.retain(|(from, to), _| from != to);
        edges
    }
}

/// Returns the edges that are part of a cycle, one per line.
fn circles<Name: AsRef<str>>(edges: &Edges<'_, Name>) -> String {
    let reaches = |from: &str, to: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            open.extend(edges.keys().filter(|(a, b)| *a == at && seen.insert(*b)).map(|(_, b)| *b));
        }
        seen.contains(to)
    };
    let mut circles = String::new();
    for ((from, to), names) in edges.iter().filter(|((from, to), _)| reaches(to, from)) {
        let names: Vec<_> = names.iter().map(AsRef::as_ref).collect();
        let _ = writeln!(circles, "{from} -> {to}: {}", names.join(", "));
    }
    circles
}

/// Returns the folder in `src` that contains the file, or the module of a file directly in `src`.
fn folder(file: &str) -> &str {
    let entry = file.split('/').next().unwrap_or(file);
    entry.strip_suffix(".rs").unwrap_or(entry)
}

impl Module {
    fn import(&mut self, module: &[String], item: &ItemUse) {
        let exported = !matches!(item.vis, Visibility::Inherited);
        let mut open = vec![(Vec::new(), &item.tree)];
        while let Some((mut path, tree)) = open.pop() {
            let (name, last) = match tree {
                UseTree::Path(tree) => {
                    path.push(tree.ident.to_string());
                    open.push((path, &tree.tree));
                    continue;
                }
                UseTree::Group(group) => {
                    open.extend(group.items.iter().map(|tree| (path.clone(), tree)));
                    continue;
                }
                UseTree::Name(name) => (name.ident.to_string(), name.ident.to_string()),
                UseTree::Rename(name) => (name.rename.to_string(), name.ident.to_string()),
                UseTree::Glob(_) => ("*".to_owned(), "self".to_owned()),
            };
            let name = if name == "self" { path.last().cloned().unwrap_or_default() } else { name };
            path.extend((last != "self").then_some(last));
            let path = absolute(module, &path).unwrap_or_else(|| [module, &path].concat());
            self.imports.push((name, path, exported));
        }
    }
}

/// Collects what an item uses, and its methods.
struct Uses<'a> {
    module: &'a [String],
    found: &'a mut Module,
}

impl Uses<'_> {
    fn absolute(&self, path: &syn::Path) -> Names {
        let names: Names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        absolute(self.module, &names).unwrap_or_else(|| [self.module, &names].concat())
    }

    /// Finds `.name(..)` among a macro's tokens.
    fn calls(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for window in tokens.windows(3) {
            let [TokenTree::Punct(dot), TokenTree::Ident(name), TokenTree::Group(group)] = window else {
                continue;
            };
            if dot.as_char() == '.' && group.delimiter() == Delimiter::Parenthesis {
                self.found.calls.insert((name.to_string(), arguments(group.stream())));
            }
        }
        for token in tokens {
            if let TokenTree::Group(group) = token {
                self.calls(group.stream());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        visit::visit_path(self, path);
        let path = self.absolute(path);
        self.found.paths.push(path);
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.found.import(self.module, item);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.calls(call.tokens.clone());
        let tokens = call.tokens.to_string();
        for path in tokens.split("crate ::").skip(1) {
            let names = path
                .split("::")
                .map(|name| name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next());
            let names = names.map_while(|name| name.filter(|name| !name.is_empty())).map(str::to_owned);
            self.found.paths.push(names.collect());
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let methods = item.items.iter().filter_map(|item| match item {
            ImplItem::Fn(item) if !is_test(&item.attrs) => method(&item.sig),
            _ => None,
        });
        match &item.trait_ {
            Some((_, path, _)) => {
                let path = self.absolute(path);
                self.found.implemented.push((path, methods.collect()));
            }
            None => self.found.methods.extend(methods),
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        let methods = item.items.iter().filter_map(|item| match item {
            TraitItem::Fn(item) => method(&item.sig),
            _ => None,
        });
        self.found.methods.extend(methods);
        visit::visit_item_trait(self, item);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        self.found.calls.insert((call.method.to_string(), call.args.len()));
        visit::visit_expr_method_call(self, call);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_item(item) {
            visit::visit_item(self, item);
        }
    }
}

fn method(signature: &Signature) -> Option<Method> {
    signature.receiver().map(|_| (signature.ident.to_string(), signature.inputs.len() - 1))
}

/// Returns the number of arguments among a macro's tokens.
fn arguments(tokens: TokenStream) -> usize {
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
    let tokens: Vec<_> = tokens.into_iter().collect();
    tokens.split(is_comma).filter(|argument| !argument.is_empty()).count()
}

/// Returns a path from the crate's root, if the given path says where it starts.
fn absolute(module: &[String], path: &[String]) -> Option<Names> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => Some([&module[..module.len().checked_sub(supers)?], &path[supers..]].concat()),
        _ => None,
    }
}

fn joined(module: &[String], name: &str) -> Names {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

fn is_test_item(item: &Item) -> bool {
    match item {
        Item::Fn(item) => is_test(&item.attrs),
        Item::Impl(item) => is_test(&item.attrs),
        Item::Mod(item) => is_test(&item.attrs),
        Item::Use(item) => is_test(&item.attrs),
        _ => false,
    }
}

fn name_of(item: &Item) -> Vec<String> {
    match item {
        Item::Const(item) => vec![item.ident.to_string()],
        Item::Enum(item) => vec![item.ident.to_string()],
        Item::Fn(item) => vec![item.sig.ident.to_string()],
        Item::Static(item) => vec![item.ident.to_string()],
        Item::Struct(item) => vec![item.ident.to_string()],
        Item::Trait(item) => vec![item.ident.to_string()],
        Item::Type(item) => vec![item.ident.to_string()],
        // For example `pin_project!`, which defines a struct.
        Item::Macro(item) => {
            let tokens = item.mac.tokens.to_string();
            let mut words =
                tokens.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            std::iter::from_fn(|| {
                words.find(|word| matches!(*word, "struct" | "enum"))?;
                words.next().map(str::to_owned)
            })
            .collect()
        }
        _ => Vec::new(),
    }
}

fn published(name: &str) -> Crate {
    Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src"))
}

#[test]
fn no_circle_among_the_files_of_a_crate() {
    for name in ["defer-core", "defer-axum", "defer-macros", "defer-sqlx", "defer-river", "defer-apalis"] {
        let krate = published(name);
        assert!(krate.edges().len() > 3, "the imports of {name} are not seen");
        let circles = circles(&krate.edges());
        assert!(circles.is_empty(), "files of {name} import each other in a circle:\n{circles}");
    }
}

fn assert_no_circle_among_folders(name: &str) {
    let krate = published(name);
    let edges = krate.folder_edges();
    let is_call = |what: &String| what.starts_with('.');
    assert!(edges.values().flatten().any(is_call), "the calls of methods in {name} are not seen");
    let circles = circles(&edges);
    assert!(circles.is_empty(), "folders of {name} use each other in a circle:\n{circles}");
}

#[test]
fn no_circle_among_the_folders_of_defer_core() {
    assert_no_circle_among_folders("defer-core");
}

#[test]
fn no_circle_among_the_folders_of_defer_axum() {
    assert_no_circle_among_folders("defer-axum");
}

#[test]
fn no_circle_among_the_folders_of_defer_macros() {
    assert_no_circle_among_folders("defer-macros");
}

#[test]
fn no_circle_among_the_folders_of_defer_sqlx() {
    assert_no_circle_among_folders("defer-sqlx");
}

#[test]
fn no_circle_among_the_folders_of_defer_river() {
    assert_no_circle_among_folders("defer-river");
}

/// The compiler ignores a file that no module names, and so do its tests.
#[test]
fn each_file_of_a_test_program_is_one_of_its_modules() {
    let entries = |folder: &Path| {
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path())
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut programs, mut forgotten) = (0, Vec::new());
    for folder in entries(&root).flat_map(|package| entries(&package.join("tests"))) {
        let Ok(main) = fs::read_to_string(folder.join("main.rs")) else { continue };
        let main = syn::parse_file(&main).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let modules = main.items.iter().filter_map(|item| match item {
            Item::Mod(item) => Some(item.ident.to_string()),
            _ => None,
        });
        let known: BTreeSet<_> = modules.chain(["main".to_owned()]).map(OsString::from).collect();
        let sources =
            entries(&folder).filter(|path| path.is_dir() || path.extension() == Some("rs".as_ref()));
        forgotten.extend(sources.filter(|path| path.file_stem().is_some_and(|name| !known.contains(name))));
        programs += 1;
    }
    assert!(programs > 10, "the test programs are not seen");
    assert!(forgotten.is_empty(), "no module: {forgotten:?}");
}

/// Cargo would build an empty test program of each of them. Tests that are added to one would not run, and nothing would say so.
#[test]
fn a_package_that_says_it_has_no_unit_tests_has_none() {
    fn tests(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path());
        let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        let has_tests = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            ["#[test]", "::test]", "::test(", "cfg(test)"].iter().any(|sign| text.contains(sign))
        };
        let below = folders.iter().flat_map(|folder| tests(folder));
        files.into_iter().filter(has_tests).chain(below).collect()
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let workspace = fs::read_to_string(root.join("Cargo.toml")).expect("the workspace");
    let members = workspace.lines().find(|line| line.starts_with("members = ")).expect("members");
    let mut packages = 0;
    for member in members.split('"').skip(1).step_by(2).filter(|member| !member.contains('*')) {
        let folder = root.join(member);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        if manifest.lines().any(|line| line == "test = false") {
            packages += 1;
            assert_eq!(tests(&folder.join("src")), Vec::<PathBuf>::new(), "{member}");
        }
    }
    assert!(packages > 5, "the packages are not seen");
}

fn in_memory(files: &[(&str, &str)]) -> Crate {
    let read = |name: &str| files.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned());
    let mut krate = Crate::default();
    krate.add_file(&read, "lib.rs", Vec::new());
    krate
}

#[test]
fn a_circle_through_a_re_export_is_found() {
    let krate = in_memory(&[
        ("lib.rs", "mod above; mod below;"),
        ("above.rs", "use crate::below::Below; pub struct Above(Below);"),
        ("below/mod.rs", "mod inner; pub use self::inner::Below;"),
        ("below/inner.rs", "pub struct Below; impl Below { fn of(_: &crate::above::Above) {} }"),
    ]);
    assert_eq!(
        circles(&krate.edges()),
        "above.rs -> below/inner.rs: Below\nbelow/inner.rs -> above.rs: Above\n"
    );
}

#[test]
fn imports_that_point_down_are_no_circle() {
    let krate = in_memory(&[
        ("lib.rs", "mod above; mod below; pub use self::above::Above;"),
        ("above.rs", "use crate::below::{self, Below as B}; pub struct Above(B, below::Other);"),
        (
            "below.rs",
            "pub struct Below; pub struct Other; #[cfg(test)] mod tests { use crate::above::Above; }",
        ),
    ]);
    assert_eq!(circles(&krate.edges()), "");
    assert_eq!(krate.edges().len(), 1);
}

#[test]
fn a_circle_among_folders_is_found_where_files_have_none() {
    let krate = in_memory(&[
        ("lib.rs", "mod left; mod right;"),
        ("left/mod.rs", "mod a; mod b;"),
        ("left/a.rs", "use crate::right::a::Right; pub struct Left(Right);"),
        ("left/b.rs", "pub struct Other;"),
        ("right/mod.rs", "pub mod a; mod b; pub use crate::left::b::Other;"),
        ("right/a.rs", "pub struct Right;"),
        ("right/b.rs", "use crate::left::b::Other; struct Below(Other);"),
    ]);
    assert_eq!(circles(&krate.edges()), "");
    assert_eq!(
        circles(&krate.folder_edges()),
        "left -> right: Right in left/a.rs\nright -> left: Other in right/b.rs, Other in right/mod.rs\n"
    );
}

#[test]
fn a_circle_through_calls_of_methods_is_found() {
    let krate = in_memory(&[
        ("lib.rs", "mod above; mod below;"),
        ("above/mod.rs", "mod inner; use crate::below::Below; pub struct Above(Below);"),
        ("above/inner.rs", "impl super::Above { pub fn tell(&self, _: u8) {} pub async fn end(self) {} }"),
        (
            "below.rs",
            "pub struct Below; impl Below {
                fn calls<T>(&self, of: &T) { if of.list().tell(1) { select! { () = of.end() => {} } } }
            }",
        ),
    ]);
    assert_eq!(circles(&krate.edges()), "");
    assert_eq!(
        circles(&krate.folder_edges()),
        "above -> below: Below in above/mod.rs\nbelow -> above: .end() in below.rs, .tell() in below.rs\n"
    );
}

#[test]
fn a_call_through_a_trait_of_the_lower_folder_points_down() {
    let krate = in_memory(&[
        ("lib.rs", "mod above; mod below; mod third;"),
        (
            "above.rs",
            "use crate::below::{Below, Told}; pub struct Above(Below);
             impl Told for Above { fn tell(&self) { self.0.shut() } }",
        ),
        (
            "below.rs",
            "pub trait Told { fn tell(&self); } pub struct Below;
             impl Below { pub fn shut(&self) {} fn call(&self, told: &dyn Told) { told.tell() } }",
        ),
        ("third.rs", "fn call(above: &crate::above::Above) { above.tell() }"),
    ]);
    assert_eq!(circles(&krate.folder_edges()), "");
    assert!(krate.folder_edges()[&("above", "below")].contains(".shut() in above.rs"));
    assert!(krate.folder_edges()[&("third", "below")].contains(".tell() in third.rs"));
}

#[test]
fn a_root_that_exports_from_its_folders_is_not_above_them() {
    let krate = in_memory(&[
        ("lib.rs", "mod a; pub use self::a::A; pub struct Root;"),
        ("a.rs", "pub struct A(crate::Root);"),
    ]);
    assert_eq!(circles(&krate.folder_edges()), "");
    assert_eq!(krate.folder_edges().len(), 1);
}

#[test]
fn a_method_that_another_may_have_too_is_not_counted() {
    let krate = in_memory(&[
        ("lib.rs", "mod above; mod below; mod third;"),
        (
            "above.rs",
            "pub struct Above; impl Above {
                 fn len(&self) {} fn both(&self) {} fn own(&self) {} fn three(&self, _: [u8; 3]) {}
                 fn function() {} fn foreign(&self) {} fn in_tests(&self) {} #[cfg(test)] fn for_tests(&self) {}
             }
             impl std::fmt::Foreign for Above { fn foreign(&self) {} }",
        ),
        ("third.rs", "pub struct Third; impl Third { fn both(&self) {} }"),
        (
            "below.rs",
            "pub struct Below; impl Below {
                 fn own(&self) { self.a.len(); self.a.both(); self.a.own(); self.a.three(1, 2, 3); say!(self.a.three(1, 2)) }
                 fn more(&self) { self.a.function(); self.a.foreign(); self.a.for_tests(); (self.a.in_tests)() }
             }
             #[cfg(test)] mod tests { fn of(above: A) { above.in_tests() } }
             #[cfg(test)] impl Below { fn of(above: A) { above.in_tests() } }",
        ),
    ]);
    assert!(krate.folder_edges().is_empty());
}
