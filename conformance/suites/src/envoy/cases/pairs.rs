//! Two guests one after the other.

use super::{Case, get, post};

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        get("both in order", "")
            .with("x-script-a", "rqh:add 0 x-t-a one|rsh:add 2 x-t-a one;pairs 2")
            .with("x-script-b", "rqh:get 0 x-t-a;add 0 x-t-b two|rsh:add 2 x-t-b two"),
        get("the first one replies", "")
            .with("x-script-a", "rqh:reply 403 denied _;ret 1|rsh:get 2 :status")
            .with("x-script-b", "rqh:get 0 :path|rsh:get 2 :status"),
        get("the second one replies", "")
            .with("x-script-a", "rqh:add 0 x-t-a one|rsh:get 2 :status;add 2 x-t-a one")
            .with("x-script-b", "rqh:reply 403 denied _;ret 1|rsh:get 2 :status"),
        get("the first one pauses", "")
            .with("x-script-a", "rqh:ret 1;tick 20|tick:cont 0")
            .with("x-script-b", "rqh:get 0 :path"),
        get("the second one pauses", "")
            .with("x-script-a", "rqh:get 0 :path")
            .with("x-script-b", "rqh:ret 1;tick 20|tick:cont 0"),
        post("both hold the body", "")
            .with("x-script-a", "rqb:ret 1|rqb$:set 0 99 0 -a")
            .with("x-script-b", "rqb:ret 1|rqb$:buf 0 0 100;set 0 99 0 -b"),
        post("the second one holds the body", "")
            .with("x-script-a", "rqb:bufst 0")
            .with("x-script-b", "rqb:ret 1|rqb$:buf 0 0 100"),
        get("the second one answers the response", "")
            .with("x-script-a", "rsh:get 2 :status")
            .with("x-script-b", "rsh:reply 418 instead _;ret 1"),
        get("properties between the two", "")
            .with("x-script-a", "rqh:setprop t-one a")
            .with("x-script-b", "rqh:prop t-one|rsh:setprop t-two b"),
    ];
    cases.into_iter().map(|case| Case { listener: "pair".to_owned(), ..case }).collect()
}
