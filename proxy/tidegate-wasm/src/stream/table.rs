//! The streams of an instance by number.
//!
//! Numbers only grow, so that an answer for a gone stream never meets a new one. A number lives in
//! the slot of its low bits; a number whose slot is taken is skipped. So finding a stream is one
//! index and one comparison.

use super::{Stream, StreamInfo, facts::Facts};
use crate::Now;
use std::rc::Rc;

/// Number of the plugin's own ("root") context.
pub(crate) const ROOT: u32 = 1;

/// Gone streams whose buffers are used again.
const SPARE: usize = 64;

#[derive(Default)]
pub(crate) struct Streams {
    slots: Vec<Option<Box<Stream>>>,
    last: u32,
    live: usize,
    #[expect(clippy::vec_box, reason = "a stream goes back into its slot without being moved")]
    spare: Vec<Box<Stream>>,
}

impl Streams {
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    pub(crate) fn open(&mut self, info: Rc<StreamInfo>, facts: Option<Rc<Facts>>, now: Now) -> u32 {
        if self.live * 2 >= self.slots.len() {
            self.grow();
        }
        let id = self.free_number();
        let stream = match self.spare.pop() {
            Some(mut stream) => {
                stream.renew(id, info, facts, now);
                stream
            }
            None => Box::new(Stream::new(id, info, facts, now)),
        };
        let at = self.slot(id);
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some(stream);
            self.live += 1;
        }
        id
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&Stream> {
        match self.slots.get(self.slot(id)) {
            Some(Some(stream)) if stream.id == id => Some(stream),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        let at = self.slot(id);
        match self.slots.get_mut(at) {
            Some(Some(stream)) if stream.id == id => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn close(&mut self, id: u32) {
        let at = self.slot(id);
        let Some(slot) = self.slots.get_mut(at) else { return };
        if let Some(mut stream) = slot.take_if(|stream| stream.id == id) {
            self.live -= 1;
            stream.clear();
            if self.spare.len() < SPARE {
                self.spare.push(stream);
            }
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().flatten().map(|stream| &mut **stream)
    }

    #[inline]
    fn slot(&self, id: u32) -> usize {
        id as usize & self.slots.len().wrapping_sub(1)
    }

    /// At most half of the slots are taken, so this ends soon.
    fn free_number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last > ROOT && self.slots.get(self.slot(self.last)).is_some_and(Option::is_none) {
                return self.last;
            }
        }
    }

    /// Doubles the slots. Numbers in different slots differ in their low bits, so they still do
    /// with one more bit.
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots.resize_with((old.len() * 2).max(16), || None);
        for stream in old.into_iter().flatten() {
            let at = self.slot(stream.id);
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = Some(stream);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn info() -> Rc<StreamInfo> {
        let address = ([127, 0, 0, 1], 80).into();
        Rc::new(StreamInfo::new(address, address, http::Version::HTTP_11))
    }

    #[test]
    fn numbers_are_not_used_again() {
        let mut streams = Streams::default();
        let long = streams.open(info(), None, Now::default());
        let mut seen = HashSet::from([long]);
        for _ in 0..1000 {
            let id = streams.open(info(), None, Now::default());
            assert!(id > ROOT && seen.insert(id));
            assert_eq!(streams.get(id).map(|stream| stream.id), Some(id));
            streams.close(id);
            assert!(streams.get(id).is_none() && streams.get_mut(id).is_none());
        }
        assert_eq!((streams.len(), streams.get(long).map(|stream| stream.id)), (1, Some(long)));
    }

    #[test]
    fn many_streams_are_all_found() {
        let mut streams = Streams::default();
        let ids: Vec<u32> = (0..5000).map(|_| streams.open(info(), None, Now::default())).collect();
        assert!(ids.iter().all(|id| streams.get(*id).is_some_and(|stream| stream.id == *id)));
        ids.iter().step_by(2).for_each(|id| streams.close(*id));
        assert_eq!(streams.len(), 2500);
        assert!(ids.iter().enumerate().all(|(n, id)| streams.get(*id).is_some() == (n % 2 == 1)));
        assert!(streams.get(0).is_none() && streams.get(ROOT).is_none());
        streams.close(77_777);
    }
}
