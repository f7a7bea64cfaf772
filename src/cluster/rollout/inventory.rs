//! What a component has put into a cluster: a ConfigMap beside its objects.
//!
//! A ConfigMap, as kustomizer's, and no ApplySet (KEP-3659): an ApplySet marks each object with a label and
//! finds them again by a list of every kind that it ever had, in every namespace; it cannot say which object of
//! a name was ours (a UID), nor what we last wanted of it and saw in it, by which an object is known to be
//! unchanged without a question. And a label that somebody copies makes a stranger ours.
//!
//! Before anything is written, the inventory holds what is there and what will be; an object leaves it only
//! when it was seen gone. So a process that dies at any moment leaves nothing that nobody knows of.
//!
//! The list is packed (gzip), for 10,000 objects in the 1 MiB of a ConfigMap.

mod ledger;
mod record;
mod requests;
mod signer;
mod stored;

pub use ledger::Inventory;
pub use record::{Component, Deploy, DeployOutcome, Record, is_one};
pub use requests::Writer;
pub use signer::{Signature, Signer};
