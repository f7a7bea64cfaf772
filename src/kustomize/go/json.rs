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
/// Fails for what JSON cannot represent, such as infinity or a key that is not a string, for a key
/// that is there twice, and for a value that does not have the type of its tag.
pub(crate) fn to_json(node: &Node) -> Result<Json, BuildError> {
    convert(node, false)
}

/// Converts an object to JSON. Its own keys are texts, however they are written: only those of the
/// maps in it have types.
///
/// # Errors
/// As [`to_json`].
pub(crate) fn object_to_json(object: &Node) -> Result<Json, BuildError> {
    let text = |key: &Node, in_flow| match key.as_str() {
        Some(text) if !key.is_null() => Ok(text.to_owned()),
        _ => key_text(key, in_flow),
    };
    match object.as_mapping() {
        Some(pairs) if !pairs.is_empty() => map(pairs, object.is_flow, text).map(Json::Object),
        _ => to_json(object),
    }
}

/// Converts the entries of a map. `text` returns the text of a key.
fn map(
    pairs: &[(Node, Node)],
    in_flow: bool,
    text: impl Fn(&Node, bool) -> Result<String, BuildError>,
) -> Result<Map<String, Json>, BuildError> {
    let mut map = Map::new();
    for (key, value) in pairs.iter().filter(|(key, _)| !is_merge(key)) {
        let text = text(key, in_flow)?;
        let value = convert(value, in_flow)?;
        if map.insert(text.clone(), value).is_some() {
            let message = format!("mapping key {text:?} already defined");
            return Err(BuildError::new(message));
        }
    }
    // A map's own keys win over merged ones, wherever they are.
    for (_, merged) in pairs.iter().filter(|(key, _)| is_merge(key)) {
        merge(&mut map, merged)?;
    }
    Ok(map)
}

/// `in_flow` is true below a collection in flow style. kustomize writes objects as YAML once more
/// before it converts them to JSON; in flow style that turns empty scalars and times into text.
fn convert(node: &Node, in_flow: bool) -> Result<Json, BuildError> {
    let in_flow = in_flow || node.is_flow;
    if node.has_key_comment && node.is_empty_collection() {
        let message = "could not find expected ':': the list or map is empty now, and kustomize \
                       cannot write the comment beside its key";
        return Err(BuildError::at(node.position, message));
    }
    match &node.value {
        Value::Sequence(items) => items
            .iter()
            .map(|item| convert(item, in_flow))
            .collect::<Result<Vec<_>, _>>()
            .map(Json::Array),
        Value::Mapping(pairs) => map(pairs, in_flow, key_text).map(Json::Object),
        Value::Scalar(text, Style::Plain)
            if is_untagged(node) || node.tag.as_deref() == Some(type_name(text)) =>
        {
            match meaning(text) {
                Meaning::Null if in_flow && text.is_empty() => Ok("".into()),
                Meaning::Timestamp if in_flow && text.contains(':') => Ok(text.to_string().into()),
                _ => plain(text),
            }
        }
        Value::Scalar(text, style @ (Style::Folded | Style::Literal)) if !in_flow => {
            check_block(text)?;
            match style {
                Style::Folded => tagged(node, &refold(text), *style),
                style => tagged(node, text, *style),
            }
        }
        Value::Scalar(text, style) => tagged(node, text, *style),
    }
}

/// Fails for a text that kustomize cannot read back after it has written it as a block: the tab that
/// it begins with looks like indentation. A text that YAML cannot write as a block is in quotes.
fn check_block(text: &str) -> Result<(), BuildError> {
    let is_printable = |char: char| {
        matches!(char, '\t' | '\n' | '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
            && char != '\u{feff}'
    };
    let is_block = !text.ends_with(' ') && !text.contains(" \n") && text.chars().all(is_printable);
    match text.starts_with('\t') && is_block {
        true => Err(BuildError::new(
            "found a tab character where an indentation space is expected: a text of several lines \
             that begins with a tab cannot be written as a block",
        )),
        false => Ok(()),
    }
}

/// Returns a folded text as it is after kustomize has written and read it once more. Its YAML library
/// writes a second line break after each line that does not start with a blank, which folding
/// removes again; but not before a more indented line, nor at the end of a text that keeps its line
/// breaks. In a text that begins with a blank it writes none, and folding removes line breaks.
fn refold(text: &str) -> String {
    let has_extra = !text.trim_start_matches('\n').starts_with([' ', '\t']);
    let body = text.trim_end_matches('\n');
    let end = text.get(body.len()..).unwrap_or_default();
    let is_plain = |line: &str| !line.is_empty() && !line.starts_with([' ', '\t']);
    let lines: Vec<&str> = body.split('\n').collect();
    let mut refolded = String::with_capacity(text.len() + 8);
    for (at, line) in lines.iter().enumerate() {
        refolded.push_str(line);
        let rest = lines.get(at + 1..).unwrap_or_default();
        let next = rest.iter().find(|next| !next.is_empty());
        let is_folded = is_plain(line) && next.is_some_and(|next| is_plain(next));
        match (rest.first(), has_extra) {
            (None, _) => {}
            (Some(&""), false) if is_folded => {}
            (Some(_), false) if is_folded => refolded.push(' '),
            (Some(_), _) => refolded.push('\n'),
        }
        let is_kept = match next {
            Some(next) => !is_plain(next),
            None => rest.is_empty() && end.len() >= 2,
        };
        if has_extra && is_plain(line) && is_kept {
            refolded.push('\n');
        }
    }
    refolded.push_str(end);
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

/// Converts a scalar with a tag, or in quotes. A tag for a type demands a text of that type.
fn tagged(node: &Node, text: &str, style: Style) -> Result<Json, BuildError> {
    let tag = node
        .tag
        .as_deref()
        .map(|tag| tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag));
    let is_of_type = match (tag, meaning(text)) {
        (Some("int"), meaning) => matches!(meaning, Meaning::Int(_) | Meaning::Uint(_)),
        (Some("float"), meaning) => {
            matches!(
                meaning,
                Meaning::Int(_) | Meaning::Uint(_) | Meaning::Float(_)
            )
        }
        (Some("bool"), meaning) => matches!(meaning, Meaning::Bool(_)),
        (Some("null"), meaning) => meaning == Meaning::Null,
        (Some("timestamp"), meaning) => meaning == Meaning::Timestamp,
        _ => true,
    };
    if !is_of_type {
        let tag = tag.unwrap_or_default();
        let message = format!("cannot decode !!str `{text}` as a !!{tag}");
        return Err(BuildError::at(node.position, message));
    }
    match tag {
        Some("int" | "float" | "bool" | "null" | "timestamp") => plain(text),
        Some("binary") => {
            use base64::Engine as _;
            let packed: String = text
                .chars()
                .filter(|char| !matches!(char, '\r' | '\n'))
                .collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(packed);
            bytes
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned().into())
                .map_err(|_| "!!binary value is not base64".into())
        }
        // The tag of a scalar that is none of its own, as in `! 5`.
        Some("!") if style == Style::Plain => plain(text),
        _ => Ok(text.into()),
    }
}

/// Returns the tag, without its prefix, of the type that a plain scalar has.
pub(crate) fn type_name(text: &str) -> &'static str {
    match meaning(text) {
        Meaning::Null => "null",
        Meaning::Bool(_) => "bool",
        Meaning::Int(_) | Meaning::Uint(_) => "int",
        Meaning::Float(_) => "float",
        Meaning::Timestamp => "timestamp",
        Meaning::Text => "str",
    }
}

/// Returns the tag of the type that an untagged scalar has.
pub(crate) fn type_tag(scalar: &Node) -> Box<str> {
    let name = match &scalar.value {
        Value::Scalar(text, Style::Plain) => type_name(text),
        _ => "str",
    };
    format!("tag:yaml.org,2002:{name}").into()
}

/// Returns true if a tag says nothing that the text of a plain scalar does not say.
pub(crate) fn is_implied(tag: &str, scalar: &Node) -> bool {
    let implied = type_name(scalar.as_str().unwrap_or_default());
    let tag = tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag);
    tag.is_empty() || tag == "str" || tag == implied
}

fn key_text(key: &Node, in_flow: bool) -> Result<String, BuildError> {
    match &key.value {
        Value::Scalar(text, Style::Plain) if is_untagged(key) => match meaning(text) {
            Meaning::Text if &**text != "<<" => Ok(text.to_string()),
            Meaning::Null if in_flow && text.is_empty() => Ok(String::new()),
            _ => Err(BuildError::new(format!(
                "json: unsupported type: the key {text} is not text; put it in quotes"
            ))),
        },
        Value::Scalar(text, _) => Ok(text.to_string()),
        _ => Err(BuildError::bad_key(key)),
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

/// Returns a string scalar, in the style in which kustomize would write it if it is in quotes at all.
pub(crate) fn text(text: &str) -> Node {
    Node::new(Value::Scalar(text.into(), text_style(text)))
}

/// Returns a key as the engine makes it: without quotes, so that one that does not read as text is
/// refused in the output.
pub(crate) fn key(key: &str) -> Node {
    Node::new(Value::Scalar(key.into(), Style::Plain))
}

/// Makes all keys of a tree such as the engine makes.
pub(crate) fn with_plain_keys(mut node: Node) -> Node {
    match &mut node.value {
        Value::Scalar(..) => {}
        Value::Sequence(items) => {
            for item in items {
                *item = with_plain_keys(std::mem::replace(item, undecided("")));
            }
        }
        Value::Mapping(pairs) => {
            for (name, value) in pairs {
                *name = key(name.as_str().unwrap_or_default());
                *value = with_plain_keys(std::mem::replace(value, undecided("")));
            }
        }
    }
    node
}

/// Returns the style of a text that has none of its own.
pub(crate) fn text_style(text: &str) -> Style {
    match text.contains('\n') {
        true => Style::Literal,
        false => Style::DoubleQuoted,
    }
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
/// does. It does so in the items of the lists that it merges by keys, too.
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
