//! The key of a claim.

/// Row id of a claim. A claim is the record of one execution, from the intent to create it to its
/// end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId(pub(super) i64);
