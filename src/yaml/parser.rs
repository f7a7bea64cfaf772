//! Turns tokens into events: the YAML grammar as a state machine with an explicit stack.

mod document;
mod flow;

use super::YamlError;
use super::node::{Position, Style};
use super::scanner::{Scanner, Token};

/// An element of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    StreamEnd,
    DocumentStart,
    DocumentEnd,
    Alias(String),
    Scalar {
        text: String,
        style: Style,
        properties: Properties,
    },
    SequenceStart(Properties, CollectionStyle),
    SequenceEnd,
    MappingStart(Properties, CollectionStyle),
    MappingEnd,
}

/// Anchor and tag of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Properties {
    pub(super) anchor: Option<String>,
    pub(super) tag: Option<String>,
}

/// How a collection is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CollectionStyle {
    Block,
    Flow,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    StreamStart,
    DocumentStart,
    DocumentContent,
    DocumentEnd,
    BlockNode,
    BlockSequenceFirst,
    BlockSequenceEntry,
    IndentlessEntry,
    BlockMappingFirst,
    BlockMappingKey,
    BlockMappingValue,
    FlowSequenceFirst,
    FlowSequenceEntry,
    FlowSequencePairKey,
    FlowSequencePairValue,
    FlowSequencePairEnd,
    FlowMappingFirst,
    FlowMappingKey,
    FlowMappingValue,
    FlowMappingEmptyValue,
    End,
}

/// Which nodes are allowed at a position.
#[derive(Clone, Copy, PartialEq)]
enum NodeContext {
    Flow,
    Block,
    /// Also allows a list at the indentation of its own key.
    BlockOrIndentless,
}

pub(super) struct Parser<'a> {
    scanner: Scanner<'a>,
    state: State,
    states: Vec<State>,
    handles: Vec<(String, String)>,
    implicit_start: bool,
}

type Parsed = Result<(Event, Position), YamlError>;

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, line: u32, max_depth: usize) -> Result<Self, YamlError> {
        Ok(Self {
            scanner: Scanner::new(text, line, max_depth)?,
            state: State::StreamStart,
            states: Vec::new(),
            handles: Vec::new(),
            implicit_start: true,
        })
    }

    /// Returns the next event. After [`Event::StreamEnd`], returns it again.
    pub(super) fn next(&mut self) -> Parsed {
        match self.state {
            State::StreamStart => self.document_start(true),
            State::DocumentStart => self.document_start(false),
            State::DocumentContent => self.document_content(),
            State::DocumentEnd => self.document_end(),
            State::BlockNode => self.node(NodeContext::Block),
            State::BlockSequenceFirst => {
                self.scanner.next()?;
                self.block_sequence_entry()
            }
            State::BlockSequenceEntry => self.block_sequence_entry(),
            State::IndentlessEntry => self.indentless_entry(),
            State::BlockMappingFirst => {
                self.scanner.next()?;
                self.block_mapping_key()
            }
            State::BlockMappingKey => self.block_mapping_key(),
            State::BlockMappingValue => self.block_mapping_value(),
            State::FlowSequenceFirst => {
                self.scanner.next()?;
                self.flow_sequence_entry(true)
            }
            State::FlowSequenceEntry => self.flow_sequence_entry(false),
            State::FlowSequencePairKey => self.flow_sequence_pair_key(),
            State::FlowSequencePairValue => self.flow_sequence_pair_value(),
            State::FlowSequencePairEnd => {
                self.state = State::FlowSequenceEntry;
                let position = self.position()?;
                Ok((Event::MappingEnd, position))
            }
            State::FlowMappingFirst => {
                self.scanner.next()?;
                self.flow_mapping_key(true)
            }
            State::FlowMappingKey => self.flow_mapping_key(false),
            State::FlowMappingValue => self.flow_mapping_value(false),
            State::FlowMappingEmptyValue => self.flow_mapping_value(true),
            State::End => Ok((Event::StreamEnd, self.scanner.position())),
        }
    }

    fn position(&mut self) -> Result<Position, YamlError> {
        Ok(self.scanner.peek()?.1)
    }

    fn peek(&mut self) -> Result<&Token, YamlError> {
        Ok(&self.scanner.peek()?.0)
    }

    fn pop(&mut self) {
        self.state = self.states.pop().unwrap_or(State::End);
    }

    fn error(&mut self, message: &str) -> Parsed {
        let position = self.position()?;
        Err(YamlError::at(position, message))
    }

    /// Returns the null scalar that stands for a missing node.
    fn empty_scalar(position: Position) -> (Event, Position) {
        let text = String::new();
        (
            Event::Scalar {
                text,
                style: Style::Plain,
                properties: Properties::default(),
            },
            position,
        )
    }

    // ---- documents ----

    // ---- nodes ----

    // Long: one arm per token that may begin a node.
    fn node(&mut self, context: NodeContext) -> Parsed {
        if let (Token::Alias(name), position) = self.scanner.peek()? {
            let event = (Event::Alias(name.clone()), *position);
            self.scanner.next()?;
            self.pop();
            return Ok(event);
        }
        let start = self.position()?;
        let properties = self.properties()?;
        let next = self.scanner.peek()?;
        let indentless = context == NodeContext::BlockOrIndentless && next.0 == Token::BlockEntry;
        match &next.0 {
            _ if indentless => {
                self.state = State::IndentlessEntry;
                Ok((
                    Event::SequenceStart(properties, CollectionStyle::Block),
                    start,
                ))
            }
            Token::Scalar(..) => {
                let (token, _) = self.scanner.next()?;
                self.pop();
                let Token::Scalar(text, style) = token else {
                    return self.error("did not find expected scalar");
                };
                Ok((
                    Event::Scalar {
                        text,
                        style,
                        properties,
                    },
                    start,
                ))
            }
            Token::FlowSequenceStart => {
                self.state = State::FlowSequenceFirst;
                Ok((
                    Event::SequenceStart(properties, CollectionStyle::Flow),
                    start,
                ))
            }
            Token::FlowMappingStart => {
                self.state = State::FlowMappingFirst;
                Ok((
                    Event::MappingStart(properties, CollectionStyle::Flow),
                    start,
                ))
            }
            Token::BlockSequenceStart if context != NodeContext::Flow => {
                self.state = State::BlockSequenceFirst;
                Ok((
                    Event::SequenceStart(properties, CollectionStyle::Block),
                    start,
                ))
            }
            Token::BlockMappingStart if context != NodeContext::Flow => {
                self.state = State::BlockMappingFirst;
                Ok((
                    Event::MappingStart(properties, CollectionStyle::Block),
                    start,
                ))
            }
            _ if properties != Properties::default() => {
                self.pop();
                Ok((
                    Event::Scalar {
                        text: String::new(),
                        style: Style::Plain,
                        properties,
                    },
                    start,
                ))
            }
            _ => self.error("did not find expected node content"),
        }
    }

    /// Reads an anchor and a tag, in either order, at most one of each.
    fn properties(&mut self) -> Result<Properties, YamlError> {
        let mut properties = Properties::default();
        loop {
            match self.scanner.peek()? {
                (Token::Anchor(name), _) if properties.anchor.is_none() => {
                    properties.anchor = Some(name.clone())
                }
                (Token::Tag(handle, suffix), position) if properties.tag.is_none() => {
                    let (handle, suffix, position) = (handle.clone(), suffix.clone(), *position);
                    properties.tag = Some(self.resolve_tag(&handle, suffix, position)?);
                }
                _ => return Ok(properties),
            }
            self.scanner.next()?;
        }
    }

    fn resolve_tag(
        &self,
        handle: &str,
        suffix: String,
        position: Position,
    ) -> Result<String, YamlError> {
        if handle.is_empty() {
            return Ok(suffix);
        }
        if let Some((_, prefix)) = self.handles.iter().find(|(known, _)| known == handle) {
            return Ok(format!("{prefix}{suffix}"));
        }
        match handle {
            "!" => Ok(format!("!{suffix}")),
            "!!" => Ok(format!("tag:yaml.org,2002:{suffix}")),
            _ => Err(YamlError::at(position, "found undefined tag handle")),
        }
    }

    // ---- block collections ----

    fn block_sequence_entry(&mut self) -> Parsed {
        match self.scanner.peek()? {
            (Token::BlockEntry, _) => {
                let (_, position) = self.scanner.next()?;
                if matches!(self.peek()?, Token::BlockEntry | Token::BlockEnd) {
                    self.state = State::BlockSequenceEntry;
                    return Ok(Self::empty_scalar(position));
                }
                self.states.push(State::BlockSequenceEntry);
                self.node(NodeContext::Block)
            }
            (Token::BlockEnd, _) => {
                let (_, position) = self.scanner.next()?;
                self.pop();
                Ok((Event::SequenceEnd, position))
            }
            _ => self.error("did not find expected '-' indicator"),
        }
    }

    fn indentless_entry(&mut self) -> Parsed {
        if *self.peek()? != Token::BlockEntry {
            let position = self.position()?;
            self.pop();
            return Ok((Event::SequenceEnd, position));
        }
        let (_, position) = self.scanner.next()?;
        if matches!(
            self.peek()?,
            Token::BlockEntry | Token::Key | Token::Value | Token::BlockEnd
        ) {
            self.state = State::IndentlessEntry;
            return Ok(Self::empty_scalar(position));
        }
        self.states.push(State::IndentlessEntry);
        self.node(NodeContext::Block)
    }

    fn block_mapping_key(&mut self) -> Parsed {
        match self.scanner.peek()? {
            (Token::Key, _) => {
                let (_, position) = self.scanner.next()?;
                if matches!(self.peek()?, Token::Key | Token::Value | Token::BlockEnd) {
                    self.state = State::BlockMappingValue;
                    return Ok(Self::empty_scalar(position));
                }
                self.states.push(State::BlockMappingValue);
                self.node(NodeContext::BlockOrIndentless)
            }
            (Token::BlockEnd, _) => {
                let (_, position) = self.scanner.next()?;
                self.pop();
                Ok((Event::MappingEnd, position))
            }
            // A value without a key has a null key.
            (Token::Value, position) => {
                let position = *position;
                self.state = State::BlockMappingValue;
                Ok(Self::empty_scalar(position))
            }
            _ => self.error("did not find expected key"),
        }
    }

    fn block_mapping_value(&mut self) -> Parsed {
        if *self.peek()? != Token::Value {
            self.state = State::BlockMappingKey;
            return Ok(Self::empty_scalar(self.position()?));
        }
        let (_, position) = self.scanner.next()?;
        if matches!(self.peek()?, Token::Key | Token::Value | Token::BlockEnd) {
            self.state = State::BlockMappingKey;
            return Ok(Self::empty_scalar(position));
        }
        self.states.push(State::BlockMappingKey);
        self.node(NodeContext::BlockOrIndentless)
    }

    // ---- flow collections ----
}
