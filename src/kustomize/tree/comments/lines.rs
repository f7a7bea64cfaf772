//! Matches the lines of a text with those of its form without comments.

/// A line of the text.
pub(super) enum Line<'a> {
    /// A line that is in the form without comments, too.
    Content(Content<'a>),
    Comment {
        column: usize,
        text: &'a str,
    },
    Blank,
}

/// A line with content, and where it is in the form without comments.
#[derive(Clone, Copy)]
pub(super) struct Content<'a> {
    /// Its number in the form without comments.
    pub at: usize,
    /// Column of the line in the text.
    pub column: usize,
    /// The comment at its end, if any.
    pub comment: &'a str,
    /// True in a block scalar, but for its first line.
    pub is_in_scalar: bool,
}

/// Matches the lines of a text with those of its form without comments; `None` if they differ in
/// more than comments, blanks and indentation.
pub(super) fn matched<'a>(text: &'a str, bare: &[&str]) -> Option<Vec<Line<'a>>> {
    let mut lines = Vec::new();
    let (mut at, mut scalar) = (0, None);
    for line in text.lines() {
        let trimmed = line.trim();
        let column = line.len() - line.trim_start().len();
        let expected = bare.get(at).copied();
        let comment = expected.and_then(|expected| comment_after(trimmed, expected.trim()));
        if let (Some(comment), Some(expected)) = (comment, expected) {
            let own = indent(expected);
            let inner = own + 2 * nested_blocks(expected);
            scalar = scalar.filter(|outer| expected.is_empty() || own > *outer);
            lines.push(Line::Content(Content {
                at,
                column,
                comment,
                is_in_scalar: scalar.is_some(),
            }));
            if scalar.is_none() && begins_scalar(expected) {
                scalar = Some(inner);
            }
            at += 1;
        } else if trimmed.starts_with('#') {
            lines.push(Line::Comment {
                column,
                text: trimmed,
            });
        } else if trimmed.is_empty() {
            lines.push(Line::Blank);
        } else if trimmed != "---" || at > 0 {
            return None;
        }
    }
    (at == bare.len()).then_some(lines)
}

/// Returns the comment that follows the expected content of a line, empty if none does; `None` if
/// the line has another content. Several blanks in the line may stand for one.
fn comment_after<'a>(line: &'a str, expected: &str) -> Option<&'a str> {
    let mut rest = line;
    for word in expected.split_inclusive(' ') {
        rest = rest.strip_prefix(word)?;
        if word.ends_with(' ') {
            rest = rest.trim_start_matches(' ');
        }
    }
    if rest.is_empty() {
        return Some("");
    }
    let comment = rest.trim_start();
    (!expected.is_empty() && comment.len() < rest.len() && comment.starts_with('#'))
        .then_some(comment)
}

pub(super) fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Returns the number of blocks that begin after a dash of the line.
pub(super) fn nested_blocks(line: &str) -> usize {
    let mut rest = line.trim_start();
    let mut count = 0;
    while let Some(inner) = rest.strip_prefix("- ") {
        if !is_entry(inner) && !inner.starts_with("- ") {
            break;
        }
        (rest, count) = (inner, count + 1);
    }
    count
}

/// Returns true if the lines after this one are a block scalar.
fn begins_scalar(line: &str) -> bool {
    let header = line.rsplit(' ').next().unwrap_or_default();
    header.starts_with(['|', '>']) && line.len() > header.len()
}

/// Returns true if a line begins an entry of a map.
fn is_entry(line: &str) -> bool {
    line.ends_with(':') || line.contains(": ")
}
