//! Flow collections: `[…]` and `{…}`.

use super::{CollectionStyle, Event, NodeContext, Parsed, Parser, Properties, State};
use crate::yaml::scanner::Token;

impl Parser<'_> {
    pub(super) fn flow_sequence_entry(&mut self, first: bool) -> Parsed {
        if *self.peek()? != Token::FlowSequenceEnd {
            if !first {
                if *self.peek()? != Token::FlowEntry {
                    return self.error("did not find expected ',' or ']'");
                }
                self.scanner.next()?;
            }
            match self.peek()? {
                // A single pair inside brackets is a mapping of its own.
                Token::Key => {
                    let (_, position) = self.scanner.next()?;
                    self.state = State::FlowSequencePairKey;
                    let start = Event::MappingStart(Properties::default(), CollectionStyle::Flow);
                    return Ok((start, position));
                }
                Token::FlowSequenceEnd => {}
                _ => {
                    self.states.push(State::FlowSequenceEntry);
                    return self.node(NodeContext::Flow);
                }
            }
        }
        let (_, position) = self.scanner.next()?;
        self.pop();
        Ok((Event::SequenceEnd, position))
    }

    pub(super) fn flow_sequence_pair_key(&mut self) -> Parsed {
        if matches!(
            self.peek()?,
            Token::Value | Token::FlowEntry | Token::FlowSequenceEnd
        ) {
            self.state = State::FlowSequencePairValue;
            return Ok(Self::empty_scalar(self.position()?));
        }
        self.states.push(State::FlowSequencePairValue);
        self.node(NodeContext::Flow)
    }

    pub(super) fn flow_sequence_pair_value(&mut self) -> Parsed {
        if *self.peek()? == Token::Value {
            self.scanner.next()?;
            if !matches!(self.peek()?, Token::FlowEntry | Token::FlowSequenceEnd) {
                self.states.push(State::FlowSequencePairEnd);
                return self.node(NodeContext::Flow);
            }
        }
        self.state = State::FlowSequencePairEnd;
        Ok(Self::empty_scalar(self.position()?))
    }

    pub(super) fn flow_mapping_key(&mut self, first: bool) -> Parsed {
        if *self.peek()? != Token::FlowMappingEnd {
            if !first {
                if *self.peek()? != Token::FlowEntry {
                    return self.error("did not find expected ',' or '}'");
                }
                self.scanner.next()?;
            }
            match self.peek()? {
                Token::Key => {
                    self.scanner.next()?;
                    if matches!(
                        self.peek()?,
                        Token::Value | Token::FlowEntry | Token::FlowMappingEnd
                    ) {
                        self.state = State::FlowMappingValue;
                        return Ok(Self::empty_scalar(self.position()?));
                    }
                    self.states.push(State::FlowMappingValue);
                    return self.node(NodeContext::Flow);
                }
                Token::FlowMappingEnd => {}
                _ => {
                    self.states.push(State::FlowMappingEmptyValue);
                    return self.node(NodeContext::Flow);
                }
            }
        }
        let (_, position) = self.scanner.next()?;
        self.pop();
        Ok((Event::MappingEnd, position))
    }

    pub(super) fn flow_mapping_value(&mut self, empty: bool) -> Parsed {
        if !empty && *self.peek()? == Token::Value {
            self.scanner.next()?;
            if !matches!(self.peek()?, Token::FlowEntry | Token::FlowMappingEnd) {
                self.states.push(State::FlowMappingKey);
                return self.node(NodeContext::Flow);
            }
        }
        self.state = State::FlowMappingKey;
        Ok(Self::empty_scalar(self.position()?))
    }
}
