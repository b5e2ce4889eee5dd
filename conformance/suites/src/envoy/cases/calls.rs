//! HTTP calls of the guest, and pauses that they end.

use super::{Case, get, post};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        get(
            "a call",
            "rqh:call up /call 2000;ret 1|call:get 6 :status;get 6 x-t-up;buf 4 0 100;bufst 4;has 7 a;cont 0",
        ),
        get(
            "reading beside the call's answer",
            "rqh:call up /call 2000;ret 1|call:get 0 :path;add 0 x-t-new a;add 6 a b;set 4 0 0 a;size 6;cont 0",
        ),
        get("a call without a pause", "rqh:call up /call 2000|call:get 6 :status"),
        get(
            "a call that nobody answers",
            "rqh:call silent /call 100;ret 1|call:get 6 :status;buf 4 0 100;cont 0",
        ),
        get("a call to a dead server", "rqh:call dead /call 2000;ret 1|call:get 6 :status;cont 0"),
        get("a call to nobody", "rqh:call nobody /call 2000"),
        get(
            "calls that cannot be made",
            "rqh:callraw up :method=GET,:path=/call 100;callraw up :method=GET,:authority=a 100;callraw up :path=/,:authority=a 100;callraw up _ 100;callraw up :method=GET,:path=/call,:authority=a -5",
        ),
        get("a call, then a reply", "rqh:call up /call 2000;ret 1|call:reply 403 denied x-t-why=call"),
        post("a call before the body", "rqh:call up /call 2000;ret 1|rqb:buf 0 0 100|call:cont 0"),
        get("a call in the response's head", "rsh:call up /call 2000;ret 1|call:add 2 x-t-new a;cont 1"),
        post("a call in the body", "rqb$:call up /call 2000;ret 1|rqb:ret 1|call:buf 0 0 100;cont 0"),
        get("a call in the response's body", "rsb:ret 1|rsb$:call up /call 2000;ret 1|call:cont 1")
            .to("/chunks"),
        post("a call while a body comes", "rqh:call up /call 2000;ret 4|call:cont 0"),
        get(
            "a call with an answer that has no body",
            "rqh:call up /204 2000;ret 1|call:get 6 :status;bufst 4;cont 0",
        ),
        get("a pause that a tick ends", "rqh:ret 1;tick 20|tick:add 0 x-t-late a;cont 0"),
        get("a second pause", "rqh:ret 1;tick 20|tick:cont 0|rsh:ret 1;tick 20|tick#2:cont 1"),
        get(
            "continuing what is not paused",
            "rqh:cont 0;cont 1|rsh:cont 0;cont 1|log:cont 0;cont 1|done:cont 0",
        ),
        get("continuing inside the callback that pauses", "rqh:cont 0;ret 1"),
    ]
}
