//! The durable record of executions: intent before each effect, outcome after it, and the outbox of
//! reports.
//!
//! The database is SQLite in WAL mode with `synchronous=FULL`: once a method returns, its write
//! survives a kill and a power cut. There is one writer. Transactions are short and run in tasks of
//! their own, so that a cancelled caller cannot interrupt one.
//!
//! The journal is independent of HTTP and of job kinds, and stores no credentials. Its methods fail
//! with [`JournalError`] if a statement fails or a row cannot be parsed.

mod claim_id;
mod key;
mod outbox;
mod record;
mod store;

pub use claim_id::ClaimId;
pub use outbox::{Backlog, LastSeq, QueuedReport, Report, ReportKind, Settled};
pub use record::{AttemptCount, Claim};
pub use store::{Journal, JournalError};
