//! Reads a Go pattern and writes it in the syntax of the `regex` crate.

use super::class::{bracketed, unicode};
use super::escape::{Rest, character, perl_class};

/// Maximum count of a repetition, and of repetitions within each other together.
const MAX_REPEAT: u32 = 1000;

/// Maximum nesting of groups.
const MAX_DEPTH: usize = 250;

/// Translates a pattern.
///
/// # Errors
/// Returns Go's words for what is wrong.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut reader = Reader {
        rest: pattern.chars().peekable(),
        out: String::with_capacity(pattern.len()),
    };
    reader.alternatives(0)?;
    match reader.rest.next() {
        None => Ok(reader.out),
        Some(_) => Err(format!("unexpected ): `{pattern}`")),
    }
}

struct Reader<'p> {
    rest: Rest<'p>,
    out: String,
}

/// What was read last, for a repetition that may follow.
enum Last {
    /// Nothing that can be repeated.
    Nothing,
    /// An expression: its place in the output, and the largest product of counts in it.
    Expression {
        start: usize,
        end: usize,
        product: u32,
    },
    /// A repetition, in Go's words, and the same of it.
    Repetition {
        text: String,
        start: usize,
        end: usize,
        product: u32,
    },
}

impl Last {
    /// What a repetition after flags alone repeats: still what stands before them.
    fn after_flags(self) -> Self {
        match self {
            Self::Repetition {
                start,
                end,
                product,
                ..
            } => Self::Expression {
                start,
                end,
                product,
            },
            other => other,
        }
    }
}

impl Reader<'_> {
    // Long: one arm per sign.
    /// Reads to the end or to a closing parenthesis. Returns the largest product of counts.
    fn alternatives(&mut self, depth: usize) -> Result<u32, String> {
        if depth > MAX_DEPTH {
            return Err("expression nests too deeply".into());
        }
        let mut largest = 1;
        let mut last = Last::Nothing;
        while let Some(char) = self.rest.next_if(|char| *char != ')') {
            let start = self.out.len();
            let mut product = 1;
            match char {
                '|' => {
                    self.out.push('|');
                    last = Last::Nothing;
                    continue;
                }
                '*' | '+' | '?' => {
                    self.repeat(char.to_string(), None, &mut last, &mut largest)?;
                    continue;
                }
                '{' => match self.counts()? {
                    Some((text, count)) => {
                        self.repeat(text, Some(count), &mut last, &mut largest)?;
                        continue;
                    }
                    None => self.out.push_str(r"\{"),
                },
                '(' => match self.group(depth)? {
                    Some(inner) => product = inner,
                    None => {
                        last = last.after_flags();
                        continue;
                    }
                },
                '[' => {
                    let class = bracketed(&mut self.rest)?;
                    self.out.push_str(&class);
                }
                '^' | '$' => self.out.push_str(&format!("(?:{char})")),
                '.' => self.out.push('.'),
                '\\' => {
                    if let Some(start) = self.escape()? {
                        let end = self.out.len();
                        last = Last::Expression {
                            start,
                            end,
                            product,
                        };
                        continue;
                    }
                }
                char => self
                    .out
                    .push_str(&regex::escape(char.encode_utf8(&mut [0; 4]))),
            }
            largest = largest.max(product);
            let end = self.out.len();
            last = Last::Expression {
                start,
                end,
                product,
            };
        }
        Ok(largest)
    }

    /// Reads what follows a backslash. Returns where the last character of quoted text starts, which
    /// a repetition repeats alone.
    fn escape(&mut self) -> Result<Option<usize>, String> {
        match self.rest.peek().copied() {
            Some('Q') => {
                self.rest.next();
                return Ok(Some(self.quoted()));
            }
            Some('A') => self.out.push_str(r"(?:\A)"),
            Some('z') => self.out.push_str(r"(?:\z)"),
            Some(letter @ ('b' | 'B')) => self.out.push_str(&format!(r"(?-u:\{letter})")),
            Some(letter @ ('p' | 'P')) => {
                self.rest.next();
                let class = unicode(&mut self.rest, letter == 'P')?;
                self.out.push_str(&class);
                return Ok(None);
            }
            Some(letter) if let Some(class) = perl_class(letter) => {
                self.out.push_str(&format!("[{class}]"));
            }
            _ => {
                let char = character(&mut self.rest)?;
                self.out
                    .push_str(&regex::escape(char.encode_utf8(&mut [0; 4])));
                return Ok(None);
            }
        }
        self.rest.next();
        Ok(None)
    }

    /// Reads the text up to `\E`. Returns where its last character starts in the output.
    fn quoted(&mut self) -> usize {
        let mut start = self.out.len();
        while let Some(char) = self.rest.next() {
            if char == '\\' && self.rest.next_if_eq(&'E').is_some() {
                break;
            }
            start = self.out.len();
            self.out
                .push_str(&regex::escape(char.encode_utf8(&mut [0; 4])));
        }
        start
    }

    /// Reads a group after its parenthesis. Returns the largest product of counts in it; `None` for
    /// flags alone.
    fn group(&mut self, depth: usize) -> Result<Option<u32>, String> {
        let mut opening = String::from("(?:");
        if self.rest.next_if_eq(&'?').is_some() {
            let mut ahead = self.rest.clone();
            let is_named = match (ahead.next(), ahead.next()) {
                (Some('P'), Some('<')) => Some(2),
                (Some('<'), Some(next)) if next != '=' && next != '!' => Some(1),
                _ => None,
            };
            match is_named {
                Some(skipped) => {
                    self.rest.by_ref().take(skipped).for_each(drop);
                    self.name()?;
                }
                None => {
                    let (flags, is_group) = self.flags()?;
                    if !is_group {
                        if !flags.is_empty() {
                            self.out.push_str(&format!("(?{flags})"));
                        }
                        return Ok(None);
                    }
                    opening = format!("(?{flags}:");
                }
            }
        }
        self.out.push_str(&opening);
        let product = self.alternatives(depth + 1)?;
        self.out.push(')');
        match self.rest.next() {
            Some(_) => Ok(Some(product)),
            None => Err("missing closing )".into()),
        }
    }

    /// Reads the name of a group. Names have no meaning here, so they are dropped.
    fn name(&mut self) -> Result<(), String> {
        let mut name = String::new();
        loop {
            match self.rest.next() {
                Some('>') if !name.is_empty() => return Ok(()),
                Some(char) if char.is_ascii_alphanumeric() || char == '_' => name.push(char),
                _ => return Err(format!("invalid named capture: `(?P<{name}`")),
            }
        }
    }

    /// Reads flags up to `:` or `)`. Returns them, and whether a group follows.
    fn flags(&mut self) -> Result<(String, bool), String> {
        let mut flags = String::new();
        loop {
            match self.rest.next() {
                Some(flag @ ('i' | 'm' | 's' | 'U')) => flags.push(flag),
                Some('-') if !flags.contains('-') => flags.push('-'),
                Some(end @ (':' | ')')) if !flags.ends_with('-') => {
                    return Ok((unrepeated(&flags), end == ':'));
                }
                _ => {
                    return Err(format!("invalid or unsupported Perl syntax: `(?{flags}`"));
                }
            }
        }
    }

    /// Reads counts after a brace: `2}`, `2,}` or `2,3}`; `None`, and nothing is read, if the brace
    /// is a character.
    fn counts(&mut self) -> Result<Option<(String, u32)>, String> {
        let text: String = self.rest.clone().take_while(|char| *char != '}').collect();
        let is_closed = self.rest.clone().nth(text.chars().count()) == Some('}');
        let (least, most) = match text.split_once(',') {
            Some((least, most)) => (least, Some(most)),
            None => (text.as_str(), None),
        };
        let is_count = |text: &str| {
            let is_padded = text.len() > 1 && text.starts_with('0');
            !text.is_empty() && !is_padded && text.chars().all(|char| char.is_ascii_digit())
        };
        if !is_closed
            || !is_count(least)
            || !most.is_none_or(|most| most.is_empty() || is_count(most))
        {
            return Ok(None);
        }
        self.rest
            .by_ref()
            .take(text.chars().count() + 1)
            .for_each(drop);
        let text = format!("{{{text}}}");
        let count = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
        let (least, most) = (
            count(least),
            most.filter(|most| !most.is_empty()).map(count),
        );
        let largest = most.unwrap_or(least);
        if least > MAX_REPEAT || largest > MAX_REPEAT || largest < least {
            return Err(format!("invalid repeat count: `{text}`"));
        }
        Ok(Some((text, largest)))
    }

    /// Writes a repetition of what was read last. `count` is the count of one with counts.
    fn repeat(
        &mut self,
        mut text: String,
        count: Option<u32>,
        last: &mut Last,
        largest: &mut u32,
    ) -> Result<(), String> {
        if self.rest.next_if_eq(&'?').is_some() {
            text.push('?');
        }
        let (start, end, mut product) = match last {
            Last::Nothing => {
                return Err(format!("missing argument to repetition operator: `{text}`"));
            }
            Last::Repetition { text: before, .. } => {
                let message = format!("invalid nested repetition operator: `{before}{text}`");
                return Err(message);
            }
            Last::Expression {
                start,
                end,
                product,
            } => (*start, *end, *product),
        };
        if let Some(count) = count {
            product = product.saturating_mul(count);
            if count >= 2 && product > MAX_REPEAT {
                return Err(format!("invalid repeat count: `{text}`"));
            }
        }
        // Grouped, so that the repetition is of all of it, and of nothing that flags have added.
        let flags = self.out.split_off(end);
        self.out.insert_str(start, "(?:");
        self.out.push(')');
        self.out.push_str(&text);
        let end = self.out.len();
        self.out.push_str(&flags);
        *largest = (*largest).max(product);
        *last = Last::Repetition {
            text,
            start,
            end,
            product,
        };
        Ok(())
    }
}

/// Removes flags that are named twice, which the `regex` crate refuses.
fn unrepeated(flags: &str) -> String {
    let (set, unset) = flags.split_once('-').unwrap_or((flags, ""));
    let mut kept = String::new();
    for flag in set.chars().filter(|flag| !unset.contains(*flag)) {
        if !kept.contains(flag) {
            kept.push(flag);
        }
    }
    if !unset.is_empty() {
        kept.push('-');
        for flag in unset.chars() {
            if !kept.contains(flag) {
                kept.push(flag);
            }
        }
    }
    kept
}
