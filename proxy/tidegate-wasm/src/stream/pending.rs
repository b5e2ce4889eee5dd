//! Fields that the caller adds to every request, but writes into its head only if a guest looks at it: most guests do
//! not, and putting fields into a map costs more than such a guest does.

use super::Stream;
use http::{HeaderMap, HeaderValue, request};
use std::{fmt, rc::Rc};

/// Writes the fields; made once for many requests.
pub trait AddFields {
    /// Puts the fields into a request's map. `request_id` is the one of [`Pending`].
    fn add(&self, headers: &mut HeaderMap, request_id: &[u8; 32]);

    /// Whether a field of this name, in whatever case, may be among them.
    fn adds(&self, name: &[u8]) -> bool;
}

/// Fields that a request's head is to have and has not yet.
#[derive(Clone)]
pub struct Pending {
    /// What writes them.
    pub by: Rc<dyn AddFields>,
    /// The value of `x-request-id`, one of the fields, which log lines bear.
    pub request_id: [u8; 32],
    /// How many fields they are; guests are told the number with the head.
    pub fields: usize,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl Pending {
    /// The request's id as a field has it.
    pub(crate) fn request_id(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.request_id).ok()
    }
}

/// Whether a field is the host, by either of its names.
pub(crate) fn is_host(name: &[u8]) -> bool {
    name == b":authority" || name.eq_ignore_ascii_case(b"host")
}

impl Stream {
    /// Before the guest looks at the whole of the request's head, or writes all of it, or it is noted: all fields are put
    /// there. A head that has gone on stays as it is; the guest is shown a copy.
    #[inline]
    pub(crate) fn complete_head(&mut self) {
        if self.pending.is_some() {
            self.add_pending();
        }
    }

    /// The same before it looks at one field.
    #[inline]
    pub(crate) fn complete_head_for(&mut self, name: &[u8]) {
        if self.pending.as_ref().is_some_and(|pending| pending.by.adds(name)) {
            self.add_pending();
        }
    }

    /// The same before it writes to one field, which may be one of them or the one that they are made from.
    #[inline]
    pub(crate) fn complete_head_to_write(&mut self, name: &[u8]) {
        if self.pending.as_ref().is_some_and(|pending| is_host(name) || pending.by.adds(name)) {
            self.add_pending();
        }
    }

    #[cold]
    fn add_pending(&mut self) {
        let head: Option<&mut Rc<request::Parts>> = self.request_head.as_mut().or(self.request_gone.as_mut());
        if let (Some(head), Some(pending)) = (head, self.pending.take()) {
            pending.by.add(&mut Rc::make_mut(head).headers, &pending.request_id);
        }
    }
}
