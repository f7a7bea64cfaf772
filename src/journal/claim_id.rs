//! The key of a claim.

/// A row of the journal that stands for one execution, from the wish to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId(pub(super) i64);
