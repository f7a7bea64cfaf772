//! Builds a tree from parser events and expands aliases.

use std::collections::{HashMap, HashSet};

use super::YamlError;
use super::diagnose::diagnose;
use super::node::{Node, Position, Value};
use super::parser::{CollectionStyle, Event, Parser, Properties};
use crate::base::interrupt;

/// Limits on the size of a parsed document.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum nesting depth of collections.
    pub depth: usize,
    /// Maximum nodes of a document, after alias expansion.
    pub nodes: usize,
    /// Maximum keys of one mapping.
    pub keys: usize,
}

impl Default for Limits {
    /// 1,000 levels, four million nodes, 200,000 keys. Objects of a cluster have at most about 3
    /// MB.
    fn default() -> Self {
        Self {
            depth: 1_000,
            nodes: 4_000_000,
            keys: 200_000,
        }
    }
}

/// Parses the first document of `text`. Returns `None` if there is none.
///
/// # Errors
/// Fails if the text is not valid YAML, exceeds a limit, or has an undefined, recursive or
/// excessive alias.
pub fn parse(text: &str, limits: Limits) -> Result<Option<Node>, YamlError> {
    parse_from(text, 1, limits)
}

/// Parses the first document of an excerpt. `line` is the excerpt's first line in the whole text,
/// from 1; positions count from there.
///
/// # Errors
/// As [`parse`].
pub fn parse_from(text: &str, line: u32, limits: Limits) -> Result<Option<Node>, YamlError> {
    let document = Composer::new(text, line, limits).and_then(|mut composer| composer.document());
    document.map_err(|error| diagnose(text, line, error))
}

/// Parses all documents of `text`.
///
/// # Errors
/// As [`parse`].
pub fn parse_all(text: &str, limits: Limits) -> Result<Vec<Node>, YamlError> {
    let parse = || {
        let mut composer = Composer::new(text, 1, limits)?;
        let mut documents = Vec::new();
        while let Some(document) = composer.document()? {
            documents.push(document);
        }
        Ok(documents)
    };
    parse().map_err(|error| diagnose(text, 1, error))
}

/// Nodes between two checks for cancellation.
const CANCEL_CHECK_INTERVAL: usize = 4096;

struct Composer<'a> {
    parser: Parser<'a>,
    limits: Limits,
    anchors: HashMap<String, Anchor>,
    nodes: usize,
    aliased: usize,
    /// Lines that end with a key and a comment.
    commented_lines: HashSet<u32>,
}

enum Anchor {
    Open,
    Closed(Node, usize),
}

/// A collection whose end has not been read yet.
struct OpenCollection {
    node: Node,
    anchor: Option<String>,
    /// A key whose value has not been read yet.
    key: Option<Node>,
    /// Number of nodes before this collection.
    nodes_before: usize,
}

impl<'a> Composer<'a> {
    fn new(text: &'a str, line: u32, limits: Limits) -> Result<Self, YamlError> {
        let parser = Parser::new(text, line, limits.depth)?;
        Ok(Self {
            parser,
            limits,
            anchors: HashMap::new(),
            nodes: 0,
            aliased: 0,
            commented_lines: commented_lines(text, line),
        })
    }

    // Long: one arm per event.
    fn document(&mut self) -> Result<Option<Node>, YamlError> {
        self.anchors.clear();
        if self.parser.next()?.0 == Event::StreamEnd {
            return Ok(None);
        }
        let mut open: Vec<OpenCollection> = Vec::new();
        let root = loop {
            let (event, position) = self.parser.next()?;
            let done = match event {
                Event::SequenceStart(properties, style) => {
                    let value = (Value::Sequence(Vec::new()), style);
                    open.push(self.open(value, properties, position, open.len())?);
                    continue;
                }
                Event::MappingStart(properties, style) => {
                    let value = (Value::Mapping(Vec::new()), style);
                    open.push(self.open(value, properties, position, open.len())?);
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                    Some(mut ended) => {
                        let key = open.last().and_then(|parent| parent.key.as_ref());
                        ended.node.has_key_comment = !ended.node.is_flow
                            && key.is_some_and(|key| self.is_commented(key, &ended.node));
                        self.close(ended.node, ended.anchor, ended.nodes_before)
                    }
                    None => {
                        return Err(YamlError::at(position, "unexpected end of a collection"));
                    }
                },
                Event::Scalar {
                    text,
                    style,
                    properties,
                } => {
                    let node = Node {
                        value: Value::Scalar(text.into_boxed_str(), style),
                        tag: properties.tag.map(String::into_boxed_str),
                        position,
                        is_flow: false,
                        has_key_comment: false,
                    };
                    let before = self.nodes;
                    self.count(1, position)?;
                    self.close(node, properties.anchor, before)
                }
                Event::Alias(name) => self.alias(&name, position)?,
                Event::DocumentStart | Event::DocumentEnd | Event::StreamEnd => {
                    return Err(YamlError::at(position, "unexpected end of the document"));
                }
            };
            match open.last_mut() {
                None => break done,
                Some(parent) => {
                    parent.add(done);
                    if parent.keys() > self.limits.keys {
                        let what = format!("the mapping has more than {} keys", self.limits.keys);
                        return Err(YamlError::at(position, what));
                    }
                }
            }
        };
        self.parser.next()?;
        Ok(Some(root))
    }

    /// Returns true if a value begins below its key, and a comment stands on the key's line.
    fn is_commented(&self, key: &Node, value: &Node) -> bool {
        value.position.line > key.position.line && self.commented_lines.contains(&key.position.line)
    }

    fn open(
        &mut self,
        (value, style): (Value, CollectionStyle),
        properties: Properties,
        position: Position,
        depth: usize,
    ) -> Result<OpenCollection, YamlError> {
        if depth >= self.limits.depth {
            let what = format!(
                "the text is nested too deeply, more than {} levels",
                self.limits.depth
            );
            return Err(YamlError::at(position, what));
        }
        let before = self.nodes;
        self.count(1, position)?;
        if let Some(anchor) = &properties.anchor {
            self.anchors.insert(anchor.clone(), Anchor::Open);
        }
        let node = Node {
            value,
            tag: properties.tag.map(String::into_boxed_str),
            position,
            is_flow: style == CollectionStyle::Flow,
            has_key_comment: false,
        };
        Ok(OpenCollection {
            node,
            anchor: properties.anchor,
            key: None,
            nodes_before: before,
        })
    }

    fn close(&mut self, node: Node, anchor: Option<String>, before: usize) -> Node {
        if let Some(anchor) = anchor {
            self.anchors
                .insert(anchor, Anchor::Closed(node.clone(), self.nodes - before));
        }
        node
    }

    fn alias(&mut self, name: &str, position: Position) -> Result<Node, YamlError> {
        let (node, size) = match self.anchors.get(name) {
            Some(Anchor::Closed(node, size)) => (node, *size),
            Some(Anchor::Open) => {
                return Err(YamlError::at(
                    position,
                    format!("the anchor '{name}' contains itself"),
                ));
            }
            None => {
                return Err(YamlError::at(
                    position,
                    format!("unknown anchor '{name}' referenced"),
                ));
            }
        };
        // Checked before the copy, because the copy is the expensive part.
        let total = self.nodes + size;
        let aliased = self.aliased + size;
        if total > self.limits.nodes || is_excessive(aliased, total) {
            return Err(YamlError::at(
                position,
                "the document contains excessive aliasing",
            ));
        }
        let node = node.clone();
        self.nodes = total;
        self.aliased = aliased;
        Ok(node)
    }

    fn count(&mut self, nodes: usize, position: Position) -> Result<(), YamlError> {
        self.nodes += nodes;
        if self.nodes > self.limits.nodes {
            let what = format!(
                "the document has too many nodes, more than {}",
                self.limits.nodes
            );
            return Err(YamlError::at(position, what));
        }
        if self.nodes.is_multiple_of(CANCEL_CHECK_INTERVAL) && interrupt::is_stopped() {
            return Err(YamlError::at(position, "the work was stopped"));
        }
        Ok(())
    }
}

/// Returns the numbers of the lines that end with a key and a comment, such as `a: # b`.
fn commented_lines(text: &str, first: u32) -> HashSet<u32> {
    if !text.contains('#') {
        return HashSet::new();
    }
    let is_commented = |line: &str| {
        let comment = [" #", "\t#"]
            .iter()
            .filter_map(|start| line.find(start))
            .min();
        comment.is_some_and(|at| line.get(..at).unwrap_or_default().trim_end().ends_with(':'))
    };
    let lines = (first..).zip(text.lines());
    lines
        .filter(|(_, line)| is_commented(line))
        .map(|(number, _)| number)
        .collect()
}

impl OpenCollection {
    /// Number of keys; 0 for a sequence.
    fn keys(&self) -> usize {
        if let Value::Mapping(pairs) = &self.node.value {
            pairs.len()
        } else {
            0
        }
    }

    fn add(&mut self, node: Node) {
        match (&mut self.node.value, self.key.take()) {
            (Value::Sequence(items), _) => items.push(node),
            (Value::Mapping(pairs), Some(key)) => pairs.push((key, node)),
            (_, None) => self.key = Some(node),
            (Value::Scalar(..), Some(_)) => {}
        }
    }
}

/// go-yaml's ratio: at most 99 % of the nodes of a small document may come from aliases, down to 10
/// % in a large one.
fn is_excessive(aliased: usize, total: usize) -> bool {
    const SMALL: usize = 400_000;
    const LARGE: usize = 4_000_000;
    if aliased <= 100 || total <= 1_000 {
        return false;
    }
    let allowed_percent = match total {
        ..=SMALL => 99,
        LARGE.. => 10,
        _ => 99 - 89 * (total - SMALL) / (LARGE - SMALL),
    };
    aliased * 100 > total * allowed_percent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Style;

    fn show(text: &str) -> String {
        match parse(text, Limits::default()) {
            Ok(Some(node)) => render(&node),
            Ok(None) => "nothing".into(),
            Err(error) => format!("error: {error}"),
        }
    }

    fn render(node: &Node) -> String {
        match &node.value {
            Value::Scalar(text, Style::Plain) => text.to_string(),
            Value::Scalar(text, _) => format!("{text:?}"),
            Value::Sequence(items) => format!(
                "[{}]",
                items.iter().map(render).collect::<Vec<_>>().join(",")
            ),
            Value::Mapping(pairs) => {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(k, v)| format!("{}:{}", render(k), render(v)))
                    .collect();
                format!("{{{}}}", pairs.join(","))
            }
        }
    }

    #[test]
    fn block_and_flow_collections_nest() {
        assert_eq!(
            show("a:\n- b\n- - c\n  - d: e\n    f:\ng: {h: [1, 2], i}"),
            "{a:[b,[c,{d:e,f:}]],g:{h:[1,2],i:}}"
        );
    }

    #[test]
    fn block_scalars_keep_and_fold_their_lines() {
        assert_eq!(show("a: |\n  x\n   y\n\n  z\n"), r#"{a:"x\n y\n\nz\n"}"#);
        assert_eq!(show("a: |"), r#"{a:""}"#);
        assert_eq!(show("a: |\n  x"), r#"{a:"x"}"#);
        assert_eq!(show("a: >-\n  x\n  y\n\n  z\n\n"), r#"{a:"x y\nz"}"#);
        assert_eq!(show("a: |2+\n    x\n\n"), r#"{a:"  x\n\n"}"#);
    }

    #[test]
    fn quoted_scalars_fold_and_escape() {
        assert_eq!(show("\"a\\x41\\u00e9 \\\n   b\n\n c\""), r#""aAé b\nc""#);
        assert_eq!(show("'it''s\n x'"), r#""it's x""#);
    }

    #[test]
    fn what_go_rejects_is_rejected() {
        for bad in [
            "a: b: c",
            "[a",
            "a:\n\t- b",
            "*x",
            "&a [*a]",
            "- a\nb: c",
            "\"\\q\"",
            "@x",
            "%YAML 1.2\n---\na",
            "a: 'x",
        ] {
            assert!(show(bad).starts_with("error"), "{bad:?} gave {}", show(bad));
        }
    }

    #[test]
    fn aliases_are_expanded_but_not_without_bound() {
        assert_eq!(show("a: &x [1]\nb: *x"), "{a:[1],b:[1]}");
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(show(&bomb).contains("excessive aliasing"));
    }

    #[test]
    fn depth_is_bounded_without_a_deep_stack() {
        assert!(show(&"[".repeat(100_000)).contains("nested too deeply"));
        assert!(show(&"- ".repeat(100_000)).contains("nested too deeply"));
        let fits = format!("{}{}", "[".repeat(900), "]".repeat(900));
        assert!(parse(&fits, Limits::default()).is_ok());
    }

    #[test]
    fn keys_and_nodes_are_bounded_and_errors_name_the_bound() {
        let limits = Limits {
            keys: 3,
            nodes: 20,
            ..Limits::default()
        };
        let refused = |text: &str| parse(text, limits).unwrap_err().to_string();
        assert!(parse("{a: 1, b: 2, c: 3}", limits).is_ok());
        assert!(refused("{a: 1, b: 2, c: 3, d: 4}").contains("more than 3 keys"));
        assert!(refused(&format!("[{}]", "1, ".repeat(30))).contains("more than 20"));
    }

    #[test]
    fn parsing_ends_when_nobody_wants_the_result() {
        use crate::base::stop::{Stop, StopCause};
        let stop = Stop::default();
        let text = "- a\n".repeat(10_000);
        assert!(interrupt::with_stop(&stop, || parse(&text, Limits::default())).is_ok());
        stop.stop(StopCause::Cancelled);
        let ended = interrupt::with_stop(&stop, || parse(&text, Limits::default()));
        assert!(ended.unwrap_err().to_string().contains("stopped"));
    }

    #[test]
    fn positions_count_characters() {
        let node = parse("é: x\nb: 1", Limits::default()).unwrap().unwrap();
        assert_eq!(
            node.get("é").unwrap().position,
            Position { line: 1, column: 4 }
        );
        assert_eq!(
            node.get("b").unwrap().position,
            Position { line: 2, column: 4 }
        );
    }
}
