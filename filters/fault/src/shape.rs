//! Bodies that are slow, end too early, or are not what was sent.

use std::time::Duration;

use tidegate_sdk::{Body, Outcome, log, time};

use crate::draw::Draw;
use crate::places::Place;
use crate::plan::Shape;

/// Leads a body through what is done to it. Where its pieces begin and end makes no difference to what comes out.
pub(crate) async fn pass(shape: &Shape, body: &mut Body, place: Option<&Place>) -> Outcome<()> {
    if shape.cut.is_some_and(|cut| !cut.keep_length) {
        body.rewrite();
    }
    let mut pace = shape.rate.map(Pace::new);
    let mut corrupt = shape.corrupt.as_ref().map(|(every, draw)| Corrupt::new(*every, draw.clone()));
    let (mut seen, mut broken) = (0_usize, false);
    while let Some(mut piece) = body.next().await? {
        let mut goes = piece.len();
        if corrupt.as_mut().is_some_and(|corrupt| corrupt.change(&mut piece)) {
            body.replace(&piece)?;
        }
        if let Some(cut) = shape.cut {
            goes = cut.after.saturating_sub(seen).min(goes);
            body.cut(goes)?;
            if cut.keep_length && goes < piece.len() && !broken {
                broken = true;
                // Elsewhere only those notice who were told the length.
                if let Err(error) = body.break_off() {
                    log::debug!("the body just ends: {error}");
                }
            }
        }
        seen = seen.saturating_add(piece.len());
        if let Some(pace) = &mut pace {
            let wait = pace.wait(goes);
            match place {
                Some(place) => place.wait(wait).await,
                None if wait.is_zero() => {}
                None => time::sleep(wait).await,
            }
        }
    }
    Ok(())
}

/// When bytes may go on: each piece once the time has passed that all bytes up to its end take.
struct Pace {
    /// Bytes in a second.
    rate: usize,
    began: Duration,
    bytes: u64,
}

impl Pace {
    fn new(rate: usize) -> Self {
        Pace { rate, began: time::now(), bytes: 0 }
    }

    fn wait(&mut self, more: usize) -> Duration {
        self.bytes = self.bytes.saturating_add(more as u64);
        let due = Duration::try_from_secs_f64(self.bytes as f64 / self.rate as f64).unwrap_or(Duration::MAX);
        let wait = (self.began.saturating_add(due)).saturating_sub(time::now());
        // Hosts count in milliseconds; what is left over is waited for with the next piece.
        if wait < Duration::from_millis(1) { Duration::ZERO } else { wait }
    }
}

/// Changes a byte now and then.
struct Corrupt {
    every: u64,
    draw: Draw,
    /// Bytes up to the next one that is changed.
    next: u64,
}

impl Corrupt {
    fn new(every: u32, mut draw: Draw) -> Self {
        let every = u64::from(every.max(1));
        // At least one of the first `every`.
        let next = draw.next() % every;
        Corrupt { every, draw, next }
    }

    /// Whether anything was changed.
    fn change(&mut self, piece: &mut [u8]) -> bool {
        let (mut at, len) = (self.next, piece.len() as u64);
        let changes = at < len;
        while at < len {
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| piece.get_mut(at)) {
                // Never the byte that it was.
                *byte ^= (self.draw.next() % 255 + 1) as u8;
            }
            at += 1 + self.draw.next() % (2 * self.every - 1);
        }
        self.next = at - len;
        changes
    }
}
