//! The kustomize engine beside the real one, its examples, and its traces.

mod differential;
mod examples;
mod explain;
mod links;
