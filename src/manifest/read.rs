//! YAML and JSON streams to objects, with the rules of `fluxcd/pkg/ssa` (specification of reading,
//! section 1). Bad input loses nothing: the first fault is an error, and what is left out on
//! purpose is counted.

use serde_json::{Map, Value};

use super::Object;
use crate::yaml::{self, Limits};

/// How far the reader looks for a `{` to decide that a stream is JSON.
const LOOK_AHEAD: usize = 2048;

/// Documents of a stream, and objects of its lists.
const MAX_DOCUMENTS: usize = 100_000;

/// What a stream holds.
#[derive(Debug, Default)]
pub struct Manifest {
    /// The objects, in the order of the stream.
    pub objects: Vec<Object>,
    /// The kinds of documents that are no objects: without name or apiVersion, or kustomizations.
    pub dropped: Vec<String>,
}

/// Why a stream is refused. Documents count from 1. No text of it quotes a document's values.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not valid YAML.
    #[error("document {document} is not valid YAML: {source}")]
    Yaml {
        /// Which.
        document: usize,
        /// Why; the position counts from the start of the document.
        source: yaml::YamlError,
    },
    /// Not valid JSON.
    #[error("document {document} is not valid JSON: {source}")]
    Json {
        /// Which.
        document: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// Not valid text.
    #[error("document {0} is not valid UTF-8")]
    Encoding(usize),
    /// A document that is a scalar or a list.
    #[error("document {0} is not an object: it must be a map")]
    NotAnObject(usize),
    /// No kind.
    #[error(
        "Object 'Kind' is missing in document {0}; every object needs apiVersion, kind and \
         metadata.name"
    )]
    NoKind(usize),
    /// A list with something else than objects.
    #[error("items member of the list in document {0} is not an object")]
    BadItem(usize),
    /// More documents than any set has.
    #[error("the stream has more than {MAX_DOCUMENTS} documents")]
    TooMany,
    /// Something on the line of a separator.
    #[error("invalid Yaml document separator: {0}")]
    Separator(String),
}

/// Reads every object of a stream.
///
/// # Errors
/// [`ReadError`].
pub fn read(bytes: &[u8]) -> Result<Manifest, ReadError> {
    let mut reader = Reader::default();
    let head = bytes.get(..LOOK_AHEAD).unwrap_or(bytes);
    if String::from_utf8_lossy(head).trim_start().starts_with('{') {
        reader.read_json(bytes)?;
    } else {
        reader.read_yaml(bytes)?;
    }
    Ok(reader.manifest)
}

/// Takes objects that are no text, such as those of a kustomize build, by the same rules as [`read`].
///
/// # Errors
/// [`ReadError`] if one of them is no object, with its place in the list as the number of its document.
pub fn collect(
    objects: impl IntoIterator<Item = Map<String, Value>>,
) -> Result<Manifest, ReadError> {
    let mut reader = Reader::default();
    for object in objects {
        reader.document += 1;
        reader.add(normalise(Value::Object(object)))?;
    }
    Ok(reader.manifest)
}

#[derive(Default)]
struct Reader {
    manifest: Manifest,
    document: usize,
}

impl Reader {
    /// JSON values one after the other; a stream that turns out to be YAML goes on as such.
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
                    match self.add(normalise(value)) {
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
            let text_of_it = skip_first_break(rest);
            return self.read_yaml(text_of_it.as_bytes()).map_err(|_| failure);
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

    /// Takes a document: nothing, a list of objects, or an object.
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

/// The text after its leading white space up to and including the first line break.
fn skip_first_break(text: &str) -> &str {
    let rest = text.trim_start_matches(|c: char| c.is_whitespace() && c != '\n');
    rest.strip_prefix('\n').unwrap_or(rest)
}

/// Go reads half of a surrogate pair as U+FFFD; our JSON reader refuses it.
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

/// Numbers as the API server's decoder holds them: what is no 64-bit integer is a float, and
/// integral floats are integers.
fn normalise(value: Value) -> Value {
    match value {
        Value::Number(number) if !number.is_i64() => {
            number.as_f64().map_or(Value::Null, yaml::json::number)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normalise).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(k, v)| (k, normalise(v)))
                .collect::<Map<_, _>>(),
        ),
        other => other,
    }
}
