//! The examples in the documentation of transformers and generators: the input must build to the
//! output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nuon_runner::kustomize::{self, BuildOptions, NoHost};
use nuon_runner::yaml::{self, Limits};
use serde_json::Value;

/// Returns the files that must have an example. Helm is tested in `charts.rs` instead.
fn documented() -> Vec<PathBuf> {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kustomize");
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["transform", "generate"] {
        files.extend(
            std::fs::read_dir(engine.join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
    }
    files.retain(|file| file.is_file() && file.file_name().unwrap() != "helm.rs");
    files
}

/// Returns the parts of the example, by title.
fn example(file: &Path) -> Option<BTreeMap<String, String>> {
    let source = std::fs::read_to_string(file).unwrap();
    let docs = source.lines().map_while(|line| line.strip_prefix("//!"));
    let docs: Vec<&str> = docs
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let block = docs
        .iter()
        .skip_while(|line| **line != "```yaml")
        .skip(1)
        .take_while(|line| **line != "```");
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    let mut title = String::new();
    for line in block {
        match line.strip_prefix("# ") {
            Some(begun) => title = begun.to_owned(),
            None => parts
                .entry(title.clone())
                .or_default()
                .push_str(&format!("{line}\n")),
        }
    }
    (!parts.is_empty()).then_some(parts)
}

fn objects(text: &str) -> Vec<Value> {
    let nodes = yaml::parse_all(text, Limits::default()).unwrap();
    nodes
        .iter()
        .map(|node| yaml::json::to_json(node).unwrap())
        .collect()
}

#[test]
fn documented_examples_build_to_their_output() {
    for file in documented() {
        let parts = example(&file).unwrap_or_else(|| panic!("{} has no example", file.display()));
        let before = parts.get("before").cloned().unwrap_or_default();
        let resources = if before.is_empty() {
            ""
        } else {
            "resources: [before.yaml]\n"
        };
        let kustomization = format!("{}{resources}", parts["the kustomization"]);
        let files = BTreeMap::from([
            ("kustomization.yaml".to_owned(), kustomization.into_bytes()),
            ("before.yaml".to_owned(), before.into_bytes()),
        ]);
        let built = kustomize::build(&files, "", &BuildOptions::default(), &NoHost);
        let built: Vec<Value> = built
            .unwrap_or_else(|why| panic!("{}: {why}", file.display()))
            .into_iter()
            .map(Value::Object)
            .collect();
        assert_eq!(built, objects(&parts["after"]), "{}", file.display());
    }
}
