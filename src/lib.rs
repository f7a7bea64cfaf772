//! nuon-runner: the agent that software vendors run inside their customers' cloud accounts.
//!
//! A control plane queues jobs. The daemon polls it, claims a job, and drives it through six steps:
//! fetch, initialize, validate, exec, outputs, cleanup. A *build* turns a Kubernetes component (an
//! inline manifest, a kustomize overlay, somebody's ready artifact) into one OCI artifact; a *deploy*
//! pulls that artifact and plans, applies or tears down its objects by server-side apply.
//!
//! ```text
//! control plane ─ job ─▶ worker ─▶ handler ─▶ kustomize ─▶ manifest ─▶ registry          (build)
//!                         ▲  │      handler ◀─ registry ◀─ plan ; ─▶ cluster             (deploy)
//!                         │  ▼
//!                      journal (every step, every outgoing report) ─▶ control plane
//! ```
//!
//! # The rooms
//!
//! A room imports only from floors below its own.
//!
//! | floor | room | holds |
//! |---|---|---|
//! | 7 | [`cli`] | arguments, sub-commands, exit codes |
//! | 6 | [`dev`] | a control plane on this machine, for trying and for the tests; the demo |
//! | 5 | [`agent`], [`config`], [`telemetry`] | builds every client once, owns every task: admin server, heart beat, settings, signals, drain |
//! | 4 | [`handlers`] | one file per kind of job, one list |
//! | 3 | [`worker`] | poll, claim, lifecycle, cancel, recover, report; the `Handler` trait |
//! | 3 | [`kustomize`] | file tree in, objects out: a pure engine |
//! | 3 | [`cluster`] | connect, discover, live state, readiness, changesets, plan, apply, wait and say why not, prune, teardown; the inventory |
//! | 2 | [`control`] | the control plane's API: wire types, the table of answers, the client, log shipping |
//! | 2 | [`journal`] | crash-safe record of executions, and the outbox of reports |
//! | 2 | [`registry`] | references, digests, credentials, artifact format, push, pull, copy, layouts on disk |
//! | 2 | [`manifest`] | Kubernetes objects: read, identity, order, write |
//! | 1 | [`plan`] | the control plane's documents: plans, cluster info, contents, changesets |
//! | 0 | [`yaml`] | node tree, parser, resolver, the one emitter |
//! | 0 | [`job`], [`workspace`], [`base`] | ids, kinds, the state machine; job directories, git, archives, child processes; backoff, clock, secret, stop |
//!
//! `yaml`, `manifest`, `kustomize`, `plan` and `job` are pure: values in, values and errors out. No
//! state is global. Time is handed in ([`base::clock`]). Secrets pass one redactor
//! ([`base::secret`]) on every way out. The journal is the truth about an execution: intent is
//! written before an effect, outcome after it, and every report is queued in it until the control
//! plane has it, refuses it for good, or has ended the execution otherwise.

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
