//! Whether objects are ready, and why they are not.
//!
//! [`readiness`] computes an object's status as kstatus does, [`rule`] adds rules of the operator
//! and of the author, [`mod@wait`] watches until all objects are ready or one cannot become so,
//! [`cause`] finds out why, [`tree`] lists what an object owns.

pub mod cause;
pub mod job;
pub mod readiness;
pub mod rule;
pub mod tree;
pub mod wait;
