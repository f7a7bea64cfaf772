//! Converts YAML trees to JSON as kustomize does (go-yaml v3), and back.
//!
//! Plain scalars differ from go-yaml v2: only `true` and `false` are booleans, so `yes` stays a
//! string; dates become full timestamps; keys must be strings.

use serde_json::{Map, Number, Value as Json};

use crate::kustomize::BuildError;
use crate::yaml::resolve::{Meaning, resolve};
use crate::yaml::{Node, Style, Value};

/// Converts a tree to JSON.
///
/// # Errors
/// Fails for what JSON cannot represent, such as infinity or a key that is not a string.
pub(crate) fn to_json(node: &Node) -> Result<Json, BuildError> {
    match &node.value {
        Value::Sequence(items) => items
            .iter()
            .map(to_json)
            .collect::<Result<Vec<_>, _>>()
            .map(Json::Array),
        Value::Mapping(pairs) => {
            let mut map = Map::new();
            for (key, value) in pairs.iter().filter(|(key, _)| !is_merge(key)) {
                map.insert(key_text(key)?, to_json(value)?);
            }
            // A map's own keys win over merged ones, wherever they are.
            for (_, merged) in pairs.iter().filter(|(key, _)| is_merge(key)) {
                merge(&mut map, merged)?;
            }
            Ok(Json::Object(map))
        }
        Value::Scalar(text, Style::Plain) if is_untagged(node) => plain(text),
        Value::Scalar(text, Style::Folded) => Ok(refold(text).into()),
        Value::Scalar(text, style) => tagged(node, text, *style),
    }
}

/// Adds the line breaks that kustomize adds to folded scalars. It writes objects as YAML once more
/// before it converts them to JSON, and its YAML library writes one line break too many after each
/// line that does not start with a blank. Folding removes the extra break between two such lines,
/// but not before a more indented line.
fn refold(text: &str) -> String {
    let body = text.trim_end_matches('\n');
    if body.starts_with([' ', '\t', '\n']) {
        return text.to_owned();
    }
    let is_deeper = |line: &str| line.starts_with([' ', '\t']);
    let mut refolded = String::with_capacity(text.len() + 8);
    let mut lines = body.split('\n').peekable();
    while let Some(line) = lines.next() {
        refolded.push_str(line);
        if let Some(next) = lines.peek() {
            refolded.push('\n');
            if !line.is_empty() && !is_deeper(line) && is_deeper(next) {
                refolded.push('\n');
            }
        }
    }
    refolded.push_str(text.get(body.len()..).unwrap_or_default());
    refolded
}

/// Returns true for the merge key `<<`.
pub(crate) fn is_merge(key: &Node) -> bool {
    let fits = key
        .tag
        .as_deref()
        .is_none_or(|tag| tag == "tag:yaml.org,2002:merge");
    fits && matches!(&key.value, Value::Scalar(text, Style::Plain) if &**text == "<<")
}

/// Adds missing keys from a map, or from a list of maps, of which earlier ones win.
fn merge(into: &mut Map<String, Json>, merged: &Node) -> Result<(), BuildError> {
    let maps = match &merged.value {
        Value::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(merged),
    };
    for map in maps {
        let Json::Object(map) = to_json(map)? else {
            return Err("only maps can be merged with <<".into());
        };
        for (key, value) in map {
            into.entry(key).or_insert(value);
        }
    }
    Ok(())
}

fn plain(text: &str) -> Result<Json, BuildError> {
    match meaning(text) {
        Meaning::Null => Ok(Json::Null),
        Meaning::Bool(bool) => Ok(bool.into()),
        Meaning::Int(integer) => Ok(integer.into()),
        Meaning::Uint(integer) => Ok(integer.into()),
        Meaning::Float(float) => Number::from_f64(float)
            .map(Json::Number)
            .ok_or_else(|| format!("json: unsupported value: {text}").into()),
        Meaning::Timestamp => Ok(timestamp(text).into()),
        Meaning::Text => Ok(text.into()),
    }
}

/// Returns the meaning of a plain scalar in go-yaml v3.
pub(crate) fn meaning(text: &str) -> Meaning {
    match resolve(text) {
        Meaning::Bool(_)
            if !matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") =>
        {
            Meaning::Text
        }
        other => other,
    }
}

fn tagged(node: &Node, text: &str, style: Style) -> Result<Json, BuildError> {
    let tag = node
        .tag
        .as_deref()
        .map(|tag| tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag));
    match tag {
        Some("int" | "float" | "bool" | "null") => plain(text),
        Some("binary") => {
            use base64::Engine as _;
            let packed: String = text.split_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(packed);
            bytes
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned().into())
                .map_err(|_| "!!binary value is not base64".into())
        }
        Some("str") | None => Ok(text.into()),
        Some(_) if style == Style::Plain => plain(text),
        Some(_) => Ok(text.into()),
    }
}

fn key_text(key: &Node) -> Result<String, BuildError> {
    match &key.value {
        Value::Scalar(text, Style::Plain) if key.tag.is_none() => match meaning(text) {
            Meaning::Text | Meaning::Timestamp => Ok(text.to_string()),
            _ => Err(BuildError::new(format!(
                "json: unsupported type: the key {text} is not text; put it in quotes"
            ))),
        },
        Value::Scalar(text, _) => Ok(text.to_string()),
        _ => Err(BuildError::new(format!("{} cannot be a key", key.kind()))),
    }
}

/// Converts a date to RFC 3339, in its own time zone.
fn timestamp(text: &str) -> String {
    let (date, rest) = text.split_at(text.find([' ', 'T', 't']).unwrap_or(text.len()));
    let pad = |part: &str| format!("{:0>2}", part);
    let mut parts = date.split('-');
    let mut next = || parts.next().unwrap_or_default();
    let date = format!("{}-{}-{}", next(), pad(next()), pad(next()));
    let rest = rest.trim_start_matches([' ', 'T', 't']);
    if rest.is_empty() {
        return format!("{date}T00:00:00Z");
    }
    let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone_at);
    let (clock, fraction) = time
        .trim()
        .split_once('.')
        .map_or((time.trim(), ""), |(clock, fraction)| (clock, fraction));
    let clock: Vec<_> = clock.split(':').map(pad).collect();
    let fraction = fraction.trim_end_matches('0');
    let fraction = if fraction.is_empty() {
        String::new()
    } else {
        format!(".{fraction}")
    };
    let zone = if zone.is_empty() || zone == "+00:00" || zone == "-00:00" {
        "Z"
    } else {
        zone
    };
    format!("{date}T{}{fraction}{zone}", clock.join(":"))
}

/// Converts JSON to a tree. Strings are quoted, so that they stay strings.
pub(crate) fn from_json(json: &Json) -> Node {
    Node::new(match json {
        Json::Null => Value::Scalar("null".into(), Style::Plain),
        Json::Bool(bool) => Value::Scalar(bool.to_string().into(), Style::Plain),
        Json::Number(number) => Value::Scalar(number.to_string().into(), Style::Plain),
        Json::String(text) => Value::Scalar(text.as_str().into(), Style::DoubleQuoted),
        Json::Array(items) => Value::Sequence(items.iter().map(from_json).collect()),
        Json::Object(map) => Value::Mapping(
            map.iter()
                .map(|(key, value)| (text(key), from_json(value)))
                .collect(),
        ),
    })
}

/// Returns a string scalar.
pub(crate) fn text(text: &str) -> Node {
    Node::new(Value::Scalar(text.into(), Style::DoubleQuoted))
}

/// Returns a plain scalar without a type, which has the empty tag. `vars` treat it as a string; in
/// the output its type follows from its text.
pub(crate) fn undecided(text: &str) -> Node {
    Node {
        tag: Some("".into()),
        ..Node::new(Value::Scalar(text.into(), Style::Plain))
    }
}

/// Turns untyped scalars into strings, in maps at any depth but not in lists, as a strategic merge
/// does.
pub(crate) fn decide(node: &mut Node) {
    match &mut node.value {
        Value::Scalar(_, style) if node.tag.as_deref() == Some("") => {
            *style = Style::DoubleQuoted;
            node.tag = None;
        }
        Value::Mapping(pairs) => pairs.iter_mut().for_each(|(_, value)| decide(value)),
        Value::Scalar(..) | Value::Sequence(_) => {}
    }
}

/// Returns true if the node has no tag, or the empty one.
pub(crate) fn is_untagged(node: &Node) -> bool {
    node.tag.as_deref().is_none_or(str::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Limits, parse};

    #[test]
    fn scalars_mean_what_the_newer_library_says() {
        let node = parse(
            "[yes, on, true, 010, 0x10, 2020-01-01, 1.50, 18446744073709551615, ~]",
            Limits::default(),
        );
        let json = to_json(&node.unwrap().unwrap()).unwrap();
        assert_eq!(
            json.to_string(),
            r#"["yes","on",true,8,16,"2020-01-01T00:00:00Z",1.5,18446744073709551615,null]"#
        );
    }
}
