//! A host in memory: what the gateway's functions do, for the filter's native code.

mod calls;
mod foreign;
mod limits;
pub(crate) mod streams;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use tidegate_abi::{MetricKind, Status};
use tidegate_sdk::Fields;
use tidegate_sdk::native::Refusal;

use crate::machine::{CallAnswer, Effect, GrpcEvent};
use streams::Stream;

type Answer<T> = Result<T, Refusal>;

/// The id of the one plugin.
pub(crate) const ROOT: u32 = 1;

/// What the functions work on.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) config: Vec<u8>,
    /// Whether the plugin is being configured.
    pub(crate) configuring: Cell<bool>,
    /// Whether the body can be shown while the head is held.
    pub(crate) feeds: bool,
    pub(crate) now: Cell<u64>,
    /// In whose name functions act.
    pub(crate) context: Cell<u32>,
    pub(crate) streams: RefCell<BTreeMap<u32, Stream>>,
    pub(crate) next: Cell<u32>,
    /// Where the random bytes are: the same in each run, so that runs can be compared.
    pub(crate) random: Cell<u64>,
    pub(crate) effects: RefCell<VecDeque<Effect>>,
    /// What a callback is about.
    pub(crate) told: RefCell<Told>,
    /// gRPC streams and calls that are open; true for streams.
    pub(crate) grpc: RefCell<BTreeMap<u32, bool>>,
    /// Functions that will answer, with the streams in whose names they were called.
    pub(crate) later: RefCell<BTreeMap<u32, u32>>,
    pub(crate) metrics: RefCell<Vec<Metric>>,
    shared: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    versions: Cell<u32>,
    limits: RefCell<limits::Limits>,
    queues: RefCell<Vec<(String, VecDeque<Vec<u8>>)>>,
}

/// What a callback is about, and so what can be read.
#[derive(Default)]
pub(crate) enum Told {
    #[default]
    Nothing,
    Call(Option<CallAnswer>),
    Grpc(GrpcEvent),
    Foreign(Result<Vec<u8>, (u32, String)>),
}

pub(crate) struct Metric {
    pub(crate) kind: MetricKind,
    pub(crate) name: String,
    pub(crate) value: i64,
}

impl Memory {
    pub(crate) fn new(config: &str, feeds: bool) -> Self {
        let memory = Memory { config: config.into(), feeds, ..Memory::default() };
        memory.context.set(ROOT);
        memory.next.set(ROOT + 1);
        memory
    }

    pub(crate) fn next_id(&self) -> u32 {
        let id = self.next.get();
        self.next.set(id + 1);
        id
    }

    pub(crate) fn wish(&self, effect: Effect) {
        self.effects.borrow_mut().push_back(effect);
    }

    /// The stream that functions act for.
    pub(crate) fn with_stream<T>(&self, act: impl FnOnce(&mut Stream) -> Answer<T>) -> Answer<T> {
        let mut streams = self.streams.borrow_mut();
        let stream = streams.get_mut(&self.context.get()).ok_or(Refusal::from(Status::BadArgument))?;
        act(stream)
    }

    pub(crate) fn told_fields(&self, trailing: bool) -> Answer<Fields> {
        match (&*self.told.borrow(), trailing) {
            (Told::Call(Some(answer)), false) => Ok(answer.headers.clone()),
            (Told::Call(Some(answer)), true) => Ok(answer.trailers.clone()),
            (Told::Grpc(GrpcEvent::InitialMetadata(fields)), false)
            | (Told::Grpc(GrpcEvent::TrailingMetadata(fields)), true) => Ok(fields.clone()),
            _ => Ok(Fields::new()),
        }
    }
}
