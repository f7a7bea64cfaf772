//! The order of keys: go-yaml sorts numbers in them by value.

use std::cmp::Ordering;

use super::INSERTION_RUN;

/// Sorts keys in natural order: digits compare as numbers, letters come after everything else.
///
/// The comparison is not transitive, so the result depends on the sorting algorithm, and the
/// standard library's sort may even panic. Runs of `INSERTION_RUN` keys are sorted by insertion,
/// then merged.
pub fn sort_keys(keys: &mut [&str]) {
    keys.sort_unstable();
    for run in keys.chunks_mut(INSERTION_RUN) {
        for end in 1..run.len() {
            let mut at = end;
            while at > 0 && natural_cmp(run[at], run[at - 1]) == Ordering::Less {
                run.swap(at, at - 1);
                at -= 1;
            }
        }
    }
    let mut width = INSERTION_RUN;
    let mut merged = Vec::with_capacity(keys.len());
    while width < keys.len() {
        for pair in keys.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let (Some((a, rest_of_left)), Some((b, rest_of_right))) =
                (left.split_first(), right.split_first())
            {
                if natural_cmp(b, a) == Ordering::Less {
                    merged.push(*b);
                    right = rest_of_right;
                } else {
                    merged.push(*a);
                    left = rest_of_left;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        keys.copy_from_slice(&merged);
        merged.clear();
        width *= 2;
    }
}

fn natural_cmp(left: &str, right: &str) -> Ordering {
    let mut common = left
        .bytes()
        .zip(right.bytes())
        .take_while(|(x, y)| x == y)
        .count();
    while !left.is_char_boundary(common) || !right.is_char_boundary(common) {
        common -= 1;
    }
    let (before, a, b) = (&left[..common], &left[common..], &right[common..]);
    let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) else {
        return a.len().cmp(&b.len());
    };
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero after a number continues that number, so a leading 1 is assumed for both sides.
    let run_before = before.bytes().rev().take_while(u8::is_ascii_digit);
    let leading = (x == '0' || y == '0') && run_before.into_iter().any(|byte| byte != b'0');
    number_at(a, leading)
        .cmp(&number_at(b, leading))
        .then(x.cmp(&y))
}

/// Returns the number at the start of `text`: its value, then its number of digits.
fn number_at(text: &str, leading: bool) -> (i64, usize) {
    let start = i64::from(leading);
    let digits = text.chars().map_while(|c| c.to_digit(10));
    digits.fold((start, 0), |(value, count), digit| {
        (
            value.wrapping_mul(10).wrapping_add(i64::from(digit)),
            count + 1,
        )
    })
}
