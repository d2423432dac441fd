//! Frames to connections of the API Gateway, as its management endpoint takes them. That they arrive
//! at a client is seen end to end.

use app::ports::{Gone, Push};
use aws::Sdk;
use aws::push::{Connections, MAX_FRAME};
use http::StatusCode;
use serde_json::json;
use tests::emulator::environment;
use tests::fault_proxy::{Call, Fault, FaultProxy};

const ID: &str = "L0SM9cOFvHcCIhw=";

/// How the management endpoint spells the connection in a path.
const PATH: &str = "/v1/@connections/L0SM9cOFvHcCIhw%3D";

/// An endpoint that answers as it is told to. Nobody is behind it.
async fn endpoint() -> (Connections, FaultProxy) {
    let proxy = FaultProxy::start("http://127.0.0.1:9").await;
    let management = format!("{}/v1", proxy.endpoint());
    let environment = environment("http://127.0.0.1:9", &[("REEVE_CONNECTIONS", &management)]);
    let push = Connections::new(&Sdk::new(&environment).unwrap(), &environment).unwrap();
    (push, proxy)
}

fn answer(status: u16, code: &str) -> Fault {
    let status = StatusCode::from_u16(status).unwrap();
    Fault::Answer(status, json!({ "__type": code, "message": "a fault of the test" }))
}

fn taken() -> Fault {
    Fault::Answer(StatusCode::OK, json!({}))
}

/// The calls that brought a frame, and how many ended the connection.
fn calls(proxy: &FaultProxy) -> (Vec<Call>, usize) {
    let (frames, ends): (Vec<_>, Vec<_>) =
        proxy.calls(PATH).into_iter().partition(|call| !call.body.is_null());
    (frames, ends.len())
}

#[tokio::test]
async fn a_frame_is_handed_over_as_it_is() {
    let (push, proxy) = endpoint().await;
    proxy.fault(PATH, taken(), 1);
    let frame = json!({ "ack": { "next": 7 } });
    push.deliver(ID, frame.to_string()).await.unwrap();
    let (frames, ends) = calls(&proxy);
    assert_eq!((frames.len(), ends), (1, 0));
    assert_eq!(frames[0].body, frame);
}

#[tokio::test]
async fn a_connection_that_is_gone_is_gone() {
    let (push, proxy) = endpoint().await;
    proxy.fault(PATH, answer(410, "GoneException"), 2);
    assert_eq!(push.deliver(ID, "{}".to_owned()).await, Err(Gone));
    push.close(ID).await;
    let (frames, ends) = calls(&proxy);
    assert_eq!((frames.len(), ends), (1, 1), "neither is tried again");
}

#[tokio::test]
async fn what_is_throttled_is_tried_again() {
    let (push, proxy) = endpoint().await;
    proxy.fault(PATH, answer(429, "LimitExceededException"), 2);
    proxy.fault(PATH, Fault::LoseCall, 1);
    proxy.fault(PATH, taken(), 1);
    push.deliver(ID, "{}".to_owned()).await.unwrap();
    assert_eq!(calls(&proxy).0.len(), 4);
}

#[tokio::test]
async fn who_cannot_be_told_is_hung_up_on() {
    let (push, proxy) = endpoint().await;
    proxy.fault(PATH, answer(429, "LimitExceededException"), 5);
    proxy.fault(PATH, Fault::Answer(StatusCode::NO_CONTENT, json!(null)), 1);
    assert_eq!(push.deliver(ID, "{}".to_owned()).await, Err(Gone));
    let (frames, ends) = calls(&proxy);
    assert_eq!((frames.len(), ends), (5, 1));
}

#[tokio::test]
async fn a_frame_at_the_limit_is_sent_and_one_above_it_never() {
    let (push, proxy) = endpoint().await;
    proxy.fault(PATH, taken(), 2);
    let frame = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    push.deliver(ID, frame(MAX_FRAME)).await.unwrap();
    assert_eq!(push.deliver(ID, frame(MAX_FRAME + 1)).await, Err(Gone));
    let (frames, ends) = calls(&proxy);
    assert_eq!((frames.len(), ends), (1, 1));
}
