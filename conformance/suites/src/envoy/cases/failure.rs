//! Guests that break off. Each has a VM of its own, because a failed one answers nothing any more.

use super::{Case, get, post};
use crate::envoy::config::FRAGILE;

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        get("a trap in the request's head", "rqh:trap"),
        post("a trap in the body", "rqb#2:trap"),
        post("a trap in the trailers", "rqt:trap").ends_with("x-t-end", "one"),
        get("a trap in the response's head", "rsh:trap"),
        get("a trap in the response's body", "rsb:trap").to("/chunks"),
        get("a trap in a call's answer", "rqh:call up /call 2000;ret 1|call:trap"),
        get("a trap in a tick", "rqh:ret 1;tick 20|tick:trap"),
        get("a trap after a reply", "rqh:reply 403 denied _;ret 1|rsh:trap"),
        get("a trap at the end", "log:trap"),
        get("a trap when done", "done:trap"),
    ];
    assert!(cases.len() <= FRAGILE, "each needs a listener of its own");
    let cases = cases.into_iter().enumerate();
    cases.map(|(nth, case)| Case { listener: format!("fragile{nth}"), ..case }).collect()
}
