//! How many requests are under a fault: places that all workers share.
//!
//! Each place has an end, which whoever has it puts off as long as it needs it. An instance that breaks off, or a host
//! that forgets a request, so gives its places back by doing nothing.

use std::cell::Cell;
use std::time::Duration;

use tidegate_sdk::{Gauge, Outcome, log, random, shared, time};

/// Places in use, over all workers.
static ACTIVE: Gauge = Gauge::new("fault_active");

/// A place that is taken; it is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    /// When it ends, in nanoseconds since 1970.
    end: Cell<u64>,
}

impl Place {
    /// Takes a place, if fewer than `max` are taken.
    pub(crate) fn take(max: u32) -> Option<Self> {
        match Self::try_take(max) {
            Ok(place) => place,
            Err(error) => {
                log::warn!("no fault is injected, since active ones cannot be counted: {error}");
                None
            }
        }
    }

    fn try_take(max: u32) -> Outcome<Option<Self>> {
        let place = Place { number: u64::from_le_bytes(random::bytes()?), end: Cell::new(end()) };
        let mut taken = false;
        update(|places| {
            taken = places.len() < max as usize;
            if taken {
                places.push((place.number, place.end.get()));
            }
        })?;
        if !taken {
            // It has none to give back.
            std::mem::forget(place);
            return Ok(None);
        }
        Ok(Some(place))
    }

    /// Waits, and keeps the place meanwhile.
    pub(crate) async fn wait(&self, duration: Duration) {
        let mut left = duration;
        while !left.is_zero() {
            let part = left.min(LEASE / 3);
            time::sleep(part).await;
            left -= part;
            self.keep();
        }
    }

    /// Puts the end off, if half of the time is over.
    fn keep(&self) {
        let end = end();
        if end < self.end.get().saturating_add(nanos(LEASE / 2)) {
            return;
        }
        self.end.set(end);
        let kept = update(|places| match places.iter_mut().find(|place| place.0 == self.number) {
            Some(place) => place.1 = end,
            None => places.push((self.number, end)),
        });
        if let Err(error) = kept {
            log::warn!("an active fault may be forgotten: {error}");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = update(|places| places.retain(|place| place.0 != self.number)) {
            log::debug!("an active fault is counted until its time is over: {error}");
        }
    }
}

/// How long a place is taken that nobody keeps.
const LEASE: Duration = Duration::from_secs(60);

const KEY: &str = "fault.active";

/// A version that no value has: writes where there is none.
const ABSENT: u32 = u32::MAX;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn end() -> u64 {
    nanos(time::now().saturating_add(LEASE))
}

/// Makes sure that there is a value: of two that set the first one, both would succeed.
pub(crate) fn prepare() {
    if let Err(error) = shared::set_if(KEY, b"", ABSENT) {
        log::warn!("active faults cannot be counted: {error}");
    }
}

/// Changes the list of places: sixteen bytes each, a number and when it ends.
fn update(mut change: impl FnMut(&mut Vec<(u64, u64)>)) -> Outcome<()> {
    let now = nanos(time::now());
    let mut count = 0;
    shared::update(KEY, |old| {
        let pairs = old.unwrap_or_default().chunks_exact(16);
        let number = |bytes: Option<&[u8]>| {
            bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
        };
        let mut places: Vec<(u64, u64)> =
            pairs.map(|pair| (number(pair.get(..8)), number(pair.get(8..)))).collect();
        places.retain(|place| place.1 > now);
        change(&mut places);
        count = places.len();
        places.iter().flat_map(|(number, end)| [number.to_le_bytes(), end.to_le_bytes()]).flatten().collect()
    })?;
    ACTIVE.set(count as u64);
    Ok(())
}
