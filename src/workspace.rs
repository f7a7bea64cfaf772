//! Local resources of a job: its private directory, confined reads of a source tree, child
//! processes that never outlive their step, git, helm, and archives.

pub mod archive;
pub mod child;
pub mod dir;
pub mod git;
pub mod helm;
pub mod jail;
pub mod supervisor;
