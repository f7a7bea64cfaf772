//! Writes a node tree as YAML as kustomize does (go-yaml v3, two blanks of indentation, lists at the
//! column of their key, no folding of lines): styles, tags and the order of keys stay as they were
//! read. Comments are lost, as the tree has none.

use crate::kustomize::BuildError;
use crate::kustomize::go::json::{is_merge, type_name};
use crate::yaml::{Node, Style, Value};

/// Longest text of a key that is written without `?`.
const MAX_KEY: usize = 128;

/// Writes a tree, without a final line break.
///
/// # Errors
/// Fails for a key that is a list or a map, or too long.
pub(crate) fn write(node: &Node) -> Result<String, BuildError> {
    let mut writer = Writer::default();
    writer.block(node, 0)?;
    Ok(writer.out.trim().to_owned())
}

#[derive(Default)]
struct Writer {
    out: String,
}

/// Where a scalar stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Key,
    Value,
}

impl Writer {
    /// Writes a value in block style; what takes several lines is indented by `indent`.
    fn block(&mut self, node: &Node, indent: usize) -> Result<(), BuildError> {
        match &node.value {
            Value::Mapping(pairs) if !node.is_flow && !pairs.is_empty() => {
                for (at, (key, value)) in pairs.iter().enumerate() {
                    if at > 0 {
                        self.line(indent);
                    }
                    self.key(key, false)?;
                    self.value_of_key(value, indent)?;
                }
                Ok(())
            }
            Value::Sequence(items) if !node.is_flow && !items.is_empty() => {
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        self.line(indent);
                    }
                    self.out.push('-');
                    if !is_absent(item) {
                        self.out.push(' ');
                    }
                    self.block(item, indent + 2)?;
                }
                Ok(())
            }
            Value::Scalar(text, style) => {
                self.scalar(node, text, *style, Role::Value, false, indent);
                Ok(())
            }
            _ => self.flow(node),
        }
    }

    fn value_of_key(&mut self, value: &Node, indent: usize) -> Result<(), BuildError> {
        let is_block = match &value.value {
            Value::Mapping(pairs) => !value.is_flow && !pairs.is_empty(),
            Value::Sequence(items) => !value.is_flow && !items.is_empty(),
            Value::Scalar(..) => false,
        };
        if !is_block {
            if !is_absent(value) {
                self.out.push(' ');
            }
            return self.block(value, indent + 2);
        }
        let inner = match &value.value {
            Value::Sequence(_) => indent,
            _ => indent + 2,
        };
        self.line(inner);
        self.block(value, inner)
    }

    fn flow(&mut self, node: &Node) -> Result<(), BuildError> {
        match &node.value {
            Value::Sequence(items) => {
                self.out.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.out.push_str(if at > 0 { ", " } else { "" });
                    self.flow(item)?;
                }
                self.out.push(']');
            }
            Value::Mapping(pairs) => {
                self.out.push('{');
                for (at, (key, value)) in pairs.iter().enumerate() {
                    self.out.push_str(if at > 0 { ", " } else { "" });
                    self.key(key, true)?;
                    self.out.push(' ');
                    self.flow(value)?;
                }
                self.out.push('}');
            }
            Value::Scalar(text, style) => {
                self.scalar(node, text, *style, Role::Value, true, 0);
            }
        }
        Ok(())
    }

    fn key(&mut self, key: &Node, in_flow: bool) -> Result<(), BuildError> {
        let Value::Scalar(text, style) = &key.value else {
            return Err(BuildError::at(
                key.position,
                format!("{} as a key", key.kind()),
            ));
        };
        if text.len() > MAX_KEY {
            return Err(BuildError::at(key.position, "a key is too long"));
        }
        if is_merge(key) {
            self.out.push_str("!!merge ");
        }
        self.scalar(key, text, *style, Role::Key, in_flow, 0);
        self.out.push(':');
        Ok(())
    }

    fn scalar(
        &mut self,
        node: &Node,
        text: &str,
        style: Style,
        role: Role,
        in_flow: bool,
        indent: usize,
    ) {
        let is_written = !text.is_empty() || style != Style::Plain;
        let mut must_quote = false;
        match node.tag.as_deref().unwrap_or_default() {
            "" | "!" => {}
            // Written in the text, so it stays.
            tag if tag.starts_with("tag:") || tag.starts_with('!') => self.tag(tag, is_written),
            // Only known to the engine: it shows where the text alone would say something else.
            name if style != Style::Plain || name == type_name(text) => {}
            "str" => must_quote = true,
            name => self.tag(&format!("tag:yaml.org,2002:{name}"), is_written),
        }
        let wanted = match style {
            Style::Plain if text.contains('\n') => Style::Literal,
            Style::Plain if must_quote => Style::DoubleQuoted,
            style => style,
        };
        match allowed(text, wanted, role, in_flow) {
            Style::Plain => self.out.push_str(text),
            Style::SingleQuoted => self.single(text, indent),
            Style::DoubleQuoted => self.double(text),
            Style::Literal => self.literal(text, indent),
            Style::Folded => self.folded(text, indent),
        }
    }

    /// Writes a tag, and a blank if a text follows.
    fn tag(&mut self, tag: &str, is_followed: bool) {
        match tag.strip_prefix("tag:yaml.org,2002:") {
            Some(name) => self.out.push_str(&format!("!!{name}")),
            None if tag.starts_with('!') => self.out.push_str(tag),
            None => self.out.push_str(&format!("!<{tag}>")),
        }
        self.out.push_str(if is_followed { " " } else { "" });
    }

    fn single(&mut self, text: &str, indent: usize) {
        self.out.push('\'');
        let mut after_break = false;
        for char in text.chars() {
            if char == '\n' {
                self.out.push_str(if after_break { "\n" } else { "\n\n" });
                after_break = true;
                continue;
            }
            if after_break {
                self.indent(indent);
            }
            after_break = false;
            self.out.push(char);
            if char == '\'' {
                self.out.push('\'');
            }
        }
        if after_break {
            self.indent(indent);
        }
        self.out.push('\'');
    }

    fn double(&mut self, text: &str) {
        self.out.push('"');
        for char in text.chars() {
            match char {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\0' => self.out.push_str("\\0"),
                '\x07' => self.out.push_str("\\a"),
                '\x08' => self.out.push_str("\\b"),
                '\t' => self.out.push_str("\\t"),
                '\n' => self.out.push_str("\\n"),
                '\x0b' => self.out.push_str("\\v"),
                '\x0c' => self.out.push_str("\\f"),
                '\r' => self.out.push_str("\\r"),
                '\x1b' => self.out.push_str("\\e"),
                '\u{85}' => self.out.push_str("\\N"),
                '\u{2028}' => self.out.push_str("\\L"),
                '\u{2029}' => self.out.push_str("\\P"),
                char if is_printable(char) => self.out.push(char),
                char => match u32::from(char) {
                    code @ ..=0xff => self.out.push_str(&format!("\\x{code:02X}")),
                    code @ 0x100..=0xffff => self.out.push_str(&format!("\\u{code:04X}")),
                    code => self.out.push_str(&format!("\\U{code:08X}")),
                },
            }
        }
        self.out.push('"');
    }

    /// Writes the first line of a block: its sign, and how it begins and ends.
    fn block_head(&mut self, sign: char, text: &str) {
        self.out.push(sign);
        if text.starts_with([' ', '\n']) {
            self.out.push('2');
        }
        let body = text.trim_end_matches('\n');
        match text.len() - body.len() {
            0 => self.out.push('-'),
            1 if !body.is_empty() => {}
            _ => self.out.push('+'),
        }
        self.out.push('\n');
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.block_head('|', text);
        self.lines(text, indent);
    }

    /// Writes a folded text. A line break takes another one, if the text begins with no blank: so
    /// does the library, which looks at the wrong place.
    fn folded(&mut self, text: &str, indent: usize) {
        self.block_head('>', text);
        let has_extra = !text.trim_start_matches('\n').starts_with([' ', '\t']);
        let mut written = String::new();
        let mut after_break = true;
        let mut is_deeper = true;
        for char in text.chars() {
            if char == '\n' {
                if !after_break && !is_deeper && has_extra {
                    written.push('\n');
                }
                written.push('\n');
                after_break = true;
                continue;
            }
            if after_break {
                is_deeper = char == ' ' || char == '\t';
            }
            after_break = false;
            written.push(char);
        }
        self.lines(&written, indent);
    }

    fn lines(&mut self, text: &str, indent: usize) {
        let body = text.strip_suffix('\n').unwrap_or(text);
        for (at, line) in body.split('\n').enumerate() {
            if at > 0 {
                self.out.push('\n');
            }
            if !line.is_empty() {
                self.indent(indent);
                self.out.push_str(line);
            }
        }
    }

    fn line(&mut self, indent: usize) {
        self.out.push('\n');
        self.indent(indent);
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }
}

/// Returns true for a plain scalar without text, such as the value of `key:`.
fn is_absent(node: &Node) -> bool {
    let is_empty = matches!(&node.value, Value::Scalar(text, Style::Plain) if text.is_empty());
    is_empty
        && node
            .tag
            .as_deref()
            .is_none_or(|tag| tag.is_empty() || tag.ends_with(":null"))
}

fn is_printable(char: char) -> bool {
    matches!(char, '\n' | '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && char != '\u{feff}'
}

/// Returns the style in which a text is written, if the wanted one cannot represent it.
fn allowed(text: &str, wanted: Style, role: Role, in_flow: bool) -> Style {
    let can = Representable::of(text);
    let wanted = match wanted {
        _ if role == Role::Key && text.contains('\n') => Style::DoubleQuoted,
        Style::Plain if in_flow && !can.plain_in_flow => Style::SingleQuoted,
        Style::Plain if !in_flow && !can.plain => Style::SingleQuoted,
        Style::Plain if text.is_empty() && role == Role::Key => Style::SingleQuoted,
        Style::Literal | Style::Folded if !can.block || in_flow || role == Role::Key => {
            Style::DoubleQuoted
        }
        wanted => wanted,
    };
    match wanted {
        Style::SingleQuoted if !can.single => Style::DoubleQuoted,
        wanted => wanted,
    }
}

/// The styles that can represent a text.
struct Representable {
    plain: bool,
    plain_in_flow: bool,
    single: bool,
    block: bool,
}

impl Representable {
    fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self {
                plain: true,
                plain_in_flow: false,
                single: true,
                block: false,
            };
        }
        let is_document_mark = text.starts_with("---") || text.starts_with("...");
        let (mut block_sign, mut flow_sign) = (is_document_mark, is_document_mark);
        let mut special = false;
        let mut before: Option<char> = None;
        let mut chars = text.chars().peekable();
        let is_blank = |char: char| matches!(char, ' ' | '\t' | '\n' | '\r');
        while let Some(char) = chars.next() {
            let before_blank = chars.peek().is_none_or(|next| is_blank(*next));
            let after_blank = before.is_none_or(is_blank);
            match (before, char) {
                (None, char) if "#,[]{}&*!|>'\"%@`".contains(char) => {
                    (block_sign, flow_sign) = (true, true);
                }
                (None, '-') if before_blank => (block_sign, flow_sign) = (true, true),
                (_, '?' | ':') => {
                    flow_sign = true;
                    let is_sign = char == ':' || before.is_none();
                    block_sign |= is_sign && before_blank;
                }
                (_, ',' | '[' | ']' | '{' | '}') => flow_sign = true,
                (_, '#') if after_blank => (block_sign, flow_sign) = (true, true),
                _ => {}
            }
            special |= char != '\t' && !is_printable(char);
            before = Some(char);
        }
        let space_break = text.contains(" \n");
        let break_space = text.contains("\n ");
        let edge = text.starts_with([' ', '\n']) || text.ends_with([' ', '\n']);
        let is_one_line = !text.contains('\n');
        let unfit = space_break || special || text.contains('\t') || break_space;
        let plain = !edge && !unfit && is_one_line;
        Self {
            plain: plain && !block_sign,
            plain_in_flow: plain && !flow_sign,
            single: !unfit,
            block: !text.ends_with(' ') && !space_break && !special,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Limits, parse};

    fn written(text: &str) -> String {
        write(&parse(text, Limits::default()).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn styles_stay_as_they_were_read() {
        for text in [
            "a: 1\nb: \"2\"\nc: '3'\nd: [x, {y: z}]\ne: {f: [], g: ''}",
            "list:\n- a\n- b: 1\n  c: 2\n- - x\n  - y\n-\nempty: {}\nnone:\nlast: ~",
            "text: |\n  one\n\n  two\nkept: |+\n  x\n\nstripped: |-\n  y\nindented: |2-\n    z",
            "tag: !ref x\nnumber: 0x1F\ntime: 2020-01-01\nquoted: 'a: b'",
        ] {
            assert_eq!(written(text), text);
        }
        assert_eq!(written("a:    1\n\n\nb:\n    - x"), "a: 1\nb:\n- x");
    }
}
