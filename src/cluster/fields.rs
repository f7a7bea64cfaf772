//! The fields of objects: compared, masked, and whose they are. Pure: no cluster is asked.
//!
//! [`diff`] compares two objects, `render` prints what differs line by line ([`legacy`] in the form
//! of the Go runner). [`managed_values`] are the values of the fields that a manifest sets; `adopt`
//! joins the fields of earlier managers into ours; [`ignore`] and `marks` name fields that keep the
//! value they have in the cluster; `unions` lists members of which an object has at most one, `twins`
//! members that are one field.

pub mod comparison;
pub mod diff;
pub mod ignore;
pub mod legacy;
pub mod managed_values;
pub mod placeholders;
pub mod policy;
pub mod predict;

pub(crate) mod adopt;
mod lists;
pub(crate) mod marks;
pub(crate) mod mask;
pub(crate) mod normalize;
pub(crate) mod render;
pub(crate) mod schema;
mod twins;
pub(crate) mod unions;

pub use policy::FieldPolicy;
