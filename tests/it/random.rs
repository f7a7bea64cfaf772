//! Random and mutated input.

mod fuzz;
mod property;
