//! nuon-runner: an agent that software vendors run in their customers' cloud accounts.
//!
//! A control plane queues jobs. The agent polls for jobs, claims one, and runs it through six
//! steps: fetch, initialize, validate, exec, outputs, cleanup. A *build* turns a Kubernetes
//! component (an inline manifest, a kustomize overlay, or an existing artifact) into one OCI
//! artifact. A *deploy* pulls that artifact and plans, applies or tears down its objects with
//! server-side apply.
//!
//! ```text
//! control plane ─ job ─▶ worker ─▶ handler ─▶ build ─▶ kustomize, manifest, registry     (build)
//!                         ▲  │      handler ─▶ registry, deployment ─▶ cluster            (deploy)
//!                         │  ▼
//!                      journal (every step, every outgoing report) ─▶ control plane
//! ```
//!
//! # Modules
//!
//! A module imports only from modules of a lower layer, which `tests/it/structure/architecture.rs`
//! checks. Submodules of `cluster` and `kustomize` have layers of their own.
//!
//! | layer | module | contents |
//! |---|---|---|
//! | 12 | [`cli`] | arguments, subcommands, exit codes |
//! | 11 | [`dev`] | a local control plane for trials and tests; the demo |
//! | 10 | [`agent`] | admin server, heartbeat, settings, signals, drain |
//! | 9 | [`handlers`] | a file per handler, and the list of them |
//! | 8 | [`config`] | settings from file, environment and flags, each with its origin |
//! | 7 | [`deployment`] | the use cases of a deployment: plan, apply an approved plan, tear down, roll back |
//! | 7 | [`build`] | from a source to objects; what a build may use of other machines |
//! | 6 | [`clients`] | makes the clients of git, Helm, registries and clusters |
//! | 5 | [`worker`] | poll, claim, lifecycle, cancel, recover, report; the `Handler` trait |
//! | 5 | [`kustomize`] | file tree in, objects out; pure |
//! | 5 | [`cluster`] | client, fields, health, rollout |
//! | 4 | [`control`] | the control plane's API: wire types, response table, client, log shipping |
//! | 4 | [`journal`] | crash-safe record of executions, and the outbox of reports |
//! | 4 | [`registry`] | references, digests, credentials, artifact format, push, pull, copy, OCI layouts on disk |
//! | 3 | [`manifest`] | Kubernetes objects: read, identity, managed fields, order, write |
//! | 2 | [`plan`] | the control plane's documents: plans, cluster info, contents, changesets |
//! | 1 | [`yaml`] | node tree, parser, resolver, emitter |
//! | 1 | [`job`] | ids, kinds, reports, the state machine of an execution |
//! | 1 | [`workspace`], [`telemetry`] | job directories, git, archives, child processes; the process log |
//! | 0 | [`base`] | retry, clock, secret, stop, SSRF guard |
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
pub mod cloud;
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
pub mod trust;
pub mod worker;
pub mod workspace;
pub mod yaml;
