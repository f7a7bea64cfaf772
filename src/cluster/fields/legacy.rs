//! Reads and prints values as the Go runner does: by Go's `encoding/json` and `fmt`, and as YAML by
//! `sigs.k8s.io/yaml`. Used to compare the two programs.

use serde_json::Value;

use crate::yaml::emit::emit;
use crate::yaml::json::{general_float, number};

/// Converts the numbers of a document as the Kubernetes JSON decoder does: integers outside `i64`
/// become floats.
pub fn decode_numbers(value: &mut Value) {
    replace_numbers(value, &|float| float.into());
}

/// Converts the numbers of a document as `encoding/json` prints them: floats without a fraction
/// have no decimal point.
pub fn encode_numbers(value: &mut Value) {
    replace_numbers(value, &number);
}

/// Replaces the numbers that are not `i64` integers.
fn replace_numbers(value: &mut Value, replacement: &dyn Fn(f64) -> Value) {
    match value {
        Value::Number(number) if !number.is_i64() => {
            *value = replacement(number.as_f64().unwrap_or_default())
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| replace_numbers(item, replacement)),
        Value::Object(map) => map
            .values_mut()
            .for_each(|member| replace_numbers(member, replacement)),
        _ => {}
    }
}

/// Formats a value like `%v` in Go's `fmt`.
pub fn go_format(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            general_float(number.as_f64().unwrap_or_default())
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(go_format).collect::<Vec<_>>().join(" ")
            )
        }
        Value::Object(map) => {
            let mut members: Vec<(&String, &Value)> = map.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            let members: Vec<String> = members
                .into_iter()
                .map(|(key, value)| format!("{key}:{}", go_format(value)))
                .collect();
            format!("map[{}]", members.join(" "))
        }
    }
}

/// Formats a value as YAML. None if a string contains a character that the YAML reader refuses,
/// because the document passes through JSON on its way.
pub fn yaml(value: &Value) -> Option<String> {
    is_readable(value).then(|| emit(value).ok()).flatten()
}

fn is_readable(value: &Value) -> bool {
    // Characters that JSON escapes, such as those below U+0020, never reach the YAML reader.
    let is_refused = |c: char| matches!(c, '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    match value {
        Value::String(text) => !text.contains(is_refused),
        Value::Array(items) => items.iter().all(is_readable),
        Value::Object(map) => map
            .iter()
            .all(|(key, value)| !key.contains(is_refused) && is_readable(value)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_printed_as_go_prints_them() {
        for (value, expected) in [
            (json!(1.5), "1.5"),
            (json!(1e21), "1e+21"),
            (json!(1.5e-7), "1.5e-07"),
            (json!(0.0001), "0.0001"),
            (json!(1e6), "1e+06"),
            (json!(0.0), "0"),
            (
                json!({"b": [1, null, "x"], "a": true}),
                "map[a:true b:[1 <nil> x]]",
            ),
        ] {
            assert_eq!(go_format(&value), expected);
        }
    }

    #[test]
    fn numbers_are_decoded_and_encoded_as_in_go() {
        let mut value: Value =
            serde_json::from_str(r#"{"a": 9223372036854775808, "b": [2.0], "c": 7}"#).unwrap();
        decode_numbers(&mut value);
        assert_eq!(
            value,
            json!({"a": 9223372036854775808_f64, "b": [2.0], "c": 7})
        );
        encode_numbers(&mut value);
        assert_eq!(
            value,
            json!({"a": 9223372036854775808_f64, "b": [2], "c": 7})
        );
    }

    #[test]
    fn what_yaml_refuses_has_no_lines() {
        assert_eq!(yaml(&json!({"a": "\u{7f}"})), None);
        assert_eq!(
            yaml(&json!({"a": "\u{1}"})).as_deref(),
            Some("a: \"\\x01\"\n")
        );
    }
}
