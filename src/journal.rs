//! The truth about executions, kept on disk: intent before each effect, outcome after it, and the
//! outbox of reports.
//!
//! SQLite in WAL mode with `synchronous=FULL`: what a method has returned survives a kill and a
//! power cut. There is one writer; transactions are short and run in tasks of their own, so that a
//! caller that is cancelled cannot cut one.
//!
//! The journal knows nothing of HTTP or of job kinds, and holds no secret.

mod claim_id;
mod key;
mod outbox;
mod record;
mod store;

pub use claim_id::ClaimId;
pub use outbox::{Backlog, LastSeq, Queued, Report, ReportKind, Settled};
pub use record::{Claim, Drive};
pub use store::{Journal, JournalError};
