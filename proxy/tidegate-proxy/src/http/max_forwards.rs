//! How many gateways and proxies a request may pass yet (RFC 9110, 7.6.2).

use std::rc::Rc;

use http::header::{HeaderValue, MAX_FORWARDS};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use crate::http::fail::{Fail, Reason};
use crate::http::reply::Reply;

/// Counts a request that is to be forwarded; some: it goes no further, and this is its answer. Only OPTIONS and TRACE are
/// counted, and TRACE does not come here.
///
/// # Errors
/// When the field is not one number.
#[inline]
pub(crate) fn count(head: &mut Rc<Parts>) -> Result<Option<Reply>, Fail> {
    if head.method == Method::OPTIONS { count_options(head) } else { Ok(None) }
}

#[cold]
fn count_options(head: &mut Rc<Parts>) -> Result<Option<Reply>, Fail> {
    let Some(count) = left(&head.headers)? else { return Ok(None) };
    let Some(next) = count.checked_sub(1) else {
        return Ok(Some(Reply::text(StatusCode::OK, "the gateway answers: max-forwards is 0\n")));
    };
    Rc::make_mut(head).headers.insert(MAX_FORWARDS, HeaderValue::from(next));
    Ok(None)
}

/// The number, if there is the field. One that is too large is as the largest.
fn left(headers: &HeaderMap) -> Result<Option<u64>, Fail> {
    let mut values = headers.get_all(MAX_FORWARDS).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let digits = value.to_str().unwrap_or_default();
    if values.next().is_some() || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fail::client(Reason::Header).because("`max-forwards` is not one number"));
    }
    Ok(Some(digits.parse().unwrap_or(u64::MAX)))
}
