//! The durable record of executions, and the outbox of reports. An execution is a list of typed
//! events: intent before each effect, outcome after it. Its state is the fold of these events, and
//! what cannot be read is an error.
//!
//! The database is SQLite in WAL mode with `synchronous=FULL`: once a method returns, its write
//! survives a kill and a power cut. There is one writer. Transactions are short and run in tasks of
//! their own, so that a cancelled caller cannot interrupt one.
//!
//! The journal is independent of HTTP and of job kinds, and stores no credentials. Its methods fail
//! with [`JournalError`] if a statement fails or a row cannot be parsed.

pub mod check;
mod claim_id;
mod event;
mod key;
mod outbox;
mod record;
mod store;

pub use claim_id::ClaimId;
pub use event::{End, Event, ExecutionState, IllegalEvent};
pub use outbox::{Backlog, LastSeq, QueuedReport, Settled};
pub use record::Claim;
pub use store::{Journal, JournalConfig, JournalError};
