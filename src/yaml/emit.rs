//! Writes JSON values as YAML, byte for byte as go-yaml v2 does for values that were read from JSON
//! (the `manifest-yaml` test cases).
//!
//! Block style; indentation of two spaces; list items at the indentation of their key; keys in
//! natural order; strings in the first style that can represent them, folded at 80 columns.
#![expect(
    clippy::indexing_slicing,
    reason = "indexes come from the lengths of the same lists"
)]

mod keys;
mod scalar;
mod style;

use std::borrow::Cow;

pub use keys::sort_keys;
use serde_json::{Map, Number, Value};
use style::{Role, Style, choose_style, is_break, is_printable};

use super::json::{general_float, json_float};

/// A line is folded at the first suitable space beyond this column.
const WIDTH: usize = 80;

/// Longer keys, in bytes, are written as `? key`.
const MAX_PLAIN_KEY_LENGTH: usize = 128;

/// Longer keys, in bytes, are refused: go-yaml fails when it reads its own JSON back.
const MAX_KEY_LENGTH: usize = 1024;

/// Strings between two checks for cancellation.
const CANCEL_CHECK_INTERVAL: usize = 4096;

/// Runs of this many keys are sorted by insertion, as Go's sort does for so few.
const INSERTION_RUN: usize = 12;

/// A value that go-yaml cannot write either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// A string contains a character that YAML does not allow.
    #[error("control characters are not allowed in YAML: {0:?}")]
    ControlCharacter(char),
    /// The work was cancelled.
    #[error("the work was stopped")]
    Stopped,
    /// A key is longer than the limit, in bytes.
    #[error("a key of more than {MAX_KEY_LENGTH} characters cannot be written as YAML")]
    KeyTooLong,
    /// A key contains U+0085, which ends the line when go-yaml reads its own JSON back.
    #[error("a key with the line break U+0085 cannot be written as YAML: {0:?}")]
    LineBreakInKey(String),
}

/// Returns true if a text is written without quotes and in one line.
pub fn is_written_plain(text: &str) -> bool {
    style::choose_style(text, style::Role::Value) == style::Style::Plain
}

/// Writes a value as YAML. The text ends with a line break.
///
/// # Errors
/// Fails if YAML cannot represent a key or a string, or if the work is cancelled.
pub fn emit(value: &Value) -> Result<String, EmitError> {
    let mut out = String::new();
    emit_into(&mut out, value)?;
    Ok(out)
}

/// Appends a value to `out`, which must be empty or end with a line break.
///
/// # Errors
/// As [`emit`].
pub fn emit_into(out: &mut String, value: &Value) -> Result<(), EmitError> {
    let mut emitter = Emitter::new(out);
    match value {
        Value::Object(map) => return emit_map_into(out, map),
        Value::Array(items) if !items.is_empty() => emitter.list(items, 0)?,
        other => emitter.scalar(other, 2)?,
    }
    emitter.end_line();
    Ok(())
}

/// Appends a map to `out`, which must be empty or end with a line break.
///
/// # Errors
/// As [`emit`].
pub fn emit_map_into(out: &mut String, map: &Map<String, Value>) -> Result<(), EmitError> {
    let mut emitter = Emitter::new(out);
    match has_members(map) {
        true => emitter.map(map, 0)?,
        false => emitter.put_ascii("{}"),
    }
    emitter.end_line();
    Ok(())
}

struct Emitter<'a> {
    out: &'a mut String,
    /// Characters since the last line break, including a break inside quotes.
    column: usize,
    /// Set after a quoted string that ends with line breaks: nothing else may follow on its line.
    needs_newline: bool,
    /// Strings written so far; used to check for cancellation from time to time.
    strings_written: usize,
}

impl<'a> Emitter<'a> {
    fn new(out: &'a mut String) -> Self {
        Self {
            out,
            column: 0,
            needs_newline: false,
            strings_written: 0,
        }
    }

    fn put(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    fn put_ascii(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.len();
    }

    fn end_line(&mut self) {
        if self.column > 0 {
            self.out.push('\n');
            self.column = 0;
        }
        self.needs_newline = false;
    }

    /// Pads to column `indent`, on the next line if this line is already longer.
    fn indent(&mut self, indent: usize) {
        let is_beyond = self.needs_newline || self.column > indent;
        if is_beyond
            || (self.column == indent && self.column > 0 && !self.out.ends_with([' ', '\n']))
        {
            self.end_line();
        }
        let missing = indent.saturating_sub(self.column);
        self.out.extend(std::iter::repeat_n(' ', missing));
        self.column += missing;
    }

    fn map(&mut self, map: &Map<String, Value>, indent: usize) -> Result<(), EmitError> {
        let mut keys: Vec<&str> = members(map).collect();
        if keys.len() > 1 {
            sort_keys(&mut keys);
        }
        for key in keys {
            self.indent(indent);
            let value = map.get(key).unwrap_or(&Value::Null);
            let has_break = key.contains(is_break);
            if key.len() > MAX_KEY_LENGTH {
                return Err(EmitError::KeyTooLong);
            }
            if key.contains('\u{85}') {
                return Err(EmitError::LineBreakInKey(key.to_owned()));
            }
            if has_break || key.len() > MAX_PLAIN_KEY_LENGTH {
                self.put_ascii("? ");
                self.string(key, indent + 2, Role::Value)?;
                self.indent(indent);
                self.put(':');
                self.value(value, indent, true)?;
            } else {
                self.string(key, indent + 2, Role::Key)?;
                self.put(':');
                self.value(value, indent, false)?;
            }
        }
        Ok(())
    }

    /// Writes the value after a `:`. After an explicit key (`? key`), a collection starts on the
    /// same line.
    fn value(&mut self, value: &Value, indent: usize, explicit: bool) -> Result<(), EmitError> {
        match value {
            Value::Object(map) if has_members(map) => self.map_below(map, indent, explicit),
            Value::Array(items) if !items.is_empty() => {
                if explicit {
                    self.put(' ');
                    self.list(items, indent + 2)
                } else {
                    self.end_line();
                    self.list(items, indent)
                }
            }
            scalar => {
                self.put(' ');
                self.scalar(scalar, indent + 2)
            }
        }
    }

    fn map_below(
        &mut self,
        map: &Map<String, Value>,
        indent: usize,
        explicit: bool,
    ) -> Result<(), EmitError> {
        if explicit {
            self.put(' ');
        } else {
            self.end_line();
        }
        self.map(map, indent + 2)
    }

    fn list(&mut self, items: &[Value], indent: usize) -> Result<(), EmitError> {
        for item in items {
            self.indent(indent);
            self.put_ascii("- ");
            match item {
                Value::Object(map) if has_members(map) => self.map(map, indent + 2)?,
                Value::Array(items) if !items.is_empty() => self.list(items, indent + 2)?,
                scalar => self.scalar(scalar, indent + 2)?,
            }
        }
        Ok(())
    }

    fn scalar(&mut self, value: &Value, indent: usize) -> Result<(), EmitError> {
        match value {
            Value::Null => self.put_ascii("null"),
            Value::Bool(bool) => self.put_ascii(if *bool { "true" } else { "false" }),
            Value::Number(number) => self.put_ascii(&number_text(number)),
            Value::String(text) => self.string(text, indent, Role::Value)?,
            Value::Array(_) => self.put_ascii("[]"),
            Value::Object(_) => self.put_ascii("{}"),
        }
        Ok(())
    }
}

/// Returns the keys of a map except `<<`. go-yaml reads `<<` back from JSON as a merge, which then
/// has no effect.
fn members(map: &Map<String, Value>) -> impl Iterator<Item = &str> {
    map.keys().map(String::as_str).filter(|key| *key != "<<")
}

fn has_members(map: &Map<String, Value>) -> bool {
    members(map).next().is_some()
}

/// Reproduces what happens to a string when go-yaml reads it back from JSON: NEL counts as a line
/// break and is folded, and control characters are errors.
fn through_json(text: &str) -> Result<Cow<'_, str>, EmitError> {
    if text
        .bytes()
        .all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\n')
    {
        return Ok(Cow::Borrowed(text));
    }
    let is_bad =
        |c: &char| matches!(c, '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}');
    if let Some(bad) = text.chars().find(is_bad) {
        return Err(EmitError::ControlCharacter(bad));
    }
    if !text.contains('\u{85}') {
        return Ok(Cow::Borrowed(text));
    }
    let mut folded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\u{85}') {
        folded.push_str(rest.get(..at).unwrap_or_default().trim_end_matches(' '));
        let run = rest.get(at..).unwrap_or_default();
        let after = run.trim_start_matches(['\u{85}', ' ']);
        let breaks = run
            .get(..run.len() - after.len())
            .unwrap_or_default()
            .matches('\u{85}')
            .count();
        if breaks == 1 {
            folded.push(' ')
        } else {
            folded.push_str(&"\n".repeat(breaks - 1))
        }
        rest = after;
    }
    folded.push_str(rest);
    Ok(Cow::Owned(folded))
}

fn number_text(number: &Number) -> String {
    if let Some(float) = number.as_f64().filter(|_| number.is_f64()) {
        // go-yaml reads the number back from JSON: if that text looks like an integer, it is one.
        let json = json_float(float);
        if json.parse::<i64>().is_ok() || json.parse::<u64>().is_ok() {
            return if json == "-0" { "0".into() } else { json };
        }
        return general_float(float);
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_take_the_first_style_that_holds_them() {
        for (text, written) in [
            ("plain", "plain"),
            ("a: b", "'a: b'"),
            ("", "\"\""),
            ("yes", "\"yes\""),
            ("1:30", "\"1:30\""),
            ("80:80", "80:80"),
            ("it's", "it's"),
            ("'x", "'''x'"),
            ("a\tb", "\"a\\tb\""),
            ("- ", "'- '"),
            ("😀", "\"\\U0001F600\""),
            (" x", "' x'"),
            ("a #b", "'a #b'"),
            ("a#b", "a#b"),
            ("{{ x }}", "'{{ x }}'"),
        ] {
            assert_eq!(
                emit(&json!({ "k": text })).unwrap(),
                format!("k: {written}\n"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn lists_stand_at_their_key_and_maps_inside_them_on_the_dash() {
        let value = json!({"a": [1, {"c": [], "b": {}}, [1, [2]]], "z": {"y": null}});
        assert_eq!(
            emit(&value).unwrap(),
            "a:\n- 1\n- b: {}\n  c: []\n- - 1\n  - - 2\nz:\n  \"y\": null\n"
        );
    }

    #[test]
    fn blocks_carry_the_hints_they_need() {
        assert_eq!(emit(&json!({"a": "x\ny\n"})).unwrap(), "a: |\n  x\n  y\n");
        assert_eq!(emit(&json!({"a": "\nx"})).unwrap(), "a: |2-\n\n  x\n");
        assert_eq!(
            emit(&json!({"a": ["x\n\n"], "b": 1})).unwrap(),
            "a:\n- |+\n  x\n\nb: 1\n"
        );
    }

    #[test]
    fn keys_sort_naturally() {
        let mut keys = ["b", "a10", "a2", "No", "E", "f2", "f_", "a01", "1", "a"];
        sort_keys(&mut keys);
        assert_eq!(
            keys,
            ["1", "E", "No", "a", "a01", "a2", "a10", "b", "f_", "f2"]
        );
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (float, text) in [
            (1e-6, "1e-06"),
            (0.0001, "0.0001"),
            (1e20, "1e+20"),
            (1_234_567.125, "1.234567125e+06"),
            (123_456.5, "123456.5"),
            (1e3, "1000"),
            (1.5, "1.5"),
        ] {
            assert_eq!(
                emit(&json!({ "a": float })).unwrap(),
                format!("a: {text}\n")
            );
        }
    }
}
