//! Misbehaviour on demand.

use std::time::Duration;

use http::Method;

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Misbehaviour {
    /// The request is refused with a status and perhaps a `Retry-After`, and nothing is done.
    Refuse(u16, Option<u64>),
    /// The connection ends before the request is looked at.
    Reset,
    /// The request is carried out, and then the connection ends without an answer.
    LoseAnswer,
    /// The request is carried out, and the answer is cut off in the middle.
    HalfBody,
    /// The request is carried out, and the answer is no JSON.
    BadJson,
    /// Nothing is done and nothing is said for this long.
    Silence(Duration),
    /// The client is sent elsewhere.
    Redirect(String),
    /// The request is carried out after this long.
    Slow(Duration),
}

/// Which requests it hits, and how often.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The method.
    pub method: Method,
    /// How the path ends, without the query.
    pub suffix: String,
    /// What goes wrong.
    pub misbehaviour: Misbehaviour,
    /// How many more requests it hits.
    pub times: usize,
    /// How many requests of its kind pass before it hits.
    pub after: usize,
}

impl Fault {
    /// Hits the next request of a kind.
    pub fn once(method: Method, suffix: &str, misbehaviour: Misbehaviour) -> Self {
        Self { method, suffix: suffix.to_owned(), misbehaviour, times: 1, after: 0 }
    }

    /// Hits every request of a kind from now on.
    pub fn always(method: Method, suffix: &str, misbehaviour: Misbehaviour) -> Self {
        Self { times: usize::MAX, ..Self::once(method, suffix, misbehaviour) }
    }

    /// Whether it hits this request; counts it if it is of its kind.
    pub(super) fn hits(&mut self, method: &Method, path: &str) -> bool {
        if self.method != *method || !path.ends_with(&self.suffix) || self.times == 0 {
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
