//! What a module can do, in words: which callbacks it has, and what its imports let it ask of the host.

/// Host functions with what they are for; a name that ends in `*` stands for all that begin so.
const POWERS: &[(&str, &[&str])] = &[
    ("read headers", &["proxy_get_header_map_*"]),
    (
        "change headers",
        &[
            "proxy_set_header_map_pairs",
            "proxy_add_header_map_value",
            "proxy_replace_header_map_value",
            "proxy_remove_header_map_value",
        ],
    ),
    ("read bodies and its configuration", &["proxy_get_buffer_*", "proxy_get_configuration"]),
    ("change bodies", &["proxy_set_buffer_bytes", "proxy_inject_encoded_data_to_filter_chain"]),
    ("answer requests itself", &["proxy_send_local_response"]),
    ("resume what it held", &["proxy_continue_*"]),
    ("break requests off", &["proxy_close_stream"]),
    ("call upstreams by HTTP", &["proxy_http_call"]),
    ("call upstreams by gRPC", &["proxy_grpc_*"]),
    ("ask Redis", &["proxy_redis_*"]),
    ("choose the server", &["proxy_get_upstream_hosts", "proxy_set_upstream_override_host"]),
    ("read properties", &["proxy_get_property"]),
    ("set properties", &["proxy_set_property"]),
    ("use shared data", &["proxy_get_shared_data", "proxy_set_shared_data"]),
    (
        "use queues",
        &[
            "proxy_register_shared_queue",
            "proxy_resolve_shared_queue",
            "proxy_enqueue_shared_queue",
            "proxy_dequeue_shared_queue",
        ],
    ),
    (
        "count in metrics",
        &["proxy_define_metric", "proxy_increment_metric", "proxy_record_metric", "proxy_get_metric"],
    ),
    ("call foreign functions", &["proxy_call_foreign_function"]),
    ("have the route chosen again", &["proxy_clear_route_cache"]),
    ("be woken from time to time", &["proxy_set_tick_period_milliseconds"]),
    ("read the clock", &["proxy_get_current_time_nanoseconds", "clock_time_get"]),
    ("log", &["proxy_log", "fd_write"]),
    ("read environment variables", &["environ_get"]),
    ("get random bytes", &["random_get"]),
];

/// Callbacks with the moment that they are for.
const MOMENTS: &[(&str, &str)] = &[
    ("proxy_on_request_headers", "request headers"),
    ("proxy_on_request_body", "request body"),
    ("proxy_on_request_trailers", "request trailers"),
    ("proxy_on_response_headers", "response headers"),
    ("proxy_on_response_body", "response body"),
    ("proxy_on_response_trailers", "response trailers"),
    ("proxy_on_new_connection", "new connection"),
    ("proxy_on_downstream_data", "data from the client"),
    ("proxy_on_upstream_data", "data from the upstream"),
    ("proxy_on_http_call_response", "answers to its calls"),
    ("proxy_on_grpc_receive", "gRPC messages"),
    ("proxy_on_redis_call_response", "replies of Redis"),
    ("proxy_on_tick", "ticks"),
    ("proxy_on_queue_ready", "entries of queues"),
    ("proxy_on_log", "log"),
];

/// What a module with these imports may ask of the host.
pub(crate) fn powers<'a>(imports: impl Iterator<Item = &'a str> + Clone) -> Vec<&'static str> {
    let is = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    let has =
        |patterns: &[&str]| imports.clone().any(|name| patterns.iter().any(|pattern| is(pattern, name)));
    POWERS.iter().filter(|(_, patterns)| has(patterns)).map(|(power, _)| *power).collect()
}

/// When a module with these exports is called.
pub(crate) fn moments<'a>(exports: impl Iterator<Item = &'a str> + Clone) -> Vec<&'static str> {
    let has = |callback: &str| exports.clone().any(|name| name == callback);
    MOMENTS.iter().filter(|(callback, _)| has(callback)).map(|(_, moment)| *moment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_exports_become_words() {
        let imports = ["proxy_log", "proxy_get_header_map_value", "proxy_grpc_send"];
        assert_eq!(powers(imports.into_iter()), ["read headers", "call upstreams by gRPC", "log"]);
        assert_eq!(
            moments(["memory", "proxy_on_tick", "proxy_on_request_body"].into_iter()),
            ["request body", "ticks"]
        );
    }
}
