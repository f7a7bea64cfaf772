//! JSON as Go writes it: keys sorted, HTML characters escaped, numbers in their shortest form.

use serde_json::Value;

use crate::yaml::json::json_float;

/// Returns JSON without blanks.
pub(crate) fn compact(value: &Value) -> String {
    let mut encoder = Encoder {
        out: String::new(),
        is_pretty: false,
    };
    encoder.write(value, 0);
    encoder.out
}

/// Returns JSON on several lines, indented by two blanks.
pub(crate) fn pretty(value: &Value) -> String {
    let mut encoder = Encoder {
        out: String::new(),
        is_pretty: true,
    };
    encoder.write(value, 0);
    encoder.out
}

struct Encoder {
    out: String,
    is_pretty: bool,
}

impl Encoder {
    fn write(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Object(map) => {
                let mut pairs: Vec<_> = map.iter().collect();
                pairs.sort_by_key(|(key, _)| *key);
                self.out.push('{');
                for (count, (key, value)) in pairs.into_iter().enumerate() {
                    self.next(count, depth + 1);
                    write_text(key, &mut self.out);
                    self.out.push_str(if self.is_pretty { ": " } else { ":" });
                    self.write(value, depth + 1);
                }
                self.end(!map.is_empty(), depth);
                self.out.push('}');
            }
            Value::Array(items) => {
                self.out.push('[');
                for (count, item) in items.iter().enumerate() {
                    self.next(count, depth + 1);
                    self.write(item, depth + 1);
                }
                self.end(!items.is_empty(), depth);
                self.out.push(']');
            }
            Value::String(text) => write_text(text, &mut self.out),
            Value::Number(number) if number.is_f64() => {
                self.out
                    .push_str(&json_float(number.as_f64().unwrap_or_default()));
            }
            other => self.out.push_str(&other.to_string()),
        }
    }

    /// Begins a member or an item.
    fn next(&mut self, count: usize, depth: usize) {
        if count > 0 {
            self.out.push(',');
        }
        self.end(true, depth);
    }

    /// Begins a line, if there are lines.
    fn end(&mut self, is_filled: bool, depth: usize) {
        if self.is_pretty && is_filled {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", depth));
        }
    }
}

fn write_text(text: &str, into: &mut String) {
    into.push('"');
    for c in text.chars() {
        match c {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            '\u{8}' => into.push_str("\\b"),
            '\u{c}' => into.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                into.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            other => into.push(other),
        }
    }
    into.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_written_as_go_writes_it() {
        let value = serde_json::json!({"b": "<&>\u{2028}é\u{1}", "a": [1, null, true]});
        assert_eq!(
            compact(&value),
            r#"{"a":[1,null,true],"b":"\u003c\u0026\u003e\u2028é\u0001"}"#
        );
    }

    #[test]
    fn lines_are_indented_and_what_is_empty_stays_short() {
        let value = serde_json::json!({"b": {}, "a": [1.5, {"x": []}]});
        let expected =
            "{\n  \"a\": [\n    1.5,\n    {\n      \"x\": []\n    }\n  ],\n  \"b\": {}\n}";
        assert_eq!(pretty(&value), expected);
    }
}
