//! A Kubernetes cluster: connect, discover, read, compare, plan, apply, wait, prune, delete. Knows nothing of jobs.
//!
//! | | |
//! |---|---|
//! | enter | [`connect`], [`identity`]; [`api`] sends, waits and tries again |
//! | look | [`discovery`]; [`survey`]: what is there of a set (`live`), and of what its component had ([`inventory`]), as it is sent (`normal`) |
//! | compare | [`diff`], `lines`, `mask`: changesets; [`touched`]: what a manifest touches; `owners`: who owns it; [`ignore`] |
//! | plan | [`plan`], `schema` (checks what the server cannot yet), [`images`], [`prune`], [`terms`] (an approved plan, held against now) |
//! | act | [`deploy`]: [`apply`] by `stage`, [`mod@wait`] (`watch`) with [`readiness`], [`rule`] and [`cause`], then [`prune`]; [`rollback`]; [`teardown`], [`delete`] |
//! | tell | [`tree`]: what objects own; [`comparison`]: objects at hand, also in the replaced program's form ([`shipped`]) |
//!
//! [`options`] says how all of it is done.
//!
//! Objects go to the API server by server-side apply; what it would make of them is asked by a dry
//! run, never guessed. An error on a read is an error, not "not found". Nothing is written over a state that was
//! not read, and nothing is deleted that is not known to be ours.

pub mod annotations;
pub mod api;
pub mod apply;
pub mod cause;
pub mod comparison;
pub mod connect;
pub mod delete;
pub mod deny;
pub mod deploy;
pub mod diff;
pub mod discovery;
pub mod identity;
pub mod ignore;
pub mod images;
pub mod inventory;
pub mod options;
pub mod plan;
pub mod policy;
pub mod prune;
pub mod readiness;
pub mod rollback;
pub mod rule;
pub mod shipped;
pub mod survey;
pub mod teardown;
pub mod terms;
pub mod touched;
pub mod tree;
pub mod wait;

mod error;
mod lines;
mod live;
mod marks;
mod mask;
mod normal;
mod owners;
mod schema;
mod stage;
mod watch;

pub use api::Api;
pub use connect::ConnectError;
pub use error::{ClusterError, FieldError};
