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
    /// The method; any if there is none.
    pub method: Option<Method>,
    /// How the path ends, without the query.
    pub suffix: String,
    /// What goes wrong.
    pub misbehaviour: Misbehaviour,
    /// How many more requests it hits.
    pub times: usize,
    /// How many requests of its kind pass before it hits.
    pub after: usize,
    /// How many in a hundred of its kind it hits.
    pub percent: u32,
    /// Where the choice of them begins.
    pub seed: u32,
}

impl Fault {
    /// Hits the next request of a kind.
    pub fn once(method: Method, suffix: &str, misbehaviour: Misbehaviour) -> Self {
        Self {
            method: Some(method),
            suffix: suffix.to_owned(),
            misbehaviour,
            times: 1,
            after: 0,
            percent: 100,
            seed: 0,
        }
    }

    /// Hits every request of a kind from now on.
    pub fn always(method: Method, suffix: &str, misbehaviour: Misbehaviour) -> Self {
        Self {
            times: usize::MAX,
            ..Self::once(method, suffix, misbehaviour)
        }
    }

    /// Hits some in a hundred of all requests; the same ones for the same seed.
    pub fn some(percent: u32, seed: u32, misbehaviour: Misbehaviour) -> Self {
        Self {
            method: None,
            suffix: String::new(),
            misbehaviour,
            times: usize::MAX,
            after: 0,
            percent,
            seed,
        }
    }

    /// Whether it hits this request; counts it if it is of its kind.
    pub(super) fn hits(&mut self, method: &Method, path: &str) -> bool {
        let other_method = self.method.as_ref().is_some_and(|wanted| wanted != method);
        if other_method || !path.ends_with(&self.suffix) || self.times == 0 {
            return false;
        }
        // A linear congruential step: plain, and the same everywhere.
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
