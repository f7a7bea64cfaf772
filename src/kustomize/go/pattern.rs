//! Go regular expressions (RE2 with Go's Perl flags), translated to the syntax of the `regex` crate.
//!
//! The two look alike and differ in much: which escapes exist, what `-` means in a class, whether a
//! repetition may follow another, how often something may be repeated. So a pattern is read by Go's
//! rules (package `regexp/syntax`) and written anew, in a form that has one meaning only.

mod class;
mod escape;
mod translate;

use regex::{Regex, RegexBuilder};

use crate::kustomize::BuildError;

/// Maximum memory of a compiled pattern, in bytes.
const SIZE_LIMIT: usize = 4 << 20;

/// Why a pattern cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    /// Go refuses it, too.
    #[error("error parsing regexp: {0}")]
    Invalid(String),
    /// Its compiled form exceeds [`SIZE_LIMIT`].
    #[error("the regular expression is too large: `{0}`")]
    TooLarge(String),
}

impl From<PatternError> for BuildError {
    fn from(error: PatternError) -> Self {
        Self::new(error.to_string())
    }
}

/// Compiles a pattern that may match anywhere in a string.
///
/// # Errors
/// [`PatternError`].
pub(crate) fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let translated = translate::translate(pattern).map_err(|why| {
        PatternError::Invalid(match why.contains('`') {
            true => why,
            false => format!("{why}: `{pattern}`"),
        })
    })?;
    RegexBuilder::new(&translated)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|_| PatternError::TooLarge(pattern.to_owned()))
}

/// Compiles a pattern that must match a whole string.
///
/// # Errors
/// As for [`compile`].
pub(crate) fn compile_anchored(pattern: &str) -> Result<Regex, PatternError> {
    compile(&format!("^(?:{pattern})$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        compile_anchored(pattern).unwrap().is_match(text)
    }

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        assert!(fits(r"\w+-\d{2}", "ab_9-42") && !fits(r"\w", "é") && !fits(r"\d", "٣"));
        assert!(fits(r"[[a]+", "[a") && fits("[]a]+", "]a") && fits("[a&&b]+", "a&b"));
        assert!(fits(r"[\w-]+", "a-b") && fits(r"[^\d]+", "ab") && fits("[[:alpha:]]+", "ab"));
        assert!(fits(r"\Qa.b\E.", "a.bc") && !fits(r"\Qa.b\E", "axb"));
        assert!(fits("a|b", "b") && !fits("a|b", "ab"));
        assert!(fits(r"[\w-.]+", "a-.") && fits(r"[\d-a-z]+", "1-q") && fits("[+--]+", "+,-"));
        assert!(fits("[a-z--b]+", "a-Z") && fits("[a~~b]+", "~"));
        assert!(fits(r"\141\07?", "a") && fits(r"\x{61}\x62", "ab") && fits(r"\_\-\<", "_-<"));
        assert!(fits("a{,2}", "a{,2}") && fits("a{2", "a{2") && fits("{", "{"));
        assert!(fits(r"(?i)AB(?-i:c)", "abc") && !fits(r"(?i)AB(?-i:c)", "abC"));
        assert!(fits(r"\p{^L}\PL\pN\p{Greek}\p{Letter}", "1-2αb"));
        assert!(fits("(?P<n>a)(?<n>b)", "ab") && fits("(?:a{2}){2}", "aaaa"));
        assert!(fits("a{1000}", &"a".repeat(1000)) && fits(".{1000}", &"é".repeat(1000)));
    }

    /// The table is Go's own answer (`tests/conformance/go-regexp/generate.go`).
    #[test]
    fn random_patterns_match_what_they_match_in_go() {
        const TEXTS: [&str; 24] = [
            "", "a", "b", "ab", "A", "AB", "a-b", "a.b", "1", "_", " ", "\n", "aa", "aab", "é",
            "αβ", "a\nb", "]", "{2}", "-", "~&", "\u{7}", "c", "abab",
        ];
        let table = include_str!("../../../tests/conformance/go-regexp/table.jsonl");
        let mut wrong = Vec::new();
        for line in table.lines() {
            let (pattern, expected): (String, Option<Vec<String>>) =
                serde_json::from_str(line).unwrap();
            let compiled = compile_anchored(&pattern).ok();
            let matched = compiled.map(|compiled| {
                let matched = TEXTS.iter().filter(|text| compiled.is_match(text));
                matched.map(|text| (*text).to_owned()).collect::<Vec<_>>()
            });
            if matched != expected {
                wrong.push(format!("{pattern}: {matched:?}, in Go {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in [
            "Conf(ig",
            "a)",
            "[a",
            "*a",
            "a|*",
            "(*)",
            "a**",
            "a*+",
            "a+?+",
            "a{2}*",
            "a{2}{3}",
            "a{2}??",
            "a{1001}",
            "(a{100}){100}",
            "a{2,1}",
            "[a--]",
            "[z-a]",
            "[[:foo:]]",
            "(?x)a",
            "(?u)a",
            "(?=a)",
            "(?<!a)b",
            "(?P=n)",
            "(?#c)",
            r"\1",
            r"\9",
            r"\u0061",
            r"\h",
            r"\e",
            r"\y",
            r"\Z",
            r"\C",
            r"\E",
            r"\é",
            r"\",
            r"[\b]",
            r"\p{IsGreek}",
            r"\p{Script=Greek}",
            r"\p{Alphabetic}",
            r"\p{",
            r"\Qa",
            "(?-)a",
        ] {
            assert!(compile_anchored(pattern).is_err(), "{pattern}");
        }
        assert_eq!(
            compile_anchored("a**").unwrap_err().to_string(),
            "error parsing regexp: invalid nested repetition operator: `**`"
        );
    }
}
