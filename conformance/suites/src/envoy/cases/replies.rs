//! Answers of the guest's own, and streams that it breaks off.

use super::{Case, get, post};

pub(crate) fn cases() -> Vec<Case> {
    [replies(), late(), closes()].concat()
}

fn replies() -> Vec<Case> {
    vec![
        get(
            "a reply",
            "rqh:reply 403 denied x-t-why=a;ret 1|rsh:get 2 :status;add 2 x-t-own a|rsb:buf 1 0 100",
        ),
        get("a reply without a body", "rqh:reply 204 _ x-t-why=a;ret 1"),
        get("a reply and Continue", "rqh:reply 403 denied _;ret 0"),
        get("two replies", "rqh:reply 403 first _;reply 404 second _;ret 1"),
        get("a reply, then continuing", "rqh:reply 403 denied _;cont 0;ret 1"),
        get("a reply to HEAD", "rqh:reply 403 denied _;ret 1").by("HEAD"),
        get(
            "a reply with repeated headers",
            "rqh:reply 200 ok x-t-r=one,x-t-r=two,content-type=text/css;ret 1",
        ),
        get(
            "maps inside a reply",
            "rqh:reply 403 denied _;ret 1|rsh:has 0 :path;propst request%00path;prop response%00code|log:get 2 :status;prop response%00code",
        ),
        get("a gRPC reply", "rqh:reply 403 denied _ 7;ret 1").with("content-type", "application/grpc"),
        get("a reply to gRPC without a status of its own", "rqh:reply 403 denied _;ret 1")
            .with("content-type", "application/grpc"),
        post("a reply in the body", "rqb:ret 1|rqb$:reply 413 no _;ret 1"),
        post("a reply in the first chunk", "rqb#1:reply 413 no _;ret 1"),
        post("a reply in the trailers", "rqt:reply 400 no _;ret 1").ends_with("x-t-end", "one"),
        get("a reply in a tick", "rqh:ret 1;tick 20|tick:reply 429 slow _"),
        get("a reply in the response's head", "rsh:reply 418 instead x-t-why=a;ret 1"),
        get("a reply in the response's held body", "rsh:ret 1|rsb:ret 1|rsb$:reply 418 instead _;ret 1")
            .to("/chunks"),
        get("a reply whose body is rewritten", "rqh:reply 403 denied _;ret 1|rsb:set 1 0 100 rewritten"),
        get("a reply whose status is rewritten", "rqh:reply 403 denied _;ret 1|rsh:rep 2 :status 404"),
    ]
}

fn late() -> Vec<Case> {
    vec![
        get("a reply when the head is gone", "rsb#1:reply 418 instead _;ret 1").to("/chunks"),
        get(
            "a reply at the end",
            "log:reply 418 instead _|done:reply 418 instead _|delete:reply 418 instead _",
        ),
    ]
}

fn closes() -> Vec<Case> {
    vec![
        get("breaking the request off", "rqh:close 0;ret 1"),
        get("breaking the response off in the request", "rqh:close 1;ret 1"),
        get("breaking the response off", "rsh:close 1;ret 1"),
        get("breaking off in the middle of a body", "rsb#1:close 1;ret 1").to("/chunks"),
        get("breaking off at the end", "log:close 0;close 1|done:close 0"),
    ]
}
