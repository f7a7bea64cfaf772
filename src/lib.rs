pub mod base;
pub mod job;
pub mod manifest;
pub mod workspace;
pub mod yaml;
