//! Character classes: `[a-z]`, `[[:alpha:]]`, `\p{Greek}`.

use regex::Regex;

use super::escape::{Rest, character, perl_class};

/// Reads a class after its opening bracket, and returns it with both brackets.
///
/// # Errors
/// Returns Go's words for what is wrong.
pub(super) fn bracketed(rest: &mut Rest<'_>) -> Result<String, String> {
    let mut class = String::from("[");
    if rest.next_if_eq(&'^').is_some() {
        class.push('^');
    }
    let mut is_first = true;
    loop {
        if !is_first && rest.next_if_eq(&']').is_some() {
            class.push(']');
            return Ok(class);
        }
        is_first = false;
        match special(rest)? {
            Some(item) => class.push_str(&item),
            None => class.push_str(&range(rest)?),
        }
    }
}

/// Reads a named class or a class escape; `None` if a character or range follows.
fn special(rest: &mut Rest<'_>) -> Result<Option<String>, String> {
    let mut ahead = rest.clone();
    match (ahead.next(), ahead.peek().copied()) {
        (Some('['), Some(':')) => {
            let text: String = ahead.skip(1).collect();
            let Some((name, _)) = text.split_once(":]") else {
                return Ok(None);
            };
            let unknown = || format!("invalid character class range: `[:{name}:]`");
            let item = posix(name).ok_or_else(unknown)?;
            // The name, and `[:` and `:]`.
            rest.by_ref().take(name.chars().count() + 4).for_each(drop);
            Ok(Some(item))
        }
        (Some('\\'), Some(letter @ ('p' | 'P'))) => {
            rest.by_ref().take(2).for_each(drop);
            unicode(rest, letter == 'P').map(Some)
        }
        (Some('\\'), Some(letter)) => {
            let class = perl_class(letter);
            if class.is_some() {
                rest.by_ref().take(2).for_each(drop);
            }
            Ok(class.map(str::to_owned))
        }
        _ => Ok(None),
    }
}

/// Reads `a` or `a-z`. A dash before the closing bracket is a character.
fn range(rest: &mut Rest<'_>) -> Result<String, String> {
    let low = class_character(rest)?;
    let mut ahead = rest.clone();
    let is_range = ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']');
    if !is_range {
        return Ok(code(low));
    }
    rest.next();
    let high = class_character(rest)?;
    match high < low {
        true => Err(format!("invalid character class range: `{low}-{high}`")),
        false => Ok(format!("{}-{}", code(low), code(high))),
    }
}

fn class_character(rest: &mut Rest<'_>) -> Result<char, String> {
    match rest.next() {
        None => Err("missing closing ]".into()),
        Some('\\') => character(rest),
        Some(char) => Ok(char),
    }
}

fn code(char: char) -> String {
    format!("\\x{{{:x}}}", u32::from(char))
}

/// Returns a POSIX class as it is written within brackets.
fn posix(name: &str) -> Option<String> {
    let (name, is_negated) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let ranges = match name {
        "alnum" => "0-9A-Za-z",
        "alpha" => "A-Za-z",
        "ascii" => r"\x{0}-\x{7f}",
        "blank" => r"\t ",
        "cntrl" => r"\x{0}-\x{1f}\x{7f}",
        "digit" => "0-9",
        "graph" => r"\x{21}-\x{7e}",
        "lower" => "a-z",
        "print" => r"\x{20}-\x{7e}",
        "punct" => r"\x{21}-\x{2f}\x{3a}-\x{40}\x{5b}-\x{60}\x{7b}-\x{7e}",
        "space" => r"\t\n\x{b}\f\r ",
        "upper" => "A-Z",
        "word" => "0-9A-Za-z_",
        "xdigit" => "0-9A-Fa-f",
        _ => return None,
    };
    Some(match is_negated {
        true => format!("[^{ranges}]"),
        false => ranges.to_owned(),
    })
}

/// Reads the name of a Unicode category or script, after `\p` or `\P`.
///
/// # Errors
/// Returns Go's words for a name that is neither.
pub(super) fn unicode(rest: &mut Rest<'_>, is_negated: bool) -> Result<String, String> {
    let mut name = String::new();
    match rest.next() {
        Some('{') => loop {
            match rest.next() {
                Some('}') => break,
                Some(char) => name.push(char),
                None => return Err(format!("invalid character class range: `\\p{{{name}`")),
            }
        },
        Some(char) => name.push(char),
        None => return Err("invalid character class range: `\\p`".into()),
    }
    let (plain, is_inverted) = match name.strip_prefix('^') {
        Some(plain) => (plain, true),
        None => (name.as_str(), false),
    };
    let letter = if is_negated == is_inverted { 'p' } else { 'P' };
    let is_name = |char: char| char.is_ascii_alphanumeric() || [' ', '_', '-'].contains(&char);
    let is_plausible = plain.chars().all(is_name) && !plain.to_ascii_lowercase().starts_with("is");
    let forms = match plain.to_ascii_lowercase().as_str() {
        "any" | "ascii" | "assigned" => vec![format!("\\{letter}{{{plain}}}")],
        _ => ["gc", "sc"]
            .map(|kind| format!("\\{letter}{{{kind}={plain}}}"))
            .to_vec(),
    };
    let mut known = forms
        .into_iter()
        .filter(|form| is_plausible && Regex::new(form).is_ok());
    known
        .next()
        .ok_or_else(|| format!("invalid character class range: `\\p{{{name}}}`"))
}
