//! Node trees to JSON as kustomize does it (go-yaml v3), and back.
//!
//! It differs from go-yaml v2 in what plain scalars mean: only `true` and `false` are booleans, so
//! `yes` stays text; dates become full timestamps; keys must be text.

use serde_json::{Map, Number, Value as Json};

use crate::yaml::resolve::{Meaning, resolve};
use crate::yaml::{Node, Style, Value};

/// The JSON value of a tree.
///
/// # Errors
/// What cannot be JSON, as a sentence.
pub(crate) fn to_json(node: &Node) -> Result<Json, String> {
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
            // What a map says itself wins over what it merges, wherever it stands.
            for (_, merged) in pairs.iter().filter(|(key, _)| is_merge(key)) {
                merge(&mut map, merged)?;
            }
            Ok(Json::Object(map))
        }
        Value::Scalar(text, Style::Plain) if is_untagged(node) => plain(text),
        Value::Scalar(text, Style::Folded) => Ok(folded_again(text).into()),
        Value::Scalar(text, style) => tagged(node, text, *style),
    }
}

/// Objects pass through YAML text once more before they become JSON, and the library that writes it
/// puts a line break too many into some folded texts: after every line that does not begin with a
/// blank. Between such lines the break is folded away; before a deeper line it stays.
fn folded_again(text: &str) -> String {
    let body = text.trim_end_matches('\n');
    if body.starts_with([' ', '\t', '\n']) {
        return text.to_owned();
    }
    let is_deeper = |line: &str| line.starts_with([' ', '\t']);
    let mut again = String::with_capacity(text.len() + 8);
    let mut lines = body.split('\n').peekable();
    while let Some(line) = lines.next() {
        again.push_str(line);
        if let Some(next) = lines.peek() {
            again.push('\n');
            if !line.is_empty() && !is_deeper(line) && is_deeper(next) {
                again.push('\n');
            }
        }
    }
    again.push_str(text.get(body.len()..).unwrap_or_default());
    again
}

/// Whether a key merges its value into the map.
pub(crate) fn is_merge(key: &Node) -> bool {
    let fits = key
        .tag
        .as_deref()
        .is_none_or(|tag| tag == "tag:yaml.org,2002:merge");
    fits && matches!(&key.value, Value::Scalar(text, Style::Plain) if &**text == "<<")
}

/// Adds what is not there yet from a map, or from a list of maps of which the earlier ones win.
fn merge(into: &mut Map<String, Json>, merged: &Node) -> Result<(), String> {
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

fn plain(text: &str) -> Result<Json, String> {
    match meaning(text) {
        Meaning::Null => Ok(Json::Null),
        Meaning::Bool(bool) => Ok(bool.into()),
        Meaning::Int(integer) => Ok(integer.into()),
        Meaning::Uint(integer) => Ok(integer.into()),
        Meaning::Float(float) => Number::from_f64(float)
            .map(Json::Number)
            .ok_or_else(|| format!("json: unsupported value: {text}")),
        Meaning::Timestamp => Ok(timestamp(text).into()),
        Meaning::Text => Ok(text.into()),
    }
}

/// What a plain scalar means to go-yaml v3.
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

fn tagged(node: &Node, text: &str, style: Style) -> Result<Json, String> {
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
                .map_err(|_| "!!binary value is not base64".to_owned())
        }
        Some("str") | None => Ok(text.into()),
        Some(_) if style == Style::Plain => plain(text),
        Some(_) => Ok(text.into()),
    }
}

fn key_text(key: &Node) -> Result<String, String> {
    match &key.value {
        Value::Scalar(text, Style::Plain) if key.tag.is_none() => match meaning(text) {
            Meaning::Text | Meaning::Timestamp => Ok(text.to_string()),
            _ => Err(format!(
                "json: unsupported type: the key {text} is not text; put it in quotes"
            )),
        },
        Value::Scalar(text, _) => Ok(text.to_string()),
        _ => Err(format!("{} cannot be a key", key.kind())),
    }
}

/// A date as RFC 3339, in the zone in which it was written.
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

/// The tree of a JSON value. Texts are quoted, so that they stay texts.
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

/// A text.
pub(crate) fn text(text: &str) -> Node {
    Node::new(Value::Scalar(text.into(), Style::DoubleQuoted))
}

/// A plain scalar of which nobody has said yet what it means: `vars` take it for a text, and what is
/// printed means what it looks like.
pub(crate) fn undecided(text: &str) -> Node {
    Node {
        tag: Some("".into()),
        ..Node::new(Value::Scalar(text.into(), Style::Plain))
    }
}

/// Makes texts of the undecided scalars in a map and the maps in it, but not of those in lists: a
/// strategic merge does.
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

/// Whether a node has no tag of its own.
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
