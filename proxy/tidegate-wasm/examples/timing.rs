//! Times what a filter adds to a request: `timing FILTER.wasm [ROUNDS]`, with one instance for all and with an
//! instance of its own for each.
//!
//! Each round is one GET without a body, from the stream's opening to its end, with the head of a
//! usual browser request; the time of the same round without a filter is taken off. The least of
//! ten runs is shown, since other work on the machine can only add. Time is what this thread had of
//! a CPU, in the kernel too, where the system tells it (Linux).

use bytes::Bytes;
use http::{Request, Response, Version, request, response};
use std::{
    error::Error,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_wasm::{
    Engine, EngineOptions, Instance, Limits, Now, Plugin, PluginSpec, Shared, Step, StreamInfo,
};

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which filter? timing FILTER.wasm [ROUNDS]")?;
    let rounds: u32 = arguments.next().map_or(Ok(200_000), |text| text.parse())?;
    let engine = Engine::new(EngineOptions { cache_dir: None, epoch_tick: Duration::from_millis(1) })?;
    let began = Instant::now();
    let wasm = std::fs::read(&path)?;
    let module = engine.compile(&wasm)?;
    println!("compiled in {:?}", began.elapsed());
    let spec = PluginSpec {
        name: "timing".into(),
        root_id: String::new(),
        vm_id: String::new(),
        vm_config: bytes::Bytes::new(),
        module,
        config: Bytes::new(),
        environment: Vec::new(),
        limits: Limits::default(),
        callable: Vec::new(),
        capabilities: tidegate_wasm::Capabilities::default(),
        on_headers_pause: tidegate_wasm::HeadersPause::default(),
    };
    let plugin = Arc::new(Plugin::build(&engine, spec, Arc::new(Shared::new()))?);
    let began = Instant::now();
    let mut instance = Instance::start(&plugin, Now::default())?;
    println!("started in {:?}", began.elapsed());
    let none = best(rounds, bare)?;
    let with = best(rounds, || exchange(&mut instance))?;
    println!("{:.0} ns a request, of which making and dropping the heads {none:.0} ns", with - none);
    println!("guest memory {} KiB", instance.memory_bytes() >> 10);
    let began = Instant::now();
    plugin.take_image(&wasm, Now::default())?;
    println!("image taken in {:?}", began.elapsed());
    let start = best(rounds, || {
        drop(black_box(Instance::isolated(&plugin, Now::default())?));
        Ok(())
    })?;
    let before = resident()?;
    let alone = best(rounds, || exchange(&mut Instance::isolated(&plugin, Now::default())?))?;
    println!(
        "{:.0} ns a request with an instance of its own, whose start and end are {start:.0} ns",
        alone - none
    );
    let mut idle = None;
    let again = best(rounds, || {
        let mut instance = match idle.take() {
            Some(instance) => instance,
            None => Instance::isolated(&plugin, Now::default())?,
        };
        exchange(&mut instance)?;
        idle = instance.begin_anew().then_some(instance);
        Ok(())
    })?;
    println!("{:.0} ns with one that was made what it was (used again: {})", again - none, idle.is_some());
    println!("resident memory grew by {} KiB meanwhile", resident()?.saturating_sub(before));
    Ok(())
}

/// KiB of memory that the process has.
fn resident() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Nanoseconds that this thread has had of a CPU.
fn on_cpu() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

/// Nanoseconds of a round in the best of ten runs.
fn best(rounds: u32, mut round: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let mut best = f64::MAX;
    for _ in 0..10 {
        let began = (Instant::now(), on_cpu());
        for _ in 0..rounds {
            round()?;
        }
        let passed = began.0.elapsed().as_secs_f64() * 1e9;
        let passed = on_cpu().zip(began.1).map_or(passed, |(now, then)| (now - then) as f64);
        best = best.min(passed / f64::from(rounds));
    }
    Ok(best)
}

fn heads() -> Result<(request::Parts, response::Parts), Failure> {
    let request = Request::get("/products/42?colour=blue")
        .header("host", "shop.example.com")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("accept-language", "en-GB,en;q=0.5")
        .header("accept-encoding", "gzip, deflate, br")
        .header("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark")
        .header("x-tenant", "acme")
        .header("x-request-id", "7d2f8a3e-1c4b-4f6a-9e0d-5b8c7a6f4e3d")
        .body(())?;
    let response = Response::builder()
        .header("content-type", "text/html; charset=utf-8")
        .header("content-length", "128")
        .header("date", "Tue, 15 Nov 2033 08:12:31 GMT")
        .header("server", "nginx")
        .body(())?;
    Ok((request.into_parts().0, response.into_parts().0))
}

fn bare() -> Result<(), Failure> {
    black_box(heads()?);
    Ok(())
}

fn exchange(instance: &mut Instance) -> Result<(), Failure> {
    let now = Now::new(Duration::from_secs(5), Duration::from_secs(2_000_000_000));
    let address = ([127, 0, 0, 1], 8080).into();
    let (request, response) = heads()?;
    let id = instance.open_stream(StreamInfo::new(address, address, Version::HTTP_11), now);
    if instance.on_request_headers(id, request, true, now)? == Step::Continue {
        black_box(instance.take_request_head(id));
    }
    if instance.on_response_headers(id, response, false, now)? == Step::Continue {
        black_box(instance.take_response_head(id));
    }
    if instance.on_response_body(id, Bytes::from_static(&[b'x'; 128]), true, now)? == Step::Continue {
        black_box(instance.take_response_body(id));
    }
    instance.close_stream(id, now);
    while let Some(effect) = instance.poll_effect() {
        black_box(effect);
    }
    Ok(())
}
