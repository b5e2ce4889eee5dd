//! Watches over a connection: what it is doing, its time limits, and the drain.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tidegate_config::plan;

use crate::local::Client;
use crate::time::Deadline;
use crate::transport::Pulse;

/// How long an ended connection may take to say goodbye.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);
/// What is taken of a request that nobody reads behind its answer, so that the client gets to read that.
pub(super) const LATE: usize = 1024 * 1024;
/// An HTTP/1 connection that is idle for longer is taken apart: only its socket stays, without buffers.
const PARK: Duration = Duration::from_millis(16);

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Just accepted, no request yet.
    Fresh,
    /// Between two requests.
    Idle,
    /// A head has begun.
    Head,
    /// Exchanges are in flight.
    Busy,
    /// An exchange is in flight whose client sends no more. It has closed its side only, and reads on, or is gone: both
    /// look alike until something is written.
    HalfClosed,
    /// Its last answer is out.
    Closing,
    /// It speaks something else than HTTP, and looks after itself.
    Tunnel,
}

/// Why a connection is told to go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It has idled for too long, or the gateway drains.
    Leave,
    /// No request has come for a while since then.
    Close,
    /// The head that has begun takes too long.
    Late,
}

/// How watching over a connection ended.
pub(super) enum Over {
    /// The connection is over.
    Ended,
    /// It is idle and may be taken apart.
    Parked,
}

/// See the module.
pub(super) struct Watch {
    pub(super) client: Rc<Client>,
    pub(super) deadline: Deadline,
    pub(super) timeouts: plan::ListenerTimeouts,
    pulse: Pulse,
    phase: Phase,
    /// Whether idle connections are parked: those of HTTP/1, which also end by themselves when they are told to.
    parks: bool,
    /// It was told to go away.
    told: bool,
    /// The head that has begun was told to be late.
    late: bool,
    /// It was told to close.
    closed: bool,
    /// When a byte of a busy connection last went either way.
    moved: Duration,
}

impl Watch {
    /// Over a connection that begins in this phase.
    pub(super) fn new(
        client: Rc<Client>,
        deadline: Deadline,
        pulse: Pulse,
        timeouts: plan::ListenerTimeouts,
        phase: Phase,
    ) -> Self {
        let parks = phase == Phase::Fresh;
        Self {
            client,
            deadline,
            timeouts,
            pulse,
            phase,
            parks,
            told: false,
            late: false,
            closed: false,
            moved: Duration::ZERO,
        }
    }

    /// Waits for a request's head from here on.
    pub(super) fn begin(&mut self) {
        self.phase = Phase::Fresh;
        self.deadline.set(Some(self.timeouts.headers));
    }

    /// Runs the connection until it ends or is idle. `doing` says what it does; `end` tells it to go away.
    pub(super) async fn over<C: Future>(
        &mut self,
        mut connection: Pin<&mut C>,
        doing: impl Fn() -> Phase,
        end: impl Fn(Pin<&mut C>, Told),
    ) -> Over {
        let client = self.client.clone();
        let drain = &client.site.drain;
        let place = drain.enter();
        let over = poll_fn(|cx| {
            loop {
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Over::Ended);
                }
                if drain.is_pulled() && !self.told {
                    self.told = true;
                    if !self.parks {
                        self.deadline.set(None);
                    } else if matches!(doing(), Phase::Fresh | Phase::Idle) {
                        self.advance(doing());
                        self.deadline.set(Some(client.local.grace.min(self.timeouts.headers)));
                    }
                    end(connection.as_mut(), Told::Leave);
                    continue;
                }
                drain.wait(place, cx);
                self.advance(doing());
                if self.deadline.poll_passed(cx).is_pending() {
                    return Poll::Pending;
                }
                if self.phase == Phase::Busy && self.busy_until() > client.local.deadlines.recent() {
                    self.deadline.set_until(Some(self.busy_until()));
                    continue;
                }
                if self.phase == Phase::Head && !self.late {
                    self.late = true;
                    self.deadline.set(Some(GOODBYE));
                    end(connection.as_mut(), Told::Late);
                    continue;
                }
                if self.phase == Phase::Idle && self.parks && self.told && !self.closed {
                    self.closed = true;
                    self.deadline.set(Some(GOODBYE));
                    end(connection.as_mut(), Told::Close);
                    continue;
                }
                if self.phase != Phase::Idle || self.told {
                    return Poll::Ready(Over::Ended);
                }
                if self.parks {
                    return Poll::Ready(Over::Parked);
                }
                // An idle connection is told before it is cut.
                self.told = true;
                self.deadline.set(Some(GOODBYE));
                end(connection.as_mut(), Told::Leave);
            }
        })
        .await;
        drain.leave(place);
        over
    }

    /// Exchanges have their own limits; this one is for a client that takes nothing of an answer.
    fn busy_until(&self) -> Duration {
        self.moved + self.client.patience() + GOODBYE
    }

    /// What the connection does now decides what it is given time for.
    fn advance(&mut self, next: Phase) {
        if self.told && !self.parks {
            return;
        }
        let deadlines = &self.client.local.deadlines;
        if next == self.phase {
            match next {
                Phase::Busy if self.pulse.take_moved() => self.moved = deadlines.now(),
                Phase::HalfClosed if self.pulse.take_moved() => {
                    self.deadline.set(Some(self.client.local.grace))
                }
                // The rest of an answer may be on its way still, and a client that asks whether we live does so too.
                Phase::Idle if !self.parks && self.pulse.take_moved() => {
                    self.deadline.set(Some(self.timeouts.idle));
                }
                _ => {}
            }
            return;
        }
        // What has just ended, or the exchange that has just begun, has read the time.
        let recent = self.phase == Phase::Busy || next == Phase::Busy;
        let now = if recent { deadlines.recent() } else { deadlines.now() };
        self.phase = next;
        let until = match next {
            Phase::Busy => {
                self.moved = now;
                self.busy_until()
            }
            // The answer before had begun when it was told to go away, and has not said so.
            Phase::Idle if self.parks && self.told => now + self.client.local.grace,
            Phase::Idle if self.parks => now + PARK.min(self.timeouts.idle),
            Phase::Idle => now + self.timeouts.idle,
            Phase::Fresh | Phase::Head => now + self.timeouts.headers,
            Phase::HalfClosed => now + self.client.local.grace,
            Phase::Closing => now + GOODBYE,
            Phase::Tunnel => return self.deadline.set(None),
        };
        self.deadline.set_until(Some(until));
    }
}
