//! How a request came to its server, for its trace: which server, what it waited for, how its connection was opened. There
//! is none for a request that is not traced.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::http::fail::Fail;
use crate::telemetry::trace::{Happened, Kind, Span, Value};
use crate::time::monotonic;

/// See the module. Times are the worker's.
#[derive(Debug, Default)]
pub(crate) struct Course {
    server: Cell<Option<SocketAddr>>,
    /// Each with whether it is over. They have no numbers yet.
    steps: RefCell<Vec<(Span, bool)>>,
}

impl Course {
    /// It goes to this server.
    pub(crate) fn meets(&self, server: SocketAddr) {
        self.server.set(Some(server));
    }

    /// Says something of the step that began last.
    pub(crate) fn says(&self, says: impl FnOnce(&mut Span)) {
        if let Some((span, _)) = self.steps.borrow_mut().last_mut() {
            says(span);
        }
    }

    /// Something happened in the step that began last.
    pub(crate) fn happened(&self, name: &'static str, address: SocketAddr, error: Option<String>) {
        let mut event = Happened { name, at: monotonic(), attributes: peer(address) };
        event.attributes.extend(error.map(|error| ("exception.message".into(), error.into())));
        self.says(|span| span.events.push(event));
    }

    fn begins(&self, name: &'static str) -> usize {
        let mut span = Span::begin(0, 0, Kind::Internal, monotonic());
        span.name = name.into();
        let mut steps = self.steps.borrow_mut();
        steps.push((span, false));
        steps.len() - 1
    }

    fn ends(&self, place: usize, why: Option<&impl Why>) {
        if let Some((span, over)) = self.steps.borrow_mut().get_mut(place) {
            *over = true;
            span.ended = monotonic();
            if let Some(why) = why {
                span.says("error.type", why.kind());
                span.error = Some(why.text().into());
            }
        }
    }
}

/// Why a step failed.
pub(crate) trait Why {
    /// In a word.
    fn kind(&self) -> String;
    /// In a sentence.
    fn text(&self) -> String;
}

impl Why for io::Error {
    fn kind(&self) -> String {
        format!("{:?}", self.kind())
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Why for Fail {
    fn kind(&self) -> String {
        self.reason.word().to_owned()
    }

    fn text(&self) -> String {
        self.reason.word().to_owned()
    }
}

/// Address and port of who is at the other end.
pub(crate) fn peer(address: SocketAddr) -> Vec<(Cow<'static, str>, Value)> {
    vec![
        ("network.peer.address".into(), address.ip().to_string().into()),
        ("network.peer.port".into(), u64::from(address.port()).into()),
    ]
}

/// Waits for a step, and notes it where there is a course.
pub(crate) async fn noted<T, E: Why>(
    course: Option<&Course>,
    name: &'static str,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Some(course) = course else { return step.await };
    let place = course.begins(name);
    let result = step.await;
    course.ends(place, result.as_ref().err());
    result
}

/// A request to a server, as a trace has it.
#[derive(Debug)]
pub(crate) struct Sent {
    /// It has no end as long as it is not answered.
    pub(crate) span: Span,
    pub(crate) course: Rc<Course>,
}

impl Sent {
    /// The request's span and those below it; what is not over was given up at `over`.
    pub(crate) fn spans(self, over: Duration, random: impl Fn() -> u64) -> impl Iterator<Item = Span> {
        let Self { mut span, course } = self;
        if span.ended == span.began {
            span.ended = over;
        }
        if let Some(server) = course.server.get() {
            span.says("server.address", server.ip().to_string());
            span.says("server.port", u64::from(server.port()));
        }
        let (parent, ended) = (span.id, span.ended);
        let steps = course.steps.take().into_iter().map(move |(mut step, is_over)| {
            step.id = random() | 1;
            step.parent = parent;
            if !is_over {
                step.ended = ended;
                step.says("error.type", "given_up");
                step.error = Some("given up".into());
            }
            step
        });
        std::iter::once(span).chain(steps.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_below_their_request_and_have_ends() {
        let course = Rc::new(Course::default());
        course.meets(SocketAddr::from(([192, 0, 2, 1], 80)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let good = async { Ok::<_, io::Error>(()) };
            assert!(noted(Some(&course), "wait", good).await.is_ok());
            let bad = async {
                course.happened("try", SocketAddr::from(([192, 0, 2, 1], 80)), Some("refused".to_owned()));
                Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused))
            };
            assert!(noted(Some(&course), "connect", bad).await.is_err());
            assert!(
                noted(None, "nobody looks", async { Err::<(), _>(io::Error::other("no")) }).await.is_err()
            );
            // One that is dropped before its end.
            let mut never =
                std::pin::pin!(noted(Some(&course), "tls", std::future::pending::<io::Result<()>>()));
            std::future::poll_fn(|cx| {
                assert!(never.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        });
        let over = Duration::from_secs(1 << 30);
        let sent = Sent { span: Span::begin(7, 5, Kind::Client, Duration::ZERO), course };
        let next = Cell::new(10);
        let spans: Vec<_> = sent.spans(over, || next.replace(next.get() + 2)).collect();
        let shown =
            |span: &Span| (span.name.clone().into_owned(), span.id, span.parent, span.error.is_some());
        let named = |name: &str, id, parent, failed| (name.to_owned(), id, parent, failed);
        assert_eq!(
            spans.iter().map(shown).collect::<Vec<_>>(),
            [
                named("", 7, 5, false),
                named("wait", 11, 7, false),
                named("connect", 13, 7, true),
                named("tls", 15, 7, true)
            ]
        );
        assert_eq!((spans[0].ended, spans[3].ended), (over, over));
        assert!(spans[2].ended < over && spans[2].events.len() == 1 && spans[0].attributes.len() == 2);
    }
}
