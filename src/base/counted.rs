//! Numbers with their noun.

/// Returns a number with its noun, in the plural if it is not 1: `1 object`, `3 objects`. The plural
/// of the noun is made with `s`.
pub fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        let words: Vec<String> = [0, 1, 2].map(|count| counted(count, "job")).to_vec();
        assert_eq!(words, ["0 jobs", "1 job", "2 jobs"]);
    }
}
