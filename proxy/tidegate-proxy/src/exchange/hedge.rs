//! Several attempts at once: another one begins where the first takes long, and the first good answer wins.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::exchange::Exchange;
use crate::exchange::deadline::Told;
use crate::exchange::interim::Ear;
use crate::exchange::retry::{Attempts, Next};
use crate::http::fail::{Fail, Reason, Retry};
use crate::upstream::balance::{Why, Wish};
use crate::upstream::course::Course;
use crate::upstream::failure::Failure;
use crate::upstream::member::Member;
use crate::upstream::pool::{Permit, Pool};
use crate::upstream::send::{self, Answer, Message};

/// What attempts at once have in common.
pub(super) struct Hedged<'a> {
    pub(super) index: usize,
    pub(super) pool: &'a Rc<Pool>,
    /// The time of one attempt.
    pub(super) limit: Option<Duration>,
    pub(super) told: Option<Told>,
}

/// An attempt that knows nothing of its exchange, so that others can be beside it. Dropping it cancels it at the server.
struct Alone {
    /// The server, once there is one.
    at: Rc<OnceCell<(Rc<Member>, Why)>>,
    begun: Option<Duration>,
    /// Of an attempt that is traced.
    course: Option<Rc<Course>>,
    work: Pin<Box<dyn Future<Output = Result<Answer, Fail>>>>,
    /// It is beside another one.
    hedge: Option<Permit>,
}

impl Alone {
    fn server(&self) -> Option<&Member> {
        self.at.get().map(|(member, _)| &**member)
    }
}

/// An attempt that is over, and what came of it.
type Over = (Alone, Result<Answer, Fail>);

impl Exchange {
    /// As the attempts one after the other, but with others beside one that takes long.
    pub(super) async fn hedged(
        &mut self,
        hedged: Hedged<'_>,
        attempts: &mut Attempts<'_>,
        message: &mut Message,
    ) -> Result<Result<Answer, Fail>, Fail> {
        let Some(rule) = attempts.rule.hedge else { return Err(Fail::gateway(Reason::Internal)) };
        let mut running: Vec<Alone> = Vec::new();
        let mut left = rule.attempts;
        loop {
            if running.is_empty() {
                running.push(self.alone(&hedged, &attempts.tried, message)?);
            }
            let due = (left > 0).then_some(rule.after);
            match self.wait(first(&mut running, due)).await? {
                None => {
                    left -= 1;
                    if let Some(beside) = self.beside(&hedged, &attempts.tried, &running, message)? {
                        running.push(beside);
                    }
                }
                Some((alone, outcome)) => {
                    self.record.sent_at = alone.begun;
                    if self.record.watched {
                        self.record.trace_of_attempt(alone.course.as_ref());
                        self.record.tap_hedge(alone.begun, &hedged.pool.name, alone.server());
                    }
                    self.record.attempt_over(hedged.pool, &outcome);
                    let cause = attempts.cause(&outcome);
                    if cause.is_none() && outcome.is_ok() || running.is_empty() && cause.is_none() {
                        return Ok(self.won(&hedged, &alone, outcome));
                    }
                    // Another attempt may still bring a good answer.
                    if !running.is_empty() {
                        attempts.tried.extend(alone.server().map(Member::id));
                        if let Some(cause) = cause {
                            self.note_earlier(alone.server(), cause);
                        }
                        continue;
                    }
                    let Some(cause) = cause else { return Ok(outcome) };
                    match self.next((hedged.pool, attempts), (alone.server(), cause), &outcome, message) {
                        Next::Done => return Ok(self.won(&hedged, &alone, outcome)),
                        Next::Again(None) => {}
                        Next::Again(Some(wait)) => {
                            drop(outcome);
                            self.pause(wait).await?;
                        }
                    }
                }
            }
        }
    }

    /// One more attempt beside those that run, where the request is all here and nothing speaks against it.
    fn beside(
        &mut self,
        hedged: &Hedged<'_>,
        tried: &[usize],
        running: &[Alone],
        message: &mut Message,
    ) -> Result<Option<Alone>, Fail> {
        if let Some(told) = hedged.told {
            self.tell_deadline(told, hedged.limit, message)?;
        }
        let Some(copy) = message.copy() else { return Ok(None) };
        let permit = match hedged.pool.may_repeat() {
            Ok(permit) => permit,
            Err(stop) => {
                self.tries().stopped = Some(stop);
                return Ok(None);
            }
        };
        self.tries().hedges += 1;
        hedged.pool.count_hedge(false);
        let others: Vec<usize> = tried
            .iter()
            .copied()
            .chain(running.iter().filter_map(|one| one.server().map(Member::id)))
            .collect();
        let alone = self.started(hedged, &others, copy);
        Ok(Some(Alone { hedge: Some(permit), ..alone }))
    }

    fn alone(&mut self, hedged: &Hedged<'_>, tried: &[usize], message: &mut Message) -> Result<Alone, Fail> {
        if let Some(told) = hedged.told {
            self.tell_deadline(told, hedged.limit, message)?;
        }
        let first = message.begin();
        Ok(self.started(hedged, tried, first))
    }

    fn started(&mut self, hedged: &Hedged<'_>, tried: &[usize], mut message: Message) -> Alone {
        self.record.attempts += 1;
        self.record.note_attempt();
        let course = match self.record.watched {
            true => self.record.watch_attempt(hedged.pool, &mut message.head),
            false => None,
        };
        let at = Rc::<OnceCell<(Rc<Member>, Why)>>::default();
        let wish = Wish { tried: &[], ..self.wish(hedged.pool, &message.head, &[]) };
        let work = Work {
            pool: hedged.pool.clone(),
            limit: hedged.limit,
            wish,
            at: at.clone(),
            course: course.clone(),
            ear: self.record.ear(),
            message,
        };
        let (begun, work) = (self.record.sent_at, Box::pin(work.run(tried.to_vec())));
        Alone { at, begun, course, work, hedge: None }
    }

    /// This attempt brought the answer, or the last failure.
    fn won(
        &mut self,
        hedged: &Hedged<'_>,
        alone: &Alone,
        outcome: Result<Answer, Fail>,
    ) -> Result<Answer, Fail> {
        if let Some((server, why)) = alone.at.get() {
            self.record.upstream = Some((hedged.index, server.clone()));
            self.record.picked = *why;
        }
        if alone.hedge.is_some() && outcome.is_ok() {
            self.tries().won = true;
            hedged.pool.count_hedge(true);
        }
        outcome.map_err(|fail| self.blame(fail))
    }
}

/// What one attempt by itself needs.
struct Work {
    pool: Rc<Pool>,
    limit: Option<Duration>,
    /// But for the servers that were tried.
    wish: Wish<'static>,
    at: Rc<OnceCell<(Rc<Member>, Why)>>,
    course: Option<Rc<Course>>,
    ear: Ear,
    message: Message,
}

impl Work {
    async fn run(self, tried: Vec<usize>) -> Result<Answer, Fail> {
        let Self { pool, limit, wish, at, course, ear, mut message } = self;
        let wish = Wish { tried: &tried, ..wish };
        let place = if pool.has_place() { pool.place(&wish)? } else { pool.wait_for_place(&wish).await? };
        let begun = pool.begun();
        let (server, _) = at.get_or_init(|| (place.member.clone(), place.why));
        if let Some(course) = &course {
            course.meets(server.identity.address);
        }
        let sending = async {
            let lease = match place.idle_at_once() {
                Some(lease) => lease,
                // Opening has counted its failure itself.
                None => place.open(course.as_deref()).await.map_err(|fail| (fail, true))?,
            };
            let reused = lease.is_reused();
            let heard = |head| ear.heard(head);
            send::send(place, lease, &mut message, (false, &heard)).await.map_err(|fail| (fail, reused))
        };
        let outcome = match limit {
            None => sending.await,
            Some(limit) => tokio::time::timeout(limit, sending)
                .await
                .unwrap_or_else(|_| Err((Fail::upstream(Reason::Timeout, Retry::Idempotent), false))),
        };
        let in_time = |(fail, _): &(Fail, bool)| fail.reason == Reason::Timeout;
        if let Some(begun) = begun
            && outcome.as_ref().map_or_else(in_time, |_| true)
        {
            pool.over(begun);
        }
        match &outcome {
            Ok(answer) => pool.answered(server, answer.response.status()),
            Err((fail, reused)) if fail.blames_server() && !(*reused && fail.reason == Reason::Reset) => {
                pool.failed(server, Failure::Reason(fail.reason));
            }
            Err(_) => {}
        }
        outcome.map_err(|(fail, reused)| fail.on_connection(reused))
    }
}

/// The first attempt that is over, which is taken out; none: it is time for one more.
async fn first(running: &mut Vec<Alone>, due: Option<Duration>) -> Result<Option<Over>, Fail> {
    let mut timer = pin!(async {
        match due {
            Some(due) => tokio::time::sleep(due).await,
            None => std::future::pending().await,
        }
    });
    std::future::poll_fn(|cx| {
        let over = running.iter_mut().enumerate().find_map(|(index, one)| match one.work.as_mut().poll(cx) {
            Poll::Ready(outcome) => Some((index, outcome)),
            Poll::Pending => None,
        });
        match over {
            Some((index, outcome)) => Poll::Ready(Ok(Some((running.swap_remove(index), outcome)))),
            None => timer.as_mut().poll(cx).map(|()| Ok(None)),
        }
    })
    .await
}
