//! The host's functions natively: one exchange in memory, per thread, so that tests can run side by side.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use log::Level;
use tidegate_abi::{MapKind, MetricKind};

use super::{Change, Failure, Pairs};

/// What a filter can see and change.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) request: Vec<(String, Vec<u8>)>,
    pub(crate) response: Vec<(String, Vec<u8>)>,
    pub(crate) properties: HashMap<String, Vec<u8>>,
    pub(crate) logs: Vec<(Level, String)>,
    pub(crate) metrics: HashMap<u32, i64>,
}

impl Exchange {
    fn headers(&mut self, map: MapKind) -> &mut Vec<(String, Vec<u8>)> {
        match map {
            MapKind::ResponseHeaders => &mut self.response,
            _ => &mut self.request,
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Exchange> = RefCell::default();
}

/// Looks at or changes the exchange of this thread.
pub(crate) fn with<T>(act: impl FnOnce(&mut Exchange) -> T) -> T {
    CURRENT.with_borrow_mut(act)
}

/// Names of metrics by number, shared by all threads since a metric is a `static` that remembers its number.
static METRICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub(crate) fn log(level: Level, message: &str) {
    with(|exchange| exchange.logs.push((level, message.to_owned())));
}

pub(crate) fn header(map: MapKind, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    Ok(with(|exchange| {
        let found = exchange.headers(map).iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }))
}

pub(crate) fn headers(map: MapKind) -> Result<Pairs, Failure> {
    let pairs = |(key, value): &(String, Vec<u8>)| (key.clone().into_bytes(), value.clone());
    Ok(with(|exchange| exchange.headers(map).iter().map(pairs).collect()))
}

pub(crate) fn change_header(map: MapKind, name: &str, change: Change<'_>) -> Result<(), Failure> {
    let name = name.to_ascii_lowercase();
    with(|exchange| {
        let headers = exchange.headers(map);
        match change {
            Change::Remove => headers.retain(|(key, _)| *key != name),
            Change::Add(value) => headers.push((name, value.to_vec())),
            Change::Set(value) => match headers.iter().position(|(key, _)| *key == name) {
                Some(first) => {
                    let mut index = 0;
                    headers.retain(|(key, _)| {
                        index += 1;
                        index - 1 == first || *key != name
                    });
                    headers[first].1 = value.to_vec();
                }
                None => headers.push((name, value.to_vec())),
            },
        }
    });
    Ok(())
}

pub(crate) fn property(path: &[&str]) -> Option<Vec<u8>> {
    with(|exchange| exchange.properties.get(&path.join(".")).cloned())
}

pub(crate) fn define_metric(_kind: MetricKind, name: &str) -> Result<u32, Failure> {
    let mut names = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
    let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    Ok(index as u32)
}

pub(crate) fn increment_metric(id: u32, offset: i64) -> Result<(), Failure> {
    with(|exchange| *exchange.metrics.entry(id).or_default() += offset);
    Ok(())
}

pub(crate) fn record_metric(id: u32, value: u64) -> Result<(), Failure> {
    with(|exchange| exchange.metrics.insert(id, value as i64));
    Ok(())
}
