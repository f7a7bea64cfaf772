//! Reads YAML and JSON streams into objects by the rules of `fluxcd/pkg/ssa` (see
//! `docs/artifact-format.md`). Nothing is skipped silently: the first invalid document is an error,
//! and documents that are dropped on purpose are listed.

use serde_json::{Map, Value};

use super::Object;
use crate::yaml::{self, Limits};

/// Number of bytes that are searched for a leading `{` to decide whether a stream is JSON.
const SNIFF_BYTES: usize = 2048;

/// Maximum documents of a stream. Before each document, the number of objects is checked against it
/// too.
const MAX_DOCUMENTS: usize = 100_000;

/// The result of reading a stream.
#[derive(Debug, Default)]
pub struct Manifest {
    /// The objects, in stream order.
    pub objects: Vec<Object>,
    /// Kinds of the dropped documents: those without name or apiVersion, and kustomizations.
    pub dropped: Vec<String>,
}

/// Why a stream is rejected. Documents count from 1. No message quotes a document's values.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not valid YAML.
    #[error("document {document} is not valid YAML: {source}")]
    Yaml {
        /// Number of the document, from 1.
        document: usize,
        /// The parser's error; its position counts from the start of the document.
        source: yaml::YamlError,
    },
    /// Not valid JSON.
    #[error("document {document} is not valid JSON: {source}")]
    Json {
        /// Number of the document, from 1.
        document: usize,
        /// The parser's error; its position counts from the start of the document.
        source: serde_json::Error,
    },
    /// Not valid UTF-8.
    #[error("document {0} is not valid UTF-8")]
    Encoding(usize),
    /// The document is a scalar or a list.
    #[error("document {0} is not an object: it must be a map")]
    NotAnObject(usize),
    /// The document has no `kind`, or an `apiVersion` with more than one `/`.
    #[error(
        "Object 'Kind' is missing in document {0}; every object needs apiVersion, kind and \
         metadata.name"
    )]
    NoKind(usize),
    /// An item of a list is not an object.
    #[error("items member of the list in document {0} is not an object")]
    BadItem(usize),
    /// The stream has more documents or objects than the limit.
    #[error("the stream has more than {MAX_DOCUMENTS} documents")]
    TooMany,
    /// Text after the `---` of a document separator.
    #[error("invalid Yaml document separator: {0}")]
    Separator(String),
}

/// Reads all objects of a stream.
///
/// # Errors
/// Fails on the first document that cannot be read, and on too many documents.
pub fn read(bytes: &[u8]) -> Result<Manifest, ReadError> {
    let mut reader = Reader::default();
    let head = bytes.get(..SNIFF_BYTES).unwrap_or(bytes);
    if String::from_utf8_lossy(head).trim_start().starts_with('{') {
        reader.read_json(bytes)?;
    } else {
        reader.read_yaml(bytes)?;
    }
    Ok(reader.manifest)
}

/// Takes objects that are no text, such as those of a kustomize build, by the same rules as
/// [`read`].
///
/// # Errors
/// [`ReadError`] if one of them is no object, with its place in the list as the number of its
/// document.
pub fn collect(
    objects: impl IntoIterator<Item = Map<String, Value>>,
) -> Result<Manifest, ReadError> {
    let mut reader = Reader::default();
    for object in objects {
        reader.document += 1;
        reader.add(normalize_numbers(Value::Object(object)))?;
    }
    Ok(reader.manifest)
}

#[derive(Default)]
struct Reader {
    manifest: Manifest,
    document: usize,
}

impl Reader {
    /// Reads concatenated JSON values. If a value cannot be read, the rest of the stream is tried
    /// as YAML, unless two values were read before; the error is always the one from JSON.
    fn read_json(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        let text = replace_lone_surrogates(String::from_utf8_lossy(bytes).into_owned());
        let mut rest: &str = &text;
        for count in 0.. {
            rest = rest.trim_start();
            if rest.is_empty() {
                return Ok(());
            }
            self.document += 1;
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            let failure = match values.next() {
                None => return Ok(()),
                Some(Ok(value)) => {
                    let end = values.byte_offset();
                    match self.add(normalize_numbers(value)) {
                        Ok(()) => {
                            rest = rest.get(end..).unwrap_or_default();
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Some(Err(source)) => ReadError::Json {
                    document: self.document,
                    source,
                },
            };
            if count >= 2 {
                return Err(failure);
            }
            self.document -= 1;
            let yaml_text = skip_first_break(rest);
            return self.read_yaml(yaml_text.as_bytes()).map_err(|_| failure);
        }
        Ok(())
    }

    fn read_yaml(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        let mut document: Vec<u8> = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some(after) = line.strip_prefix(b"---") {
                let after = String::from_utf8_lossy(after);
                let after = after.trim();
                if !after.is_empty() && !after.starts_with('#') {
                    return Err(ReadError::Separator(after.chars().take(200).collect()));
                }
                self.read_document(&document)?;
                document.clear();
                continue;
            }
            match line.strip_suffix(b"\r\n") {
                Some(line) => {
                    document.extend_from_slice(line);
                    document.push(b'\n');
                }
                None => document.extend_from_slice(line),
            }
        }
        self.read_document(&document)
    }

    fn read_document(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.document += 1;
        let document = self.document;
        let text = std::str::from_utf8(bytes).map_err(|_| ReadError::Encoding(document))?;
        let yaml = |source| ReadError::Yaml { document, source };
        match yaml::parse(text, Limits::default()).map_err(yaml)? {
            None => Ok(()),
            Some(node) => self.add(yaml::json::to_json(&node).map_err(yaml)?),
        }
    }

    /// Adds a document: an object, a list of objects, or nothing if it is null.
    fn add(&mut self, document: Value) -> Result<(), ReadError> {
        if self.document.max(self.manifest.objects.len()) >= MAX_DOCUMENTS {
            return Err(ReadError::TooMany);
        }
        let object = match document {
            Value::Null => return Ok(()),
            Value::Object(object) => object,
            _ => return Err(ReadError::NotAnObject(self.document)),
        };
        let mut object = Object(object);
        if object.kind().is_empty() || object.api_version().matches('/').count() > 1 {
            return Err(ReadError::NoKind(self.document));
        }
        if let Some(Value::Array(items)) = object.0.get_mut("items") {
            for item in std::mem::take(items) {
                let Value::Object(item) = item else {
                    return Err(ReadError::BadItem(self.document));
                };
                self.manifest.objects.push(Object(item));
            }
        } else if is_wanted(&object) {
            self.manifest.objects.push(object);
        } else {
            self.manifest.dropped.push(object.kind().to_owned());
        }
        Ok(())
    }
}

fn is_wanted(object: &Object) -> bool {
    let named = !object.name().is_empty() && !object.api_version().is_empty();
    let kustomization = object.kind().eq_ignore_ascii_case("kustomization")
        && object.api_version().starts_with("kustomize.config.k8s.io/");
    named && !kustomization
}

/// Strips leading white space up to and including the first line break.
fn skip_first_break(text: &str) -> &str {
    let rest = text.trim_start_matches(|c: char| c.is_whitespace() && c != '\n');
    rest.strip_prefix('\n').unwrap_or(rest)
}

/// Replaces escaped lone surrogates by U+FFFD, as Go does; `serde_json` would reject them.
fn replace_lone_surrogates(mut text: String) -> String {
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find('\\')) {
        let at = from + found;
        let escape = |at: usize| {
            let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
            u16::from_str_radix(digits, 16).ok()
        };
        from = at + 2;
        match (escape(at), escape(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => from = at + 12,
            (Some(0xd800..=0xdfff), _) => text.replace_range(at..at + 6, "\\ufffd"),
            _ => {}
        }
    }
    text
}

/// Converts numbers as the API server's decoder does: numbers that are not signed 64-bit integers
/// become floats, and integral floats become integers.
fn normalize_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) if !number.is_i64() => {
            number.as_f64().map_or(Value::Null, yaml::json::number)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normalize_numbers).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(k, v)| (k, normalize_numbers(v)))
                .collect::<Map<_, _>>(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let manifest = read(text.as_bytes()).unwrap();
        manifest
            .objects
            .iter()
            .map(|object| object.id().to_string())
            .collect()
    }

    fn error(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    const A: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    const B: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: b, namespace: shop}\n";

    #[test]
    fn a_stream_is_read_in_its_order_and_lists_are_flattened() {
        assert_eq!(
            names(&format!("---\n{A}--- # next\n\n---\r\n{B}")),
            ["ConfigMap/a", "Secret/shop/b"]
        );
        let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}]}"#;
        assert_eq!(names(list), ["ConfigMap/a"]);
        assert_eq!(
            names(&format!("{list}\n{list}")),
            ["ConfigMap/a", "ConfigMap/a"]
        );
        assert!(names("").is_empty());
    }

    #[test]
    fn documents_without_a_name_and_kustomizations_are_dropped_and_named() {
        let nameless = "apiVersion: v1\nkind: Service\n";
        let kustomization =
            "apiVersion: kustomize.config.k8s.io/v1\nkind: Kustomization\nmetadata: {name: k}\n";
        let text = format!("{A}---\n{nameless}---\n{kustomization}");
        let manifest = read(text.as_bytes()).unwrap();
        assert_eq!(manifest.objects.len(), 1);
        assert_eq!(manifest.dropped, ["Service", "Kustomization"]);
    }

    #[test]
    fn an_error_names_the_document() {
        assert!(error(&format!("{A}---\n- a list\n")).starts_with("document 2 is not an object"));
        assert!(error(&format!("{A}---\na: [\n")).starts_with("document 2 is not valid YAML"));
        assert!(error("metadata: {name: a}\n").contains("'Kind' is missing in document 1"));
        assert!(error("--- text\n").contains("separator: text"));
        assert!(
            error("kind: List\nitems: [1]\n").contains("items member of the list in document 1")
        );
        assert!(
            read(b"a: \xff\n")
                .unwrap_err()
                .to_string()
                .contains("UTF-8")
        );
    }

    #[test]
    fn numbers_become_those_of_the_api_server() {
        let json = r#"{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"},
            "n": [3.0, 1e3, 2.5, 18446744073709551615, -1]}"#;
        let object = read(json.as_bytes()).unwrap().objects.remove(0);
        let numbers = serde_json::to_string(&object.0["n"]).unwrap();
        assert_eq!(numbers, "[3,1000,2.5,1.8446744073709552e+19,-1]");
    }
}
