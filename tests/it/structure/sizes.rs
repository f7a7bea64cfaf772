//! Checks the sizes of files and functions. A longer one says why, in a comment that begins with
//! `Long:`. Unit tests do not count.

use syn::spanned::Spanned as _;
use syn::visit::Visit;

use super::architecture::{Sources, sources};

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;

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

/// Runs the check above on sources that are too long.
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
