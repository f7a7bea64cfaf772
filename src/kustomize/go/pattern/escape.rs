//! Escapes: `\n`, `\x{61}`, `\141`, `\.`; and the classes `\d`, `\s`, `\w`.

use std::iter::Peekable;
use std::str::Chars;

/// The rest of a pattern.
pub(super) type Rest<'p> = Peekable<Chars<'p>>;

/// Reads the character that an escape stands for, after its backslash.
///
/// # Errors
/// Returns Go's words for an escape that does not exist.
pub(super) fn character(rest: &mut Rest<'_>) -> Result<char, String> {
    let Some(first) = rest.next() else {
        return Err("trailing backslash at end of expression: ``".into());
    };
    let unknown = || format!("invalid escape sequence: `\\{first}`");
    let is_octal = |char: &char| ('0'..='7').contains(char);
    match first {
        // A single digit other than zero would be a backreference.
        '1'..='7' if !rest.peek().is_some_and(is_octal) => Err(unknown()),
        '0'..='7' => {
            let mut code = first.to_digit(8).unwrap_or_default();
            for _ in 0..2 {
                match rest.next_if(is_octal) {
                    Some(digit) => code = code * 8 + digit.to_digit(8).unwrap_or_default(),
                    None => break,
                }
            }
            char::from_u32(code).ok_or_else(unknown)
        }
        'x' => hexadecimal(rest).ok_or_else(unknown),
        'a' => Ok('\x07'),
        'f' => Ok('\x0c'),
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        't' => Ok('\t'),
        'v' => Ok('\x0b'),
        other if other.is_ascii() && !other.is_ascii_alphanumeric() => Ok(other),
        _ => Err(unknown()),
    }
}

/// Reads `61` or `{61}`.
fn hexadecimal(rest: &mut Rest<'_>) -> Option<char> {
    let is_braced = rest.next_if_eq(&'{').is_some();
    let mut digits = String::new();
    loop {
        match rest.next()? {
            '}' if is_braced => break,
            digit if digit.is_ascii_hexdigit() && digits.len() < 8 => digits.push(digit),
            _ => return None,
        }
        if !is_braced && digits.len() == 2 {
            break;
        }
    }
    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
}

/// Returns the class that a letter after a backslash stands for, as it is written within brackets.
pub(super) fn perl_class(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "0-9",
        'D' => "[^0-9]",
        's' => r"\t\n\f\r ",
        'S' => r"[^\t\n\f\r ]",
        'w' => "0-9A-Za-z_",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}
