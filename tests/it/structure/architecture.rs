//! Checks the layers of `ARCHITECTURE.md` against the sources: a module imports only from lower
//! layers, and there are no import cycles between files.
//!
//! Parents and children (`cluster/client.rs` and `cluster/client/api.rs`) may import each other:
//! Rust's privacy treats them as one module, too. Unit tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::spanned::Spanned as _;
use syn::visit::Visit;

/// The layers, lowest first. A module imports only modules of earlier rows.
const LAYERS: [&[&str]; 13] = [
    &["base"],
    &["job", "telemetry", "workspace", "yaml"],
    &["plan"],
    &["cloud", "manifest"],
    &["control", "journal", "registry"],
    &["cluster", "kustomize", "trust", "worker"],
    &["clients"],
    &["build", "deployment"],
    &["config"],
    &["handlers"],
    &["agent"],
    &["dev"],
    &["cli"],
];

/// The layers inside two large modules, by the same rule.
const SUBMODULES: [(&str, &[&[&str]]); 2] = [
    (
        "cluster",
        &[&["client"], &["fields", "health"], &["rollout"]],
    ),
    (
        "kustomize",
        &[
            &["error"],
            &["go", "print"],
            &["tree"],
            &["schema"],
            &["resource"],
            &["load"],
            &["transform"],
            &["generate"],
            &["build"],
            &["explain"],
        ],
    ),
];

/// Imports (importer, imported) that the layers would allow, but the design forbids.
const FORBIDDEN: [(&str, &str); 2] = [("cluster::fields", "cluster::client"), ("cli", "handlers")];

/// An import: the importing file, the imported path, and the line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    from: String,
    to: String,
    line: usize,
}

impl std::fmt::Display for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let file = self.from.replace("::", "/");
        write!(f, "src/{file}.rs:{}: imports {}", self.line, self.to)
    }
}

/// Text of each module of the crate, by path without `crate`.
pub type Sources = BTreeMap<String, String>;

pub fn sources() -> Sources {
    fn collect(directory: &Path, root: &Path, into: &mut Sources) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, root, into);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(root).unwrap().with_extension("");
                let name = name.to_string_lossy().replace('/', "::");
                if !["lib", "main"].contains(&name.as_str()) {
                    into.insert(name, std::fs::read_to_string(&path).unwrap());
                }
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Sources::new();
    collect(&root, &root, &mut sources);
    sources
}

/// Collects the paths that a file names, and its re-exports.
#[derive(Default)]
struct Paths {
    named: Vec<(Vec<String>, usize)>,
    exported: Vec<(String, Vec<String>)>,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("cfg") && is_cfg_test(&attribute.meta))
}

fn is_cfg_test(meta: &syn::Meta) -> bool {
    matches!(meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
}

impl Paths {
    fn tree(&mut self, tree: &syn::UseTree, prefix: &[String], exports: bool) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        let mut leaf = |path: Vec<String>, known_as: String, line: usize| {
            if exports {
                self.exported.push((known_as, path));
            } else {
                self.named.push((path, line));
            }
        };
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident), exports),
            syn::UseTree::Name(name) if name.ident == "self" => {
                leaf(prefix.to_vec(), String::new(), name.span().start().line);
            }
            syn::UseTree::Name(name) => {
                let (line, known_as) = (name.span().start().line, name.ident.to_string());
                leaf(with(&name.ident), known_as, line);
            }
            syn::UseTree::Rename(rename) => {
                let (line, known_as) = (rename.span().start().line, rename.rename.to_string());
                leaf(with(&rename.ident), known_as, line);
            }
            syn::UseTree::Glob(glob) => {
                leaf(prefix.to_vec(), "*".into(), glob.span().start().line);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, prefix, exports);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let is_test = match item {
            syn::Item::Mod(module) => is_test(&module.attrs),
            syn::Item::Fn(function) => is_test(&function.attrs),
            _ => false,
        };
        if !is_test {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let exports = !matches!(item.vis, syn::Visibility::Inherited);
        self.tree(&item.tree, &[], exports);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        let segments: Vec<String> = segments.map(|one| one.ident.to_string()).collect();
        if segments.len() > 1 {
            self.named.push((segments, path.span().start().line));
        }
        syn::visit::visit_path(self, path);
    }
}

/// Resolves a path to the module that it is in; `None` for other crates.
fn resolve(from: &str, path: &[String], sources: &Sources, exports: &Exports) -> Option<String> {
    let mut here: Vec<String> = from.split("::").map(str::to_owned).collect();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            here.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|step| step == "super") {
                here.pop();
                rest = &rest[1..];
            }
        }
        child if sources.contains_key(&format!("{from}::{child}")) => {}
        _ => return None,
    }
    for (at, step) in rest.iter().enumerate() {
        let module = here.join("::");
        let next = if module.is_empty() {
            step.clone()
        } else {
            format!("{module}::{step}")
        };
        if sources.contains_key(&next) {
            here.push(step.clone());
        } else if let Some(target) = exports.get(&(module.clone(), step.clone())) {
            let target = [target, &rest[at + 1..]].concat();
            return resolve(&module, &target, sources, exports);
        } else {
            break;
        }
    }
    (!here.is_empty()).then(|| here.join("::"))
}

/// Re-exports: (module, name) to the path.
type Exports = BTreeMap<(String, String), Vec<String>>;

fn imports(sources: &Sources) -> BTreeSet<Import> {
    let mut files = BTreeMap::new();
    let mut exports = Exports::new();
    for (module, text) in sources {
        let mut paths = Paths::default();
        paths.visit_file(&syn::parse_file(text).unwrap());
        for (name, path) in &paths.exported {
            exports.insert((module.clone(), name.clone()), path.clone());
        }
        files.insert(module, paths);
    }
    let mut imports = BTreeSet::new();
    for (module, paths) in &files {
        for (path, line) in &paths.named {
            let to = resolve(module, path, sources, &exports);
            imports.extend(to.filter(|to| to != *module).map(|to| Import {
                from: (*module).clone(),
                to,
                line: *line,
            }));
        }
    }
    imports
}

fn rank(layers: &[&[&str]], module: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&module))
}

/// Returns the imports from a higher layer or from the same layer.
fn layer_violations(imports: &BTreeSet<Import>) -> Vec<String> {
    let part = |path: &str, at: usize| path.split("::").nth(at).unwrap_or_default().to_owned();
    let is_wrong = |import: &&Import| {
        let forbidden =
            |(from, to): &(&str, &str)| is_within(&import.from, from) && is_within(&import.to, to);
        if FORBIDDEN.iter().any(forbidden) {
            return true;
        }
        let (from, to) = (part(&import.from, 0), part(&import.to, 0));
        if from != to {
            return rank(&LAYERS, &to) >= rank(&LAYERS, &from);
        }
        let Some((_, layers)) = SUBMODULES.iter().find(|(module, _)| *module == from) else {
            return false;
        };
        let (from, to) = (part(&import.from, 1), part(&import.to, 1));
        let is_inside = from != to && !from.is_empty() && !to.is_empty();
        is_inside && rank(layers, &to) >= rank(layers, &from)
    };
    imports
        .iter()
        .filter(is_wrong)
        .map(ToString::to_string)
        .collect()
}

fn is_within(module: &str, ancestor: &str) -> bool {
    module == ancestor || module.starts_with(&format!("{ancestor}::"))
}

/// Returns the imports that are part of a cycle of files.
fn import_cycles(imports: &BTreeSet<Import>) -> Vec<String> {
    let is_family = |import: &&Import| {
        is_within(&import.from, &import.to) || is_within(&import.to, &import.from)
    };
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports.iter().filter(|import| !is_family(import)) {
        edges.entry(&import.from).or_default().insert(&import.to);
    }
    let reaches = |start: &str, goal: &str| {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![start]);
        while let Some(here) = todo.pop() {
            if here == goal {
                return true;
            }
            if seen.insert(here) {
                todo.extend(edges.get(here).into_iter().flatten());
            }
        }
        false
    };
    imports
        .iter()
        .filter(|import| !is_family(import))
        .filter(|import| reaches(&import.to, &import.from))
        .map(ToString::to_string)
        .collect()
}

#[test]
fn modules_import_only_from_layers_below() {
    let sources = sources();
    let unknown: Vec<&str> = sources
        .keys()
        .filter(|module| !module.contains("::"))
        .map(String::as_str)
        .filter(|module| rank(&LAYERS, module).is_none())
        .collect();
    assert!(unknown.is_empty(), "modules without a layer: {unknown:?}");
    let wrong = layer_violations(&imports(&sources));
    assert!(
        wrong.is_empty(),
        "imports that violate the layers:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn files_have_no_import_cycles() {
    let import_cycles = import_cycles(&imports(&sources()));
    assert!(
        import_cycles.is_empty(),
        "import cycles:\n{}",
        import_cycles.join("\n")
    );
}

/// Runs the checks above on sources with deliberate errors.
#[test]
fn wrong_imports_are_found_with_their_line() {
    let found = |files: &[(&str, &str)]| {
        let files = files.iter();
        let files = files.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let imports = imports(&files.collect());
        (layer_violations(&imports), import_cycles(&imports))
    };
    let (wrong, _) = found(&[
        ("base", "\nuse crate::worker::Worker;"),
        ("worker", "pub use handler::Worker;\nmod handler;"),
        ("worker::handler", "pub struct Worker;"),
    ]);
    assert_eq!(wrong, ["src/base.rs:2: imports worker::handler"]);
    let (wrong, _) = found(&[
        ("base", "fn f() { crate::yaml::parse() }"),
        ("yaml", "pub fn parse() {}"),
    ]);
    assert_eq!(wrong, ["src/base.rs:1: imports yaml"]);
    let (wrong, _) = found(&[
        ("cluster", "pub mod fields;\npub mod health;"),
        ("cluster::fields", "use super::health::wait;"),
        ("cluster::health", "pub fn wait() {}"),
    ]);
    assert_eq!(wrong, ["src/cluster/fields.rs:1: imports cluster::health"]);
    let (_, circle) = found(&[
        ("plan", "mod a;\nmod b;"),
        ("plan::a", "use super::b::B;\npub struct A;"),
        ("plan::b", "use crate::plan::a::A;\npub struct B;"),
    ]);
    let expected = [
        "src/plan/a.rs:1: imports plan::b",
        "src/plan/b.rs:1: imports plan::a",
    ];
    assert_eq!(circle, expected);
    let (wrong, circle) = found(&[
        ("plan", "mod a;\npub use a::A;"),
        (
            "plan::a",
            "use super::B;\n#[cfg(test)]\nmod tests { use crate::cli::main; }",
        ),
        ("cli", "pub fn main() {}"),
    ]);
    assert!(
        wrong.is_empty() && circle.is_empty(),
        "unit tests and parents are ignored"
    );
}
