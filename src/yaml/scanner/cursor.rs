//! The position in the text, and what is at it.

use super::Scanner;
use crate::yaml::{Position, YamlError};

/// Rejects characters that YAML does not allow anywhere: control characters, U+FFFE and U+FFFF.
pub(in crate::yaml) fn check_characters(text: &str, first_line: u32) -> Result<(), YamlError> {
    let is_bad = |c: char| match c {
        '\t' | '\n' | '\r' | '\u{20}'..='\u{7e}' | '\u{85}' => false,
        c => c < '\u{a0}' || c == '\u{fffe}' || c == '\u{ffff}',
    };
    // Fast path: plain ASCII text needs no decoding.
    let suspicious = |byte: &u8| *byte >= 0x7f || (*byte < 0x20 && !b"\t\n\r".contains(byte));
    if !text.as_bytes().iter().any(suspicious) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| is_bad(*c)) {
        None => Ok(()),
        Some((index, c)) => {
            let before = text.get(..index).unwrap_or_default();
            let line = before.matches('\n').count();
            let column = before
                .rsplit('\n')
                .next()
                .unwrap_or_default()
                .chars()
                .count();
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
            let line = count(line).saturating_add(first_line.saturating_sub(1));
            let position = Position {
                line,
                column: count(column),
            };
            Err(YamlError::at(
                position,
                format!("the control character {:?} is not allowed", c),
            ))
        }
    }
}

/// Returns true for an ASCII character that ends no scalar and is no escape in one.
fn is_of_word(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~')
        && !matches!(
            byte,
            b':' | b',' | b'?' | b'[' | b']' | b'{' | b'}' | b'\'' | b'"' | b'\\'
        )
}

impl<'a> Scanner<'a> {
    /// Returns the byte `ahead` of the current position, or 0 beyond the end (a valid text contains
    /// no 0).
    pub(in crate::yaml) fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.index + ahead).copied().unwrap_or(0)
    }

    pub(in crate::yaml) fn at_end(&self) -> bool {
        self.index >= self.bytes.len()
    }

    pub(in crate::yaml) fn is_blank(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), b' ' | b'\t')
    }

    /// Returns the length in bytes of the line break `ahead` of the current position (LF, CR, CRLF,
    /// NEL, LS or PS), or 0.
    pub(in crate::yaml) fn break_length(&self, ahead: usize) -> usize {
        match (self.byte(ahead), self.byte(ahead + 1), self.byte(ahead + 2)) {
            (b'\r', b'\n', _) => 2,
            (b'\r' | b'\n', ..) => 1,
            (0xc2, 0x85, _) => 2,
            (0xe2, 0x80, 0xa8 | 0xa9) => 3,
            _ => 0,
        }
    }

    pub(in crate::yaml) fn is_break(&self, ahead: usize) -> bool {
        self.break_length(ahead) > 0
    }

    pub(in crate::yaml) fn is_end_or_break(&self, ahead: usize) -> bool {
        self.index + ahead >= self.bytes.len() || self.is_break(ahead)
    }

    pub(in crate::yaml) fn is_blank_or_end(&self, ahead: usize) -> bool {
        self.is_blank(ahead) || self.is_end_or_break(ahead)
    }

    /// Skips one character, which must not be a line break.
    pub(in crate::yaml) fn skip(&mut self) {
        self.index += 1;
        while self
            .bytes
            .get(self.index)
            .is_some_and(|byte| byte & 0xc0 == 0x80)
        {
            self.index += 1;
        }
        self.column += 1;
    }

    /// Skips a run of characters that mean nothing special inside a scalar.
    pub(in crate::yaml) fn skip_word(&mut self) {
        let rest = self.bytes.get(self.index..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| is_of_word(**byte)).count();
        self.index += length;
        self.column = self
            .column
            .saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
    }

    /// Skips the rest of the line, without its break.
    pub(in crate::yaml) fn skip_line(&mut self) {
        loop {
            self.skip_word();
            if self.is_end_or_break(0) {
                return;
            }
            self.skip();
        }
    }

    /// Consumes one character, which must not be a line break, and those after it that mean nothing
    /// special inside a scalar.
    pub(in crate::yaml) fn take_run(&mut self, into: &mut String) {
        let start = self.index;
        self.skip();
        self.skip_word();
        into.push_str(self.slice(start));
    }

    /// Skips a line break, if there is one.
    pub(in crate::yaml) fn skip_break(&mut self) {
        let length = self.break_length(0);
        if length > 0 {
            self.index += length;
            self.line += 1;
            self.column = 0;
        }
    }

    /// Consumes one character, which must not be a line break.
    pub(in crate::yaml) fn take(&mut self, into: &mut String) {
        let start = self.index;
        self.skip();
        into.push_str(self.slice(start));
    }

    /// Consumes a line break. CR, CRLF, LF and NEL become LF; LS and PS are kept.
    pub(in crate::yaml) fn take_break(&mut self, into: &mut String) {
        let start = self.index;
        self.skip_break();
        match self.slice(start) {
            kept @ ("\u{2028}" | "\u{2029}") => into.push_str(kept),
            "" => {}
            _ => into.push('\n'),
        }
    }

    /// Returns the text from `start` to the current position. Both must be character boundaries.
    pub(in crate::yaml) fn slice(&self, start: usize) -> &'a str {
        self.bytes
            .get(start..self.index)
            .and_then(|part| std::str::from_utf8(part).ok())
            .unwrap_or_default()
    }

    pub(in crate::yaml) fn at_document_indicator(&self) -> bool {
        self.column == 0
            && (self.bytes[self.index..].starts_with(b"---")
                || self.bytes[self.index..].starts_with(b"..."))
            && self.is_blank_or_end(3)
    }

    pub(in crate::yaml) fn skip_blanks(&mut self) {
        while self.is_blank(0) {
            self.skip();
        }
    }
}
