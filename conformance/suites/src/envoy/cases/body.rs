//! Bodies and trailers on both sides.

use super::{Case, get, post};

pub(crate) fn cases() -> Vec<Case> {
    [requests(), writes(), responses(), trailers()].concat()
}

fn requests() -> Vec<Case> {
    vec![
        post("chunks", "rqb:buf 0 0 100;bufst 0"),
        post("a body with a length", "rqb:buf 0 0 100").sized(),
        post("an empty body", "rqb:buf 0 0 100").pieces(&[]).sized(),
        post("held to its end", "rqb:ret 1|rqb$:buf 0 0 100;bufst 0"),
        post("held, then let go", "rqb#1:ret 1|rqb#2:ret 1|rqb#3:ret 0"),
        post("held twice", "rqb#1:ret 1|rqb#2:ret 0|rqb#3:ret 1|rqb$:ret 0"),
        post("held without the buffer", "rqb:ret 3|rqb$:ret 0"),
        post("held against the watermark", "rqb:ret 2|rqb$:ret 0"),
        post(
            "parts of the buffer",
            "rqb:ret 1|rqb$:buf 0 1 2;buf 0 4 100;buf 0 6 1;buf 0 7 1;buf 0 0 0;buf 0 0 4294967295;buf 0 4294967295 4294967295",
        ),
        post(
            "other buffers",
            "rqb:buf 1 0 10;buf 4 0 10;buf 5 0 10;buf 6 0 10;buf 7 0 10;buf 9 0 10;bufst 1;bufst 9;set 6 0 0 a;set 9 0 0 a;set 4 0 0 a",
        ),
        post("a head that waits for the body", "rqh:ret 1|rqb:ret 1|rqb$:add 0 x-t-late a;ret 0"),
        post("a head that waits for the first chunk", "rqh:ret 1|rqb#1:rep 0 x-t-late a;ret 0"),
        post("a head that waits for a tick", "rqh:ret 1;tick 20|rqb:ret 1|tick:cont 0"),
        post("a head that waits for a tick, and a body left alone", "rqh:ret 1;tick 20|tick:cont 0"),
        post(
            "a head that waits for the body, with a tick",
            "rqh:ret 1;tick 5000|rqb:ret 1|rqb$:add 0 x-t-late a;ret 0",
        ),
        post("all iteration stopped", "rqh:ret 4;tick 20|tick:cont 0"),
        post("all iteration stopped and buffered", "rqh:ret 3;tick 20|tick:cont 0"),
        get("a head that ends the stream", "rqh:ret 2"),
    ]
}

fn writes() -> Vec<Case> {
    vec![
        post("replacing the body", "rqh:del 0 content-length|rqb:ret 1|rqb$:set 0 0 100 new;buf 0 0 100"),
        post("replacing all by its length", "rqb:ret 1|rqb$:set 0 0 6 new;buf 0 0 100"),
        post("prepending", "rqb:ret 1|rqb$:set 0 0 0 new-;buf 0 0 100"),
        post("appending", "rqb:ret 1|rqb$:set 0 6 0 -new;buf 0 0 100"),
        post("appending far behind", "rqb:ret 1|rqb$:set 0 99 5 -new;buf 0 0 100"),
        post("replacing the beginning", "rqb:ret 1|rqb$:set 0 0 3 new-;buf 0 0 100"),
        post("replacing the middle", "rqb:ret 1|rqb$:set 0 2 2 new;buf 0 0 100"),
        post("emptying", "rqb:ret 1|rqb$:set 0 0 100 _;buf 0 0 100"),
        post("each chunk", "rqb:set 0 0 100 x;buf 0 0 100"),
        post("behind the last chunk", "rqb$:set 0 99 0 tail"),
        get("replacing a response", "rsh:del 2 content-length|rsb:ret 1|rsb$:set 1 0 100 new-body")
            .to("/chunks"),
        get("appending to a response", "rsh:del 2 content-length|rsb$:set 1 99 0 -tail").to("/chunks"),
        get("each chunk of a response", "rsb:set 1 0 100 x").to("/chunks"),
    ]
}

fn responses() -> Vec<Case> {
    vec![
        get("a response in chunks", "rsb:buf 1 0 100;bufst 1").to("/chunks"),
        get("a response with a length", "rsb:buf 1 0 100").to("/body"),
        get("a response held to its end", "rsb:ret 1|rsb$:buf 1 0 100").to("/chunks"),
        get("a response held, then let go", "rsb#1:ret 1|rsb#2:ret 1|rsb#3:ret 0").to("/chunks"),
        get("a response's head that waits for its body", "rsh:ret 1|rsb:ret 1|rsb$:add 2 x-t-late a;ret 0")
            .to("/chunks"),
        get("a response's head that waits for its first chunk", "rsh:ret 1|rsb#1:add 2 x-t-late a;ret 0")
            .to("/chunks"),
        get("a response's head that a tick lets go", "rsh:ret 1;tick 20|tick:add 2 x-t-late a;cont 1"),
        get("an empty response", "rsb:buf 1 0 100"),
        get("the request's buffer in a response", "rsb:buf 0 0 100;bufst 0").to("/chunks"),
    ]
}

fn trailers() -> Vec<Case> {
    vec![
        post("request trailers", "rqb:bufst 0|rqt:get 1 x-t-end;add 1 x-t-new a;pairs 1")
            .ends_with("x-t-end", "one"),
        post("changing request trailers", "rqt:rep 1 x-t-end two;add 1 x-t-new a")
            .ends_with("x-t-end", "one"),
        post("a body held to its trailers", "rqb:ret 1|rqt:buf 0 0 100;bufst 0").ends_with("x-t-end", "one"),
        post("trailers that a tick lets go", "rqt:ret 1;tick 20|tick:cont 0").ends_with("x-t-end", "one"),
        get("response trailers", "rsb:bufst 1|rst:get 3 x-t-end;pairs 3").to("/trailers"),
        get("changing response trailers", "rst:rep 3 x-t-end two;add 3 x-t-new a").to("/trailers"),
        get("a response held to its trailers", "rsb:ret 1|rst:buf 1 0 100").to("/trailers"),
        get("response trailers that a tick lets go", "rst:ret 1;tick 20|tick:cont 1").to("/trailers"),
        get("trailers at the end", "log:get 3 x-t-end;has 1 a").to("/trailers"),
    ]
}
