//! Patterns in Go's syntax. The library that runs them has nearly the same; this says the rest in its
//! words: `\d`, `\s`, `\w` and `\b` know ASCII alone, `\Q…\E` quotes, and a bracket inside brackets is
//! a bracket.

use regex::{Regex, RegexBuilder};

/// The most memory that a compiled pattern may take, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// Compiles `pattern` between two pieces that are in the library's syntax already.
///
/// # Errors
/// A sentence with the pattern.
pub(super) fn between(before: &str, pattern: &str, after: &str) -> Result<Regex, String> {
    let whole = format!("{before}(?:{}){after}", translated(pattern));
    RegexBuilder::new(&whole)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| {
            // The library draws a picture; its last line says what is wrong.
            let text = error.to_string();
            let why = text
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            format!("error parsing regexp: {pattern:?}: {why}")
        })
}

/// Compiles a pattern that must match a whole text.
///
/// # Errors
/// As for [`between`].
pub(super) fn whole(pattern: &str) -> Result<Regex, String> {
    between("^", pattern, "$")
}

/// Compiles a pattern that may match anywhere in a text.
///
/// # Errors
/// As for [`between`].
pub(super) fn anywhere(pattern: &str) -> Result<Regex, String> {
    between("", pattern, "")
}

fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    // Whether the place is inside brackets, and whether it is their beginning.
    let (mut inside, mut begins) = (false, false);
    while let Some(c) = rest.next() {
        let is_first = std::mem::take(&mut begins);
        match (c, inside) {
            ('\\', _) => escape(&mut rest, inside, &mut out),
            ('[', false) => {
                (inside, begins) = (true, true);
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            (']', true) if is_first => out.push_str(r"\]"),
            (']', true) => {
                inside = false;
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

/// What follows a backslash.
fn escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, inside: bool, out: &mut String) {
    let class = |ranges: &str, negated: bool| match (inside, negated) {
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
        Some(c @ ('b' | 'B')) if !inside => out.push_str(&format!(r"(?-u:\{c})")),
        Some('Q') if !inside => {
            let text: String = rest.by_ref().collect();
            let (quoted, after) = text.split_once(r"\E").unwrap_or((&text, ""));
            out.push_str(&regex::escape(quoted));
            out.push_str(&translated(after));
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
        let fits = |pattern: &str, text: &str| whole(pattern).unwrap().is_match(text);
        assert!(fits(r"\w+-\d{2}", "ab_9-42") && !fits(r"\w", "é") && !fits(r"\d", "٣"));
        assert!(fits(r"[[a]+", "[a") && fits("[]a]+", "]a") && fits("[a&&b]+", "a&b"));
        assert!(fits(r"[\w-]+", "a-b") && fits(r"[^\d]+", "ab") && fits("[[:alpha:]]+", "ab"));
        assert!(fits(r"\Qa.b\E.", "a.bc") && !fits(r"\Qa.b\E", "axb"));
        assert!(fits("a|b", "b") && !fits("a|b", "ab"));
        assert_eq!(
            whole("Conf(ig").unwrap_err(),
            "error parsing regexp: \"Conf(ig\": unclosed group"
        );
    }
}
