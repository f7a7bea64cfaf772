//! The inventory of a component: a ConfigMap that lists the objects that the component has in the
//! cluster.
//!
//! It is a ConfigMap, as in kustomizer, rather than an ApplySet (KEP-3659). An ApplySet labels each
//! object and finds them again by listing every kind that it ever had, in every namespace. It
//! cannot record an object's UID, nor the hashes of its desired and live fields that show without a
//! request that it is unchanged. A copied label would also make a foreign object ours.
//!
//! Before anything is applied, the inventory lists what exists and what will be created. An object
//! leaves it only when it is known to be gone. A process that dies at any point therefore leaves no
//! unknown objects.
//!
//! The list is compressed with gzip, so that 10,000 objects fit into the 1 MiB of a ConfigMap.

mod claims;
mod ledger;
mod record;
mod requests;
mod signer;
mod stored;

pub use claims::{Claims, Takeover};
pub use ledger::Inventory;
pub use record::{Component, DeployOutcome, DeployRecord, Record, is_inventory};
pub use requests::InventoryWriter;
pub use signer::{SignatureStatus, Signer};
