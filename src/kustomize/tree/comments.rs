//! Carries the comments of a text over to its new form.
//!
//! kustomize keeps the comments of a text in which it changes a field, and puts each where its YAML
//! library thinks that it belongs. The lines of the text are matched with those of the form without
//! comments; what stands between two lines follows the rules below, which were found by trying. Where
//! no rule is known, nothing is carried over.

mod changes;
mod lines;

use changes::Changes;
use lines::{Content, Line, indent, matched, nested_blocks};

/// Comments without a blank line between them, at one column.
struct Paragraph<'a> {
    column: usize,
    lines: Vec<&'a str>,
    follows_blank: bool,
}

/// The comments between two lines.
#[derive(Default)]
struct Gap<'a> {
    paragraphs: Vec<Paragraph<'a>>,
    /// True if a blank line follows the last comment.
    ends_blank: bool,
}

/// Returns the new form of a text with its comments. `bare` is the text's own form without
/// comments, `new` that of the changed text. `None` if the text has none, or if where they belong
/// is not known.
pub(crate) fn carry(text: &str, bare: &str, new: &str) -> Option<String> {
    if !text.contains('#') {
        return None;
    }
    let bare: Vec<&str> = bare.lines().collect();
    let lines = matched(text, &bare)?;
    let mut carrier = Carrier {
        bare: &bare,
        changes: Changes::between(&bare, new.lines().collect()),
        blocks: Vec::new(),
        previous: None,
        begins_with_content: !text.trim_start_matches(' ').starts_with(['#', '\n']),
        opens: false,
        is_commented: false,
        is_flow_item: false,
        text: String::new(),
    };
    let mut gap = Gap::default();
    for line in lines {
        match line {
            Line::Content(content) => {
                carrier.between(&std::mem::take(&mut gap), &content)?;
                carrier.content(content);
            }
            Line::Comment { column, text } => gap.add(column, text),
            Line::Blank => gap.ends_blank = true,
        }
    }
    carrier.end(&gap)?;
    let end = if new.ends_with('\n') { "\n" } else { "" };
    Some(format!("{}{end}", carrier.text.trim_end_matches('\n')))
}

impl<'a> Gap<'a> {
    fn add(&mut self, column: usize, text: &'a str) {
        let follows_blank = std::mem::take(&mut self.ends_blank);
        match self.paragraphs.last_mut() {
            Some(last) if !follows_blank && last.column == column => last.lines.push(text),
            _ => self.paragraphs.push(Paragraph {
                column,
                lines: vec![text],
                follows_blank,
            }),
        }
    }
}

/// Where comments stand between two lines.
struct Edge {
    /// Column of the next line, in the text and in the new form.
    column: usize,
    new: usize,
    /// Column in the text of the innermost block of the previous line.
    previous: usize,
    /// True if the next line is an item of a list.
    is_item: bool,
    /// True if a blank line comes before the first comment, or after the last one.
    leads_blank: bool,
    ends_blank: bool,
}

struct Carrier<'a> {
    bare: &'a [&'a str],
    changes: Changes<'a>,
    /// Columns of the open blocks, in the text and in the new form; the innermost is the last.
    blocks: Vec<(usize, usize)>,
    /// Column in the text of the innermost block of the previous line; none before the first.
    previous: Option<usize>,
    /// True if nothing comes before the first line with content.
    begins_with_content: bool,
    /// True if a block begins after the previous line.
    opens: bool,
    /// True if the previous line ends with a comment.
    is_commented: bool,
    /// True if the previous line is an item of a list, and a map in braces.
    is_flow_item: bool,
    text: String,
}

impl<'a> Carrier<'a> {
    /// Writes a line with content.
    fn content(&mut self, content: Content<'_>) {
        let bare = self.bare.get(content.at).copied().unwrap_or_default();
        for (number, line) in self.changes.of(content.at).iter().enumerate() {
            self.text.push_str(line);
            if number == 0 && !content.comment.is_empty() {
                self.text.push_str(&format!(" {}", content.comment));
            }
            self.text.push('\n');
        }
        self.is_commented = !content.comment.is_empty();
        if content.is_in_scalar || bare.is_empty() {
            return;
        }
        let (mut column, mut new) = (content.column, indent(bare));
        self.blocks.retain(|(open, _)| *open < column);
        self.blocks.push((column, new));
        // The map in an item of a list is a block of its own.
        for _ in 0..nested_blocks(bare) {
            (column, new) = (column + 2, new + 2);
            self.blocks.push((column, new));
        }
        self.opens = bare.ends_with(':');
        self.is_flow_item = bare.trim_start().starts_with("- {");
        self.previous = Some(column);
    }

    /// Writes the comments before a line.
    fn between(&mut self, gap: &Gap<'_>, next: &Content<'_>) -> Option<()> {
        if gap.paragraphs.is_empty() {
            return Some(());
        }
        let line = self.bare.get(next.at).copied().unwrap_or_default();
        let (column, new) = (next.column, indent(line));
        let Some(previous) = self.previous else {
            self.paragraphs(&gap.paragraphs, new);
            if gap.ends_blank {
                self.text.push('\n');
            }
            return Some(());
        };
        if next.is_in_scalar {
            return None;
        }
        let inner = gap
            .paragraphs
            .iter()
            .take_while(|paragraph| previous > column && paragraph.column > column)
            .count();
        let (inner, outer) = gap.paragraphs.split_at(inner);
        let edge = Edge {
            column,
            new,
            previous,
            is_item: line.trim_start().starts_with("- "),
            leads_blank: gap.paragraphs.first()?.follows_blank,
            ends_blank: gap.ends_blank,
        };
        if !inner.is_empty() {
            let is_alone = outer.is_empty();
            let is_followed_by_blank = outer
                .first()
                .map_or(gap.ends_blank, |next| next.follows_blank);
            self.inner(inner, &edge, is_alone, is_followed_by_blank)?;
        }
        if outer.is_empty() {
            return Some(());
        }
        self.outer(outer, &edge, !inner.is_empty(), next)
    }

    /// Writes comments that are indented more than the next line: they end the block before it.
    fn inner(
        &mut self,
        paragraphs: &[Paragraph<'_>],
        edge: &Edge,
        is_alone: bool,
        is_followed_by_blank: bool,
    ) -> Option<()> {
        let last = self.block_at(edge.previous);
        if last == edge.new {
            return None;
        }
        match paragraphs {
            [one] => {
                let own = self.block_at(one.column);
                let is_own = !edge.leads_blank && is_followed_by_blank && own > edge.new;
                self.foot(paragraphs, if is_own { own } else { last })
            }
            _ if edge.leads_blank && is_alone => self.foot(paragraphs, last),
            [first, rest @ ..] if is_alone && !edge.is_item => {
                let at = self.block_at(first.column);
                self.foot(std::slice::from_ref(first), at)?;
                self.paragraphs(rest, edge.new);
                self.text.push('\n');
                Some(())
            }
            _ => None,
        }
    }

    /// Writes comments that stand where the next line does.
    fn outer(
        &mut self,
        paragraphs: &[Paragraph<'_>],
        edge: &Edge,
        follows_inner: bool,
        next: &Content<'_>,
    ) -> Option<()> {
        let is_alone = paragraphs.len() == 1;
        let is_outside = paragraphs
            .iter()
            .any(|paragraph| paragraph.column < edge.column);
        let is_misplaced = self.opens && (edge.ends_blank || !is_alone);
        if is_outside && (edge.previous > edge.column || is_misplaced) {
            return None;
        }
        // A lone paragraph after a line belongs to that one.
        let is_foot = !edge.leads_blank && !self.opens && (edge.ends_blank || !is_alone);
        let is_second = self.is_second(next);
        let is_unknown = (edge.is_item && edge.previous > edge.column)
            || follows_inner
            || is_second && !is_alone;
        if is_foot && is_unknown {
            return None;
        }
        if !is_foot || is_second {
            self.paragraphs(paragraphs, edge.new);
            return Some(());
        }
        self.foot(paragraphs, edge.new)?;
        if is_alone {
            self.text.push('\n');
        }
        Some(())
    }

    /// Returns true if a line is the second with content, and the text begins with the first one,
    /// which ends with a comment: what follows belongs to the second.
    fn is_second(&self, line: &Content<'_>) -> bool {
        line.at == 1 && self.is_commented && self.begins_with_content
    }

    /// Writes the comments after the last line, and the lines that are added there.
    fn end(&mut self, gap: &Gap<'_>) -> Option<()> {
        let added = self.changes.at_end().join("\n");
        let first = gap.paragraphs.first();
        let is_apart = first.is_none_or(|first| first.follows_blank);
        if is_apart && !added.is_empty() {
            self.text.push_str(&format!("{added}\n"));
        }
        for (number, paragraph) in gap.paragraphs.iter().enumerate() {
            if paragraph.follows_blank {
                self.text.push('\n');
            }
            let is_inner = number == 0 && !paragraph.follows_blank;
            let at = match is_inner {
                true => self.block_at(paragraph.column),
                false => 0,
            };
            self.foot(std::slice::from_ref(paragraph), at)?;
        }
        if is_apart || added.is_empty() {
            return Some(());
        }
        // The comments belong to the line before them.
        self.text.push_str(&format!("\n{added}\n"));
        (gap.paragraphs.len() == 1).then_some(())
    }

    /// Writes paragraphs that belong to the previous line; `None` if that is a map in braces in a
    /// list, which kustomize changes then.
    fn foot(&mut self, paragraphs: &[Paragraph<'_>], indent: usize) -> Option<()> {
        self.paragraphs(paragraphs, indent);
        (!self.is_flow_item).then_some(())
    }

    /// Writes paragraphs with a blank line between them.
    fn paragraphs(&mut self, paragraphs: &[Paragraph<'_>], indent: usize) {
        for (number, paragraph) in paragraphs.iter().enumerate() {
            if number > 0 && paragraph.follows_blank {
                self.text.push('\n');
            }
            for line in &paragraph.lines {
                self.text.push_str(&format!("{:indent$}{line}\n", ""));
            }
        }
    }

    /// Returns the column in the new form of the innermost open block that a column is in.
    fn block_at(&self, column: usize) -> usize {
        let blocks = self.blocks.iter().rev();
        let mut around = blocks.filter(|(open, _)| *open <= column);
        around.next().map_or(0, |(_, new)| *new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries the comments of a text over to the form in which `b` is 7.
    fn carried(text: &str, bare: &str) -> Option<String> {
        carry(text, bare, &bare.replace("b: 2", "b: 7"))
    }

    #[test]
    fn comments_stay_where_they_belong() {
        for (text, bare, expected) in [
            (
                "# top\n\na:   1  # one\n\n# before b\nb: 2 # two\n\n# end\n",
                "a: 1\nb: 2",
                "# top\n\na: 1 # one\n# before b\nb: 7 # two\n\n# end",
            ),
            (
                "a:\n    - x: 1\n      # in x\n      y: |\n        # text\n    # item\n    - z\n# b\nb: 2",
                "a:\n- x: 1\n  y: |\n    # text\n- z\nb: 2",
                "a:\n- x: 1\n  # in x\n  y: |\n    # text\n# item\n- z\n# b\nb: 7",
            ),
            (
                "a:\n  c: 1\n  # end of a\n\n# before b\nb: 2",
                "a:\n  c: 1\nb: 2",
                "a:\n  c: 1\n  # end of a\n# before b\nb: 7",
            ),
        ] {
            assert_eq!(carried(text, bare).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn new_lines_come_between_the_old_ones() {
        let (text, bare) = ("# a\na: 1\n# c\nc: 3 # d\n", "a: 1\nc: 3\n");
        let new = carry(text, bare, "a: 1\nb:\n  x: 2\nc: 3\n").unwrap();
        assert_eq!(new, "# a\na: 1\nb:\n  x: 2\n# c\nc: 3 # d\n");
        let new = carry(&format!("{text}# e\n"), bare, "a: 1\nc: 3\nd: 4\n").unwrap();
        assert_eq!(new, "# a\na: 1\n# c\nc: 3 # d\n# e\n\nd: 4\n");
    }

    #[test]
    fn nothing_is_carried_over_where_no_rule_is_known() {
        for (text, bare) in [
            ("a: &x 1 # c\nb: 2", "a: 1\nb: 2"),
            (
                "a:\n- x: 1\n# c\n\n- y: 2\nb: 2",
                "a:\n- x: 1\n- y: 2\nb: 2",
            ),
            ("a: 1\nb: 2", "a: 1\nb: 2"),
        ] {
            assert_eq!(carried(text, bare), None, "{text}");
        }
    }
}
