//! Checks of the sources: layers, cycles, sizes.

pub mod architecture;
mod sizes;
