//! Several futures at once.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

/// Waits for two futures that run at the same time.
///
/// ```no_run
/// use tidegate_sdk::{http, join};
///
/// # async fn both() -> tidegate_sdk::Outcome<()> {
/// let (user, rights) = join(http::get("/user").to("users"), http::get("/rights").to("rights")).await;
/// let (user, rights) = (user?, rights?);
/// # Ok(())
/// # }
/// ```
pub async fn join<A: IntoFuture, B: IntoFuture>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a.into_future()), pin!(b.into_future()));
    let (mut first, mut second) = (None, None);
    poll_fn(move |cx| {
        let one = match first.take() {
            Some(value) => Some(value),
            None => ready(a.as_mut().poll(cx)),
        };
        let two = match second.take() {
            Some(value) => Some(value),
            None => ready(b.as_mut().poll(cx)),
        };
        match (one, two) {
            (Some(one), Some(two)) => Poll::Ready((one, two)),
            (one, two) => {
                (first, second) = (one, two);
                Poll::Pending
            }
        }
    })
    .await
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Waits for all of several futures that run at the same time; what they return is in their order.
///
/// ```no_run
/// use tidegate_sdk::{http, join_all};
///
/// # async fn all() {
/// let calls = ["a", "b", "c"].map(|shard| http::get("/count").to(shard));
/// let reached = join_all(calls).await.into_iter().flatten().filter(http::Answer::is_success).count();
/// # }
/// ```
pub async fn join_all<A: IntoFuture>(all: impl IntoIterator<Item = A>) -> Vec<A::Output> {
    enum One<F: Future> {
        Waits(Pin<Box<F>>),
        Done(F::Output),
    }
    let mut all: Vec<Option<One<A::IntoFuture>>> =
        all.into_iter().map(|one| Some(One::Waits(Box::pin(one.into_future())))).collect();
    // Each place is emptied only for as long as it is looked at.
    poll_fn(|cx| {
        let mut waits = false;
        for place in &mut all {
            *place = match place.take() {
                Some(One::Waits(mut future)) => match future.as_mut().poll(cx) {
                    Poll::Ready(value) => Some(One::Done(value)),
                    Poll::Pending => {
                        waits = true;
                        Some(One::Waits(future))
                    }
                },
                done => done,
            };
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    all.into_iter()
        .filter_map(|one| match one {
            Some(One::Done(value)) => Some(value),
            _ => None,
        })
        .collect()
}

/// What [`race`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first future was ready first, or at the same time.
    First(A),
    /// The second future was ready first.
    Second(B),
}

/// Waits for the first of two futures; the other one is dropped, and what it waited for is forgotten.
///
/// ```no_run
/// use std::time::Duration;
/// use tidegate_sdk::{Either, Outcome, http, race, time};
///
/// /// The nearer server's answer, or the other's when it takes its time.
/// async fn hedged() -> Outcome<http::Answer> {
///     let later = async {
///         time::sleep(Duration::from_millis(50)).await;
///         http::get("/price").to("far").await
///     };
///     match race(http::get("/price").to("near"), later).await {
///         Either::First(answer) | Either::Second(answer) => answer,
///     }
/// }
/// ```
pub async fn race<A: IntoFuture, B: IntoFuture>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a.into_future()), pin!(b.into_future()));
    poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Either::First(value)),
        Poll::Pending => b.as_mut().poll(cx).map(Either::Second),
    })
    .await
}
