//! The daemon as a process: admin server, start and end, signals, secrets.

mod admin;
mod disk;
mod lifecycle;
mod modes;
mod secrets;
mod signals;
mod token;
