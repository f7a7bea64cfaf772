//! A generated overlay: kustomizations, objects and other files; and ways to minimize it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

/// A tree of files. The overlay is in `overlay/`.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    pub files: BTreeMap<String, File>,
    /// Names of the features that it uses.
    pub features: Vec<&'static str>,
}

/// A file, in a form that can be reduced.
#[derive(Debug, Clone)]
pub enum File {
    /// The fields of a map, such as a kustomization.
    Fields(Map<String, Value>),
    /// YAML documents.
    Documents(Vec<Value>),
    Text(String),
    /// A symbolic link.
    Link(String),
}

/// Directory of the overlay.
pub const ROOT: &str = "overlay";

impl Overlay {
    /// Writes the tree to a directory.
    pub fn write(&self, directory: &Path) {
        for (name, file) in &self.files {
            let path = directory.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = match file {
                File::Fields(fields) => block(&Value::Object(fields.clone())),
                File::Documents(documents) => documents
                    .iter()
                    .map(block)
                    .collect::<Vec<_>>()
                    .join("---\n"),
                File::Text(text) => text.clone(),
                File::Link(target) => {
                    std::os::unix::fs::symlink(target, path).unwrap();
                    continue;
                }
            };
            std::fs::write(path, text).unwrap();
        }
    }

    /// Returns copies of the overlay with slightly less in them.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for (name, file) in &self.files {
            let with = |file: File| {
                let mut smaller = self.clone();
                smaller.files.insert(name.clone(), file);
                smaller
            };
            match file {
                File::Fields(fields) => all.extend(
                    smaller_values(&Value::Object(fields.clone()), 3)
                        .into_iter()
                        .filter_map(|value| match value {
                            Value::Object(fields) => Some(with(File::Fields(fields))),
                            _ => None,
                        }),
                ),
                File::Documents(documents) => {
                    let value = Value::Array(documents.clone());
                    all.extend(smaller_values(&value, 12).into_iter().filter_map(
                        |value| match value {
                            Value::Array(documents) => Some(with(File::Documents(documents))),
                            _ => None,
                        },
                    ));
                }
                File::Text(text) => {
                    let lines: Vec<&str> = text.split_inclusive('\n').collect();
                    all.extend((0..lines.len()).map(|at| {
                        let kept = [&lines[..at], &lines[at + 1..]].concat();
                        with(File::Text(kept.concat()))
                    }));
                }
                File::Link(_) => {}
            }
        }
        all
    }
}

/// Returns copies of a value that each lack one member.
fn smaller_values(value: &Value, depth: usize) -> Vec<Value> {
    let mut all = Vec::new();
    if depth == 0 {
        return all;
    }
    match value {
        Value::Object(map) => {
            for key in map.keys() {
                let mut smaller = map.clone();
                smaller.shift_remove(key);
                all.push(Value::Object(smaller));
            }
            for (key, inner) in map {
                for smaller in smaller_values(inner, depth - 1) {
                    let mut whole = map.clone();
                    whole.insert(key.clone(), smaller);
                    all.push(Value::Object(whole));
                }
            }
        }
        Value::Array(items) => {
            for at in 0..items.len() {
                let mut smaller = items.clone();
                smaller.remove(at);
                all.push(Value::Array(smaller));
            }
            for (at, inner) in items.iter().enumerate() {
                for smaller in smaller_values(inner, depth - 1) {
                    let mut whole = items.clone();
                    whole[at] = smaller;
                    all.push(Value::Array(whole));
                }
            }
        }
        _ => {}
    }
    all
}

/// Formats a value as block YAML. Strings are unquoted where that is safe.
pub fn block(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

fn write(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                out.push_str(&format!("{pad}{}:", scalar(key)));
                inner(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                match item {
                    Value::Object(map) if !map.is_empty() => {
                        let mut text = String::new();
                        write(item, indent + 2, &mut text);
                        out.push_str(&format!("{pad}- {}", text.trim_start()));
                    }
                    _ => {
                        out.push_str(&format!("{pad}-"));
                        inner(item, indent, out);
                    }
                }
            }
        }
        other => out.push_str(&format!("{pad}{}\n", leaf(other))),
    }
}

fn inner(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write(value, indent + 2, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            write(value, indent, out);
        }
        Value::String(text)
            if text.ends_with('\n') && text.trim() == text.trim_end() && !text.contains('\t') =>
        {
            out.push_str(" |\n");
            for line in text.lines() {
                let pad = if line.is_empty() {
                    String::new()
                } else {
                    " ".repeat(indent + 2)
                };
                out.push_str(&format!("{pad}{line}\n"));
            }
        }
        other => out.push_str(&format!(" {}\n", leaf(other))),
    }
}

fn leaf(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

fn scalar(text: &str) -> String {
    let safe = text
        .chars()
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_lowercase().as_str());
    if safe {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}
