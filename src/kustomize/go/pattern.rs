//! Go regular expressions, translated to the syntax of the `regex` crate. The two differ little: in
//! Go `\d`, `\s`, `\w` and `\b` are ASCII only, `\Q…\E` quotes, and `[`, `&` and `~` inside a
//! character class are literals.

use regex::{Regex, RegexBuilder};

use crate::kustomize::BuildError;

/// Maximum memory of a compiled pattern, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// Compiles a Go `pattern` between `before` and `after`, which are in the syntax of the `regex`
/// crate.
///
/// # Errors
/// The pattern is invalid or its compiled form exceeds [`SIZE_LIMIT`].
pub(crate) fn compile_between(
    before: &str,
    pattern: &str,
    after: &str,
) -> Result<Regex, BuildError> {
    let whole = format!("{before}(?:{}){after}", translate(pattern));
    RegexBuilder::new(&whole)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| {
            // The error of `regex` is a multi-line picture; the last line is the reason.
            let text = error.to_string();
            let why = text
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            format!("error parsing regexp: {pattern:?}: {why}").into()
        })
}

/// Compiles a pattern that must match a whole string.
///
/// # Errors
/// As for [`compile_between`].
pub(crate) fn compile_anchored(pattern: &str) -> Result<Regex, BuildError> {
    compile_between("^", pattern, "$")
}

/// Compiles a pattern that may match anywhere in a string.
///
/// # Errors
/// As for [`compile_between`].
pub(crate) fn compile_unanchored(pattern: &str) -> Result<Regex, BuildError> {
    compile_between("", pattern, "")
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    // Whether the current character is inside a character class, and whether it is the first one
    // there.
    let (mut in_class, mut at_class_start) = (false, false);
    while let Some(c) = rest.next() {
        let is_first = std::mem::take(&mut at_class_start);
        match (c, in_class) {
            ('\\', _) => translate_escape(&mut rest, in_class, &mut out),
            ('[', false) => {
                (in_class, at_class_start) = (true, true);
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            (']', true) if is_first => out.push_str(r"\]"),
            (']', true) => {
                in_class = false;
                out.push(']');
            }
            ('[', true) if rest.peek() == Some(&':') => {
                out.push('[');
                for c in rest.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            ('[' | '&' | '~', true) => out.extend(['\\', c]),
            (c, _) => out.push(c),
        }
    }
    out
}

/// Translates what follows a backslash.
fn translate_escape(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    in_class: bool,
    out: &mut String,
) {
    let class = |ranges: &str, negated: bool| match (in_class, negated) {
        (true, false) => ranges.to_owned(),
        (_, negated) => format!("[{}{ranges}]", if negated { "^" } else { "" }),
    };
    match rest.next() {
        Some('d') => out.push_str(&class("0-9", false)),
        Some('D') => out.push_str(&class("0-9", true)),
        Some('s') => out.push_str(&class(r"\t\n\f\r ", false)),
        Some('S') => out.push_str(&class(r"\t\n\f\r ", true)),
        Some('w') => out.push_str(&class("0-9A-Za-z_", false)),
        Some('W') => out.push_str(&class("0-9A-Za-z_", true)),
        Some(c @ ('b' | 'B')) if !in_class => out.push_str(&format!(r"(?-u:\{c})")),
        Some('Q') if !in_class => {
            let text: String = rest.by_ref().collect();
            let (quoted, after) = text.split_once(r"\E").unwrap_or((&text, ""));
            out.push_str(&regex::escape(quoted));
            out.push_str(&translate(after));
        }
        Some(c) => out.extend(['\\', c]),
        None => out.push('\\'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let fits = |pattern: &str, text: &str| compile_anchored(pattern).unwrap().is_match(text);
        assert!(fits(r"\w+-\d{2}", "ab_9-42") && !fits(r"\w", "é") && !fits(r"\d", "٣"));
        assert!(fits(r"[[a]+", "[a") && fits("[]a]+", "]a") && fits("[a&&b]+", "a&b"));
        assert!(fits(r"[\w-]+", "a-b") && fits(r"[^\d]+", "ab") && fits("[[:alpha:]]+", "ab"));
        assert!(fits(r"\Qa.b\E.", "a.bc") && !fits(r"\Qa.b\E", "axb"));
        assert!(fits("a|b", "b") && !fits("a|b", "ab"));
        assert_eq!(
            compile_anchored("Conf(ig").unwrap_err(),
            "error parsing regexp: \"Conf(ig\": unclosed group".into()
        );
    }
}
