//! Which item of a list was which before. The replaced program's comparer makes no smallest diff; its
//! rule (specification, section 14) is followed here, so that both see the same items change:
//!
//! 1. From both ends in turns, the nearest equal pair is looked for along the anti-diagonal of where
//!    that end stands; with it come the equal pairs behind it. Where there is none, the place to look
//!    from moves on in the longer rest.
//! 2. What lies between such pairs is paired in order: alike enough, it is one item that changed; else
//!    an item of the longer rest has gone or come.
//!
//! Looks in vain are bounded by four times the items, so time is linear in them.

use std::cmp::Ordering;

/// How much two items have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    Equal,
    /// At least about half of their leaves are the same.
    Similar,
    Other,
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

/// Looks in vain, per item.
const PATIENCE: usize = 4;

/// Pairs lists of these lengths, in order.
pub fn pair(before: usize, after: usize, likeness: impl Fn(usize, usize) -> Likeness) -> Vec<Pair> {
    let mut head = End::default();
    let mut tail = End {
        adds_first: true,
        ..End::default()
    };
    let mut patience = PATIENCE * (before + after);
    let backward = |i: usize, j: usize| likeness(before - 1 - i, after - 1 - j);
    let is_open = |a: &End, b: &End| a.look.0 + b.look.0 < before && a.look.1 + b.look.1 < after;
    while patience > 0 && is_open(&head, &tail) {
        head.advance(
            (before - tail.at.0, after - tail.at.1),
            &mut patience,
            &likeness,
        );
        if patience == 0 || !is_open(&head, &tail) {
            break;
        }
        tail.advance(
            (before - head.at.0, after - head.at.1),
            &mut patience,
            &backward,
        );
    }
    head.fill((before - tail.at.0, after - tail.at.1), &likeness);
    let mirrored = tail.pairs.into_iter().rev().map(|pair| match pair {
        Pair::Both(i, j) => Pair::Both(before - 1 - i, after - 1 - j),
        Pair::Removed(i) => Pair::Removed(before - 1 - i),
        Pair::Added(j) => Pair::Added(after - 1 - j),
    });
    head.pairs.into_iter().chain(mirrored).collect()
}

/// What has been paired from one end on. Counts from that end.
#[derive(Default)]
struct End {
    pairs: Vec<Pair>,
    /// Items that are paired.
    at: (usize, usize),
    /// Where the next look starts.
    look: (usize, usize),
    /// Whether of rests that are equally long an item comes first, instead of going.
    adds_first: bool,
}

impl End {
    /// Looks once for an equal pair before `limit`, the place that the other end has reached.
    fn advance(
        &mut self,
        limit: (usize, usize),
        patience: &mut usize,
        likeness: &impl Fn(usize, usize) -> Likeness,
    ) {
        if let Some(found) = self.nearest(limit, patience, likeness) {
            self.fill(found, likeness);
            while self.at.0 < limit.0
                && self.at.1 < limit.1
                && likeness(self.at.0, self.at.1) == Likeness::Equal
            {
                self.both();
            }
            self.look = self.at;
        }
        if limit.0.saturating_sub(self.look.0) >= limit.1.saturating_sub(self.look.1) {
            self.look.0 += 1;
        } else {
            self.look.1 += 1;
        }
    }

    /// The nearest equal pair on the anti-diagonal through the place to look from.
    fn nearest(
        &self,
        limit: (usize, usize),
        patience: &mut usize,
        likeness: &impl Fn(usize, usize) -> Likeness,
    ) -> Option<(usize, usize)> {
        let (mut left_ended, mut right_ended) = (false, false);
        for turn in 0_usize.. {
            if (left_ended && right_ended) || *patience == 0 {
                break;
            }
            let away = turn.div_ceil(2);
            // To the left first.
            let place = if turn % 2 == 1 {
                self.look
                    .0
                    .checked_sub(away)
                    .map(|i| (i, self.look.1 + away))
            } else {
                self.look
                    .1
                    .checked_sub(away)
                    .map(|j| (self.look.0 + away, j))
            };
            let (too_far_right, too_far_left) = match place {
                Some((i, j)) => (i >= limit.0 || j < self.at.1, j >= limit.1 || i < self.at.0),
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
                *patience -= 1;
            }
        }
        None
    }

    /// Pairs in order up to a place.
    fn fill(&mut self, to: (usize, usize), likeness: &impl Fn(usize, usize) -> Likeness) {
        while self.at.0 < to.0 && self.at.1 < to.1 {
            if likeness(self.at.0, self.at.1) != Likeness::Other {
                self.both();
                continue;
            }
            match (to.0 - self.at.0).cmp(&(to.1 - self.at.1)) {
                Ordering::Greater => self.removed(),
                Ordering::Equal if !self.adds_first => self.removed(),
                _ => self.added(),
            }
        }
        while self.at.0 < to.0 {
            self.removed();
        }
        while self.at.1 < to.1 {
            self.added();
        }
    }

    fn both(&mut self) {
        self.pairs.push(Pair::Both(self.at.0, self.at.1));
        self.at = (self.at.0 + 1, self.at.1 + 1);
    }

    fn removed(&mut self) {
        self.pairs.push(Pair::Removed(self.at.0));
        self.at.0 += 1;
    }

    fn added(&mut self) {
        self.pairs.push(Pair::Added(self.at.1));
        self.at.1 += 1;
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
                Likeness::Other
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
