//! What a scripted upstream is told to do.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::client::PATIENCE;
use crate::message::RequestHead;

/// A request whose head has arrived.
#[derive(Debug)]
pub struct Call<'a> {
    /// The number of its connection, from 0.
    pub connection: usize,
    /// Its number on the connection, from 0.
    pub nth: usize,
    /// Its number on the server, from 0.
    pub overall: usize,
    /// Its head.
    pub head: &'a RequestHead,
}

/// The steps that answer a request. Afterwards, what is left of the request's body is read and the connection
/// waits for the next request.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub(super) steps: Vec<Step>,
}

impl Answer {
    /// Does these steps.
    pub fn steps(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect() }
    }

    /// Reads the whole request, then sends the bytes.
    pub fn reply(bytes: impl Into<Vec<u8>>) -> Self {
        Self::steps([Step::ReadBody, Step::Send(bytes.into())])
    }

    /// Reads the whole request, then sends each piece as a segment of its own.
    pub fn pieces<P: Into<Vec<u8>>>(pieces: impl IntoIterator<Item = P>) -> Self {
        let sends = pieces.into_iter().map(|piece| Step::Send(piece.into()));
        Self::steps(std::iter::once(Step::ReadBody).chain(sends))
    }

    /// Sends the bytes as soon as the head is there.
    pub fn early(bytes: impl Into<Vec<u8>>) -> Self {
        Self::steps([Step::Send(bytes.into())])
    }

    /// The same with one more step at the end.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

/// One thing that a scripted upstream does.
#[derive(Debug, Clone)]
pub enum Step {
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Reads the request's body.
    ReadBody,
    /// Waits until the test opens the gate.
    Wait(Gate),
    /// Writes that many bytes and notes when nothing moves any more.
    Fill(u64),
    /// Sends back whatever comes until the gateway closes.
    Echo,
    /// Answers nothing (more) and waits until the gateway closes.
    UntilClosed,
    /// Says that no more bytes come.
    HalfClose,
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
}

impl Step {
    /// Writes these bytes.
    pub fn send(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Send(bytes.into())
    }
}

/// Holds a script back until the test says so.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everyone pass, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    pub(super) fn wait(&self) {
        let guard = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A test that never opens its gate fails elsewhere; this only keeps the thread from staying for ever.
        drop(self.0.1.wait_timeout_while(guard, PATIENCE * 2, |open| !*open));
    }
}
