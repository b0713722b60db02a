//! No circle among the files of a crate: an import points down.
//!
//! A name counts as imported from the file that defines it, whatever re-exports it on the way. Calls of methods are not
//! seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use syn::{
    Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility,
    visit::{self, Visit},
};

type Names = Vec<String>;

/// A crate's modules by their path from its root.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<Names, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    defined: BTreeSet<String>,
    /// The name that is imported, the path it has, and whether it is re-exported. A glob is named `*`.
    imports: Vec<(String, Names, bool)>,
    /// Paths in the code.
    paths: Vec<Names>,
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
        for item in items {
            match item {
                Item::Mod(item) if !is_test(&item.attrs) => {
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
                Item::Mod(_) => {}
                Item::Use(item) => found.import(&module, item),
                item => {
                    found.defined.extend(name_of(item));
                    Paths { module: &module, found: &mut found }.visit_item(item);
                }
            }
        }
        self.modules.insert(module, found);
    }

    /// Returns the file that defines what the path names, if that is in the crate.
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

    /// Returns which file takes which names from which other.
    fn edges(&self) -> BTreeMap<(&str, &str), BTreeSet<&str>> {
        let mut edges: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for module in self.modules.values() {
            let imported = module.imports.iter().filter(|(.., exported)| !exported).map(|(_, path, _)| path);
            for path in imported.chain(&module.paths) {
                if let Some(file) = self.definition(path, 0).filter(|file| *file != module.file) {
                    let names = edges.entry((module.file.as_str(), file)).or_default();
                    names.extend(path.last().map(String::as_str));
                }
            }
        }
        edges
    }

    /// Returns the edges that are part of a circle, one a line.
    fn circles(&self) -> String {
        let edges = self.edges();
        let reaches = |from: &str, to: &str| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(file) = open.pop() {
                open.extend(edges.keys().filter(|(a, b)| *a == file && seen.insert(*b)).map(|(_, b)| *b));
            }
            seen.contains(to)
        };
        let mut circles = String::new();
        for ((from, to), names) in edges.iter().filter(|((from, to), _)| reaches(to, from)) {
            let names: Vec<_> = names.iter().copied().collect();
            let _ = writeln!(circles, "{from} -> {to}: {}", names.join(", "));
        }
        circles
    }
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

/// Collects the paths in an item.
struct Paths<'a> {
    module: &'a [String],
    found: &'a mut Module,
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let from_root = absolute(self.module, &names).unwrap_or_else(|| [self.module, &names].concat());
        self.found.paths.push(from_root);
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.found.import(self.module, item);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        let tokens = call.tokens.to_string();
        for path in tokens.split("crate ::").skip(1) {
            let names = path
                .split("::")
                .map(|name| name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next());
            let names = names.map_while(|name| name.filter(|name| !name.is_empty())).map(str::to_owned);
            self.found.paths.push(names.collect());
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

/// Returns a path from the crate's root, for one that says where it begins.
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

fn name_of(item: &Item) -> Vec<String> {
    match item {
        Item::Const(item) => vec![item.ident.to_string()],
        Item::Enum(item) => vec![item.ident.to_string()],
        Item::Fn(item) => vec![item.sig.ident.to_string()],
        Item::Static(item) => vec![item.ident.to_string()],
        Item::Struct(item) => vec![item.ident.to_string()],
        Item::Trait(item) => vec![item.ident.to_string()],
        Item::Type(item) => vec![item.ident.to_string()],
        // Such as `pin_project!`, which defines a struct.
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

#[test]
fn no_circle_among_the_files_of_a_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in ["defer-core", "defer-axum", "defer-macros", "defer-apalis"] {
        let krate = Crate::read(&root.join(name).join("src"));
        assert!(krate.edges().len() > 3, "the imports of {name} are not seen");
        let circles = krate.circles();
        assert!(circles.is_empty(), "files of {name} import each other in a circle:\n{circles}");
    }
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
    assert_eq!(krate.circles(), "above.rs -> below/inner.rs: Below\nbelow/inner.rs -> above.rs: Above\n");
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
    assert_eq!(krate.circles(), "");
    assert_eq!(krate.edges().len(), 1);
}
