//! The tree of a parsed YAML document.

/// A position in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// How a scalar is written. Only plain scalars can be anything but strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// `'…'`
    SingleQuoted,
    /// `"…"`
    DoubleQuoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

/// A node and its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The content.
    pub value: Value,
    /// The explicit tag in full form (`tag:yaml.org,2002:str`), if there is one.
    pub tag: Option<Box<str>>,
    /// Where the node starts.
    pub position: Position,
    /// True for a list or map that is written in flow style (`[…]`, `{…}`).
    pub is_flow: bool,
    /// True for a list or map in block style whose key has a comment on its line.
    pub has_key_comment: bool,
}

/// The three kinds of node.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The decoded text and the style it was written in.
    Scalar(Box<str>, Style),
    /// A list.
    Sequence(Vec<Node>),
    /// Pairs in document order, including repeated keys.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// Creates a node without tag and position.
    pub fn new(value: Value) -> Self {
        Self {
            value,
            tag: None,
            position: Position::default(),
            is_flow: false,
            has_key_comment: false,
        }
    }

    /// Returns the text of a scalar.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// Returns the items of a sequence.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the pairs of a mapping.
    pub fn as_mapping(&self) -> Option<&[(Node, Node)]> {
        match &self.value {
            Value::Mapping(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// Returns true for a list or map without members.
    pub fn is_empty_collection(&self) -> bool {
        match &self.value {
            Value::Sequence(items) => items.is_empty(),
            Value::Mapping(pairs) => pairs.is_empty(),
            Value::Scalar(..) => false,
        }
    }

    /// Returns the value of a key of a mapping. If the key is repeated, the first one
    /// counts, as in go-yaml's node trees.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_mapping()?
            .iter()
            .find(|(k, _)| k.as_str() == Some(key))
            .map(|(_, value)| value)
    }

    /// Returns true for an untagged plain scalar that is empty or null, and for a scalar with the tag
    /// of null.
    pub fn is_null(&self) -> bool {
        let Value::Scalar(text, style) = &self.value else {
            return false;
        };
        match self.tag.as_deref() {
            None => {
                *style == Style::Plain && matches!(&**text, "" | "~" | "null" | "Null" | "NULL")
            }
            Some(tag) => tag == "tag:yaml.org,2002:null",
        }
    }

    /// Returns the node's kind with its article, for error messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(..) => "a scalar",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a map",
        }
    }
}
