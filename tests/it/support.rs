//! What the tests share: the daemon, a worker in process, a cluster, and the real parts around
//! them.

pub mod clouds;
pub mod cluster;
pub mod contract;
pub mod daemon;
pub mod parts;
pub mod plans;
pub mod worker;
