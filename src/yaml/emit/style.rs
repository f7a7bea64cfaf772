//! Which style a scalar is written in.

use crate::yaml::resolve::{Meaning, is_base_60, resolve};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// A key on the same line as its value: never folded, never a block scalar.
    Key,
    /// A value, a list item, or an explicit key (`? key`).
    Value,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

pub(super) fn is_printable(c: char) -> bool {
    matches!(c, '\n' | '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && c != '\u{feff}'
}

pub(super) fn choose_style(text: &str, role: Role) -> Style {
    let wanted = if text.contains('\n') {
        Style::Literal
    } else if resolve(text) == Meaning::Text && !is_base_60(text) {
        Style::Plain
    } else {
        return Style::Double;
    };
    let allowed = AllowedStyles::of(text);
    let single = || {
        if allowed.single {
            Style::Single
        } else {
            Style::Double
        }
    };
    match wanted {
        Style::Literal if allowed.block && role == Role::Value => Style::Literal,
        Style::Plain if allowed.plain => Style::Plain,
        Style::Plain => single(),
        _ => Style::Double,
    }
}

/// The styles that can represent a string.
struct AllowedStyles {
    plain: bool,
    single: bool,
    block: bool,
}

/// Returns true for a text of ASCII letters, digits and `-./_` that begins with a letter, a digit or
/// a slash: every style can represent it.
fn is_word(text: &str) -> bool {
    let is_inner =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/');
    let first = text.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'/')
        && text.bytes().all(is_inner)
}

impl AllowedStyles {
    fn of(text: &str) -> Self {
        if is_word(text) {
            return Self {
                plain: true,
                single: true,
                block: true,
            };
        }
        let mut special = false;
        let mut breaks = false;
        let mut indicator = text.starts_with("---") || text.starts_with("...");
        let mut break_space = false;
        let mut space_break = false;
        let mut previous: Option<char> = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let before_blank = chars
                .peek()
                .is_none_or(|next| matches!(next, ' ' | '\t') || is_break(*next));
            let after_blank = previous.is_some_and(|p| matches!(p, ' ' | '\t') || is_break(p));
            indicator |= match (previous, c) {
                (None, '-' | '?' | ':') => before_blank,
                (None, c) => "#,[]{}&*!|>'\"%@`".contains(c),
                (Some(_), ':') => before_blank,
                (Some(_), '#') => after_blank,
                _ => false,
            };
            special |= !is_printable(c);
            breaks |= is_break(c);
            break_space |= c == ' ' && previous.is_some_and(is_break);
            space_break |= is_break(c) && previous == Some(' ');
            previous = Some(c);
        }
        let edge = |c: char| c == ' ' || is_break(c);
        let edges = text.starts_with(edge) || text.ends_with(edge);
        let unfit = space_break || special;
        Self {
            plain: !(edges || breaks || break_space || unfit || indicator),
            single: !(break_space || unfit),
            block: !(text.ends_with(' ') || unfit),
        }
    }
}
