//! The cases: guests written as text, each with a callback that does one thing some times.

use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Version};
use tidegate_wasm::{
    Capabilities, Engine, EngineOptions, HeadersPause, Instance, Limits, Meter, Now, Plugin, PluginSpec,
    Shared, StreamId, StreamInfo,
};

/// What is done once for a call of the case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// A callback of a stream that stays open.
    Callback,
    /// A stream: opened, shown a head, closed.
    Stream,
    /// The same in an instance of its own, begun from the plugin's image.
    Isolated,
}

/// One thing to be measured.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What the guest does in a callback: a call of the host. Any answer but `Ok` ends the run.
    body: &'static str,
    /// How often it does it.
    pub(crate) steps: u32,
    /// What a call is.
    unit: Unit,
}

/// A step of a loop has its share of the callback around it, which is next to nothing.
pub(crate) const CASES: [Case; 8] = [
    Case { name: "empty_callback", body: "", steps: 0, unit: Unit::Callback },
    Case { name: "empty_stream", body: "", steps: 0, unit: Unit::Stream },
    Case { name: "empty_isolated", body: "", steps: 0, unit: Unit::Isolated },
    Case {
        name: "header_read",
        body: "(call $get (i32.const 0) (i32.const 0) (i32.const 12) (i32.const 2048) (i32.const 2052))",
        steps: 100,
        unit: Unit::Callback,
    },
    Case {
        name: "header_write",
        body: "(call $replace (i32.const 0) (i32.const 0) (i32.const 12) (i32.const 16) (i32.const 6))",
        steps: 100,
        unit: Unit::Stream,
    },
    Case {
        name: "header_pairs_20",
        body: "(call $pairs (i32.const 0) (i32.const 2048) (i32.const 2052))",
        steps: 100,
        unit: Unit::Callback,
    },
    Case {
        name: "property_read",
        body: "(call $property (i32.const 32) (i32.const 14) (i32.const 2048) (i32.const 2052))",
        steps: 100,
        unit: Unit::Callback,
    },
    Case { name: "time_read", body: "(call $time (i32.const 2048))", steps: 100, unit: Unit::Callback },
];

/// Text at 0: a header's name, at 16 a value, at 32 a property's path. What the host gives lies at 4096 and up, always
/// at the same place.
const GUEST: &str = r#"
    (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
    (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "x-request-no")
    (data (i32.const 16) "second")
    (data (i32.const 32) "request\00method")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 4096))
    (func (export "proxy_on_context_create") (param i32 i32))
"#;

/// A guest at work.
pub(crate) struct Running {
    instance: Instance,
    /// As in a gateway, instances are measured.
    meter: Arc<Meter>,
    stream: StreamId,
    unit: Unit,
    plugin: Arc<Plugin>,
    /// Awaits its next use.
    idle: Option<Instance>,
    /// A head for the next stream.
    head: Option<Rc<http::request::Parts>>,
    info: Rc<StreamInfo>,
}

fn clock() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

impl Running {
    pub(crate) fn start(case: &Case) -> Result<Self> {
        let engine = Engine::new(EngineOptions { cache_dir: None, epoch_tick: Duration::from_millis(1) })?;
        let wasm = guest(case)?;
        let module = engine.compile(&wasm).context("the case's guest")?;
        let spec = PluginSpec {
            name: case.name.into(),
            root_id: String::new(),
            vm_id: String::new(),
            module,
            config: Bytes::new(),
            vm_config: Bytes::new(),
            environment: Vec::new(),
            limits: Limits::default(),
            callable: Vec::new(),
            capabilities: Capabilities::default(),
            on_headers_pause: HeadersPause::default(),
        };
        let plugin = Arc::new(Plugin::build(&engine, spec, Arc::new(Shared::new()))?);
        if case.unit == Unit::Isolated {
            plugin.take_image(&wasm, Now::default())?;
        }
        let meter = Arc::new(Meter::new(clock));
        let mut instance = Instance::start(&plugin, Now::default())?;
        instance.measure(meter.clone());
        let address = ([127, 0, 0, 1], 80).into();
        let info = Rc::new(StreamInfo::new(address, address, Version::HTTP_11));
        let stream = instance.open_stream(info.clone(), Now::default());
        let head = head()?;
        instance.on_request_headers(stream, head.clone(), false, Now::default())?;
        Ok(Self { instance, meter, stream, unit: case.unit, plugin, idle: None, head: Some(head), info })
    }

    pub(crate) fn call(&mut self) -> Result<()> {
        match self.unit {
            Unit::Callback => {
                self.instance.on_request_body(self.stream, Bytes::new(), false, Now::default())?;
                Ok(())
            }
            Unit::Stream => stream(&mut self.instance, &mut self.head, &self.info),
            Unit::Isolated => {
                let mut instance = match self.idle.take() {
                    Some(instance) => instance,
                    None => Instance::isolated(&self.plugin, Now::default())?,
                };
                instance.measure(self.meter.clone());
                stream(&mut instance, &mut self.head, &self.info)?;
                self.idle = instance.begin_anew().then_some(instance);
                Ok(())
            }
        }
    }
}

fn stream(
    instance: &mut Instance,
    spare: &mut Option<Rc<http::request::Parts>>,
    info: &Rc<StreamInfo>,
) -> Result<()> {
    let stream = instance.open_stream(info.clone(), Now::default());
    let head = spare.take().context("the head came back")?;
    instance.on_request_headers(stream, head, false, Now::default())?;
    *spare = instance.take_request_head(stream);
    instance.close_stream(stream, Now::default());
    Ok(())
}

/// A request with twenty fields.
fn head() -> Result<Rc<http::request::Parts>> {
    let mut request = Request::get("/orders/17?page=2").header("host", "shop.example.com");
    for number in 0..14 {
        request = request.header(format!("x-field-{number}"), "a value of some length");
    }
    let request = request.header("x-request-no", "4711").header("accept", "*/*").body(())?;
    Ok(Rc::new(request.into_parts().0))
}

/// The loop runs the body as often as the case says; a case without steps has an empty callback.
fn guest(case: &Case) -> Result<Vec<u8>> {
    let callback =
        if case.unit != Unit::Callback { "proxy_on_request_headers" } else { "proxy_on_request_body" };
    let work = match case.steps {
        0 => String::new(),
        steps => format!(
            "(local $i i32)
            (loop $again
                (if {} (then (unreachable)))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $i) (i32.const {steps}))))",
            case.body
        ),
    };
    let text = format!(
        "(module {GUEST}
        (func (export \"{callback}\") (param i32 i32 i32) (result i32)
            {work}
            (i32.const 0)))"
    );
    Ok(wat::parse_str(text)?)
}
