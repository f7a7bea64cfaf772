//! Reads YAML and JSON streams into objects by the rules of `fluxcd/pkg/ssa` (see
//! `docs/artifact-format.md`). Nothing is skipped silently: the first invalid document is an error,
//! and documents that are no objects are listed with their place and the reason.

use serde_json::{Map, Value};

use super::Object;
use super::left_out::{LeftOut, MalformedObjects, Reason, fault, require_objects};
use crate::yaml::node::Position;
use crate::yaml::{self, Limits, Node};

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
    /// Documents that are left out: those without name or apiVersion, and kustomizations.
    pub left_out: Vec<LeftOut>,
    /// Items of lists that are objects only by the rules of the artifact format.
    pub malformed_items: Vec<LeftOut>,
}

/// Why a stream is rejected. Documents count from 1. No message quotes a document's values.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not valid YAML.
    #[error("document {document} is not valid YAML: {source}")]
    Yaml {
        /// Number of the document, from 1.
        document: usize,
        /// The parser's error, with its position in the stream.
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
    #[error("Object 'Kind' is missing in document {document} ({}): {at}", at.position)]
    NoKind {
        /// Number of the document, from 1.
        document: usize,
        /// Its place, and what is wrong.
        at: LeftOut,
    },
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

impl ReadError {
    /// Returns `FILE:LINE:COLUMN: what is wrong; help: what to do`, as far as the place is known.
    pub fn sentence(&self, file: &str) -> String {
        match self {
            Self::Yaml { source, .. } => {
                let Position { line, column } = source.position;
                let (message, help) = (&source.message, source.help_text());
                format!("{file}:{line}:{column}: not valid YAML: {message}{help}")
            }
            Self::NoKind { at, .. } => at.sentence(file),
            other => format!("{file}: {other}"),
        }
    }
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
        reader.add(Document {
            value: normalize_numbers(Value::Object(object)),
            node: None,
            start: Position::default(),
        })?;
    }
    Ok(reader.manifest)
}

/// The objects of a component, and what its source holds besides.
#[derive(Debug, Clone, Default)]
pub struct ObjectSet {
    /// The objects.
    pub objects: Vec<Object>,
    /// A sentence for each document that is left out: FILE:LINE:COLUMN, and why it is no object.
    /// The set may lack objects then.
    pub left_out: Vec<String>,
}

impl From<Vec<Object>> for ObjectSet {
    fn from(objects: Vec<Object>) -> Self {
        Self {
            objects,
            left_out: Vec::new(),
        }
    }
}

impl Manifest {
    /// Returns the objects, and a sentence for each document that is left out. `file` names the
    /// stream.
    pub fn into_set(self, file: &str) -> ObjectSet {
        let left_out = self.left_out.iter();
        ObjectSet {
            left_out: left_out.map(|document| document.sentence(file)).collect(),
            objects: self.objects,
        }
    }

    /// Checks that nothing that looks like an object was left out. `file` names the stream.
    ///
    /// # Errors
    /// [`MalformedObjects`] if a document or an item of a list is no object, except for
    /// kustomizations.
    pub fn require_objects(&self, file: &str) -> Result<(), MalformedObjects> {
        let mut all = [&*self.left_out, &*self.malformed_items].concat();
        all.sort_by_key(|document| (document.position.line, document.position.column));
        require_objects(file, &all)
    }
}

#[derive(Default)]
struct Reader {
    manifest: Manifest,
    document: usize,
}

/// A document as a value, and its place.
struct Document<'a> {
    value: Value,
    /// Its tree; `None` for JSON.
    node: Option<&'a Node>,
    start: Position,
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
                    let document = Document {
                        value: normalize_numbers(value),
                        node: None,
                        start: position_of(&text, text.len() - rest.len()),
                    };
                    match self.add(document) {
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
        let mut first_line = 1;
        for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
            if let Some(after) = line.strip_prefix(b"---") {
                let after = String::from_utf8_lossy(after);
                let after = after.trim();
                if !after.is_empty() && !after.starts_with('#') {
                    return Err(ReadError::Separator(after.chars().take(200).collect()));
                }
                self.read_document(&document, first_line)?;
                document.clear();
                first_line = number + 1;
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
        self.read_document(&document, first_line)
    }

    fn read_document(&mut self, bytes: &[u8], first_line: u32) -> Result<(), ReadError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.document += 1;
        let document = self.document;
        let text = std::str::from_utf8(bytes).map_err(|_| ReadError::Encoding(document))?;
        let yaml = |source| ReadError::Yaml { document, source };
        match yaml::parse_from(text, first_line, Limits::default()).map_err(yaml)? {
            None => Ok(()),
            Some(node) => self.add(Document {
                value: yaml::json::to_json(&node).map_err(yaml)?,
                node: Some(&node),
                start: node.position,
            }),
        }
    }

    /// Adds a document: an object, a list of objects, or nothing if it is null.
    fn add(&mut self, document: Document<'_>) -> Result<(), ReadError> {
        if self.document.max(self.manifest.objects.len()) >= MAX_DOCUMENTS {
            return Err(ReadError::TooMany);
        }
        let Document { value, node, start } = document;
        let object = match value {
            Value::Null => return Ok(()),
            Value::Object(object) => object,
            _ => return Err(ReadError::NotAnObject(self.document)),
        };
        let mut object = Object(object);
        if object.kind().is_empty() || object.api_version().matches('/').count() > 1 {
            let at = kind_fault(&object.0, node, start);
            let document = self.document;
            return Err(ReadError::NoKind { document, at });
        }
        let nodes = node.and_then(|node| node.get("items")?.as_sequence());
        let item_kind = object
            .kind()
            .strip_suffix("List")
            .unwrap_or_default()
            .to_owned();
        let of_items = [
            ("kind", item_kind.clone()),
            ("apiVersion", object.api_version().to_owned()),
        ];
        let left_out = match object.0.get("items") {
            Some(Value::Null) if object.kind().ends_with("List") && object.name().is_empty() => {
                return Ok(());
            }
            Some(Value::Array(_)) => None,
            _ => fault(&object.0, node, start),
        };
        if let Some(Value::Array(items)) = object.0.get_mut("items") {
            for (at, item) in std::mem::take(items).into_iter().enumerate() {
                let Value::Object(mut item) = item else {
                    return Err(ReadError::BadItem(self.document));
                };
                if !item_kind.is_empty() && !item.contains_key("kind") {
                    // The API server's lists say of what kind they are, not their items.
                    for (member, value) in &of_items {
                        item.entry(*member).or_insert_with(|| value.clone().into());
                    }
                }
                let node = nodes.and_then(|nodes| nodes.get(at));
                let start = node.map_or(start, |node| node.position);
                let malformed = fault(&item, node, start);
                self.manifest.malformed_items.extend(malformed);
                self.manifest.objects.push(Object(item));
            }
        } else if let Some(left_out) = left_out {
            self.manifest.left_out.push(left_out);
        } else {
            self.manifest.objects.push(object);
        }
        Ok(())
    }
}

/// Returns what is wrong with a document that has no usable kind or `apiVersion`.
fn kind_fault(object: &Map<String, Value>, node: Option<&Node>, start: Position) -> LeftOut {
    fault(object, node, start).unwrap_or_else(|| LeftOut {
        position: start,
        kind: String::new(),
        reason: Reason::Malformed("has no kind".into()),
    })
}

/// Returns the position of a byte of the text.
fn position_of(text: &str, at: usize) -> Position {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let count = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
    Position {
        line: count(before.matches('\n').count()),
        column: count(line.chars().count()),
    }
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
    fn documents_without_a_name_and_kustomizations_are_left_out_and_named() {
        let nameless = "apiVersion: v1\nkind: Service\n";
        let kustomization =
            "apiVersion: kustomize.config.k8s.io/v1\nkind: Kustomization\nmetadata: {name: k}\n";
        let text = format!("{A}---\n{nameless}---\n{kustomization}");
        let manifest = read(text.as_bytes()).unwrap();
        assert_eq!(manifest.objects.len(), 1);
        let left_out = manifest.left_out.iter().map(|document| {
            let Position { line, column } = document.position;
            format!("{line}:{column}: {document}")
        });
        assert_eq!(
            left_out.collect::<Vec<_>>(),
            [
                "5:1: the Service has no metadata",
                "8:1: the Kustomization is not for a cluster but for kustomize"
            ]
        );
        let error = manifest.require_objects("f.yaml").unwrap_err();
        assert_eq!(error.to_string(), "f.yaml:5:1: the Service has no metadata");
    }

    #[test]
    fn what_looks_like_an_object_and_is_none_is_told_with_its_place() {
        for (text, told) in [
            (
                "kind: Job\nmetadata: {name: a}\n",
                "1:1: the Job has no apiVersion",
            ),
            (
                "apiversion: v1\nkind: Job\nmetadata: {name: a}\n",
                "1:1: the Job has no apiVersion; is \"apiversion\" meant to be \"apiVersion\"?",
            ),
            (
                "apiVersion: v1\nkind: Job\nmetadata:\n  nmae: a\n",
                "4:3: the Job has no metadata.name; is \"nmae\" meant to be \"name\"?",
            ),
            (
                "apiVersion: v1\nkind: Job\nmetadata:\n  name: n\n",
                "4:3: the Job has the boolean false as metadata.name, but it must be a text; quote \
                 it if it is meant as a text",
            ),
            (
                "apiVersion: v1\nkind: Job\nmetadata:\n  generateName: a-\n",
                "4:3: the Job has no metadata.name but a generateName, so each apply would create \
                 another one; give it a name",
            ),
            (
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Job\n  metadata: \
                 {}\n",
                "6:3: the Job has no metadata.name",
            ),
            (
                "# a comment\n\n{\"apiVersion\": \"v1\", \"kind\": \"Job\", \"metadata\": []}",
                "3:37: the Job has a list as metadata, but it must be a map",
            ),
            (
                "{\"apiVersion\": \"v1\",\n\"kind\": \"Job\"}\n {\"apiVersion\": \"v1\", \"kind\": \
                 \"Job\", \"metadata\": {\"name\": \"a\"}}",
                "1:1: the Job has no metadata",
            ),
        ] {
            let manifest = read(text.as_bytes()).unwrap();
            let error = manifest.require_objects("f").unwrap_err().to_string();
            assert_eq!(error, format!("f:{told}"));
        }
        assert_eq!(
            error(&format!("{A}---\napiVersion: v1\nkid: Job\n")),
            "Object 'Kind' is missing in document 2 (line 6, column 1): the document has no kind; is \
             \"kid\" meant to be \"kind\"?"
        );
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
