//! Which peer to ask for a content: the pool of a node's sessions spreads contents over the peers,
//! remembers which peer held what, and moves only what must move when one leaves.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use std::{collections::HashMap, time::Duration};

use common::Outcome;
use stt::{ContentId, Mode, NodeId, SessionPool};

const CONTENTS: u32 = 300;

#[tokio::main]
async fn main() -> Outcome {
    tokio::time::timeout(Duration::from_secs(45), run()).await?
}

async fn run() -> Outcome {
    let seed = common::seed()?;
    let reader = common::node(&seed, Mode::Client).await?;
    let mut holders = Vec::new();
    for _ in 0..3 {
        let holder = common::node(&seed, Mode::Server).await?;
        common::connect(&reader, &holder).await?;
        holders.push(holder);
    }
    let pool = SessionPool::new(reader.clone());
    let contents: Vec<_> = (0..CONTENTS).map(|it| ContentId::of(&it.to_be_bytes())).collect();
    let places = |pool: &SessionPool| -> Option<HashMap<ContentId, NodeId>> {
        contents.iter().map(|it| Some((*it, pool.pick(it)?.peer_node_id()))).collect()
    };

    let before = places(&pool).ok_or("there is nobody to ask")?;
    for holder in &holders {
        let share = before.values().filter(|id| **id == holder.node_id()).count();
        println!("  {:.8} is asked for {share} of {CONTENTS}", holder.node_id().to_string());
        assert!(share > 50, "an equal share is 100");
    }

    // What was seen goes before what is computed.
    let [song, ..] = contents[..] else { return Err("no content".into()) };
    let second = pool.rank(&song, 2).pop().ok_or("nobody else")?;
    pool.report(&song, second.id(), true);
    let asked = pool.pick(&song).ok_or("nobody")?;
    assert_eq!(asked.peer_node_id(), second.peer_node_id());
    pool.report(&song, second.id(), false);

    // One leaves: what it was asked for moves, and nothing else.
    let gone = holders.pop().ok_or("no holder")?;
    for session in reader.sessions_with(gone.node_id()) {
        session.close("goodbye").await;
    }
    while !reader.sessions_with(gone.node_id()).is_empty() {
        tokio::task::yield_now().await;
    }
    let after = places(&pool).ok_or("there is nobody to ask")?;
    let moved = before.iter().filter(|(content, peer)| after.get(*content) != Some(*peer));
    let mut count = 0;
    for (_, peer) in moved {
        assert_eq!(*peer, gone.node_id());
        count += 1;
    }
    println!("one of three peers left: {count} of {CONTENTS} contents moved, all of them its own");
    Ok(())
}
