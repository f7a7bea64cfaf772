//! nuon-runner: an agent that software vendors run in their customers' cloud accounts.
//!
//! A control plane queues jobs. The daemon polls for jobs, claims one, and runs it through six
//! steps: fetch, initialize, validate, exec, outputs, cleanup. A *build* turns a Kubernetes
//! component (an inline manifest, a kustomize overlay, or an existing artifact) into one OCI
//! artifact. A *deploy* pulls that artifact and plans, applies or tears down its objects with
//! server-side apply.
//!
//! ```text
//! control plane ─ job ─▶ worker ─▶ handler ─▶ kustomize ─▶ manifest ─▶ registry          (build)
//!                         ▲  │      handler ◀─ registry ◀─ plan ; ─▶ cluster             (deploy)
//!                         │  ▼
//!                      journal (every step, every outgoing report) ─▶ control plane
//! ```
//!
//! # Modules
//!
//! A module imports only from modules of a lower layer.
//!
//! | layer | module | contents |
//! |---|---|---|
//! | 7 | [`cli`] | arguments, subcommands, exit codes |
//! | 6 | [`dev`] | a local control plane for trials and tests; the demo |
//! | 5 | [`agent`], [`config`], [`telemetry`] | builds every client once and owns every task: admin server, heartbeat, settings, signals, drain |
//! | 4 | [`handlers`] | one file per job kind, and the list of them |
//! | 3 | [`worker`] | poll, claim, lifecycle, cancel, recover, report; the `Handler` trait |
//! | 3 | [`kustomize`] | file tree in, objects out; pure |
//! | 3 | [`cluster`] | connect, discovery, live state, readiness, changesets, plan, apply, wait and diagnose, prune, teardown; the inventory |
//! | 2 | [`control`] | the control plane's API: wire types, response table, client, log shipping |
//! | 2 | [`journal`] | crash-safe record of executions, and the outbox of reports |
//! | 2 | [`registry`] | references, digests, credentials, artifact format, push, pull, copy, OCI layouts on disk |
//! | 2 | [`manifest`] | Kubernetes objects: read, identity, order, write |
//! | 1 | [`plan`] | the control plane's documents: plans, cluster info, contents, changesets |
//! | 0 | [`yaml`] | node tree, parser, resolver, emitter |
//! | 0 | [`job`], [`workspace`], [`base`] | ids, kinds, the state machine; job directories, git, archives, child processes; backoff, clock, secret, stop |
//!
//! `yaml`, `manifest`, `kustomize`, `plan` and `job` are pure: values in, values and errors out.
//! There is no global state. The clock is a parameter ([`base::clock`]). All output passes one
//! redactor ([`base::secret`]), which masks secrets. The journal is the source of truth for
//! executions: an intent is written before its effect, the outcome after it, and every report stays
//! queued until the control plane accepts it, rejects it for good, or ends the execution itself.

pub mod agent;
pub mod base;
pub mod build;
pub mod cli;
pub mod clients;
pub mod cluster;
pub mod config;
pub mod control;
pub mod deployment;
pub mod dev;
pub mod handlers;
pub mod job;
pub mod journal;
pub mod kustomize;
pub mod manifest;
pub mod plan;
pub mod registry;
pub mod telemetry;
pub mod worker;
pub mod workspace;
pub mod yaml;
