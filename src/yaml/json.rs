//! Converts a tree to JSON values as `sigs.k8s.io/yaml` does: plain scalars are resolved, keys
//! become strings, `<<` merges, the last of equal keys wins, and numbers are normalized through
//! JSON's notation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value as Json};

use super::YamlError;
use super::node::{Node, Style, Value};
use super::resolve::{Meaning, is_timestamp, resolve};

/// Converts a tree to a JSON value.
///
/// # Errors
/// Fails for values that JSON cannot represent (`.inf`, `.nan`; null, sequence and mapping keys)
/// and for tags that do not match their value.
pub fn to_json(node: &Node) -> Result<Json, YamlError> {
    match &node.value {
        Value::Scalar(text, style) => scalar(node, text, *style),
        Value::Sequence(items) => items
            .iter()
            .map(to_json)
            .collect::<Result<Vec<_>, _>>()
            .map(Json::Array),
        Value::Mapping(pairs) => {
            let mut map = Map::new();
            for (key, value) in pairs {
                if is_merge(key) {
                    merge(&mut map, value)?;
                } else {
                    map.insert(key_text(key)?, to_json(value)?);
                }
            }
            Ok(Json::Object(map))
        }
    }
}

/// Converts a float as if it were written as JSON and read back: integral values that fit into a
/// signed 64-bit integer become integers, all others stay 64-bit floats.
pub fn number(float: f64) -> Json {
    let text = json_float(float);
    match text.parse::<i64>() {
        Ok(integer) => integer.into(),
        Err(_) => Number::from_f64(float).map_or(Json::Null, Json::Number),
    }
}

/// Formats a float in Go's JSON notation: shortest digits, exponent form below 1e-6 and from 1e21.
pub fn json_float(float: f64) -> String {
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{float:e}");
        // Go writes the sign of a positive exponent, and no leading zero in a one-digit negative
        // one.
        return match text.split_once('e') {
            Some((mantissa, exponent)) if !exponent.starts_with('-') => {
                format!("{mantissa}e+{exponent}")
            }
            _ => text,
        };
    }
    format!("{float}")
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.value, Value::Scalar(text, Style::Plain) if &**text == "<<")
        && key
            .tag
            .as_deref()
            .is_none_or(|tag| tag == "!" || tag == "tag:yaml.org,2002:merge")
}

/// Merges a mapping, or a list of mappings in which the earlier ones win. Keys after the `<<`
/// override merged keys, and merged keys override keys before it: only the position counts.
fn merge(into: &mut Map<String, Json>, value: &Node) -> Result<(), YamlError> {
    let maps: Vec<&Node> = match &value.value {
        Value::Mapping(_) => vec![value],
        Value::Sequence(items) if items.iter().all(|item| item.as_mapping().is_some()) => {
            items.iter().rev().collect()
        }
        _ => {
            return Err(YamlError::at(
                value.position,
                "map merge requires map or sequence of maps as the value",
            ));
        }
    };
    for map in maps {
        if let Json::Object(merged) = to_json(map)? {
            into.extend(merged);
        }
    }
    Ok(())
}

fn scalar(node: &Node, text: &str, style: Style) -> Result<Json, YamlError> {
    let mismatch = |what: &str| {
        Err(YamlError::at(
            node.position,
            format!("cannot decode {text:?} as {what}"),
        ))
    };
    let tag = node
        .tag
        .as_deref()
        .map(|tag| tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag));
    let meaning = match tag {
        None if style == Style::Plain => resolve(text),
        None | Some("str" | "!") => Meaning::Text,
        Some("binary") => {
            let packed: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
            return match STANDARD.decode(packed) {
                Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned().into()),
                Err(_) => Err(YamlError::at(
                    node.position,
                    "!!binary value contains invalid base64 data",
                )),
            };
        }
        Some("timestamp") if is_timestamp(text) => Meaning::Timestamp,
        Some("timestamp") => return mismatch("!!timestamp"),
        Some(tag @ ("int" | "float" | "bool" | "null")) => match (tag, resolve(text)) {
            ("int", meaning @ (Meaning::Int(_) | Meaning::Uint(_)))
            | ("float", meaning @ Meaning::Float(_))
            | ("bool", meaning @ Meaning::Bool(_))
            | ("null", meaning @ Meaning::Null) => meaning,
            #[expect(
                clippy::cast_precision_loss,
                reason = "an integer tagged !!float becomes a float"
            )]
            ("float", Meaning::Int(integer)) => Meaning::Float(integer as f64),
            _ => return mismatch(&format!("!!{tag}")),
        },
        // An unknown tag is ignored; a quoted scalar stays a string.
        Some(_) if style == Style::Plain => resolve(text),
        Some(_) => Meaning::Text,
    };
    match meaning {
        Meaning::Null => Ok(Json::Null),
        Meaning::Bool(bool) => Ok(bool.into()),
        Meaning::Int(integer) => Ok(integer.into()),
        #[expect(
            clippy::cast_precision_loss,
            reason = "JSON readers hold such integers as floats"
        )]
        Meaning::Uint(integer) => Ok(number(integer as f64)),
        Meaning::Float(float) if float.is_finite() => Ok(number(float)),
        Meaning::Float(_) => Err(YamlError::at(
            node.position,
            format!("the number {text} cannot be represented in JSON"),
        )),
        Meaning::Timestamp | Meaning::Text => Ok(text.into()),
    }
}

/// Converts a scalar key to a string.
fn key_text(key: &Node) -> Result<String, YamlError> {
    let Value::Scalar(text, style) = &key.value else {
        return Err(YamlError::at(key.position, key_fault(key)));
    };
    if *style == Style::Plain && key.tag.is_none() {
        match resolve(text) {
            Meaning::Null => return Err(YamlError::at(key.position, "null cannot be a key")),
            Meaning::Bool(bool) => return Ok(bool.to_string()),
            Meaning::Int(integer) => return Ok(integer.to_string()),
            Meaning::Uint(integer) => return Ok(integer.to_string()),
            Meaning::Float(float) => return Ok(short_float(float)),
            Meaning::Timestamp | Meaning::Text => return Ok(text.to_string()),
        }
    }
    match scalar(key, text, *style)? {
        Json::String(text) => Ok(text),
        Json::Null => Err(YamlError::at(key.position, "null cannot be a key")),
        other => Ok(other.to_string()),
    }
}

/// What to do about a map as a key, which most often is a template.
pub const TEMPLATE_HELP: &str = "{{ }} is a template: render it first, or quote it";

/// Says why a node cannot be a key.
fn key_fault(key: &Node) -> String {
    let fault = format!("{} cannot be a key", key.kind());
    match &key.value {
        Value::Mapping(_) => format!("{fault}; help: {TEMPLATE_HELP}"),
        _ => fault,
    }
}

/// Formats a float where a text is expected, such as in a key: shortest digits at 32-bit precision,
/// in the notation that Go's `g` format chooses.
pub fn short_float(float: f64) -> String {
    if float.is_nan() {
        return ".nan".into();
    }
    if float.is_infinite() {
        return if float > 0.0 {
            ".inf".into()
        } else {
            "-.inf".into()
        };
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "sigs.k8s.io/yaml formats floats as texts at 32-bit precision"
    )]
    let short = float as f32;
    let text = format!("{short:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    general(mantissa, exponent, &format!("{short}"))
}

/// Formats a float like Go's `strconv.FormatFloat` with format `g` and precision -1: shortest
/// digits, in exponent form below 1e-4 and from 1e6.
pub fn general_float(float: f64) -> String {
    let text = format!("{float:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    general(mantissa, exponent, &format!("{float}"))
}

/// Chooses the notation of Go's `g` format: exponent form for exponents below -4 and from 6, else
/// plain decimal.
fn general(mantissa: &str, exponent: &str, plain: &str) -> String {
    let value: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&value) {
        return plain.to_owned();
    }
    let sign = if value < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", value.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Limits, parse};

    fn json(text: &str) -> String {
        match to_json(&parse(text, Limits::default()).unwrap().unwrap()) {
            Ok(json) => json.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn merged_keys_win_by_position() {
        assert_eq!(json("a: 1\n<<: {a: 2, b: 2}\nb: 3"), r#"{"a":2,"b":3}"#);
        assert_eq!(json("<<: [{a: 1}, {a: 2, b: 2}]"), r#"{"a":1,"b":2}"#);
        assert!(json("<<: 1").starts_with("error"));
    }

    #[test]
    fn numbers_pass_through_json() {
        assert_eq!(
            json("[1.0, 1e3, 1e20, -0.0, 18446744073709551615, 0.0000001]"),
            "[1,1000,1e+20,0,1.8446744073709552e+19,1e-7]"
        );
    }

    #[test]
    fn keys_become_text() {
        assert_eq!(
            json("{0x10: a, yes: b, 2020-01-01: c, 1.5: d}"),
            r#"{"16":"a","true":"b","2020-01-01":"c","1.5":"d"}"#
        );
        assert!(json("{~: a}").starts_with("error") && json("{[a]: b}").starts_with("error"));
    }
}
