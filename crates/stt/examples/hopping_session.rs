//! One session that hops from route to route while numbered messages flow, and loses none.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use std::{net::SocketAddr, time::Duration};

use common::Outcome;
use stt::{Mode, Node, Route, RouteKind};
use tokio::sync::watch;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[tokio::main]
async fn main() -> Outcome {
    let seed = common::seed()?;
    let server =
        Node::builder(seed.clone()).host("127.0.0.1").websocket(ANY).start(Mode::Server).await?;
    let client = common::node(&seed, Mode::Client).await?;
    let (ours, theirs) = common::connect(&client, &server).await?;

    // Counts upwards until it is told to stop; the last message is empty.
    let (stop, stopped) = watch::channel(false);
    let sender = ours.open_stream()?;
    let sending = tokio::spawn(async move {
        let mut number = 0_u64;
        while !*stopped.borrow() {
            sender.send(&number.to_be_bytes()).await?;
            number += 1;
            if number.is_multiple_of(100) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        sender.send(&[]).await?;
        Ok::<_, stt::StreamError>((number, sender))
    });
    let receiver = theirs.accept_stream().await?;
    let receiving = tokio::spawn(async move {
        let mut number = 0_u64;
        while let Some(message) = receiver.receive().await? {
            if message.is_empty() {
                break;
            }
            assert_eq!(message, number.to_be_bytes()[..], "in order, and nothing lost");
            number += 1;
        }
        Ok::<_, stt::StreamError>(number)
    });

    let say = |what: &str, route: Route| println!("{what}: {} to {}", route.kind, route.remote);
    say("connected", ours.route());
    say("to a WebSocket", ours.move_to_kind(RouteKind::WebSocket).await?);
    say("back to UDP", ours.move_to_kind(RouteKind::Udp).await?);
    let port = client.rebind(ANY)?;
    while theirs.remote_address() != port {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    say("the client took another port, as the server sees it", theirs.route());
    say("the server asks for a WebSocket", theirs.move_to_kind(RouteKind::WebSocket).await?);
    say("and for UDP again", theirs.move_to_kind(RouteKind::Udp).await?);

    stop.send(true)?;
    let (sent, _sender) = sending.await??;
    let received = receiving.await??;
    assert_eq!(sent, received);
    println!("five changes, one session, {received} messages: all there, all in order");
    server.stop_within(Duration::from_secs(1)).await;
    client.stop_within(Duration::from_secs(1)).await;
    Ok(())
}
