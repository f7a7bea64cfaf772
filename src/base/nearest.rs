//! Suggests the known word nearest to a misspelled one.
#![expect(
    clippy::indexing_slicing,
    reason = "indexes come from the lengths of the same lists"
)]

/// Returns the known word closest to `word`, if their edit distance is at most 2 or a third of the
/// length of `word`, whichever is larger.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let max_distance = (word.chars().count() / 3).max(2);
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(d, _)| *d <= max_distance)
        .min()
        .map(|(_, c)| c)
}

/// Counts the insertions, deletions, substitutions and swaps of neighboring characters between two
/// words, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(x != y))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = above;
        above = row;
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour_and_nonsense_none() {
        let known = ["state_dir", "journal.url", "log.level"];
        assert_eq!(nearest("state_dri", known.into_iter()), Some("state_dir"));
        assert_eq!(
            nearest("journal.ulr", known.into_iter()),
            Some("journal.url")
        );
        assert_eq!(nearest("qqqqqqqq", known.into_iter()), None);
    }
}
