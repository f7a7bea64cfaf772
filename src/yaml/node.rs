//! The tree that a YAML document is read into.

/// A place in a text; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// How a scalar was written; only plain ones can mean something other than text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Bare.
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

/// A node with where it began.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Its explicit tag, in full (`tag:yaml.org,2002:str`), if it has one.
    pub tag: Option<Box<str>>,
    /// Where it begins.
    pub position: Position,
}

/// The three kinds of node.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text and how it was written.
    Scalar(Box<str>, Style),
    /// A list.
    Sequence(Vec<Node>),
    /// Pairs, in the order of the text, repeated keys included.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// A node without tag or position.
    pub fn new(value: Value) -> Self {
        Self {
            value,
            tag: None,
            position: Position::default(),
        }
    }

    /// The text of a scalar.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The pairs of a map.
    pub fn as_mapping(&self) -> Option<&[(Node, Node)]> {
        match &self.value {
            Value::Mapping(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The value under a key of a map; the last one if the key is repeated.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_mapping()?
            .iter()
            .rev()
            .find(|(k, _)| k.as_str() == Some(key))
            .map(|(_, value)| value)
    }

    /// Whether this is an empty or null plain scalar.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, Style::Plain)
            if self.tag.is_none() && matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What to call it in an error.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(..) => "a scalar",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a map",
        }
    }
}
