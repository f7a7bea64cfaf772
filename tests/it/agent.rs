//! The daemon as a process: admin server, start and end, signals, secrets.

mod admin;
mod lifecycle;
mod secrets;
mod signals;
mod token;
