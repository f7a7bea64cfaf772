//! Scans scalars: plain, quoted and block.

use super::YamlError;
use super::node::Style;
use super::scanner::Scanner;

#[derive(Clone, Copy, PartialEq)]
enum Chomping {
    Strip,
    Clip,
    Keep,
}

/// Line breaks between two parts of a folded scalar.
#[derive(Default)]
struct Breaks {
    /// The first break, which becomes a space if no other follows.
    leading: String,
    /// All further breaks, which are kept.
    trailing: String,
}

impl Breaks {
    /// Appends the folded breaks to `text` and clears them.
    fn fold_into(&mut self, text: &mut String) {
        if self.leading.starts_with('\n') {
            if self.trailing.is_empty() {
                text.push(' ');
            } else {
                text.push_str(&self.trailing);
            }
        } else {
            text.push_str(&self.leading);
            text.push_str(&self.trailing);
        }
        self.leading.clear();
        self.trailing.clear();
    }
}

impl Scanner<'_> {
    /// Reads a plain scalar, which ends at `: `, ` #`, a flow indicator or a smaller indentation.
    pub(super) fn scan_plain(&mut self) -> Result<String, YamlError> {
        let mut text = String::new();
        let mut blanks = String::new();
        let mut breaks = Breaks::default();
        let mut has_break = false;
        let indent = self.indent + 1;
        loop {
            if self.at_document_indicator() || self.byte(0) == b'#' {
                break;
            }
            while !self.is_blank_or_end(0) {
                let byte = self.byte(0);
                let ends = byte == b':' && self.is_blank_or_end(1)
                    || self.flow_level > 0
                        && matches!(byte, b',' | b'?' | b'[' | b']' | b'{' | b'}');
                if ends {
                    break;
                }
                if has_break {
                    breaks.fold_into(&mut text);
                    has_break = false;
                    blanks.clear();
                } else if !blanks.is_empty() {
                    text.push_str(&blanks);
                    blanks.clear();
                }
                self.take_run(&mut text);
            }
            if !(self.is_blank(0) || self.is_break(0)) {
                break;
            }
            while self.is_blank(0) || self.is_break(0) {
                if self.is_blank(0) {
                    if has_break && i64::from(self.column) < indent && self.byte(0) == b'\t' {
                        return self.error("found a tab character that violates indentation");
                    }
                    if has_break {
                        self.skip()
                    } else {
                        self.take(&mut blanks)
                    }
                } else if has_break {
                    self.take_break(&mut breaks.trailing);
                } else {
                    blanks.clear();
                    self.take_break(&mut breaks.leading);
                    has_break = true;
                }
            }
            if self.flow_level == 0 && i64::from(self.column) < indent {
                break;
            }
        }
        if has_break {
            self.simple_key_allowed = true;
        }
        Ok(text)
    }

    /// Reads a quoted scalar including both quotes, and returns its content.
    // Long: one arm per kind of character.
    pub(super) fn scan_quoted(&mut self, style: Style) -> Result<String, YamlError> {
        let single = style == Style::SingleQuoted;
        let quote = if single { b'\'' } else { b'"' };
        let mut text = String::new();
        self.skip();
        loop {
            if self.at_document_indicator() {
                return self
                    .error("found unexpected document indicator while scanning a quoted scalar");
            }
            if self.at_end() {
                return self.error("found unexpected end of stream while scanning a quoted scalar");
            }
            let mut joined = false;
            while !self.is_blank_or_end(0) {
                let byte = self.byte(0);
                if single && byte == quote && self.byte(1) == quote {
                    text.push('\'');
                    self.skip();
                    self.skip();
                } else if byte == quote {
                    break;
                } else if !single && byte == b'\\' && self.is_break(1) {
                    self.skip();
                    self.skip_break();
                    joined = true;
                    break;
                } else if !single && byte == b'\\' {
                    self.scan_escape(&mut text)?;
                } else {
                    self.take_run(&mut text);
                }
            }
            if self.byte(0) == quote && !joined {
                self.skip();
                return Ok(text);
            }
            let mut blanks = String::new();
            let mut breaks = Breaks::default();
            let mut has_break = joined;
            while self.is_blank(0) || self.is_break(0) {
                if self.is_blank(0) {
                    if has_break {
                        self.skip()
                    } else {
                        self.take(&mut blanks)
                    }
                } else if has_break {
                    self.take_break(&mut breaks.trailing);
                } else {
                    blanks.clear();
                    self.take_break(&mut breaks.leading);
                    has_break = true;
                }
            }
            if has_break {
                breaks.fold_into(&mut text)
            } else {
                text.push_str(&blanks)
            }
        }
    }

    fn scan_escape(&mut self, text: &mut String) -> Result<(), YamlError> {
        let length = match self.byte(1) {
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            escape => {
                text.push(match escape {
                    b'0' => '\0',
                    b'a' => '\x07',
                    b'b' => '\x08',
                    b't' | b'\t' => '\t',
                    b'n' => '\n',
                    b'v' => '\x0b',
                    b'f' => '\x0c',
                    b'r' => '\r',
                    b'e' => '\x1b',
                    b' ' => ' ',
                    b'"' => '"',
                    b'\'' => '\'',
                    b'\\' => '\\',
                    b'N' => '\u{85}',
                    b'_' => '\u{a0}',
                    b'L' => '\u{2028}',
                    b'P' => '\u{2029}',
                    _ => {
                        return self
                            .error("found unknown escape character while parsing a quoted scalar");
                    }
                });
                self.skip();
                self.skip();
                return Ok(());
            }
        };
        self.skip();
        self.skip();
        let mut code = 0_u32;
        for _ in 0..length {
            let Some(digit) = char::from(self.byte(0)).to_digit(16) else {
                return self.error("did not find expected hexadecimal number in an escape");
            };
            code = (code << 4) | digit;
            self.skip();
        }
        let Some(c) = char::from_u32(code) else {
            return self.error("found an invalid Unicode character code in an escape");
        };
        text.push(c);
        Ok(())
    }

    /// Reads a literal or folded scalar, starting at its `|` or `>`.
    pub(super) fn scan_block_scalar(&mut self, style: Style) -> Result<String, YamlError> {
        self.skip();
        let (chomping, increment) = self.scan_block_header()?;
        let mut indent = match increment {
            0 => 0,
            increment => self.indent.max(0) + increment,
        };
        let mut text = String::new();
        let mut leading = String::new();
        let mut trailing = String::new();
        self.scan_block_breaks(&mut indent, &mut trailing)?;
        let mut previous_blank = false;
        while i64::from(self.column) == indent && !self.at_end() {
            let blank = self.is_blank(0);
            if style == Style::Folded && leading.starts_with('\n') && !previous_blank && !blank {
                if trailing.is_empty() {
                    text.push(' ');
                }
            } else {
                text.push_str(&leading);
            }
            leading.clear();
            text.push_str(&trailing);
            trailing.clear();
            previous_blank = blank;
            let start = self.index;
            self.skip_line();
            text.push_str(self.slice(start));
            self.take_break(&mut leading);
            self.scan_block_breaks(&mut indent, &mut trailing)?;
        }
        if chomping != Chomping::Strip {
            text.push_str(&leading);
        }
        if chomping == Chomping::Keep {
            text.push_str(&trailing);
        }
        Ok(text)
    }

    fn scan_block_header(&mut self) -> Result<(Chomping, i64), YamlError> {
        let mut chomping = Chomping::Clip;
        let mut increment = 0;
        for _ in 0..2 {
            match self.byte(0) {
                b'+' if chomping == Chomping::Clip => chomping = Chomping::Keep,
                b'-' if chomping == Chomping::Clip => chomping = Chomping::Strip,
                b'0' => return self.error("found an indentation indicator equal to 0"),
                digit @ b'1'..=b'9' if increment == 0 => increment = i64::from(digit - b'0'),
                _ => break,
            }
            self.skip();
        }
        self.skip_blanks();
        if self.byte(0) == b'#' {
            self.skip_line();
        }
        if !self.is_end_or_break(0) {
            return self
                .error("did not find expected comment or line break after a block scalar header");
        }
        self.skip_break();
        Ok((chomping, increment))
    }

    /// Reads indentation and empty lines. Detects the indentation if `indent` is 0.
    fn scan_block_breaks(
        &mut self,
        indent: &mut i64,
        breaks: &mut String,
    ) -> Result<(), YamlError> {
        let mut widest = 0;
        loop {
            while (*indent == 0 || i64::from(self.column) < *indent) && self.byte(0) == b' ' {
                self.skip();
            }
            widest = widest.max(i64::from(self.column));
            if (*indent == 0 || i64::from(self.column) < *indent) && self.byte(0) == b'\t' {
                return self.error("found a tab character where an indentation space is expected");
            }
            if !self.is_break(0) {
                break;
            }
            self.take_break(breaks);
        }
        if *indent == 0 {
            *indent = widest.max(self.indent + 1).max(1);
        }
        Ok(())
    }
}
