//! Turns characters into tokens, by libyaml's rules for indentation and simple keys.
//!
//! A *simple key* is a key without `?`. A scalar or collection is known to be a key only when a `:`
//! follows on the same line, within 1,024 bytes. Tokens therefore stay in a queue while the first
//! of them may still turn out to start a mapping.
#![expect(
    clippy::indexing_slicing,
    reason = "indexes come from the lengths of the same lists"
)]

mod cursor;
mod simple_key;
mod tag;

use std::collections::VecDeque;

use cursor::check_characters;
use simple_key::SimpleKey;

use super::YamlError;
use super::node::{Position, Style};

/// A lexical element of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    StreamEnd,
    VersionDirective(u32, u32),
    TagDirective(String, String),
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    /// Handle (`!`, `!!`, `!x!`; empty for a verbatim tag) and suffix.
    Tag(String, String),
    Scalar(String, Style),
}

/// Reads tokens from a text.
pub(super) struct Scanner<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) index: usize,
    pub(super) line: u32,
    pub(super) column: u32,
    queue: VecDeque<(Token, Position)>,
    /// True if the first token of the queue stays what it is.
    is_settled: bool,
    tokens_taken: usize,
    indents: Vec<i64>,
    pub(super) indent: i64,
    pub(super) simple_key_allowed: bool,
    simple_keys: Vec<Option<SimpleKey>>,
    pub(super) flow_level: usize,
    max_depth: usize,
    ended: bool,
}

impl<'a> Scanner<'a> {
    /// Creates a scanner at the start of `text`. `line` is the number of its first line, from 1.
    ///
    /// # Errors
    /// Fails if the text contains a character that YAML does not allow.
    pub(super) fn new(text: &'a str, line: u32, max_depth: usize) -> Result<Self, YamlError> {
        check_characters(text, line)?;
        let mut scanner = Self {
            bytes: text.as_bytes(),
            index: 0,
            line: line.saturating_sub(1),
            column: 0,
            queue: VecDeque::new(),
            is_settled: false,
            tokens_taken: 0,
            indents: Vec::new(),
            indent: -1,
            simple_key_allowed: true,
            simple_keys: vec![None],
            flow_level: 0,
            max_depth,
            ended: false,
        };
        if scanner.bytes.starts_with("\u{feff}".as_bytes()) {
            scanner.index = 3;
        }
        Ok(scanner)
    }

    /// Returns the next token without consuming it.
    pub(super) fn peek(&mut self) -> Result<&(Token, Position), YamlError> {
        while !self.is_settled {
            match self.needs_more()? {
                true => self.fetch()?,
                false => self.is_settled = true,
            }
        }
        let position = self.position();
        self.queue
            .front()
            .ok_or_else(|| YamlError::at(position, "unexpected end of the text"))
    }

    /// Consumes the next token.
    pub(super) fn next(&mut self) -> Result<(Token, Position), YamlError> {
        self.peek()?;
        self.is_settled = false;
        self.tokens_taken += 1;
        let position = self.position();
        self.queue
            .pop_front()
            .ok_or_else(|| YamlError::at(position, "unexpected end of the text"))
    }

    pub(super) fn position(&self) -> Position {
        Position {
            line: self.line + 1,
            column: self.column + 1,
        }
    }

    pub(super) fn error<T>(&self, message: impl Into<String>) -> Result<T, YamlError> {
        Err(YamlError::at(self.position(), message))
    }

    // ---- characters ----

    // ---- the queue ----

    fn needs_more(&mut self) -> Result<bool, YamlError> {
        if self.ended {
            return Ok(false);
        }
        if self.queue.is_empty() {
            return Ok(true);
        }
        self.drop_stale_keys()?;
        Ok(self
            .simple_keys
            .iter()
            .flatten()
            .any(|key| key.token_number == self.tokens_taken))
    }

    fn push(&mut self, token: Token, position: Position) {
        self.queue.push_back((token, position));
    }

    fn insert(&mut self, number: usize, token: Token, position: Position) {
        self.queue
            .insert(number - self.tokens_taken, (token, position));
    }

    // ---- simple keys ----

    // ---- indentation ----

    // ---- tokens ----

    fn fetch(&mut self) -> Result<(), YamlError> {
        self.skip_to_token();
        self.drop_stale_keys()?;
        self.unroll_indent(i64::from(self.column));
        if self.at_end() {
            self.column = 0;
            self.unroll_indent(-1);
            self.remove_simple_key()?;
            self.simple_key_allowed = false;
            self.ended = true;
            let position = self.position();
            self.push(Token::StreamEnd, position);
            return Ok(());
        }
        if self.column == 0 && self.byte(0) == b'%' {
            self.leave_block()?;
            let position = self.position();
            if let Some(token) = self.scan_directive()? {
                self.push(token, position);
            }
            return Ok(());
        }
        if self.at_document_indicator() {
            let token = if self.byte(0) == b'-' {
                Token::DocumentStart
            } else {
                Token::DocumentEnd
            };
            self.leave_block()?;
            return self.fetch_indicator(token, 3);
        }
        let next_ends = self.is_blank_or_end(1);
        match self.byte(0) {
            b'[' => self.fetch_flow_start(Token::FlowSequenceStart),
            b'{' => self.fetch_flow_start(Token::FlowMappingStart),
            b']' => self.fetch_flow_end(Token::FlowSequenceEnd),
            b'}' => self.fetch_flow_end(Token::FlowMappingEnd),
            b',' => {
                self.remove_simple_key()?;
                self.simple_key_allowed = true;
                self.fetch_indicator(Token::FlowEntry, 1)
            }
            b'-' if next_ends => self.fetch_block_entry(),
            b'?' if self.flow_level > 0 || next_ends => self.fetch_key(),
            b':' if self.flow_level > 0 || next_ends => self.fetch_value(),
            b'*' => self.fetch_anchor(),
            b'&' => self.fetch_anchor(),
            b'!' => self.fetch_tag(),
            b'|' if self.flow_level == 0 => self.fetch_block_scalar(Style::Literal),
            b'>' if self.flow_level == 0 => self.fetch_block_scalar(Style::Folded),
            b'\'' => self.fetch_quoted(Style::SingleQuoted),
            b'"' => self.fetch_quoted(Style::DoubleQuoted),
            b'-' if !self.is_blank(1) => self.fetch_plain(),
            b'?' | b':' if self.flow_level == 0 && !next_ends => self.fetch_plain(),
            b'-' | b'?' | b':' | b'#' | b'|' | b'>' | b'%' | b'@' | b'`' | b'\t' => {
                self.error("found character that cannot start any token")
            }
            _ => self.fetch_plain(),
        }
    }

    /// Skips white space, comments and line breaks before a token.
    fn skip_to_token(&mut self) {
        loop {
            // Tabs are allowed only where no key can start; elsewhere a tab would be taken for
            // indentation.
            while self.byte(0) == b' '
                || ((self.flow_level > 0 || !self.simple_key_allowed) && self.byte(0) == b'\t')
            {
                self.skip();
            }
            if self.byte(0) == b'#' {
                self.skip_line();
            }
            if !self.is_break(0) {
                return;
            }
            self.skip_break();
            if self.flow_level == 0 {
                self.simple_key_allowed = true;
            }
        }
    }

    /// Ends all block collections, before a directive or a document marker.
    fn leave_block(&mut self) -> Result<(), YamlError> {
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        Ok(())
    }

    fn fetch_indicator(&mut self, token: Token, length: usize) -> Result<(), YamlError> {
        let position = self.position();
        for _ in 0..length {
            self.skip();
        }
        self.push(token, position);
        Ok(())
    }

    fn fetch_flow_start(&mut self, token: Token) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_keys.push(None);
        self.flow_level += 1;
        if self.flow_level > self.max_depth {
            return self.error("the text is nested too deeply");
        }
        self.simple_key_allowed = true;
        self.fetch_indicator(token, 1)
    }

    fn fetch_flow_end(&mut self, token: Token) -> Result<(), YamlError> {
        self.remove_simple_key()?;
        if self.flow_level > 0 {
            self.flow_level -= 1;
            self.simple_keys.pop();
        }
        self.simple_key_allowed = false;
        self.fetch_indicator(token, 1)
    }

    fn fetch_block_entry(&mut self) -> Result<(), YamlError> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return self.error("block sequence entries are not allowed in this context");
            }
            let position = self.position();
            self.roll_indent(self.column, None, Token::BlockSequenceStart, position)?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.fetch_indicator(Token::BlockEntry, 1)
    }

    fn fetch_key(&mut self) -> Result<(), YamlError> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return self.error("mapping keys are not allowed in this context");
            }
            let position = self.position();
            self.roll_indent(self.column, None, Token::BlockMappingStart, position)?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = self.flow_level == 0;
        self.fetch_indicator(Token::Key, 1)
    }

    fn fetch_value(&mut self) -> Result<(), YamlError> {
        if let Some(key) = self.simple_keys.last_mut().and_then(Option::take) {
            self.insert(key.token_number, Token::Key, key.position);
            self.roll_indent(
                key.position.column - 1,
                Some(key.token_number),
                Token::BlockMappingStart,
                key.position,
            )?;
            self.simple_key_allowed = false;
        } else {
            if self.flow_level == 0 {
                if !self.simple_key_allowed {
                    return self.error("mapping values are not allowed in this context");
                }
                let position = self.position();
                self.roll_indent(self.column, None, Token::BlockMappingStart, position)?;
            }
            self.simple_key_allowed = self.flow_level == 0;
        }
        self.fetch_indicator(Token::Value, 1)
    }

    fn fetch_block_scalar(&mut self, style: Style) -> Result<(), YamlError> {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        let position = self.position();
        let text = self.scan_block_scalar(style)?;
        self.push(Token::Scalar(text, style), position);
        Ok(())
    }

    fn fetch_quoted(&mut self, style: Style) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let position = self.position();
        let text = self.scan_quoted(style)?;
        self.push(Token::Scalar(text, style), position);
        Ok(())
    }

    fn fetch_plain(&mut self) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let position = self.position();
        let text = self.scan_plain()?;
        self.push(Token::Scalar(text, Style::Plain), position);
        Ok(())
    }

    // ---- directives and tags ----
}
