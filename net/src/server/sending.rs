//! Sending a response's body on its stream of HTTP/2.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use tailwater_runtime::executor::timeout;

/// Sends a body as fast as the peer's flow control lets it, and gives up on a peer that does not for too long.
pub(super) async fn send_body(
    stream: &mut SendStream<Bytes>,
    mut body: Bytes,
    end: bool,
    limit: Duration,
) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = match timeout(limit, poll_fn(|context| poll_room(stream, context))).await {
            Ok(room) => room?,
            Err(_elapsed) => {
                stream.send_reset(Reason::CANCEL);
                return Err(Reason::CANCEL.into());
            }
        };
        let part = body.split_to(room.min(body.len()));
        stream.send_data(part, end && body.is_empty())?;
    }
    Ok(())
}

fn poll_room(stream: &mut SendStream<Bytes>, context: &mut Context<'_>) -> Poll<Result<usize, h2::Error>> {
    loop {
        if stream.capacity() > 0 {
            return Poll::Ready(Ok(stream.capacity()));
        }
        match ready!(stream.poll_capacity(context)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
        }
    }
}
