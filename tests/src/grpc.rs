//! One gRPC call with a message as it is, sound or not: SDK clients would not send such.

use crate::process::PATIENCE;
use bytes::Bytes;
use http::{HeaderMap, Request};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// How a call ended.
#[derive(Debug)]
pub struct Outcome {
    /// `grpc-status`.
    pub status: String,
    /// `grpc-message`, percent-encoded.
    pub message: String,
    /// The response message, empty where there is none.
    pub response: Vec<u8>,
}

/// Calls a method with that message.
#[must_use]
pub fn call(address: SocketAddr, path: &str, message: &[u8]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange(address, path, message)).await.unwrap() })
}

async fn exchange(address: SocketAddr, path: &str, message: &[u8]) -> Outcome {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let head = Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = client.send_request(head, false).unwrap();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    body.send_data(Bytes::from([&[0][..], &length, message].concat()), true).unwrap();
    let response = response.await.unwrap();
    let (head, mut stream) = response.into_parts();
    let mut framed = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk.unwrap();
        stream.flow_control().release_capacity(chunk.len()).unwrap();
        framed.extend_from_slice(&chunk);
    }
    let trailers = stream.trailers().await.unwrap().unwrap_or(head.headers);
    driver.abort();
    let of = |headers: &HeaderMap, name: &str| {
        headers.get(name).map(|value| value.to_str().unwrap().to_string()).unwrap_or_default()
    };
    Outcome {
        status: of(&trailers, "grpc-status"),
        message: of(&trailers, "grpc-message"),
        response: framed.get(5..).unwrap_or_default().to_vec(),
    }
}
