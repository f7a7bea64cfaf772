//! Walking and editing node trees by paths. Knows nothing of resources.

mod comments;
pub mod fieldpath;
pub mod structured;
pub mod walk;
