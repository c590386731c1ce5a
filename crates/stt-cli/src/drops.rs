//! Tells an operator whom a node turns away and why: most get no answer, so only this side can say
//! what is wrong.

use std::{collections::HashMap, time::Duration};

use serde_json::json;
use stt::Node;
use tokio::time::{Instant, sleep};

use crate::{figures, output::Output};

/// How often the counters are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a reason was told before it is told again, however often it occurs.
const AGAIN: Duration = Duration::from_secs(60);

/// Tells of each reason when it first occurs, and at most once a minute after that. Never ends.
pub(crate) async fn watch(node: &Node, output: &Output) {
    let mut told: HashMap<&str, (u64, Instant)> = HashMap::new();
    loop {
        sleep(LOOK).await;
        for (reason, count, meaning) in node.stats().udp_transport.dropped() {
            let news = told
                .get(reason)
                .is_none_or(|(before, at)| count > *before && at.elapsed() >= AGAIN);
            if news {
                told.insert(reason, (count, Instant::now()));
                output
                    .note(&format!("Turned away {}: {meaning}.", figures::counted(count, "time")));
                output.json_line(&json!({
                    "dropped": { "reason": reason, "count": count, "meaning": meaning }
                }));
            }
        }
    }
}
