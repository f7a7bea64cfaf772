//! Which lines of the form without comments a change has replaced.

/// The lines that a change has replaced: those between equal ones at the beginning and at the end.
pub(super) struct Changes<'a> {
    new: Vec<&'a str>,
    before: usize,
    /// Number of lines in the old form before those that are equal at the end.
    after: usize,
    old_len: usize,
}

impl<'a> Changes<'a> {
    pub fn between(old: &[&str], new: Vec<&'a str>) -> Self {
        let equal = |(one, other): &(&&str, &&str)| one == other;
        let before = old.iter().zip(&new).take_while(equal).count();
        let rest = old.len().min(new.len()) - before;
        let ends = old.iter().rev().zip(new.iter().rev());
        let behind = ends.take(rest).take_while(equal).count();
        Self {
            before,
            after: old.len() - behind,
            old_len: old.len(),
            new,
        }
    }

    /// Returns the new lines in place of an old one. Lines that are only added come with the line
    /// before them.
    pub fn of(&self, at: usize) -> &[&'a str] {
        let lines = match at {
            _ if self.old_len == self.new.len() => at..at + 1,
            _ if at >= self.after => {
                let at = at + self.new.len() - self.old_len;
                at..at + 1
            }
            _ if self.is_addition() && at + 1 == self.before && self.after < self.old_len => {
                at..self.new_after()
            }
            _ if at < self.before => at..at + 1,
            _ if at == self.before => at..self.new_after(),
            _ => 0..0,
        };
        self.new.get(lines).unwrap_or_default()
    }

    /// Returns the lines that are added after all others.
    pub fn at_end(&self) -> &[&'a str] {
        let is_at_end = self.is_addition() && self.after == self.old_len;
        let lines = self.new.get(self.old_len..).filter(|_| is_at_end);
        lines.unwrap_or_default()
    }

    /// Returns true if lines are only added.
    fn is_addition(&self) -> bool {
        self.before == self.after
    }

    /// Returns where the lines that are equal at the end begin in the new form.
    fn new_after(&self) -> usize {
        self.new.len() - (self.old_len - self.after)
    }
}
