//! A worker's connection to Redis: commands of all its plugins go out one behind the other, replies come back in the same
//! order. It is opened by the first command, and again after it broke, at most once in a while.

mod replies;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tidegate_config::plan::RedisLogin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;

use crate::transport::Stream;
use crate::upstream::connect;
use crate::upstream::pool::Pool;

/// Calls that may wait on one connection.
const CALLS: usize = 4096;

/// Bytes of a call's replies.
const REPLY_BYTES: usize = 1 << 20;

/// A connection on which nothing comes for so long, though something is awaited, is given up.
const SILENCE: Duration = Duration::from_secs(5);

/// The waits before another connection after one that failed.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The connection of a pool, whether it is open or not.
#[derive(Default)]
pub(crate) struct Link {
    /// Calls that are to be sent.
    queue: RefCell<VecDeque<Call>>,
    added: Notify,
    /// Calls that are not over.
    open: Cell<usize>,
    /// There is a task that has, or opens, the connection.
    running: Cell<bool>,
    /// No connection is tried before that, and how long the wait was.
    rest: Cell<(Duration, Duration)>,
}

struct Call {
    commands: Bytes,
    /// Replies that are still to come.
    count: usize,
    replies: BytesMut,
    answer: oneshot::Sender<Result<Bytes, String>>,
}

/// Sends commands and waits for the replies to all of them.
///
/// # Errors
/// Why there are none, for the log.
pub(crate) async fn ask(
    pool: &Rc<Pool>,
    commands: Bytes,
    count: usize,
    timeout: Duration,
) -> Result<Bytes, String> {
    let link = &pool.redis;
    if link.open.get() >= CALLS {
        return Err(format!("more than {CALLS} calls wait for Redis"));
    }
    if !link.running.get() {
        if pool.now() < link.rest.get().0 {
            return Err("Redis was not reached a moment ago".to_owned());
        }
        link.running.set(true);
        spawn_local(run(pool.clone()));
    }
    let (answer, answered) = oneshot::channel();
    link.open.set(link.open.get() + 1);
    link.queue.borrow_mut().push_back(Call { commands, count, replies: BytesMut::new(), answer });
    link.added.notify_one();
    match tokio::time::timeout(timeout, answered).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("the connection to Redis has ended".to_owned()),
        Err(_) => Err(format!("Redis took longer than {} ms", timeout.as_millis())),
    }
}

/// Has the connection as long as it lasts, then fails what waits on it.
async fn run(pool: Rc<Pool>) {
    let link = pool.redis.clone();
    let mut sent = VecDeque::new();
    let ended = serve(&pool, &mut sent).await;
    let why = match &ended {
        Ok(()) => None,
        Err(error) => Some(format!("Redis at {}: {error}", pool.cluster.spec.name)),
    };
    if let Some(why) = &why {
        tracing::warn!(upstream = %pool.cluster.spec.name, "{why}");
        let (_, before) = link.rest.get();
        let wait = (before * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        link.rest.set((pool.now() + wait, wait));
    }
    link.running.set(false);
    let why = why.unwrap_or_else(|| "the connection to Redis has ended".to_owned());
    let waiting = std::mem::take(&mut *link.queue.borrow_mut());
    for call in sent.into_iter().chain(waiting) {
        link.finish(call, Err(why.clone()));
    }
}

/// Opens the connection and moves calls and replies until it breaks, or is idle for too long.
async fn serve(pool: &Rc<Pool>, sent: &mut VecDeque<Call>) -> io::Result<()> {
    let (link, spec) = (&pool.redis, &pool.cluster.spec);
    let mut stream = open(pool).await?;
    link.rest.set((Duration::ZERO, Duration::ZERO));
    let mut input = BytesMut::with_capacity(4096);
    let mut heard = pool.now();
    loop {
        let awaited = !sent.is_empty();
        let output = take(link, sent);
        if !output.is_empty() {
            if !awaited {
                heard = pool.now();
            }
            stream.write_all(&output).await?;
            stream.flush().await?;
        }
        let quiet = pool.now().saturating_sub(heard);
        let patience = if sent.is_empty() { spec.idle_timeout } else { SILENCE.saturating_sub(quiet) };
        tokio::select! {
            () = link.added.notified() => {}
            read = stream.read_buf(&mut input) => {
                heard = pool.now();
                if read? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                while let Some(length) = replies::length(&input).map_err(io::Error::other)? {
                    give(link, sent, input.split_to(length))?;
                }
                if input.len() > REPLY_BYTES {
                    return Err(io::Error::other(format!("a reply has more than {REPLY_BYTES} bytes")));
                }
            }
            () = tokio::time::sleep(patience) => match sent.is_empty() {
                true => return Ok(()),
                false => return Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }
}

/// A connection to the first server, in their order, that is there: all gateways are to ask the same
/// one.
async fn open(pool: &Rc<Pool>) -> io::Result<Stream> {
    let spec = &pool.cluster.spec;
    let mut problem = io::Error::other("it has no server");
    for server in pool.in_order() {
        let opening = async {
            let mut stream = connect::any(&pool.cluster, &server).await?.stream;
            log_in(&mut stream, &spec.login).await?;
            Ok(stream)
        };
        match tokio::time::timeout(spec.connect_timeout, opening).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => problem = error,
            Err(_) => problem = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(problem)
}

/// The bytes of all calls that wait; they are sent from now on. What nobody waits for any more is left out.
fn take(link: &Link, sent: &mut VecDeque<Call>) -> BytesMut {
    let mut output = BytesMut::new();
    for call in std::mem::take(&mut *link.queue.borrow_mut()) {
        if call.answer.is_closed() {
            link.open.set(link.open.get().saturating_sub(1));
            continue;
        }
        output.extend_from_slice(&call.commands);
        sent.push_back(call);
    }
    output
}

/// A reply belongs to the first call that lacks one.
fn give(link: &Link, sent: &mut VecDeque<Call>, reply: BytesMut) -> io::Result<()> {
    let call = sent.front_mut().ok_or_else(|| io::Error::other("a reply to nothing"))?;
    if call.replies.len() + reply.len() > REPLY_BYTES {
        return Err(io::Error::other(format!("replies of more than {REPLY_BYTES} bytes")));
    }
    call.replies.extend_from_slice(&reply);
    call.count -= 1;
    if call.count == 0
        && let Some(mut call) = sent.pop_front()
    {
        let replies = std::mem::take(&mut call.replies).freeze();
        link.finish(call, Ok(replies));
    }
    Ok(())
}

impl Link {
    fn finish(&self, call: Call, result: Result<Bytes, String>) {
        self.open.set(self.open.get().saturating_sub(1));
        // Whoever asked may have gone.
        _ = call.answer.send(result);
    }
}

/// The first commands of a connection; each must be answered with a line that is no error.
async fn log_in(stream: &mut Stream, login: &RedisLogin) -> io::Result<()> {
    let mut commands: Vec<Vec<&str>> = Vec::new();
    let database = login.database.to_string();
    if let Some(password) = &login.password {
        let mut command = vec!["AUTH"];
        command.extend(login.username.as_deref());
        command.push(password);
        commands.push(command);
    }
    if login.database != 0 {
        commands.push(vec!["SELECT", &database]);
    }
    for words in commands {
        let mut bytes = format!("*{}\r\n", words.len());
        for word in &words {
            bytes += &format!("${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(bytes.as_bytes()).await?;
        stream.flush().await?;
        let mut input = BytesMut::new();
        while replies::length(&input).map_err(io::Error::other)?.is_none() {
            if input.len() > REPLY_BYTES || stream.read_buf(&mut input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if input.has_remaining() && input.first() == Some(&b'-') {
            let why = input.trim_ascii().escape_ascii().to_string();
            return Err(io::Error::other(format!("it refuses {}: {why}", words.first().unwrap_or(&""))));
        }
    }
    Ok(())
}
