//! Checks the sizes of files, functions and public faces. A longer file or function says why, in a
//! comment that begins with `Long:`. Unit tests do not count.

use syn::spanned::Spanned as _;
use syn::visit::Visit;

use super::architecture::{Sources, sources};

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;
/// Maximum number of names that a module re-exports from its files.
const MAX_REEXPORTS: usize = 14;

/// Collects the functions of a file: the lines of the signature and of the closing brace.
#[derive(Default)]
struct Functions(Vec<(String, usize, usize)>);

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        self.0.push((
            signature.ident.to_string(),
            signature.span().start().line,
            block.span().end().line,
        ));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

/// Returns true if one of the comments and attributes above a line says `Long:`.
fn has_reason(lines: &[&str], line: usize) -> bool {
    lines[..line - 1]
        .iter()
        .rev()
        .take_while(|text| {
            let text = text.trim();
            text.starts_with("//") || text.starts_with('#') || text.ends_with(")]")
        })
        .any(|text| text.contains("Long:"))
}

fn too_long(sources: &Sources) -> Vec<String> {
    let mut found = Vec::new();
    for (module, text) in sources {
        let file = format!("src/{}.rs", module.replace("::", "/"));
        let lines: Vec<&str> = text.lines().collect();
        let production = lines
            .iter()
            .position(|line| line.starts_with("#[cfg(test)]"))
            .unwrap_or(lines.len());
        if production > MAX_FILE_LINES && !lines.iter().any(|line| line.starts_with("//! Long:")) {
            found.push(format!("{file}: {production} lines"));
        }
        let mut functions = Functions::default();
        functions.visit_file(&syn::parse_file(text).unwrap());
        for (name, first, last) in functions.0 {
            let length = last - first + 1;
            if first <= production && length > MAX_FUNCTION_LINES && !has_reason(&lines, first) {
                found.push(format!("{file}:{first}: {name} has {length} lines"));
            }
        }
    }
    found
}

#[test]
fn files_and_functions_are_short_or_say_why_not() {
    let found = too_long(&sources());
    assert!(found.is_empty(), "too long:\n{}", found.join("\n"));
}

/// Counts the names that a `use` declaration brings in.
fn names(tree: &syn::UseTree) -> usize {
    match tree {
        syn::UseTree::Path(path) => names(&path.tree),
        syn::UseTree::Group(group) => group.items.iter().map(names).sum(),
        syn::UseTree::Glob(_) => usize::MAX / 2,
        syn::UseTree::Name(_) | syn::UseTree::Rename(_) => 1,
    }
}

fn wide_faces(sources: &Sources) -> Vec<String> {
    let mut found = Vec::new();
    for (module, text) in sources {
        let items = syn::parse_file(text).unwrap().items;
        let uses = items.iter().filter_map(|item| match item {
            syn::Item::Use(item) if !matches!(item.vis, syn::Visibility::Inherited) => {
                Some(names(&item.tree))
            }
            _ => None,
        });
        let count: usize = uses.sum();
        if count > MAX_REEXPORTS {
            found.push(format!("{module}: re-exports {count} names"));
        }
    }
    found
}

#[test]
fn public_faces_are_small() {
    let found = wide_faces(&sources());
    assert!(found.is_empty(), "too wide:\n{}", found.join("\n"));
    let names: Vec<_> = (0..=MAX_REEXPORTS).map(|n| format!("A{n}")).collect();
    let face = format!("mod a;\npub use a::{{{}}};\n", names.join(", "));
    assert_eq!(
        wide_faces(&Sources::from([("base".to_owned(), face)])),
        ["base: re-exports 15 names"]
    );
}

/// Runs the check of lengths on sources that are too long.
#[test]
fn long_functions_and_files_are_found() {
    let body = "    step();\n".repeat(MAX_FUNCTION_LINES);
    let function = format!("fn f() {{\n{body}}}\n");
    let sources = |text: String| Sources::from([("base".to_owned(), text)]);
    assert_eq!(
        too_long(&sources(function.clone())),
        ["src/base.rs:1: f has 62 lines"]
    );
    let reasons = format!("/// Runs.\n// Long: one step each.\n{function}");
    assert!(too_long(&sources(reasons)).is_empty());
    let tests = format!("#[cfg(test)]\nmod tests {{\n{function}}}\n");
    assert!(too_long(&sources(tests)).is_empty());
    let file = "\n".repeat(MAX_FILE_LINES + 1);
    assert_eq!(too_long(&sources(file)), ["src/base.rs: 401 lines"]);
}
