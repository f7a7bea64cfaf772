//! Faults of the local control plane, which tests ask for.

use http::{Method, Response};

use super::super::answer::Answer;
use super::super::fault::FaultKind;
use super::super::store::Call;
use super::respond::{Body, ConnectionClosed, respond};
use super::{Shared, lock};

/// Returns the kind of the first fault that affects a request, and counts it.
pub(super) fn next_fault(shared: &Shared, method: &Method, path: &str) -> Option<FaultKind> {
    let mut faults = lock(&shared.faults);
    let hit = faults
        .iter_mut()
        .find_map(|fault| fault.affects(method, path).then(|| fault.kind.clone()));
    faults.retain(|fault| fault.times > 0);
    hit
}

/// Returns the outcome of a fault that comes before the work; `None` if the request is answered.
pub(super) async fn misbehave(
    shared: &Shared,
    fault: Option<&FaultKind>,
    call: &mut Call,
) -> Option<Result<Response<Body>, ConnectionClosed>> {
    let (status, text, header, value) = match fault? {
        FaultKind::Refuse(status, delay) => {
            let delay = delay.map(http::HeaderValue::from);
            (
                *status,
                "refused on purpose",
                http::header::RETRY_AFTER,
                delay,
            )
        }
        FaultKind::Redirect(to) => (307, "elsewhere", http::header::LOCATION, to.parse().ok()),
        FaultKind::Reset | FaultKind::Hang(_) => return Some(Err(ConnectionClosed)),
        FaultKind::Slow(time) => {
            shared.options.clock.sleep(*time).await;
            return None;
        }
        _ => return None,
    };
    call.status = status;
    let mut response = respond(Answer::error(status, text));
    if let Some(value) = value {
        response.headers_mut().insert(header, value);
    }
    Some(Ok(response))
}
