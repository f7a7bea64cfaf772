//! What is written in files: kustomizations, configurations, CRDs, and the OpenAPI schema of kinds.
//! The fields that transformers reach without being configured are data in [`builtin`].

pub mod builtin;
pub mod chart;
pub mod configuration;
pub mod crd;
pub mod field_spec;
pub mod id;
pub mod kind_order;
pub mod kustomization;
pub mod name_reference;
pub mod openapi;
pub mod patch;
pub mod replacement;
pub mod settings;
pub mod variable;
