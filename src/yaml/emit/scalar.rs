//! Scalars in each style.

use super::{
    CANCEL_CHECK_INTERVAL, EmitError, Emitter, Role, Style, WIDTH, choose_style, is_break,
    is_printable, through_json,
};
use crate::base::interrupt;

impl Emitter<'_> {
    pub(super) fn string(
        &mut self,
        text: &str,
        indent: usize,
        role: Role,
    ) -> Result<(), EmitError> {
        self.strings_written += 1;
        if self.strings_written.is_multiple_of(CANCEL_CHECK_INTERVAL) && interrupt::is_stopped() {
            return Err(EmitError::Stopped);
        }
        let text = through_json(text)?;
        match choose_style(&text, role) {
            Style::Plain => self.plain(&text, indent, role),
            Style::Single => self.single(&text, indent, role),
            Style::Double => self.double(&text, indent, role),
            Style::Literal => self.literal(&text, indent),
        }
        Ok(())
    }

    pub(super) fn fold(&mut self, indent: usize) {
        self.end_line();
        self.indent(indent);
    }

    pub(super) fn plain(&mut self, text: &str, indent: usize, role: Role) {
        if role == Role::Key || self.column + text.len() <= WIDTH {
            // Common case: too short to fold.
            self.out.push_str(text);
            self.column += text.chars().count();
            return;
        }
        let mut after_space = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c == ' ' {
                if !after_space && self.column > WIDTH && chars.peek() != Some(&' ') {
                    self.fold(indent);
                } else {
                    self.put(' ');
                }
                after_space = true;
            } else {
                self.put(c);
                after_space = false;
            }
        }
    }

    pub(super) fn single(&mut self, text: &str, indent: usize, role: Role) {
        self.put('\'');
        let last = text.chars().count().saturating_sub(1);
        let mut after_space = false;
        let mut breaks = false;
        let mut chars = text.chars().enumerate().peekable();
        while let Some((at, c)) = chars.next() {
            if c == ' ' {
                let next_is_space = chars.peek().is_some_and(|(_, next)| *next == ' ');
                let folds = role == Role::Value
                    && !after_space
                    && self.column > WIDTH
                    && at > 0
                    && at < last;
                if folds && !next_is_space {
                    self.fold(indent);
                } else {
                    self.put(' ');
                }
                after_space = true;
                continue;
            }
            if is_break(c) {
                if !breaks && c == '\n' {
                    self.out.push('\n');
                }
                self.out.push(c);
                self.column = 0;
                breaks = true;
                continue;
            }
            if breaks {
                self.indent(indent);
            }
            if c == '\'' {
                self.put('\'');
            }
            self.put(c);
            after_space = false;
            breaks = false;
        }
        self.put('\'');
        self.needs_newline = breaks && role == Role::Value;
    }

    fn double(&mut self, text: &str, indent: usize, role: Role) {
        self.put('"');
        // A bug of go-yaml that is reproduced: it checks for a byte-order mark at the start of the
        // string instead of at the current character.
        let escape_all = text.starts_with('\u{feff}');
        let last = text.chars().count().saturating_sub(1);
        let mut after_space = false;
        let mut chars = text.chars().enumerate().peekable();
        while let Some((at, c)) = chars.next() {
            if escape_all || !is_printable(c) || is_break(c) || c == '"' || c == '\\' {
                self.escape(c);
                after_space = false;
            } else if c == ' ' {
                if role == Role::Value && !after_space && self.column > WIDTH && at > 0 && at < last
                {
                    self.fold(indent);
                    if chars.peek().is_some_and(|(_, next)| *next == ' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(' ');
                }
                after_space = true;
            } else {
                self.put(c);
                after_space = false;
            }
        }
        self.put('"');
    }

    fn escape(&mut self, c: char) {
        let short = match c {
            '\0' => "\\0",
            '\x07' => "\\a",
            '\x08' => "\\b",
            '\t' => "\\t",
            '\n' => "\\n",
            '\x0b' => "\\v",
            '\x0c' => "\\f",
            '\r' => "\\r",
            '\x1b' => "\\e",
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{85}' => "\\N",
            '\u{a0}' => "\\_",
            '\u{2028}' => "\\L",
            '\u{2029}' => "\\P",
            _ => "",
        };
        if !short.is_empty() {
            return self.put_ascii(short);
        }
        let code = u32::from(c);
        let long = match code {
            ..=0xff => format!("\\x{code:02X}"),
            0x100..=0xffff => format!("\\u{code:04X}"),
            _ => format!("\\U{code:08X}"),
        };
        self.put_ascii(&long);
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put('|');
        if text.starts_with(' ') || text.starts_with(is_break) {
            self.put('2');
        }
        let mut from_end = text.chars().rev();
        match (from_end.next().map(is_break), from_end.next().map(is_break)) {
            (Some(false) | None, _) => self.put('-'),
            (Some(true), Some(true) | None) => self.put('+'),
            (Some(true), Some(false)) => {}
        }
        self.end_line();
        for c in text.chars() {
            if is_break(c) {
                self.out.push(c);
                self.column = 0;
            } else {
                if self.column == 0 {
                    self.indent(indent);
                }
                self.put(c);
            }
        }
    }
}
