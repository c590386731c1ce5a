//! What servers say about when they sync. Asked over their monitoring address, which is plain HTTP.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::log::ServerSync;

/// How long an answer may take, and how long it may be.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_MAX: u64 = 1 << 20;

/// When each of the servers `keepers` syncs, as those behind `monitors` say. A monitor that does
/// not answer, or is another server's, says nothing.
pub(super) async fn ask(
    monitors: &[String],
    keepers: BTreeSet<String>,
) -> Vec<(String, ServerSync)> {
    let mut told = Vec::new();
    for place in monitors {
        let varz = get(place, "/varz").await;
        let jsz = get(place, "/jsz").await;
        if let (Some(varz), Some(jsz)) = (varz, jsz)
            && let Some(found) = read(&varz, &jsz)
        {
            told.push(found);
        }
    }
    let sync = |name: &String| {
        let of_name = told.iter().filter(|(known, _)| known == name).map(|(_, sync)| *sync);
        let mut of_name = of_name.collect::<Vec<_>>().into_iter();
        // Two that say different things are not believed.
        let first = of_name.next().unwrap_or(ServerSync::Unknown);
        if of_name.all(|other| other == first) { first } else { ServerSync::Unknown }
    };
    keepers.into_iter().map(|name| (name.clone(), sync(&name))).collect()
}

/// The name of the server, and when it syncs, from its `/varz` and `/jsz`.
fn read(varz: &[u8], jsz: &[u8]) -> Option<(String, ServerSync)> {
    let varz: Value = serde_json::from_slice(varz).ok()?;
    let jsz: Value = serde_json::from_slice(jsz).ok()?;
    let name = varz.get("server_name")?.as_str()?.to_owned();
    let is_same = varz.get("server_id").is_some() && varz.get("server_id") == jsz.get("server_id");
    let config = jsz.get("config").filter(|_| is_same);
    let always = config.and_then(|config| config.get("sync_always")).and_then(Value::as_bool);
    let every = config.and_then(|config| config.get("sync_interval")).and_then(Value::as_u64);
    let sync = match (always, every) {
        (Some(true), _) => ServerSync::Always,
        (_, Some(nanos)) => ServerSync::Every(Duration::from_nanos(nanos)),
        (_, None) => ServerSync::Unknown,
    };
    Some((name, sync))
}

/// The body of a page, if there is one and it comes in time.
async fn get(place: &str, path: &str) -> Option<Vec<u8>> {
    let fetched = async {
        let mut stream = TcpStream::connect(place).await.ok()?;
        // Version 1.0: the body ends with the connection.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {place}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await.ok()?;
        body(&answer).map(<[u8]>::to_vec)
    };
    timeout(PATIENCE, fetched).await.ok()?
}

/// The body of an answer that says that all is well.
fn body(answer: &[u8]) -> Option<&[u8]> {
    let (status, rest) =
        answer.split_at_checked(answer.windows(2).position(|two| two == b"\r\n")?)?;
    let status = std::str::from_utf8(status).ok()?;
    let is_well = status.starts_with("HTTP/1.") && status.split(' ').nth(1) == Some("200");
    let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
    rest.get(end + 4..).filter(|_| is_well)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::SyncReport;

    const VARZ: &[u8] = br#"{"server_name": "a", "server_id": "X"}"#;

    #[test]
    fn only_who_says_always_syncs() {
        let sync = |jsz: &str| read(VARZ, jsz.as_bytes()).map(|(_, sync)| sync);
        let always = r#"{"server_id": "X", "config": {"sync_interval": 5, "sync_always": true}}"#;
        assert_eq!(sync(always), Some(ServerSync::Always));
        let every = r#"{"server_id": "X", "config": {"sync_interval": 5}}"#;
        assert_eq!(sync(every), Some(ServerSync::Every(Duration::from_nanos(5))));
        for unknown in [
            r#"{"server_id": "Y", "config": {"sync_always": true}}"#,
            r#"{"config": {"sync_always": true}}"#,
            r#"{"server_id": "X", "config": {"sync_always": "true"}}"#,
            r#"{"server_id": "X"}"#,
        ] {
            assert_eq!(sync(unknown), Some(ServerSync::Unknown), "{unknown}");
        }
        assert_eq!(sync("["), None);
    }

    #[test]
    fn every_server_that_keeps_it_has_to() {
        let report = |servers: &[ServerSync], acknowledges_early| SyncReport {
            servers: servers.iter().map(|sync| ("x".to_owned(), *sync)).collect(),
            acknowledges_early,
        };
        let always = ServerSync::Always;
        assert!(report(&[always, always], false).is_synced());
        assert!(!report(&[always], true).is_synced() && !report(&[], false).is_synced());
        assert!(!report(&[always, ServerSync::Unknown], false).is_synced());
        assert!(!report(&[ServerSync::Every(Duration::ZERO)], false).is_synced());
    }

    #[test]
    fn an_answer_is_read_only_if_all_is_well() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}"), Some(b"{}".as_slice()));
        assert_eq!(body(b"HTTP/1.1 200 OK\r\n\r\n"), Some(b"".as_slice()));
        for bad in ["", "HTTP/1.0 404 No\r\n\r\n{}", "HTTP/1.0 200 OK\r\n", "200\r\n\r\n{}"] {
            assert_eq!(body(bad.as_bytes()), None, "{bad}");
        }
    }
}
