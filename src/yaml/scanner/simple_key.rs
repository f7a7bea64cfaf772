//! Simple keys, which a later `:` turns into keys, and the indentation of blocks.

use super::{Scanner, Token};
use crate::yaml::{Position, YamlError};

/// Maximum length of a simple key, in bytes.
const MAX_SIMPLE_KEY_LENGTH: usize = 1024;

#[derive(Debug, Clone, Copy)]
pub(super) struct SimpleKey {
    pub(super) token_number: usize,
    pub(super) required: bool,
    pub(super) index: usize,
    pub(super) position: Position,
}

impl Scanner<'_> {
    /// Drops candidate keys that are no longer on the current line, or too long.
    pub(super) fn drop_stale_keys(&mut self) -> Result<(), YamlError> {
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

    pub(super) fn save_simple_key(&mut self) -> Result<(), YamlError> {
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

    pub(super) fn remove_simple_key(&mut self) -> Result<(), YamlError> {
        match self.simple_keys.last_mut().and_then(Option::take) {
            Some(key) if key.required => {
                Err(YamlError::at(key.position, "could not find expected ':'"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn roll_indent(
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

    pub(super) fn unroll_indent(&mut self, column: i64) {
        if self.flow_level > 0 {
            return;
        }
        while self.indent > column {
            let position = self.position();
            self.push(Token::BlockEnd, position);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }
}
