//! Pairs the items of two versions of a list. The Go runner's comparer does not compute a minimal
//! diff; its rule (`docs/apply.md`, changesets) is followed here, so that both report the same
//! items as changed:
//!
//! 1. From both ends in turns, search the anti-diagonal through that end's search position for the
//!    nearest equal pair. Take it, and the equal pairs that follow it. If there is none, advance
//!    the search position in the longer remainder.
//! 2. Pair what lies between such pairs in order: two items that are similar are one modified item;
//!    otherwise an item of the longer remainder was removed or added.
//!
//! Failed comparisons are limited to four per item, so the time is linear in the number of items.

use std::cmp::Ordering;

/// How similar two items are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    Equal,
    /// About half of their leaves or more are equal.
    Similar,
    Different,
}

/// An item, by its index before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair {
    Both(usize, usize),
    Removed(usize),
    Added(usize),
}

impl Pair {
    pub fn indexes(self) -> (Option<usize>, Option<usize>) {
        match self {
            Self::Both(i, j) => (Some(i), Some(j)),
            Self::Removed(i) => (Some(i), None),
            Self::Added(j) => (None, Some(j)),
        }
    }
}

/// Maximum failed comparisons per item.
const MAX_MISSES_PER_ITEM: usize = 4;

/// Pairs the items of two lists of these lengths, in order.
pub fn pair(before: usize, after: usize, likeness: impl Fn(usize, usize) -> Likeness) -> Vec<Pair> {
    let mut head = Frontier::default();
    let mut tail = Frontier {
        adds_first: true,
        ..Frontier::default()
    };
    let mut misses_left = MAX_MISSES_PER_ITEM * (before + after);
    let backward = |i: usize, j: usize| likeness(before - 1 - i, after - 1 - j);
    let is_open = |a: &Frontier, b: &Frontier| {
        a.search_from.0 + b.search_from.0 < before && a.search_from.1 + b.search_from.1 < after
    };
    while misses_left > 0 && is_open(&head, &tail) {
        head.advance(
            (before - tail.position.0, after - tail.position.1),
            &mut misses_left,
            &likeness,
        );
        if misses_left == 0 || !is_open(&head, &tail) {
            break;
        }
        tail.advance(
            (before - head.position.0, after - head.position.1),
            &mut misses_left,
            &backward,
        );
    }
    head.fill(
        (before - tail.position.0, after - tail.position.1),
        &likeness,
    );
    let mirrored = tail.pairs.into_iter().rev().map(|pair| match pair {
        Pair::Both(i, j) => Pair::Both(before - 1 - i, after - 1 - j),
        Pair::Removed(i) => Pair::Removed(before - 1 - i),
        Pair::Added(j) => Pair::Added(after - 1 - j),
    });
    head.pairs.into_iter().chain(mirrored).collect()
}

/// State of pairing from one end. All indexes count from that end.
#[derive(Default)]
struct Frontier {
    pairs: Vec<Pair>,
    /// Number of items consumed so far, before and after.
    position: (usize, usize),
    /// Position from which the next search starts.
    search_from: (usize, usize),
    /// If the remainders are equally long: true adds an item first, false removes one.
    adds_first: bool,
}

impl Frontier {
    /// Searches once for an equal pair before `limit`, the position that the other end has reached.
    fn advance(
        &mut self,
        limit: (usize, usize),
        misses_left: &mut usize,
        likeness: &impl Fn(usize, usize) -> Likeness,
    ) {
        if let Some(found) = self.nearest(limit, misses_left, likeness) {
            self.fill(found, likeness);
            while self.position.0 < limit.0
                && self.position.1 < limit.1
                && likeness(self.position.0, self.position.1) == Likeness::Equal
            {
                self.push_both();
            }
            self.search_from = self.position;
        }
        if limit.0.saturating_sub(self.search_from.0) >= limit.1.saturating_sub(self.search_from.1)
        {
            self.search_from.0 += 1;
        } else {
            self.search_from.1 += 1;
        }
    }

    /// Returns the nearest equal pair on the anti-diagonal through the search position.
    fn nearest(
        &self,
        limit: (usize, usize),
        misses_left: &mut usize,
        likeness: &impl Fn(usize, usize) -> Likeness,
    ) -> Option<(usize, usize)> {
        let (mut left_ended, mut right_ended) = (false, false);
        for turn in 0_usize.. {
            if (left_ended && right_ended) || *misses_left == 0 {
                break;
            }
            let distance = turn.div_ceil(2);
            // Left of the search position first.
            let place = if turn % 2 == 1 {
                self.search_from
                    .0
                    .checked_sub(distance)
                    .map(|i| (i, self.search_from.1 + distance))
            } else {
                self.search_from
                    .1
                    .checked_sub(distance)
                    .map(|j| (self.search_from.0 + distance, j))
            };
            let (too_far_right, too_far_left) = match place {
                Some((i, j)) => (
                    i >= limit.0 || j < self.position.1,
                    j >= limit.1 || i < self.position.0,
                ),
                None => (turn % 2 == 0, turn % 2 == 1),
            };
            if too_far_right {
                right_ended = true;
            } else if too_far_left {
                left_ended = true;
            } else if let Some((i, j)) = place {
                if likeness(i, j) == Likeness::Equal {
                    return Some((i, j));
                }
                *misses_left -= 1;
            }
        }
        None
    }

    /// Pairs items in order up to a position.
    fn fill(&mut self, to: (usize, usize), likeness: &impl Fn(usize, usize) -> Likeness) {
        while self.position.0 < to.0 && self.position.1 < to.1 {
            if likeness(self.position.0, self.position.1) != Likeness::Different {
                self.push_both();
                continue;
            }
            match (to.0 - self.position.0).cmp(&(to.1 - self.position.1)) {
                Ordering::Greater => self.push_removed(),
                Ordering::Equal if !self.adds_first => self.push_removed(),
                _ => self.push_added(),
            }
        }
        while self.position.0 < to.0 {
            self.push_removed();
        }
        while self.position.1 < to.1 {
            self.push_added();
        }
    }

    fn push_both(&mut self) {
        self.pairs
            .push(Pair::Both(self.position.0, self.position.1));
        self.position = (self.position.0 + 1, self.position.1 + 1);
    }

    fn push_removed(&mut self) {
        self.pairs.push(Pair::Removed(self.position.0));
        self.position.0 += 1;
    }

    fn push_added(&mut self) {
        self.pairs.push(Pair::Added(self.position.1));
        self.position.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(before: &str, after: &str) -> Vec<Pair> {
        let (before, after): (Vec<char>, Vec<char>) =
            (before.chars().collect(), after.chars().collect());
        pair(before.len(), after.len(), |i, j| {
            if before[i] == after[j] {
                Likeness::Equal
            } else if before[i].eq_ignore_ascii_case(&after[j]) {
                Likeness::Similar
            } else {
                Likeness::Different
            }
        })
    }

    #[test]
    fn equal_items_meet_and_the_rest_is_paired_in_order() {
        use Pair::{Added, Both, Removed};
        assert_eq!(pairs("abc", "abc"), [Both(0, 0), Both(1, 1), Both(2, 2)]);
        assert_eq!(pairs("ac", "abc"), [Both(0, 0), Added(1), Both(1, 2)]);
        assert_eq!(pairs("abc", "ac"), [Both(0, 0), Removed(1), Both(2, 1)]);
        assert_eq!(pairs("aBc", "abc"), [Both(0, 0), Both(1, 1), Both(2, 2)]);
        assert_eq!(pairs("", "a"), [Added(0)]);
        assert_eq!(pairs("xa", "ay"), [Removed(0), Both(1, 0), Added(1)]);
    }

    #[test]
    fn every_item_is_in_exactly_one_pair() {
        for (before, after) in [
            ("abcdef", "fedcba"),
            ("aabbcc", "abcabc"),
            ("abcdefgh", "xyz"),
            ("aaaa", "bbbbbbb"),
        ] {
            let pairs = pairs(before, after);
            let (left, right): (Vec<_>, Vec<_>) = pairs.into_iter().map(Pair::indexes).unzip();
            assert!(
                left.into_iter().flatten().eq(0..before.len()),
                "{before} {after}"
            );
            assert!(
                right.into_iter().flatten().eq(0..after.len()),
                "{before} {after}"
            );
        }
    }
}
