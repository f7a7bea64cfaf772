//! The command line, and the programs that it runs.

mod artifact;
mod child;
mod cli;
mod journal;
mod wrong_inputs;
