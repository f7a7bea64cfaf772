//! Documents: their start, directives and end.

use super::{Event, NodeContext, Parsed, Parser, State};
use crate::yaml::YamlError;
use crate::yaml::scanner::Token;

impl Parser<'_> {
    pub(super) fn document_start(&mut self, first: bool) -> Parsed {
        if !first {
            while *self.peek()? == Token::DocumentEnd {
                self.scanner.next()?;
            }
        }
        self.handles.clear();
        let position = self.position()?;
        let has_directives = self.directives()?;
        match self.peek()? {
            Token::StreamEnd if !has_directives => {
                self.state = State::End;
                Ok((Event::StreamEnd, position))
            }
            Token::DocumentStart => {
                self.scanner.next()?;
                self.implicit_start = false;
                self.states.push(State::DocumentEnd);
                self.state = State::DocumentContent;
                Ok((Event::DocumentStart, position))
            }
            // Only the first document may begin without a marker.
            _ if first && !has_directives => {
                self.states.push(State::DocumentEnd);
                self.state = State::BlockNode;
                Ok((Event::DocumentStart, position))
            }
            _ => self.error("did not find expected <document start>"),
        }
    }

    fn directives(&mut self) -> Result<bool, YamlError> {
        let mut version = false;
        let mut any = false;
        loop {
            match self.peek()? {
                Token::VersionDirective(major, minor) => {
                    if (*major, *minor) != (1, 1) {
                        self.error("found incompatible YAML document")?;
                    }
                    if version {
                        self.error("found duplicate %YAML directive")?;
                    }
                    version = true;
                }
                Token::TagDirective(handle, prefix) => {
                    let (handle, prefix) = (handle.clone(), prefix.clone());
                    if self.handles.iter().any(|(known, _)| *known == handle) {
                        self.error("found duplicate %TAG directive")?;
                    }
                    self.handles.push((handle, prefix));
                }
                _ => return Ok(any),
            }
            any = true;
            self.scanner.next()?;
        }
    }

    pub(super) fn document_content(&mut self) -> Parsed {
        match self.peek()? {
            Token::VersionDirective(..)
            | Token::TagDirective(..)
            | Token::DocumentStart
            | Token::DocumentEnd
            | Token::StreamEnd => {
                self.pop();
                Ok(Self::empty_scalar(self.position()?))
            }
            _ => self.node(NodeContext::Block),
        }
    }

    pub(super) fn document_end(&mut self) -> Parsed {
        let position = self.position()?;
        if *self.peek()? == Token::DocumentEnd {
            self.scanner.next()?;
        }
        self.state = State::DocumentStart;
        Ok((Event::DocumentEnd, position))
    }
}
