//! Faults on demand: the control plane answers wrongly, late or not at all.

use std::time::Duration;

use http::Method;

/// How a request fails.
#[derive(Debug, Clone)]
pub enum FaultKind {
    /// Refuses the request with this status and, optionally, a `Retry-After` in seconds. Has no
    /// effect on the store.
    Refuse(u16, Option<u64>),
    /// Closes the connection without executing the request.
    Reset,
    /// Executes the request, then closes the connection without a response.
    DropResponse,
    /// Executes the request and sends the first half of the response body.
    TruncateBody,
    /// Executes the request and sends a body that is not JSON.
    InvalidJson,
    /// Closes the connection after this time, without executing the request.
    Hang(Duration),
    /// Redirects the client (307) to this location.
    Redirect(String),
    /// Executes the request after this time.
    Slow(Duration),
}

/// A fault, with the requests that it affects.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Method of the requests; none matches any method.
    pub method: Option<Method>,
    /// Suffix of the request's path, without the query.
    pub suffix: String,
    /// How a request fails.
    pub kind: FaultKind,
    /// Remaining number of requests to affect.
    pub times: usize,
    /// Number of matching requests that pass first.
    pub after: usize,
    /// Percentage of matching requests to affect.
    pub percent: u32,
    /// State of the generator that selects this percentage.
    pub seed: u32,
}

impl Fault {
    /// Affects the next matching request.
    pub fn once(method: Method, suffix: &str, kind: FaultKind) -> Self {
        Self {
            method: Some(method),
            suffix: suffix.to_owned(),
            kind,
            times: 1,
            after: 0,
            percent: 100,
            seed: 0,
        }
    }

    /// Affects every matching request from now on.
    pub fn always(method: Method, suffix: &str, kind: FaultKind) -> Self {
        Self {
            times: usize::MAX,
            ..Self::once(method, suffix, kind)
        }
    }

    /// Affects a percentage of all requests, and the same ones for the same seed.
    pub fn some(percent: u32, seed: u32, kind: FaultKind) -> Self {
        Self {
            method: None,
            suffix: String::new(),
            kind,
            times: usize::MAX,
            after: 0,
            percent,
            seed,
        }
    }

    /// Returns true if this request is affected, and counts it if it matches.
    pub(super) fn affects(&mut self, method: &Method, path: &str) -> bool {
        let other_method = self.method.as_ref().is_some_and(|wanted| wanted != method);
        if other_method || !path.ends_with(&self.suffix) || self.times == 0 {
            return false;
        }
        // A linear congruential generator: simple, and the same on all machines.
        self.seed = self
            .seed
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        if (self.seed >> 16) % 100 >= self.percent {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}
