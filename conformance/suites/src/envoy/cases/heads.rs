//! Header maps and properties.

use super::{Case, get, post};

pub(crate) fn cases() -> Vec<Case> {
    [maps(), changes(), properties()].concat()
}

fn maps() -> Vec<Case> {
    vec![
        get("nothing", ""),
        get("reading the request's head", "rqh:get 0 :path;get 0 :method;get 0 :authority;get 0 x-t-a;get 0 X-T-A;has 0 x-t-none;get 0 x-t-empty;pairs 0")
            .with("x-t-a", "one").with("x-t-empty", ""),
        get("maps that are not there", "rqh:get 2 :status;size 2;pairs 2;get 1 a;size 1;pairs 1;get 3 a;get 6 a;pairs 6;get 4 a"),
        get("maps that do not exist", "rqh:get 8 a;size 8;pairs 8;add 8 a b;rep 9 a b;del 8 a;setpairs 8 _"),
        get("a repeated header", "rqh:get 0 x-t-r;pairs 0").with("x-t-r", "one").with("x-t-r", "two"),
        get("replacing a repeated header", "rqh:rep 0 x-t-r three;pairs 0").with("x-t-r", "one").with("x-t-r", "two"),
        get("adding to a repeated header", "rqh:add 0 x-t-r three;get 0 x-t-r;pairs 0").with("x-t-r", "one"),
        get("bytes beyond ASCII", "rqh:get 0 x-t-b;rep 0 x-t-c %c3%a9;get 0 x-t-c").with("x-t-b", "caf\u{e9}"),
        get("the request's map in response callbacks", "rsh:has 0 :path;pairs 2;get 2 :status|rsb:has 0 :path;has 2 :status").to("/chunks"),
        get("maps at the end", "log:get 0 :path;get 2 :status;has 1 a;has 3 a|done:has 0 :path"),
        get("map sizes at the end", "log:size 0;size 2"),
        post("changing a head that is gone", "rqb:add 0 x-t-late a;has 0 :path|rsb:add 2 x-t-late b").to("/chunks"),
    ]
}

fn changes() -> Vec<Case> {
    vec![
        get(
            "changing the request's head",
            "rqh:add 0 x-t-new a;rep 0 x-t-old b;del 0 x-t-gone;add 0 X-T-Upper c;pairs 0",
        )
        .with("x-t-old", "a")
        .with("x-t-gone", "a"),
        get(
            "deleting what is not there",
            "rqh:del 0 x-t-none;rep 0 x-t-none a;del 0 x-t-none;has 0 x-t-none",
        ),
        get(
            "all pairs of the request",
            "rqh:setpairs 0 :method=GET,:path=/ok,:authority=a.test,:scheme=http,x-t-only=a;pairs 0",
        )
        .with("x-t-gone", "a"),
        get("another path", "rqh:rep 0 :path /ok/changed?q=1;get 0 :path"),
        get("another method", "rqh:rep 0 :method PUT"),
        get("another authority", "rqh:rep 0 :authority other.test;get 0 host"),
        get("changing the response's head", "rsh:add 2 x-t-new a;rep 2 x-t-up b;del 2 content-type;pairs 2"),
        get("another status", "rsh:rep 2 :status 418;get 2 :status"),
        get("an empty value", "rqh:add 0 x-t-empty _;get 0 x-t-empty|rsh:add 2 x-t-empty _"),
        get("HEAD", "rsh:get 2 :status;add 2 x-t-new a").by("HEAD"),
        get("no content", "rsh:get 2 :status").to("/204"),
        get("not modified", "rsh:get 2 :status").to("/304"),
    ]
}

fn properties() -> Vec<Case> {
    vec![
        get("properties of the request", "rqh:prop request%00path;prop request%00url_path;prop request%00host;prop request%00method;prop request%00scheme;prop request%00protocol;prop request%00query;prop request%00headers%00x-t-a;prop request%00referer;prop request%00useragent")
            .to("/ok?a=1").with("x-t-a", "one").with("referer", "http://r.test/").with("user-agent", "agent"),
        get("joined values", "rqh:prop request%00headers%00x-t-r").with("x-t-r", "one").with("x-t-r", "two"),
        get("properties that are not there", "rqh:propst response%00code;propst request%00duration;propst upstream%00address;propst nothing;propst request%00nothing;propst request%00headers%00x-t-none;propst response%00headers%00a"),
        get("properties of the response", "rsh:prop response%00code;prop response%00headers%00x-t-up|log:prop response%00code;prop response%00grpc_status;propst response%00size"),
        get("numbers", "rqh:propst request%00time;propst source%00address;propst source%00port;propst destination%00port;propst connection%00id;prop connection%00mtls;propst connection%00tls_version"),
        get("the request's properties in response callbacks", "rsh:propst request%00path;propst request%00method|log:prop request%00path"),
        get("names of the plugin", "rqh:prop plugin_name;prop plugin_root_id;propst plugin_vm_id"),
        get("a property of its own", "rqh:setprop t-one a;prop t-one|rsh:prop t-one|log:prop t-one;propst t-two"),
        get("a property through the filter state", "rqh:setprop t-one a;prop filter_state%00wasm.t-one"),
        get("a property of several segments", "rqh:setprop t%00one a;propst t%00one"),
        get("body sizes", "log:propst request%00total_size;prop request%00size"),
        get("foreign functions", "rqh:foreign nothing _;foreign clear_route_cache _"),
        get("shared data", "rqh:shget t-never;shset t-key a 0;shget t-key;shset t-key b 999999;shset t-fresh a 77;shget t-fresh"),
        get("effective contexts", "rqh:eff 99999"),
        get("continuing", "rqh:cont 2;cont 3;cont 4;close 9"),
    ]
}
