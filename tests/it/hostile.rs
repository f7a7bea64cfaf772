//! Input that tries to break out, to reach inside, or to use up the machine.

mod addresses;
mod cluster;
mod git;
mod jobs;
mod overlays;
mod registry;
