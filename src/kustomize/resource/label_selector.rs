//! Label selectors, in the grammar of Kubernetes:
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>.

use std::collections::HashMap;

use crate::kustomize::BuildError;

/// Maximum length of a value, and of a key without its prefix.
const MAX_NAME: usize = 63;

/// Maximum length of the prefix of a key.
const MAX_PREFIX: usize = 253;

/// A list of requirements, all of which must hold; an empty one selects everything.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Debug, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, PartialEq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    /// `!`, `=`, `==`, `!=`, `<`, `>`, `(`, `)` or `,`.
    Sign(&'a str),
}

impl LabelSelector {
    /// Parses a selector.
    pub fn parse(text: &str) -> Result<Self, BuildError> {
        let tokens = tokens(text);
        let parsed = match tokens.is_empty() {
            true => Ok(Vec::new()),
            false => Parser { tokens: &tokens }.requirements(),
        };
        let requirements =
            parsed.map_err(|why| format!("unable to parse the selector {text:?}: {why}"))?;
        Ok(Self(requirements))
    }

    /// Returns true if all requirements hold.
    pub fn matches(&self, labels: &HashMap<&str, &str>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(requirement.key.as_str()).copied();
            let number = || value?.parse::<i64>().ok();
            match &requirement.operator {
                Operator::In(values) => {
                    value.is_some_and(|value| values.iter().any(|v| v == value))
                }
                Operator::NotIn(values) => {
                    value.is_none_or(|value| values.iter().all(|v| v != value))
                }
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
                Operator::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
                Operator::LessThan(bound) => number().is_some_and(|number| number < *bound),
            }
        })
    }

    /// Returns true if everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let is_sign = |c: char| "!=<>(),".contains(c);
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = ["==", "!="]
            .iter()
            .find(|sign| rest.starts_with(**sign))
            .map(|sign| sign.len());
        let length = length.or_else(|| rest.starts_with(is_sign).then_some(1));
        let end = length.unwrap_or_else(|| {
            rest.find(|c: char| is_sign(c) || c.is_whitespace())
                .unwrap_or(rest.len())
        });
        let (token, after) = rest.split_at(end);
        tokens.push(match length {
            Some(_) => Token::Sign(token),
            None => Token::Word(token),
        });
        rest = after.trim_start();
    }
    tokens
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(*first)
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut all = Vec::new();
        loop {
            all.push(self.requirement()?);
            match self.next() {
                None => return Ok(all),
                Some(Token::Sign(",")) => {}
                Some(other) => return Err(found(Some(other), "a comma or the end")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let first = self.next();
        if first == Some(Token::Sign("!")) {
            let key = self.key()?;
            return Ok(Requirement {
                key,
                operator: Operator::DoesNotExist,
            });
        }
        let key = match first {
            Some(Token::Word(key)) => valid_key(key)?,
            other => return Err(found(other, "a label")),
        };
        let operator = match self.tokens.first() {
            None | Some(Token::Sign(",")) => Operator::Exists,
            _ => self.operator()?,
        };
        Ok(Requirement { key, operator })
    }

    fn key(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Word(key)) => valid_key(key),
            other => Err(found(other, "a label")),
        }
    }

    fn operator(&mut self) -> Result<Operator, String> {
        match self.next() {
            Some(Token::Sign("=" | "==")) => Ok(Operator::In(vec![self.value()?])),
            Some(Token::Sign("!=")) => Ok(Operator::NotIn(vec![self.value()?])),
            Some(Token::Sign(">")) => Ok(Operator::GreaterThan(self.bound()?)),
            Some(Token::Sign("<")) => Ok(Operator::LessThan(self.bound()?)),
            Some(Token::Word("in")) => Ok(Operator::In(self.values()?)),
            Some(Token::Word("notin")) => Ok(Operator::NotIn(self.values()?)),
            other => Err(found(other, "an operator")),
        }
    }

    /// Reads one value, which may be empty.
    fn value(&mut self) -> Result<String, String> {
        match self.tokens.first() {
            None | Some(Token::Sign(",")) => Ok(String::new()),
            Some(Token::Word(word)) => {
                self.next();
                valid_value(word)
            }
            Some(other) => Err(found(Some(*other), "a value")),
        }
    }

    fn bound(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        let is_number = !value.is_empty() && value.chars().all(|c| c.is_ascii_digit());
        let bound = value.parse().ok().filter(|_| is_number);
        bound.ok_or_else(|| format!("{value:?} is not an integer"))
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Some(Token::Sign("(")) => {}
            other => return Err(found(other, "\"(\"")),
        }
        let mut values = Vec::new();
        loop {
            values.push(match self.tokens.first() {
                Some(Token::Word(word)) => {
                    self.next();
                    valid_value(word)?
                }
                _ => String::new(),
            });
            match self.next() {
                Some(Token::Sign(",")) => {}
                Some(Token::Sign(")")) => return Ok(values),
                other => return Err(found(other, "a comma or \")\"")),
            }
        }
    }
}

fn found(token: Option<Token<'_>>, expected: &str) -> String {
    let text = match token {
        Some(Token::Word(text) | Token::Sign(text)) => text,
        None => "",
    };
    format!("found {text:?}, expected {expected}")
}

fn valid_key(key: &str) -> Result<String, String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_subdomain = |prefix: &str| {
        let is_part = |part: &str| {
            let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !part.is_empty()
                && part.chars().all(is_inner)
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        prefix.len() <= MAX_PREFIX && prefix.split('.').all(is_part)
    };
    match !name.is_empty() && is_name(name) && prefix.is_none_or(is_subdomain) {
        true => Ok(key.to_owned()),
        false => Err(format!("{key:?} is not a label key")),
    }
}

fn valid_value(value: &str) -> Result<String, String> {
    match is_name(value) {
        true => Ok(value.to_owned()),
        false => Err(format!("{value:?} is not a label value")),
    }
}

/// Returns true for an empty text, and for up to 63 letters, digits, `-`, `_` and `.` that begin and
/// end with a letter or digit.
fn is_name(text: &str) -> bool {
    let is_edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= MAX_NAME
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && is_edge(text.chars().next())
        && is_edge(text.chars().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_in_all_forms() {
        let read =
            LabelSelector::parse("a=b, c!=d,e in (f, g),h notin (i),j,!k,l==m,n>05,o<3").unwrap();
        assert_eq!(read.0.len(), 9);
        assert_eq!(
            read.0[2].operator,
            Operator::In(vec!["f".into(), "g".into()])
        );
        assert_eq!(read.0[5].operator, Operator::DoesNotExist);
        assert_eq!(read.0[7].operator, Operator::GreaterThan(5));
        for good in ["", " ", "a=", "a in ()", "a in (b,)", "in in (in)", "e.x/a"] {
            assert!(LabelSelector::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "a in b",
            "a == b == c",
            "(a)",
            "a in (b",
            "=",
            ",a",
            "a,",
            "a,,b",
            "a===b",
            "a>1.5",
            "a>-3",
            "a>x",
            "a>",
            "a in (b c)",
            "a=b/c",
            "a=-b",
            "A.x/a",
            "a/b/c",
            "!",
        ] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_compared() {
        let labels = HashMap::from([("n", "7"), ("t", "x")]);
        for (selector, matches) in [
            ("n>6", true),
            ("n>7", false),
            ("n<8", true),
            ("t>1", false),
            ("none<1", false),
            ("none notin (a)", true),
        ] {
            let selector = LabelSelector::parse(selector).unwrap();
            assert_eq!(selector.matches(&labels), matches, "{selector:?}");
        }
    }
}
