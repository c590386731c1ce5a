//! Sessions over WebSockets against WebSockets in TLS, and what an idle one holds.

use crate::{
    How, Result,
    bulk::{self, BLOCK, MIB, measured},
    compare::{Contender, Metric, Target, alternate},
    idle::{Kind, resident_each},
    report::Report,
    stage::Peer,
    stt_peer, websocket_peer,
};

pub fn run(how: How, report: &mut Report) -> Result<()> {
    let total = how.amount(512, 96) * MIB;
    let terms = stt_peer::Terms { websocket: true, ..Default::default() };
    let contenders = vec![
        Contender::new(Peer::Stt, "stt over ws://", move || {
            measured(total, move |handle| bulk::stt(handle, terms, total))
        }),
        Contender::new(Peer::Quinn, "tungstenite + rustls", move || {
            measured(total, move |handle| websocket_peer::bulk(handle, total, BLOCK))
        }),
    ];
    let metrics = vec![
        Metric::new("throughput", "MiB/s", Some(Target::RatioAtLeast(0.8))),
        Metric::new("processor time", "s/GiB", None),
    ];
    report.add(&alternate(how, "bulk, one stream, over a WebSocket", metrics, contenders)?);

    let sessions = how.sessions.unwrap_or(how.amount(500, 200));
    let metrics =
        vec![Metric::new("at the server", "KiB", None), Metric::new("at the client", "KiB", None)];
    let how = How { rounds: Some(how.rounds().min(2)), ..how };
    let contenders = vec![
        Contender::new(Peer::Stt, "stt over ws://", move || {
            resident_each(Kind::SttWebSocket, sessions)
        }),
        Contender::new(Peer::Quinn, "tungstenite, plain, defaults", move || {
            resident_each(Kind::Tungstenite, sessions)
        }),
        Contender::new(Peer::Stt, "stt over udp://", move || resident_each(Kind::Stt, sessions)),
    ];
    let title = format!("resident memory of an idle WebSocket, {sessions} of them");
    report.add(&alternate(how, &title, metrics, contenders)?);
    report.note("the first and third differ by what the WebSocket itself holds");
    Ok(())
}
