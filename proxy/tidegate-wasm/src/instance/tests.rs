//! Tests of instances with guests written as text.

mod backtraces;
mod body;
mod calls;
mod capabilities;
mod chain;
mod connections;
mod ended;
mod failure;
mod foreign;
mod grpc;
mod headers;
mod isolated;
mod limits;
mod load;
mod measured;
mod originals;
mod pauses;
mod pending;
mod properties;
mod shared;
mod start;
mod taped;
mod usage;
mod wasi;
mod whole;

use super::*;
use crate::{Engine, EngineOptions, Limits, LoadError, PluginSpec, Shared, Side, Step};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version, request, response};
use tidegate_abi::LogLevel;

/// What every guest has: its version, memory, a way to give memory that never runs out of it, and
/// the host functions that most tests need. Text is at 0 and up; results go to 2048 (pointer) and
/// 2052 (size); given memory starts at 4096.
const COMMON: &str = r#"
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_value"
        (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
    (import "env" "proxy_set_header_map_pairs" (func $set_pairs (param i32 i32 i32) (result i32)))
    (import "env" "proxy_add_header_map_value"
        (func $add (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_replace_header_map_value"
        (func $replace (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_buffer_bytes"
        (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
    (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
    (import "env" "proxy_send_local_response"
        (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_http_call"
        (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
    (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
    (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_shared_data" (func $shared (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_shared_data"
        (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_register_shared_queue" (func $queue (param i32 i32 i32) (result i32)))
    (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
    (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
    (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
    (import "env" "proxy_record_metric" (func $record (param i32 i64) (result i32)))
    (import "env" "proxy_get_metric" (func $metric (param i32 i32) (result i32)))
    (import "env" "proxy_get_status" (func $status (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
    (import "env" "proxy_call_foreign_function"
        (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_call"
        (func $grpc_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_stream"
        (func $grpc_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_send" (func $grpc_send (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_cancel" (func $grpc_cancel (param i32) (result i32)))
    (import "env" "proxy_grpc_close" (func $grpc_close (param i32) (result i32)))
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 4096))
    (global $saved (mut i32) (i32.const 0))
    (func (export "proxy_abi_version_0_2_1"))
    (func $malloc (export "malloc") (param $size i32) (result i32)
        (global.set $next (i32.add (global.get $next) (local.get $size)))
        (i32.sub (global.get $next) (local.get $size)))
    ;; logs a number from 0 to 999 as three digits
    (func $say (param $n i32)
        (i32.store8 (i32.const 2060) (i32.add (i32.const 48) (i32.div_u (local.get $n) (i32.const 100))))
        (i32.store8 (i32.const 2061)
            (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $n) (i32.const 10)) (i32.const 10))))
        (i32.store8 (i32.const 2062) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
        (drop (call $log (i32.const 2) (i32.const 2060) (i32.const 3))))
    ;; logs what the last result points to
    (func $tell
        (drop (call $log (i32.const 2) (i32.load (i32.const 2048)) (i32.load (i32.const 2052)))))
"#;

const NOW: Now = Now::new(Duration::from_secs(7), Duration::from_secs(1_000_000_000));

/// A guest with the common part and this.
fn wasm(rest: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {COMMON} {rest})")).unwrap()
}

fn engine() -> Engine {
    Engine::new(EngineOptions { cache_dir: None, epoch_tick: Duration::from_millis(1) }).unwrap()
}

fn spec(module: crate::Module) -> PluginSpec {
    PluginSpec {
        name: "plugin".into(),
        root_id: "root".into(),
        vm_id: String::new(),
        module,
        config: Bytes::from_static(b"the config"),
        vm_config: Bytes::from_static(b"the VM's"),
        environment: vec![("REGION".into(), "eu".into())],
        limits: Limits::default(),
        callable: vec!["auth".into()],
        capabilities: crate::Capabilities::default(),
        on_headers_pause: crate::HeadersPause::default(),
    }
}

fn plugin_of(engine: &Engine, wasm: &[u8], shared: &Arc<Shared>) -> Arc<Plugin> {
    let module = engine.compile(wasm).unwrap();
    Arc::new(Plugin::build(engine, spec(module), shared.clone()).unwrap())
}

fn plugin(rest: &str) -> Arc<Plugin> {
    plugin_of(&engine(), &wasm(rest), &Arc::new(Shared::new()))
}

fn start(rest: &str) -> Instance {
    Instance::start(&plugin(rest), NOW).unwrap()
}

fn info() -> StreamInfo {
    let mut info =
        StreamInfo::new(([10, 0, 0, 1], 4000).into(), ([10, 0, 0, 2], 80).into(), Version::HTTP_11);
    info.connection_id = 77;
    info
}

fn open(instance: &mut Instance) -> StreamId {
    instance.open_stream(info(), NOW)
}

fn get() -> request::Parts {
    Request::get("/path?query")
        .header("host", "example.com")
        .header("x-a", "1")
        .body(())
        .unwrap()
        .into_parts()
        .0
}

fn post() -> request::Parts {
    Request::post("/").header("host", "h").header("content-length", "6").body(()).unwrap().into_parts().0
}

fn ok() -> response::Parts {
    Response::builder().header("server", "s").body(()).unwrap().into_parts().0
}

/// The lines that the guest has logged; all other effects are dropped.
fn lines(instance: &mut Instance) -> Vec<String> {
    std::iter::from_fn(|| instance.poll_effect())
        .filter_map(|effect| match effect {
            Effect::Log { message, .. } => Some(message),
            _ => None,
        })
        .collect()
}

/// Effects other than log lines, in a short form.
fn wishes(instance: &mut Instance) -> Vec<String> {
    std::iter::from_fn(|| instance.poll_effect())
        .filter(|effect| !matches!(effect, Effect::Log { .. }))
        .map(|effect| match effect {
            Effect::Resume { side, .. } => format!("resume {side:?}"),
            Effect::Feed { side, .. } => format!("feed {side:?}"),
            Effect::Reset { .. } => "reset".into(),
            Effect::BreakOff { .. } => "break off".into(),
            Effect::LocalReply { status, .. } => format!("reply {}", status.as_u16()),
            Effect::HttpCall { token, upstream, .. } => format!("call {token} {upstream}"),
            Effect::GrpcCall(call) => format!("grpc {} {} {}", call.token, call.upstream, call.head.uri),
            Effect::GrpcCancel { token } => format!("grpc cancel {token}"),
            Effect::TickPeriod(period) => format!("tick {period:?}"),
            Effect::Done => "done".into(),
            Effect::ClearRoute { .. } => "clear route".into(),
            Effect::QueueReady { plugin, queue } => format!("queue {queue} {plugin}"),
            Effect::QueueRegistered { queue } => format!("registered {queue}"),
            Effect::Refused { function, .. } => format!("refused {function}"),
            Effect::SetUpstream { upstream, .. } => format!("upstream {upstream}"),
            Effect::SetRoute { rule, .. } => format!("rule {rule}"),
            Effect::SetServer { address, .. } => format!("server {address}"),
            Effect::Inject { .. } => "inject".to_owned(),
            Effect::Foreign { token, call, .. } => format!("foreign {token} {call:?}"),
            Effect::ForeignCancel { token } => format!("foreign cancel {token}"),
            Effect::Log { .. } => String::new(),
        })
        .collect()
}
