//! What a job has on the machine: a directory of its own, jailed reads of a source tree, child
//! processes that die with their step, git, helm, and archives.

pub mod archive;
pub mod child;
pub mod dir;
pub mod git;
pub mod helm;
pub mod jail;
pub mod supervisor;
