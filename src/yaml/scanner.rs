//! Turns characters into tokens, by libyaml's rules for indentation and simple keys.
//!
//! A *simple key* is a key without `?`. A scalar or collection is known to be a key only when a `:`
//! follows on the same line, within 1,024 bytes. Tokens therefore stay in a queue while the first
//! of them may still turn out to start a mapping.
#![expect(
    clippy::indexing_slicing,
    reason = "indexes come from the lengths of the same lists"
)]

use std::collections::VecDeque;

use super::YamlError;
use super::node::{Position, Style};

/// Maximum length of a simple key, in bytes.
const MAX_SIMPLE_KEY_LENGTH: usize = 1024;

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

#[derive(Debug, Clone, Copy)]
struct SimpleKey {
    token_number: usize,
    required: bool,
    index: usize,
    position: Position,
}

/// Reads tokens from a text.
pub(super) struct Scanner<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) index: usize,
    pub(super) line: u32,
    pub(super) column: u32,
    queue: VecDeque<(Token, Position)>,
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
        while self.needs_more()? {
            self.fetch()?;
        }
        let position = self.position();
        self.queue
            .front()
            .ok_or_else(|| YamlError::at(position, "unexpected end of the text"))
    }

    /// Consumes the next token.
    pub(super) fn next(&mut self) -> Result<(Token, Position), YamlError> {
        self.peek()?;
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

    /// Returns the byte `ahead` of the current position, or 0 beyond the end (a valid text contains
    /// no 0).
    pub(super) fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.index + ahead).copied().unwrap_or(0)
    }

    pub(super) fn at_end(&self) -> bool {
        self.index >= self.bytes.len()
    }

    pub(super) fn is_blank(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), b' ' | b'\t')
    }

    /// Returns the length in bytes of the line break `ahead` of the current position (LF, CR, CRLF,
    /// NEL, LS or PS), or 0.
    pub(super) fn break_length(&self, ahead: usize) -> usize {
        match (self.byte(ahead), self.byte(ahead + 1), self.byte(ahead + 2)) {
            (b'\r', b'\n', _) => 2,
            (b'\r' | b'\n', ..) => 1,
            (0xc2, 0x85, _) => 2,
            (0xe2, 0x80, 0xa8 | 0xa9) => 3,
            _ => 0,
        }
    }

    pub(super) fn is_break(&self, ahead: usize) -> bool {
        self.break_length(ahead) > 0
    }

    pub(super) fn is_end_or_break(&self, ahead: usize) -> bool {
        self.index + ahead >= self.bytes.len() || self.is_break(ahead)
    }

    pub(super) fn is_blank_or_end(&self, ahead: usize) -> bool {
        self.is_blank(ahead) || self.is_end_or_break(ahead)
    }

    /// Skips one character, which must not be a line break.
    pub(super) fn skip(&mut self) {
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

    /// Skips a line break, if there is one.
    pub(super) fn skip_break(&mut self) {
        let length = self.break_length(0);
        if length > 0 {
            self.index += length;
            self.line += 1;
            self.column = 0;
        }
    }

    /// Consumes one character, which must not be a line break.
    pub(super) fn take(&mut self, into: &mut String) {
        let start = self.index;
        self.skip();
        into.push_str(self.slice(start));
    }

    /// Consumes a line break. CR, CRLF, LF and NEL become LF; LS and PS are kept.
    pub(super) fn take_break(&mut self, into: &mut String) {
        let start = self.index;
        self.skip_break();
        match self.slice(start) {
            kept @ ("\u{2028}" | "\u{2029}") => into.push_str(kept),
            "" => {}
            _ => into.push('\n'),
        }
    }

    /// Returns the text from `start` to the current position. Both must be character boundaries.
    pub(super) fn slice(&self, start: usize) -> &'a str {
        self.bytes
            .get(start..self.index)
            .and_then(|part| std::str::from_utf8(part).ok())
            .unwrap_or_default()
    }

    pub(super) fn at_document_indicator(&self) -> bool {
        self.column == 0
            && (self.bytes[self.index..].starts_with(b"---")
                || self.bytes[self.index..].starts_with(b"..."))
            && self.is_blank_or_end(3)
    }

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

    /// Drops candidate keys that are no longer on the current line, or too long.
    fn drop_stale_keys(&mut self) -> Result<(), YamlError> {
        let (line, index) = (self.line, self.index);
        for slot in &mut self.simple_keys {
            if let Some(key) = slot
                && (key.position.line < line + 1 || key.index + MAX_SIMPLE_KEY_LENGTH < index)
            {
                if key.required {
                    return Err(YamlError::at(key.position, "could not find expected ':'"));
                }
                *slot = None;
            }
        }
        Ok(())
    }

    fn save_simple_key(&mut self) -> Result<(), YamlError> {
        if !self.simple_key_allowed {
            return Ok(());
        }
        self.remove_simple_key()?;
        let key = SimpleKey {
            token_number: self.tokens_taken + self.queue.len(),
            required: self.flow_level == 0 && self.indent == i64::from(self.column),
            index: self.index,
            position: self.position(),
        };
        if let Some(slot) = self.simple_keys.last_mut() {
            *slot = Some(key);
        }
        Ok(())
    }

    fn remove_simple_key(&mut self) -> Result<(), YamlError> {
        match self.simple_keys.last_mut().and_then(Option::take) {
            Some(key) if key.required => {
                Err(YamlError::at(key.position, "could not find expected ':'"))
            }
            _ => Ok(()),
        }
    }

    // ---- indentation ----

    fn roll_indent(
        &mut self,
        column: u32,
        number: Option<usize>,
        token: Token,
        at: Position,
    ) -> Result<(), YamlError> {
        if self.flow_level > 0 || self.indent >= i64::from(column) {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = i64::from(column);
        if self.indents.len() > self.max_depth {
            return self.error("the text is nested too deeply");
        }
        match number {
            Some(number) => self.insert(number, token, at),
            None => self.push(token, at),
        }
        Ok(())
    }

    fn unroll_indent(&mut self, column: i64) {
        if self.flow_level > 0 {
            return;
        }
        while self.indent > column {
            let position = self.position();
            self.push(Token::BlockEnd, position);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

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
                while !self.is_end_or_break(0) {
                    self.skip();
                }
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

    fn fetch_anchor(&mut self) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let position = self.position();
        let is_alias = self.byte(0) == b'*';
        self.skip();
        let start = self.index;
        while self.byte(0).is_ascii_alphanumeric() || matches!(self.byte(0), b'_' | b'-') {
            self.skip();
        }
        let name = self.slice(start).to_owned();
        let ends = self.is_blank_or_end(0) || b"?:,]}%@`".contains(&self.byte(0));
        if name.is_empty() || !ends {
            return self
                .error("did not find expected alphabetic or numeric character in an anchor");
        }
        self.push(
            if is_alias {
                Token::Alias(name)
            } else {
                Token::Anchor(name)
            },
            position,
        );
        Ok(())
    }

    fn fetch_tag(&mut self) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let position = self.position();
        let token = self.scan_tag()?;
        self.push(token, position);
        Ok(())
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

    /// Reads a `%YAML` or `%TAG` directive.
    fn scan_directive(&mut self) -> Result<Option<Token>, YamlError> {
        self.skip();
        let start = self.index;
        while self.byte(0).is_ascii_alphanumeric() || matches!(self.byte(0), b'_' | b'-') {
            self.skip();
        }
        let token = match self.slice(start) {
            "YAML" => {
                self.skip_blanks();
                let major = self.scan_number()?;
                if self.byte(0) != b'.' {
                    return self.error(
                        "did not find expected digit or '.' character in a %YAML directive",
                    );
                }
                self.skip();
                Token::VersionDirective(major, self.scan_number()?)
            }
            "TAG" => {
                self.skip_blanks();
                let handle = self.scan_tag_handle(true)?;
                if !self.is_blank(0) {
                    return self.error("did not find expected whitespace in a %TAG directive");
                }
                self.skip_blanks();
                Token::TagDirective(handle, self.scan_tag_uri("")?)
            }
            "" => return self.error("could not find expected directive name"),
            _ => return self.error("found unknown directive name"),
        };
        self.skip_blanks();
        if self.byte(0) == b'#' {
            while !self.is_end_or_break(0) {
                self.skip();
            }
        }
        if !self.is_end_or_break(0) {
            return self.error("did not find expected comment or line break after a directive");
        }
        self.skip_break();
        Ok(Some(token))
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.is_blank(0) {
            self.skip();
        }
    }

    fn scan_number(&mut self) -> Result<u32, YamlError> {
        let start = self.index;
        while self.byte(0).is_ascii_digit() {
            self.skip();
        }
        self.slice(start)
            .parse()
            .map_err(|_| YamlError::at(self.position(), "did not find expected version number"))
    }

    fn scan_tag(&mut self) -> Result<Token, YamlError> {
        let token = if self.byte(1) == b'<' {
            self.skip();
            self.skip();
            let uri = self.scan_tag_uri("")?;
            if self.byte(0) != b'>' {
                return self.error("did not find the expected '>' of a tag");
            }
            self.skip();
            Token::Tag(String::new(), uri)
        } else {
            let handle = self.scan_tag_handle(false)?;
            if handle.len() >= 2 && handle.starts_with('!') && handle.ends_with('!') {
                let suffix = self.scan_tag_uri("")?;
                Token::Tag(handle, suffix)
            } else {
                let suffix = self.scan_tag_uri(handle.get(1..).unwrap_or_default())?;
                // A lone '!' is the tag '!', not a handle.
                if suffix.is_empty() {
                    Token::Tag(String::new(), "!".into())
                } else {
                    Token::Tag("!".into(), suffix)
                }
            }
        };
        let ends = self.is_blank_or_end(0) || (self.flow_level > 0 && self.byte(0) == b',');
        if !ends {
            return self.error("did not find expected whitespace or line break after a tag");
        }
        Ok(token)
    }

    fn scan_tag_handle(&mut self, directive: bool) -> Result<String, YamlError> {
        if self.byte(0) != b'!' {
            return self.error("did not find expected '!' of a tag");
        }
        let start = self.index;
        self.skip();
        while self.byte(0).is_ascii_alphanumeric() || matches!(self.byte(0), b'_' | b'-') {
            self.skip();
        }
        if self.byte(0) == b'!' {
            self.skip();
        } else if directive && self.slice(start) != "!" {
            return self.error("did not find expected '!' in a %TAG directive");
        }
        Ok(self.slice(start).to_owned())
    }

    /// Reads a tag URI and decodes its `%XX` escapes. The result may be empty only after a
    /// non-empty `head` or for a lone `!`.
    fn scan_tag_uri(&mut self, head: &str) -> Result<String, YamlError> {
        let mut uri = head.as_bytes().to_vec();
        loop {
            match self.byte(0) {
                b'%' => {
                    let digits = [self.byte(1), self.byte(2)];
                    let Ok(decoded) = hex::decode(digits) else {
                        return self.error("did not find URI escaped octet in a tag");
                    };
                    uri.extend(decoded);
                    self.skip();
                    self.skip();
                    self.skip();
                }
                byte if byte.is_ascii_alphanumeric()
                    || b"_-;/?:@&=+$.,!~*'()[]".contains(&byte) =>
                {
                    // In a flow collection these characters end the tag.
                    if self.flow_level > 0 && b",[]".contains(&byte) {
                        break;
                    }
                    uri.push(byte);
                    self.skip();
                }
                _ => break,
            }
        }
        String::from_utf8(uri).or_else(|_| self.error("found an incorrect UTF-8 sequence in a tag"))
    }
}

/// Rejects characters that YAML does not allow anywhere: control characters, U+FFFE and U+FFFF.
fn check_characters(text: &str, first_line: u32) -> Result<(), YamlError> {
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
