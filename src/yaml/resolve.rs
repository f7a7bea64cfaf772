//! Determines the type of a plain scalar: YAML 1.1 as go-yaml v2 reads it. The first match wins.
#![expect(
    clippy::indexing_slicing,
    reason = "the last six bytes are known to exist and to be ASCII"
)]

/// The type and value of a plain scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meaning {
    /// `~`, `null`, or an empty scalar.
    Null,
    /// `true`, `yes`, `on`, `y` and their opposites, in the capitalizations that go-yaml accepts.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// An integer that fits only into an unsigned 64-bit integer.
    Uint(u64),
    /// Any other number, and `.inf` and `.nan`.
    Float(f64),
    /// A date, or a date and time. The text is kept as is.
    Timestamp,
    /// A string.
    Text,
}

/// Determines what `text` means as a plain scalar.
pub fn resolve(text: &str) -> Meaning {
    if let Some(word) = resolve_word(text) {
        return word;
    }
    match text.bytes().next() {
        Some(b'0'..=b'9' | b'+' | b'-') => resolve_number(text),
        Some(b'.') if is_float(text) => parse_float(text).unwrap_or(Meaning::Text),
        _ => Meaning::Text,
    }
}

/// Returns true if `text` looks like a base-60 number of YAML 1.1. go-yaml reads it as a string but
/// quotes it.
pub fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    if first.is_empty()
        || !first.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        || !first.starts_with(|c: char| c.is_ascii_digit())
    {
        return false;
    }
    let mut rest: Vec<&str> = parts.collect();
    let Some(last) = rest.pop() else { return false };
    let (last, fraction) = last.split_once('.').unwrap_or((last, ""));
    let is_sixtieth = |part: &str| match part.as_bytes() {
        [digit] => digit.is_ascii_digit(),
        [tens, digit] => (b'0'..=b'5').contains(tens) && digit.is_ascii_digit(),
        _ => false,
    };
    rest.iter().all(|part| is_sixtieth(part))
        && is_sixtieth(last)
        && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

fn resolve_word(text: &str) -> Option<Meaning> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Meaning::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Meaning::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Meaning::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Meaning::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Meaning::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

fn resolve_number(text: &str) -> Meaning {
    if is_timestamp(text) {
        return Meaning::Timestamp;
    }
    let plain = text.replace('_', "");
    if let Some(integer) = parse_integer(&plain) {
        return integer;
    }
    if is_float(&plain) {
        return parse_float(&plain).unwrap_or(Meaning::Text);
    }
    Meaning::Text
}

/// Parses an integer in Go's base-0 notation: `0x`, `0o`, `0b`, a leading zero for octal, else
/// decimal.
fn parse_integer(text: &str) -> Option<Meaning> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let lower = digits.get(..2).unwrap_or_default().to_ascii_lowercase();
    let (radix, digits) = match lower.as_str() {
        "0x" => (16, digits.get(2..)?),
        "0o" => (8, digits.get(2..)?),
        "0b" => (2, digits.get(2..)?),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|b| char::from(b).is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0_i64.checked_sub_unsigned(magnitude).map(Meaning::Int);
    }
    // An unsigned integer is tried only without a sign, because Go's `ParseUint` accepts none.
    match i64::try_from(magnitude) {
        Ok(integer) => Some(Meaning::Int(integer)),
        Err(_) => (!text.starts_with('+')).then_some(Meaning::Uint(magnitude)),
    }
}

/// Matches `[-+]?(\.digits|digits(\.digits?)?)([eE][-+]?digits)?`.
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (
            unsigned.get(..at).unwrap_or_default(),
            unsigned.get(at + 1..),
        ),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let good_mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let good_exponent = exponent.is_none_or(|exponent| {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !unsigned.is_empty() && digits(unsigned)
    });
    good_mantissa && good_exponent
}

/// Returns `None` if the number overflows a 64-bit float; the scalar is then a string.
fn parse_float(text: &str) -> Option<Meaning> {
    text.parse::<f64>()
        .ok()
        .filter(|float| float.is_finite())
        .map(Meaning::Float)
}

/// Matches `YYYY-M-D`, `YYYY-M-DTh:m:s[.f](Z|±hh:mm)` (or `t`) and `YYYY-M-D h:m:s[.f]`. The date
/// must exist.
pub fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 8
        || bytes.get(4) != Some(&b'-')
        || !text
            .get(..4)
            .is_some_and(|y| y.bytes().all(|b| b.is_ascii_digit()))
    {
        return false;
    }
    let date_end = text.find([' ', 'T', 't']).unwrap_or(text.len());
    let (date, rest) = text.split_at(date_end);
    let mut parts = date.split('-');
    let (Some(year), Some(month), Some(day), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Ok(year), Some(month), Some(day)) =
        (year.parse::<i16>(), short_number(month), short_number(day))
    else {
        return false;
    };
    if jiff::civil::Date::new(year, month, day).is_err() {
        return false;
    }
    match rest.as_bytes().first() {
        None => true,
        Some(b' ') => is_time(rest.get(1..).unwrap_or_default()),
        _ => {
            let time = rest.get(1..).unwrap_or_default();
            match time.strip_suffix('Z') {
                Some(time) => is_time(time),
                None => {
                    time.len() > 6
                        && is_offset(&time.as_bytes()[time.len() - 6..])
                        && is_time(&time[..time.len() - 6])
                }
            }
        }
    }
}

fn is_offset(bytes: &[u8]) -> bool {
    matches!(bytes, [b'+' | b'-', a, b, b':', c, d] if [a, b, c, d].iter().all(|digit| digit.is_ascii_digit()))
}

/// Matches `h:m:s` with an optional fraction.
fn is_time(text: &str) -> bool {
    let (clock, fraction) = text
        .split_once(['.', ','])
        .map_or((text, None), |(clock, f)| (clock, Some(f)));
    let parts: Vec<_> = clock.split(':').map(short_number).collect();
    let good_clock = matches!(parts[..], [Some(hour), Some(minute), Some(second)] if hour < 24 && minute < 60 && second < 60);
    good_clock && fraction.is_none_or(|f| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit()))
}

/// Parses one or two digits.
fn short_number(text: &str) -> Option<i8> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::Meaning::*;
    use super::*;

    #[test]
    fn words_numbers_and_lookalikes() {
        for (text, meaning) in [
            ("yes", Bool(true)),
            ("yEs", Text),
            ("~", Null),
            ("", Null),
            ("nUll", Text),
            ("010", Int(8)),
            ("0o8", Text),
            ("0x1F", Int(31)),
            ("-0b11", Int(-3)),
            ("08", Float(8.0)),
            ("1_000", Int(1000)),
            ("_1", Text),
            ("1e3", Float(1000.0)),
            ("1e400", Text),
            ("5.", Float(5.0)),
            (".5", Float(0.5)),
            (".", Text),
            ("1:30", Text),
            ("nan", Text),
            ("2020-01-02", Timestamp),
            ("2020-02-30", Text),
            ("2020-1-2 3:4:5", Timestamp),
            ("2020-01-02T03:04:05+01:00", Timestamp),
            ("2020-01-02T03:04:05", Text),
            ("9223372036854775808", Uint(9_223_372_036_854_775_808)),
            ("-9223372036854775808", Int(i64::MIN)),
            ("+", Text),
            ("-", Text),
            ("1.2.3.4", Text),
        ] {
            assert_eq!(resolve(text), meaning, "{text:?}");
        }
        assert!(
            is_base_60("1:30")
                && is_base_60("-190:20:30.15")
                && !is_base_60("80:80")
                && !is_base_60("a:1")
        );
    }
}
