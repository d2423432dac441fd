//! What shims and the control plane say to each other through egress.

use std::time::Duration;

use egress::MAX_MESSAGE;
use futures::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::gateway::Gateway;
use crate::given::{Egress, MANY, TOKEN, connected, end, shim};

fn long(bytes: usize) -> String {
    let mut text = "ß€𝄞".repeat(bytes / 9);
    text.extend(std::iter::repeat_n('x', bytes - text.len()));
    text
}

async fn said(shim: &mut (impl futures::Stream<Item = Result<Message, Error>> + Unpin)) -> String {
    loop {
        match shim.next().await.unwrap().unwrap() {
            Message::Text(text) => return text.as_str().to_owned(),
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) | Message::Close(_) | Message::Frame(_) => panic!("no text came"),
        }
    }
}

#[tokio::test]
async fn messages_pass_whole_both_ways_within_the_managed_limits() {
    let mut gateway = Gateway::start().await;
    let egress = Egress::start(&gateway.url(), MANY).await;
    let mut shim = connected(egress.address).await;
    let mut caller = gateway.caller().await;
    assert_eq!(caller.path, "/v1", "the stage, and nothing of the shim's own path");
    assert_eq!(caller.headers, [("authorization".to_owned(), TOKEN.to_owned())]);
    // Around what one frame holds, and the most one message may have.
    for bytes in [0, 1, 32_751, 32_752, 32_753, 65_504, 120 * 1024, MAX_MESSAGE] {
        let text = long(bytes);
        shim.send(Message::text(text.clone())).await.unwrap();
        assert_eq!(caller.hear().await, Some(text.clone()), "{bytes} bytes up");
        caller.socket.send(Message::text(text.clone())).await.unwrap();
        assert_eq!(said(&mut shim).await, text, "{bytes} bytes down");
    }
}

#[tokio::test]
async fn the_gateway_of_these_tests_has_the_managed_limits() {
    let mut gateway = Gateway::start().await;
    let request = gateway.url();
    let stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let (mut direct, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let mut caller = gateway.caller().await;
    direct.send(Message::text(long(33 * 1024))).await.unwrap();
    assert_eq!(caller.hear().await, None);
    assert_eq!(end(&mut direct).await, Some(1009));
}

#[tokio::test]
async fn a_message_over_the_limit_is_not_begun() {
    let mut gateway = Gateway::start().await;
    let egress = Egress::start(&gateway.url(), MANY).await;
    let mut shim = connected(egress.address).await;
    let mut caller = gateway.caller().await;
    shim.send(Message::text(long(MAX_MESSAGE + 1))).await.unwrap();
    assert_eq!(end(&mut shim).await, Some(1009));
    assert_eq!(caller.hear().await, None);
}

#[tokio::test]
async fn only_text_passes() {
    let mut gateway = Gateway::start().await;
    let egress = Egress::start(&gateway.url(), MANY).await;
    let mut shim = connected(egress.address).await;
    let mut caller = gateway.caller().await;
    shim.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(end(&mut shim).await, Some(1003));
    assert_eq!(caller.hear().await, None);
}

#[tokio::test]
async fn what_ends_one_side_ends_the_other_and_a_shim_may_come_again() {
    let mut gateway = Gateway::start().await;
    let egress = Egress::start(&gateway.url(), MANY).await;
    // As the managed one does after two hours, and after ten minutes of nothing.
    for code in [CloseCode::Away, CloseCode::Normal, CloseCode::Error] {
        let mut shim = connected(egress.address).await;
        let mut caller = gateway.caller().await;
        caller.socket.close(Some(CloseFrame { code, reason: "".into() })).await.unwrap();
        assert_eq!(end(&mut shim).await, Some(code.into()));
    }
    // Without a word.
    let mut shim = connected(egress.address).await;
    drop(gateway.caller().await);
    assert_eq!(end(&mut shim).await, Some(1001));
    // The shim's end.
    for polite in [true, false] {
        let mut shim = connected(egress.address).await;
        let mut caller = gateway.caller().await;
        if polite {
            shim.close(None).await.unwrap();
        } else {
            drop(shim);
        }
        assert_eq!(caller.hear().await, None);
    }
}

#[tokio::test]
async fn a_refusal_is_passed_on_and_a_failure_is_none() {
    let gateway = Gateway::start().await;
    let egress = Egress::start(&gateway.url(), MANY).await;
    for (theirs, ours, code) in [
        (401, 401, "unauthenticated"),
        (403, 401, "unauthenticated"),
        (404, 502, "control_unavailable"),
        (429, 502, "control_unavailable"),
        (500, 502, "control_unavailable"),
    ] {
        *gateway.status.lock().await = theirs;
        let refused = shim(egress.address, Some(TOKEN)).await;
        let Err(Error::Http(answer)) = refused else { panic!("{theirs}: {refused:?}") };
        assert_eq!(answer.status(), ours, "{theirs}");
        let problem: serde_json::Value =
            serde_json::from_slice(answer.body().as_deref().unwrap_or_default()).unwrap();
        assert_eq!(problem["code"], code, "{theirs}");
    }
    let nobody = shim(egress.address, None).await;
    let Err(Error::Http(answer)) = nobody else { panic!("{nobody:?}") };
    assert_eq!(answer.status(), 401, "who does not say who it is, asks nobody");
    let lonely = Egress::start("ws://127.0.0.1:1/v1", MANY).await;
    let lost = shim(lonely.address, Some(TOKEN)).await;
    let Err(Error::Http(answer)) = lost else { panic!("{lost:?}") };
    assert_eq!(answer.status(), 502);
}

#[tokio::test]
async fn a_ping_is_answered_by_egress_and_goes_no_further() {
    let mut gateway = Gateway::start().await;
    let egress = Egress::start(&gateway.url(), MANY).await;
    let mut shim = connected(egress.address).await;
    let mut caller = gateway.caller().await;
    shim.send(Message::Ping(b"there?".as_slice().into())).await.unwrap();
    assert_eq!(shim.next().await.unwrap().unwrap(), Message::Pong(b"there?".as_slice().into()));
    shim.send(Message::text("behind it")).await.unwrap();
    let first = caller.socket.next().await.unwrap().unwrap();
    assert_eq!(first, Message::text("behind it"));
    // And the other way round.
    caller.socket.send(Message::Ping(b"you?".as_slice().into())).await.unwrap();
    let answer = caller.socket.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::Pong(b"you?".as_slice().into()));
}

/// Sends until nothing is taken any more, and says how much was.
async fn fill(shim: &mut (impl futures::Sink<Message, Error = Error> + Unpin)) -> usize {
    let text = long(100_000);
    let mut taken = 0;
    // Between two messages of an open way lie microseconds.
    while let Ok(Ok(())) =
        timeout(Duration::from_secs(1), shim.send(Message::text(text.clone()))).await
    {
        taken += text.len();
    }
    taken
}

#[tokio::test]
async fn a_side_that_does_not_read_makes_the_other_wait_and_is_cut_off() {
    const KERNELS: usize = 24 << 20;
    for up in [true, false] {
        let mut gateway = Gateway::start().await;
        let egress = Egress::start(&gateway.url(), MANY).await;
        let mut shim = connected(egress.address).await;
        let mut caller = gateway.caller().await;
        // From here on, where nobody has anything to do, time passes at once.
        tokio::time::pause();
        let began = Instant::now();
        let taken = if up { fill(&mut shim).await } else { fill(&mut caller.socket).await };
        assert!(taken < KERNELS, "{taken} bytes are held");
        if up {
            assert_eq!(end(&mut shim).await, Some(1001));
        } else {
            while caller.hear().await.is_some() {}
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
        tokio::time::resume();
    }
}

/// Makes it later for every timer of this process. What comes over a socket comes in its own time.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_silent_shim_is_cut_off_and_one_that_asks_is_not() {
    let mut gateway = Gateway::start().await;
    let egress = Egress::start(&gateway.url(), MANY).await;
    let mut shim = connected(egress.address).await;
    let mut caller = gateway.caller().await;
    // More than the ten minutes for which the managed one lets nothing happen.
    for minute in 0..15 {
        for _ in 0..12 {
            later(Duration::from_secs(5)).await;
            shim.send(Message::Ping(Vec::new().into())).await.unwrap();
            assert!(matches!(shim.next().await, Some(Ok(Message::Pong(_)))));
        }
        shim.send(Message::text(minute.to_string())).await.unwrap();
        assert_eq!(caller.hear().await, Some(minute.to_string()));
    }
    later(Duration::from_secs(59)).await;
    shim.send(Message::text("at last")).await.unwrap();
    assert_eq!(caller.hear().await.as_deref(), Some("at last"));
    later(Duration::from_secs(61)).await;
    assert_eq!(end(&mut shim).await, Some(1001));
    assert_eq!(caller.hear().await, None);
}

#[tokio::test]
async fn who_stops_sends_shims_elsewhere() {
    let mut gateway = Gateway::start().await;
    let mut egress = Egress::start(&gateway.url(), MANY).await;
    let mut shim = connected(egress.address).await;
    let mut caller = gateway.caller().await;
    egress.stop.cancel();
    assert_eq!(end(&mut shim).await, Some(1001));
    assert_eq!(caller.hear().await, None);
    egress.tasks.join_next().await.unwrap().unwrap();
    tokio::net::TcpStream::connect(egress.address).await.unwrap_err();
}
