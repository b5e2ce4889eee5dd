//! The same set-up for both: listeners that differ in how the guest stands in them, upstreams that answer, are dead, or
//! say nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Listeners on which the guest of a case may break off: each has a VM of its own.
pub(crate) const FRAGILE: usize = 12;

/// Where the servers behind both are.
pub(crate) struct Servers {
    pub(crate) up: SocketAddr,
    pub(crate) dead: SocketAddr,
    pub(crate) silent: SocketAddr,
    /// An OpenID provider.
    pub(crate) provider: SocketAddr,
    /// An authorization service that speaks gRPC.
    pub(crate) grpc: SocketAddr,
}

impl Servers {
    /// All of them by name, and whether they speak HTTP/2.
    fn all(&self) -> [(&'static str, SocketAddr, bool); 5] {
        [
            ("up", self.up, false),
            ("dead", self.dead, false),
            ("silent", self.silent, false),
            ("provider", self.provider, false),
            ("grpc", self.grpc, true),
        ]
    }
}

/// The listener that answers by itself, without any guest.
pub(crate) const PROBE: &str = "probe";

/// The listener whose guest stops bodies as well when it pauses headers.
pub(crate) const STOPS: &str = "stops";

/// The listener of the guest that is written with the SDK.
pub(crate) const SDK: &str = "sdk";

/// The listener of the first-party filter of that name.
pub(crate) const API_KEY: &str = "api-key";

/// The listener of the first-party filter of that name.
pub(crate) const CORS: &str = "cors";

/// The listener of the first-party filter of that name.
pub(crate) const TRANSFORM: &str = "transform";

/// The listener of the first-party filter of that name.
pub(crate) const FAULT: &str = "fault";

/// The listener of the first-party filter of that name.
pub(crate) const ROUTING: &str = "routing";

/// The listener of the first-party filter of that name.
pub(crate) const AUTH: &str = "auth";

/// The listener of the first-party filter of that name.
pub(crate) const RATE_LIMIT: &str = "rate-limit";

/// The listener of the first-party filter of that name.
pub(crate) const CACHE: &str = "cache";

/// The listener of `auth` with an authorization service.
pub(crate) const EXTERNAL: &str = "external";

/// The same, whose service is asked by gRPC.
pub(crate) const EXTERNAL_GRPC: &str = "external-grpc";

/// The same, whose service is shown bodies.
pub(crate) const EXTERNAL_BODY: &str = "external-body";

/// The same, whose service is shown the beginning of bodies.
pub(crate) const EXTERNAL_PART: &str = "external-part";

/// The listener of `auth` that speaks TLS and asks clients for certificates.
pub(crate) const CERTIFICATE: &str = "certificate";

/// The listener of `auth` with `rate-limit` behind it.
pub(crate) const CLAIMS: &str = "claims";

/// The second filter there.
const CLAIMS_LIMIT: &str = "claims-limit";

/// The listener of `auth` with a login.
pub(crate) const LOGIN: &str = "login";

/// All of [`FILTERS`], and those whose configuration is made.
static ALL: LazyLock<Vec<(&str, &str, &str)>> = LazyLock::new(|| {
    let auth = (AUTH, "auth.wasm", &*super::cases::auth::config().leak());
    FILTERS.iter().copied().chain([auth]).collect()
});

/// Filters of their own beside the scripted guest: listener and plugin, module, configuration.
const FILTERS: &[(&str, &str, &str)] = &[
    (SDK, "sdk_guest.wasm", r#"{"upstream":"up","tickMillis":50}"#),
    (
        API_KEY,
        "api_key.wasm",
        r#"{"keys":["plain-key",{"key":"anns-key","consumer":"ann"}],"consumerHeader":"x-t-consumer"}"#,
    ),
    (
        FAULT,
        "fault.wasm",
        r#"{"seed":1,"decideBy":"x-id","byHeader":{"abort":true},"faults":[{"match":{"headers":{"x-fault":"status"}},"abort":{"status":503,"message":"out"}},{"match":{"headers":{"x-fault":"grpc"}},"abort":{"grpcStatus":14,"message":"out"}},{"match":{"headers":{"x-fault":"reset"}},"abort":{"reset":true}},{"match":{"headers":{"x-fault":"delay"}},"delay":{"fixed":"20ms"}},{"match":{"headers":{"x-fault":"half"}},"abort":{"percent":50,"status":500}},{"match":{"headers":{"x-fault":"slow"}},"bandwidth":{"up":200,"down":200}},{"match":{"headers":{"x-fault":"cut"}},"truncate":{"after":3,"keepLength":false}},{"match":{"headers":{"x-fault":"corrupt"}},"corrupt":{"every":2}}]}"#,
    ),
    (
        ROUTING,
        "routing.wasm",
        r#"{"tell":{"upstream":"x-t-arm","client":"x-t-arm"},"redirects":[{"path":"/old/(.*)","to":"/new/$1"}],"rewrites":[{"path":"/v1(/.*)","to":"/v2$1"}],"rules":[{"name":"plan","values":{"from":{"header":"x-plan"},"arms":{"gold":{"header":{"name":"x-t-to","value":"gold"}}}}},{"name":"shop","match":{"path":"/shop.*"},"switch":{"initial":"blue","arms":{"blue":{"header":{"name":"x-t-to","value":"blue"}},"green":{"header":{"name":"x-t-to","value":"green"}}},"control":{"path":"/switch","token":"0123456789abcdef"}}},{"name":"lang","match":{"headers":{"accept-language":"*"}},"language":{"arms":{"de":{"header":{"name":"x-t-to","value":"de"}}},"default":{"header":{"name":"x-t-to","value":"en"}}}},{"name":"split","match":{"headers":{"x-user":"*"}},"split":{"by":{"header":"x-user"},"cookie":{"name":"v"},"arms":[{"name":"a"},{"name":"b","to":{"header":{"name":"x-t-to","value":"b"}}}]}}]}"#,
    ),
    (
        RATE_LIMIT,
        "rate_limit.wasm",
        r#"{"limits":[{"name":"user","rate":"2 per 300 days","key":"header:x-user","missing":"skip"},{"name":"plan","rate":"3/h","key":["header:x-plan","path"],"missing":"skip"},{"name":"cost","rate":"100 per 300 days","key":"header:x-cost-of","cost":{"response":"x-t-cost"},"missing":"skip"},{"name":"watched","rate":"1/h","key":"header:x-watched","missing":"skip","shadow":true}]}"#,
    ),
    (CACHE, "cache.wasm", r#"{"purge":{"token":"0123456789abcdef"},"coalesce":{"wait":"0s"}}"#),
    (
        EXTERNAL,
        "auth.wasm",
        r#"{"ways":[{"external":{"http":{"upstream":"up","pathPrefix":"/authz","upstreamHeaders":["x-t-user"],"requestHeaders":["x-t-who"]},"subjectHeader":"x-t-user"}}],"headers":{"subject":"x-t-subject"}}"#,
    ),
    (
        EXTERNAL_GRPC,
        "auth.wasm",
        r#"{"ways":[{"external":{"grpc":{"upstream":"grpc","requestHeaders":["x-t-who"],"contextExtensions":{"rule":"a"}},"subjectHeader":"x-t-user"}}],"headers":{"subject":"x-t-subject"}}"#,
    ),
    (
        EXTERNAL_BODY,
        "auth.wasm",
        r#"{"ways":[{"external":{"http":{"upstream":"up","pathPrefix":"/authz","upstreamHeaders":["x-t-user"],"requestHeaders":["x-t-who"]},"bodyLimit":"6","subjectHeader":"x-t-user"}}],"envoyHoldsHeads":true,"headers":{"subject":"x-t-subject"}}"#,
    ),
    (
        EXTERNAL_PART,
        "auth.wasm",
        r#"{"ways":[{"external":{"http":{"upstream":"up","pathPrefix":"/authz","upstreamHeaders":["x-t-user"],"requestHeaders":["x-t-who"]},"bodyLimit":"4","allowPartialBody":true}}],"envoyHoldsHeads":true}"#,
    ),
    (
        CERTIFICATE,
        "auth.wasm",
        r#"{"ways":[{"certificate":{"names":["client.test","*.shop.test"]}}],"headers":{"subject":"x-t-subject","way":"x-t-way","claims":{"x-t-dns":"dns"}}}"#,
    ),
    (
        CLAIMS,
        "auth.wasm",
        r#"{"anonymous":true,"ways":[{"key":{"keys":[{"key":"anns-key","consumer":"ann","metadata":{"org.tenant":"acme"}},{"key":"bobs-key","consumer":"bob","metadata":{"org.tenant":"acme"}},{"key":"eves-key","consumer":"eve","metadata":{"org.tenant":"other"}}]}}],"handOn":{"subject":true,"claims":["org.tenant"]}}"#,
    ),
    (
        CLAIMS_LIMIT,
        "rate_limit.wasm",
        r#"{"limits":[{"name":"tenant","rate":"2/h","key":"claim:org.tenant","missing":"skip"},{"name":"sender","rate":"2/h","key":"subject | address"}]}"#,
    ),
    (
        LOGIN,
        "auth.wasm",
        r#"{"ways":[{"oidc":{"issuer":"http://idp.test/realm","upstream":"provider","clientId":"tide:gate","clientSecret":"s3cret &more","parameters":{"prompt":"consent"},"cookieKeys":["of-no-secrecy-since-these-are-cases"],"cookie":{"secure":false},"refreshBefore":"30s","afterLogout":"/bye"}}],"headers":{"subject":"x-t-user","claims":{"x-t-email":"email"}}}"#,
    ),
    (
        CORS,
        "cors.wasm",
        r#"{"origins":["https://shop.test","https://*.example.org"],"headers":"mirror","exposedHeaders":["x-total"],"maxAge":"1h","credentials":true,"otherOrigins":"refuse"}"#,
    ),
    (
        TRANSFORM,
        "transform.wasm",
        r#"{"request":[{"headers":{"copy":{"x-t-a":"x-t-copy"},"rename":{"x-t-old":"x-t-new"},"remove":["x-t-secret"],"set":{"x-t-q":"{query.q|none}","x-t-m":"{method} {path}"},"add":{"x-t-a":"3"}},"query":{"remove":["page"],"set":{"a":"{header.x-t-a}"}}}],"response":[{"when":{"status":["2xx"]},"headers":{"set":{"x-t-was":"{status} {request.header.x-t-a|-} {path}"}}}]}"#,
    ),
];

/// The module on a plugin's place: the scripted guest, or one of its neighbours.
fn module(guest: &Path, plugin: &str) -> PathBuf {
    let own = ALL.iter().find(|(name, ..)| *name == plugin);
    own.map_or_else(|| guest.to_owned(), |(_, file, _)| guest.with_file_name(file))
}

/// Whether the guest on a listener logs each of its callbacks.
pub(crate) fn speaks(listener: &str) -> bool {
    is_scripted(listener)
}

fn is_scripted(plugin: &str) -> bool {
    ALL.iter().all(|(name, ..)| *name != plugin)
}

/// Listeners by name, with the plugins on them (name, configuration).
fn listeners(wanted: &[String]) -> Vec<(String, Vec<(String, &'static str)>)> {
    let web = |name: &str| (name.to_owned(), vec![("guest".to_owned(), "")]);
    let pair = vec![("first".to_owned(), "a"), ("second".to_owned(), "b")];
    let fragile = (0..FRAGILE).map(|nth| (format!("fragile{nth}"), vec![(format!("fragile{nth}"), "")]));
    let stops = (STOPS.to_owned(), vec![(STOPS.to_owned(), "")]);
    let plugins = |name: &str| {
        let both =
            ALL.iter().filter(|(known, ..)| *known == name || name == CLAIMS && *known == CLAIMS_LIMIT);
        both.map(|(name, _, config)| ((*name).to_owned(), *config)).collect()
    };
    let own = ALL.iter().map(|(name, ..)| ((*name).to_owned(), plugins(name)));
    let all = [web("web"), stops, ("pair".to_owned(), pair)].into_iter().chain(own).chain(fragile);
    all.filter(|(name, _)| wanted.contains(name)).collect()
}

/// Tidegate's configuration.
pub(crate) fn tidegate(guest: &Path, wanted: &[String], servers: &Servers) -> String {
    let listeners = listeners(wanted);
    let mut text = String::from("admin: { address: '127.0.0.1:0' }\nworkers: 1\nlisteners:\n");
    for listener in listeners.iter().map(|(name, _)| name.as_str()).chain([PROBE]) {
        // What it says of certificates is believed, as in Envoy here; no case claims to come from elsewhere.
        let trusted = if listener == AUTH { ", trustedProxies: [127.0.0.1]" } else { "" };
        let protocol = if listener == CERTIFICATE { TLS } else { "http" };
        text +=
            &format!("  - {{ name: {listener}, address: '127.0.0.1:0', protocol: {protocol}{trusted} }}\n");
    }
    text += "plugins:\n";
    let upstreams = servers.all().map(|(name, ..)| name).join(", ");
    for (plugin, config) in listeners.iter().flat_map(|(_, plugins)| plugins) {
        let pause = if plugin == STOPS { "stopAll" } else { "continueBody" };
        text += &format!(
            "  {plugin}: {{ module: {}, rootId: {plugin}, config: '{config}', onHeadersPause: {pause}, capabilities: {{ upstreams: [{upstreams}] }}, \
             limits: {{ callTime: 2s, requestTime: 5s }} }}\n",
            module(guest, plugin).display()
        );
    }
    text += &format!(
        "routes:\n  - name: {PROBE}\n    listeners: [{PROBE}]\n    rules:\n      \
         - {{ name: all, respond: {{ status: 200 }} }}\n"
    );
    for (listener, plugins) in &listeners {
        let filters: Vec<String> = plugins.iter().map(|(name, _)| format!("{{ plugin: {name} }}")).collect();
        text += &format!(
            "  - name: {listener}\n    listeners: [{listener}]\n    rules:\n      \
             - {{ name: all, filters: [{}], forward: [{{ upstream: up }}] }}\n",
            filters.join(", ")
        );
    }
    text += "upstreams:\n";
    for (name, address, http2) in servers.all() {
        let protocol = if http2 { "http2" } else { "http1" };
        text += &format!("  {name}: {{ protocol: {protocol}, servers: ['{address}'] }}\n");
    }
    text
}

/// A protocol with certificates of both sides, whose files are beside the configuration.
const TLS: &str = "https, tls: { certificates: [{ cert: own.pem, key: own.key }], clientAuth: { ca: ca.pem, mode: optional } }";

/// Envoy's.
pub(crate) fn envoy(guest: &Path, wanted: &[String], servers: &Servers) -> String {
    let mut text = String::from(
        "admin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }\n\
         static_resources:\n  listeners:\n",
    );
    for (listener, plugins) in listeners(wanted) {
        let filters: String = plugins
            .iter()
            .map(|(name, config)| envoy_filter(guest, name, config, listener.starts_with("fragile")))
            .collect();
        text += &envoy_listener(&listener, "route: { cluster: up }", &filters);
    }
    text += &envoy_listener(PROBE, "direct_response: { status: 200 }", "");
    text += "  clusters:\n";
    for (name, address, http2) in servers.all() {
        text += &envoy_cluster(name, address, http2);
    }
    text
}

fn envoy_listener(listener: &str, action: &str, filters: &str) -> String {
    let transport = if listener == CERTIFICATE { envoy_tls() } else { String::new() };
    format!(
        "  - name: {listener}
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": {API}filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {listener}
          codec_type: AUTO
          generate_request_id: false
          forward_client_cert_details: ALWAYS_FORWARD_ONLY
          http_protocol_options: {{ enable_trailers: true }}
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ['*'], routes: [{{ match: {{ prefix: / }}, {action} }}] }}
          http_filters:
{filters}          - {{ name: router, typed_config: {{ \"@type\": {API}filters.http.router.v3.Router }} }}
{transport}"
    )
}

fn envoy_tls() -> String {
    format!(
        "      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": {API}transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - {{ certificate_chain: {{ filename: own.pem }}, private_key: {{ filename: own.key }} }}
            validation_context: {{ trusted_ca: {{ filename: ca.pem }} }}
"
    )
}

fn envoy_filter(guest: &Path, name: &str, config: &str, own_vm: bool) -> String {
    let vm = if own_vm || !is_scripted(name) { name } else { "vm" };
    // So bodies are shown while a head is held.
    let continues = name != STOPS && is_scripted(name) || [EXTERNAL_BODY, EXTERNAL_PART].contains(&name);
    let guest = module(guest, name);
    format!(
        "          - name: {name}
            typed_config:
              \"@type\": {API}filters.http.wasm.v3.Wasm
              config:
                name: {name}
                root_id: {name}
                allow_on_headers_stop_iteration: {continues}
                configuration: {{ \"@type\": type.googleapis.com/google.protobuf.StringValue, value: '{config}' }}
                vm_config:
                  vm_id: {vm}
                  runtime: envoy.wasm.runtime.v8
                  code: {{ local: {{ filename: {} }} }}
",
        guest.display()
    )
}

fn envoy_cluster(name: &str, address: SocketAddr, http2: bool) -> String {
    let protocol = match http2 {
        true => "http2_protocol_options: {}",
        false => "http_protocol_options: { enable_trailers: true }",
    };
    format!(
        "  - name: {name}
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": {API}upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ {protocol} }}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}
",
        address.ip(),
        address.port()
    )
}

const API: &str = "type.googleapis.com/envoy.extensions.";
