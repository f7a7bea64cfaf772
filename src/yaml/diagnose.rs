//! What a person probably did who wrote a text that is not valid YAML.

use super::{Position, YamlError};

/// The lines that git writes around a conflict.
const CONFLICT_MARKERS: [&str; 3] = ["<<<<<<< ", "||||||| ", ">>>>>>> "];

/// Replaces an error of the grammar by its probable cause, where the text shows one. `first_line` is
/// the number of the text's first line.
pub(super) fn diagnose(text: &str, first_line: u32, error: YamlError) -> YamlError {
    let marker = |line: &str| {
        CONFLICT_MARKERS
            .iter()
            .any(|marker| line.starts_with(marker))
    };
    if let Some((line, text)) = (first_line..)
        .zip(text.lines())
        .find(|(_, line)| marker(line))
    {
        let marker = text.get(..7).unwrap_or_default();
        return at(
            line,
            1,
            &format!("a merge conflict is not resolved ({marker})"),
        )
        .with_help("keep one side and remove the markers");
    }
    let number = usize::try_from(error.position.line.saturating_sub(first_line));
    let line = number.ok().and_then(|number| text.lines().nth(number));
    let line = line.unwrap_or_default();
    let indent = line.len() - line.trim_start().len();
    let tab = line.get(..indent).and_then(|indent| indent.find('\t'));
    if let Some(tab) = tab {
        let column = u32::try_from(tab + 1).unwrap_or(u32::MAX);
        return at(error.position.line, column, "the line is indented by a tab")
            .with_help("indent by spaces");
    }
    if line.contains("{{") || line.contains("}}") || line.contains("{%") {
        return error.with_help("the line holds a template; render it first, or quote it");
    }
    match error.message.as_str() {
        "mapping values are not allowed in this context" => {
            error.with_help("quote the value, which holds ': ', or check the indentation")
        }
        "could not find expected ':'" => {
            error.with_help("a key needs ': ' after it; or quote what is meant as text")
        }
        "found character that cannot start any token" => {
            error.with_help("quote the value, which begins with a special character")
        }
        _ => error,
    }
}

fn at(line: u32, column: u32, message: &str) -> YamlError {
    YamlError::at(Position { line, column }, message)
}

#[cfg(test)]
mod tests {
    use crate::yaml::{Limits, parse_from};

    fn error(text: &str) -> String {
        let error = parse_from(text, 10, Limits::default()).unwrap_err();
        error.to_string()
    }

    #[test]
    fn the_cause_is_told_where_the_text_shows_it() {
        assert_eq!(
            error("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n"),
            "a merge conflict is not resolved (<<<<<<<) at line 11, column 1; help: keep one side \
             and remove the markers"
        );
        assert_eq!(
            error("a:\n  b: 1\n \tc: 2\n"),
            "the line is indented by a tab at line 12, column 2; help: indent by spaces"
        );
        assert!(error("{{- if .Values.a }}\na: b\n").contains("help: the line holds a template"));
        assert!(error("a: b: c\n").contains("help: quote the value"));
        assert!(!error("a: [\n").contains("help"));
    }
}
