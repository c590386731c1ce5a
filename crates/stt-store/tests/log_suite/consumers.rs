//! What the consumers of every engine must do, crashes and restarts included.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use stc::Coded;
use stt_store::log::{
    Consumer, ConsumerOptions, ConsumerRecord, ConsumerStart, DeadLetter, DurableLog, Lease,
    LogError, Position,
};
use tokio::time::{sleep, timeout};

use super::{Engine, open, record, soon};

const SECOND: Duration = Duration::from_secs(1);

/// All of it, on fresh engines.
pub(crate) async fn run<E: Engine>(mut fresh: impl FnMut(&str) -> E) {
    what_was_acknowledged_stays_so_and_the_rest_comes_again(&mut fresh("again")).await;
    a_handle_that_is_dropped_gives_back_at_once(&mut fresh("dropped")).await;
    a_lease_is_extended_and_ends(&mut fresh("lease")).await;
    what_nobody_can_handle_is_kept_with_reason_and_count(&mut fresh("dead")).await;
    no_more_is_outstanding_than_allowed_and_an_append_wakes(&mut fresh("outstanding")).await;
    what_was_removed_unhandled_is_told_once(&mut fresh("removed")).await;
    consumers_are_listed_moved_and_removed(&mut fresh("manage")).await;
    nothing_is_lost_or_acknowledged_twice_over_crashes(&mut fresh("consume")).await;
}

fn options() -> ConsumerOptions {
    ConsumerOptions::new()
}

async fn consumer(log: &dyn DurableLog, options: ConsumerOptions) -> Consumer {
    soon(log.consumer("c", options)).await.unwrap()
}

/// A log with the records `0` to `count - 1`.
async fn filled(engine: &mut impl Engine, count: u8) -> Arc<dyn DurableLog> {
    let log = open(engine).await;
    log.append_all((0..count).map(|n| vec![n].into()).collect()).await.unwrap();
    log
}

async fn next(consumer: &Consumer) -> ConsumerRecord {
    soon(consumer.next()).await.unwrap()
}

fn number(delivery: &ConsumerRecord) -> u8 {
    delivery.record().data[0]
}

/// Number and count of deliveries of all that is there, acknowledged at once.
async fn drain(consumer: &Consumer) -> Vec<(u8, u32)> {
    let mut out = Vec::new();
    while consumer.stats().lag + consumer.stats().unsettled > 0 {
        for delivery in soon(consumer.next_batch(100)).await.unwrap() {
            out.push((number(&delivery), delivery.deliveries()));
            soon(delivery.ack()).await.unwrap();
        }
    }
    out
}

async fn letters(log: &dyn DurableLog) -> Vec<DeadLetter> {
    let dead = soon(log.dead_letters()).await.unwrap();
    let records = super::all(&*dead).await;
    records.iter().map(|record| DeadLetter::from_record(record).unwrap()).collect()
}

async fn what_was_acknowledged_stays_so_and_the_rest_comes_again(engine: &mut impl Engine) {
    let log = filled(engine, 6).await;
    let of_log = consumer(&*log, options()).await;
    let mut batch = soon(of_log.next_batch(4)).await.unwrap();
    assert_eq!(batch.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    soon(batch.remove(2).ack()).await.unwrap();
    batch.remove(0).ack_soon().unwrap();
    soon(of_log.close()).await.unwrap();
    // As when the process ends: nobody says anything about the other two.
    batch.into_iter().for_each(std::mem::forget);
    drop(log);
    engine.crash().await;

    let log = open(engine).await;
    let of_log = consumer(&*log, options()).await;
    assert_eq!(of_log.stats().settled_to, 1);
    assert_eq!(drain(&of_log).await, [(1, 2), (3, 2), (4, 1), (5, 1)]);
    drop((of_log, log));
    engine.crash().await;
    let log = open(engine).await;
    let stats = consumer(&*log, options()).await.stats();
    assert_eq!((stats.settled_to, stats.lag, stats.unsettled), (6, 0, 0));
    assert_eq!(stats.next, log.bounds().await.unwrap().1);
    let bytes = engine.bytes().await;
    assert!(!bytes.windows(13).any(|window| window == b"no order of 7"));
}

async fn a_handle_that_is_dropped_gives_back_at_once(engine: &mut impl Engine) {
    let log = filled(engine, 3).await;
    let hour = options().ack_wait(3600 * SECOND);
    let one = consumer(&*log, hour).await;
    let other = consumer(&*log, hour).await;
    let held = soon(one.next_batch(2)).await.unwrap();
    drop(next(&other).await);
    drop(one);
    let again = soon(other.next_batch(9)).await.unwrap();
    let seen: Vec<_> = again.iter().map(|d| (number(d), d.deliveries())).collect();
    assert_eq!(seen, [(0, 2), (1, 2), (2, 2)]);
    for late in held {
        assert_eq!(soon(late.ack()).await.unwrap_err().code(), "log.lease_ended");
    }
}

async fn a_lease_is_extended_and_ends(engine: &mut impl Engine) {
    let log = filled(engine, 2).await;
    let brief = options().ack_wait(2 * SECOND);
    let of_log = consumer(&*log, brief).await;
    let kept = next(&of_log).await;
    let (record, lease) = next(&of_log).await.detach().unwrap();
    assert_eq!(*record.data, [1]);
    let lease = Lease::from_bytes(lease.to_bytes());
    for _ in 0..10 {
        assert!(timeout(SECOND / 4, of_log.next()).await.is_err(), "both have their handler");
        of_log.extend(lease).unwrap();
    }
    let again = next(&of_log).await;
    assert_eq!((number(&again), again.deliveries()), (1, 2));
    assert_eq!(of_log.extend(lease).unwrap_err().code(), "log.lease_ended");
    assert_eq!(soon(of_log.ack(lease)).await.unwrap_err().code(), "log.lease_ended");
    soon(again.ack()).await.unwrap();
    soon(kept.ack()).await.unwrap();
    assert_eq!((of_log.stats().expired, of_log.stats().settled_to), (1, 2));
}

async fn what_nobody_can_handle_is_kept_with_reason_and_count(engine: &mut impl Engine) {
    let log = filled(engine, 3).await;
    let twice = options().max_deliveries(Some(2));
    let of_log = consumer(&*log, twice).await;
    next(&of_log).await.retry(Duration::ZERO, "no database").unwrap();
    next(&of_log).await.retry(Duration::ZERO, "still no database").unwrap();
    let one = next(&of_log).await;
    assert_eq!((number(&one), of_log.stats().dead), (1, 1));
    soon(one.reject("no order of 7")).await.unwrap();
    soon(next(&of_log).await.ack()).await.unwrap();
    let stats = of_log.stats();
    assert_eq!((stats.settled_to, stats.dead, stats.acknowledged), (3, 2, 1));
    drop((of_log, log));
    engine.crash().await;

    let log = open(engine).await;
    assert_eq!(consumer(&*log, twice).await.stats().settled_to, 3);
    let found = letters(&*log).await;
    let said = |letter: &DeadLetter| {
        assert_eq!((&*letter.consumer, letter.position.offset), ("c", u64::from(letter.data[0])));
        (letter.data[0], letter.deliveries, letter.reason.clone())
    };
    let expected = [(0, 2, "still no database".to_owned()), (1, 1, "no order of 7".to_owned())];
    assert_eq!(found.iter().map(said).collect::<Vec<_>>(), expected);
    // They can be worked on like any others.
    let dead = soon(log.dead_letters()).await.unwrap();
    let repair = consumer(&*dead, options()).await;
    assert_eq!(DeadLetter::from_record(next(&repair).await.record()).unwrap(), found[0]);
}

async fn no_more_is_outstanding_than_allowed_and_an_append_wakes(engine: &mut impl Engine) {
    let log = filled(engine, 5).await;
    let of_log = consumer(&*log, options().outstanding(2)).await;
    let mut held = soon(of_log.next_batch(9)).await.unwrap();
    assert_eq!(held.len(), 2);
    assert!(timeout(SECOND / 4, of_log.next()).await.is_err());
    soon(held.remove(1).ack()).await.unwrap();
    assert_eq!(number(&next(&of_log).await), 2);
    drop(held);
    drain(&of_log).await;

    let waiting = tokio::spawn(async move { soon(next(&of_log).await.ack()).await });
    log.append_all(vec![vec![7].into()]).await.unwrap();
    soon(waiting).await.unwrap().unwrap();
    for wrong in [options().outstanding(0), options().ack_wait(Duration::ZERO)] {
        assert_eq!(log.consumer("c", wrong).await.unwrap_err().code(), "store.setting");
    }
}

async fn what_was_removed_unhandled_is_told_once(engine: &mut impl Engine) {
    let log = open(engine).await;
    for n in 0..200 {
        log.append_all(vec![vec![n; 2000].into()]).await.unwrap();
    }
    let middle = log.read(Position::START, 150, usize::MAX).await.unwrap().pop().unwrap().position;
    drop(consumer(&*log, options()).await);
    drop(log);
    engine.trim(middle).await;
    let log = open(engine).await;
    let oldest = log.bounds().await.unwrap().0.offset;
    assert!(oldest > 0);
    let of_log = consumer(&*log, options()).await;
    let error = soon(of_log.next()).await.unwrap_err();
    assert_eq!(error, LogError::Trimmed { asked: 0, oldest });
    assert_eq!(u64::from(number(&next(&of_log).await)), oldest);
    assert_eq!(of_log.stats().trimmed, oldest);
    drop((of_log, log));
    engine.crash().await;
    let log = open(engine).await;
    let of_log = consumer(&*log, options()).await;
    assert_eq!(drain(&of_log).await.len() as u64, 200 - oldest);
}

async fn consumers_are_listed_moved_and_removed(engine: &mut impl Engine) {
    let log = filled(engine, 4).await;
    for name in ["", &"x".repeat(256)] {
        let error = log.consumer(name, options()).await.unwrap_err();
        assert_eq!(error.code(), "log.consumer_name");
    }
    assert!(soon(log.consumers()).await.unwrap().is_empty());
    let one = consumer(&*log, options()).await;
    assert_eq!(drain(&one).await.len(), 4);
    let end = options().start(ConsumerStart::End);
    let end = soon(log.consumer("two", end)).await.unwrap();
    assert_eq!(end.stats().lag, 0);
    soon(end.close()).await.unwrap();
    let mut found = soon(log.consumers()).await.unwrap();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let found: Vec<_> =
        found.iter().map(|c| (&*c.name, c.next.offset, c.unsettled, c.is_open)).collect();
    assert_eq!(found, [("c", 4, 0, true), ("two", 4, 0, false)]);

    let other = options().outstanding(3);
    assert_eq!(log.consumer("c", other).await.unwrap_err().code(), "store.setting");
    let to = log.bounds().await.unwrap().0;
    for error in [log.reset_consumer("c", to).await, log.remove_consumer("c").await] {
        assert_eq!(error.unwrap_err().code(), "log.consumer_open");
    }
    soon(one.close()).await.unwrap();
    soon(log.reset_consumer("c", to)).await.unwrap();
    let one = consumer(&*log, other).await;
    assert_eq!(drain(&one).await.len(), 4);
    soon(one.close()).await.unwrap();
    soon(log.remove_consumer("c")).await.unwrap();
    soon(log.remove_consumer("c")).await.unwrap();
    assert_eq!(soon(log.consumers()).await.unwrap().len(), 1);
    let nowhere = options().start(ConsumerStart::At(Position { epoch: 5, offset: 1 }));
    let error = soon(log.consumer("c", nowhere)).await.unwrap_err();
    assert_eq!(error.code(), "log.epoch_changed");
}

/// What the handlers of one round have seen.
#[derive(Clone, Default)]
struct Seen {
    /// How often a record was delivered.
    delivered: BTreeMap<u64, u32>,
    /// The call that settles it was begun; it has returned.
    begun: BTreeSet<u64>,
    settled: BTreeSet<u64>,
    rejected: BTreeSet<u64>,
}

/// Appends and handles, each record in the way that its offset says.
async fn work(
    log: &dyn DurableLog,
    of_log: &Consumer,
    seen: &Mutex<Seen>,
    stop: &AtomicBool,
) -> Result<(), LogError> {
    while !stop.load(Ordering::Relaxed) {
        log.append_all(vec![record("a record"), record("")]).await?;
        // A call that is given up has taken nothing.
        let Ok(batch) = timeout(SECOND / 2, of_log.next_batch(3)).await else { continue };
        for delivery in batch? {
            let (offset, deliveries) = (delivery.record().position.offset, delivery.deliveries());
            {
                let mut seen = seen.lock().unwrap();
                assert!(!seen.settled.contains(&offset), "{offset} came again");
                seen.delivered.insert(offset, deliveries);
                if offset % 5 == 4 && deliveries == 1 {
                    delivery.retry(Duration::ZERO, "later")?;
                    continue;
                }
                seen.begun.insert(offset);
            }
            if offset % 5 == 3 {
                delivery.reject("never").await?;
                seen.lock().unwrap().rejected.insert(offset);
            } else {
                delivery.ack().await?;
            }
            seen.lock().unwrap().settled.insert(offset);
        }
    }
    Ok(())
}

async fn nothing_is_lost_or_acknowledged_twice_over_crashes(engine: &mut impl Engine) {
    let mut random = fastrand::Rng::with_seed(18);
    let (mut from, mut rejected) = (0, BTreeSet::new());
    for round in 0..6 {
        let log = open(engine).await;
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::default());
        let mut working = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let of_log = consumer(&*log, options()).await;
            let (log, seen, stop) = (log.clone(), Arc::clone(&seen), Arc::clone(&stop));
            working.spawn(async move {
                let worked = work(&*log, &of_log, &seen, &stop).await;
                // As when the process ends: nothing is said at the end.
                std::mem::forget(of_log);
                worked
            });
        }
        let enough = random.usize(1..40);
        soon(async {
            while seen.lock().unwrap().settled.len() < enough {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let before = seen.lock().unwrap().clone();
        engine.crash().await;
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = soon(working.join_next()).await {
            // No call fails: it goes on with whatever comes back.
            ended.unwrap().unwrap();
        }
        drop(log);
        let after = seen.lock().unwrap().clone();

        let log = open(engine).await;
        let of_log = consumer(&*log, options()).await;
        let end = log.bounds().await.unwrap().1.offset;
        let mut came = BTreeMap::new();
        while of_log.stats().lag + of_log.stats().unsettled > 0 {
            for delivery in soon(of_log.next_batch(100)).await.unwrap() {
                came.insert(delivery.record().position.offset, delivery.deliveries());
                soon(delivery.ack()).await.unwrap();
            }
        }
        soon(of_log.close()).await.unwrap();
        let graves = letters(&*log).await;
        let graves: BTreeSet<u64> = graves.iter().map(|letter| letter.position.offset).collect();
        rejected.extend(before.rejected);
        assert!(rejected.is_subset(&graves), "round {round}: {rejected:?} and {graves:?}");
        for offset in from..end {
            let count = came.get(&offset);
            let is_settled = before.settled.contains(&offset);
            assert!(!is_settled || count.is_none(), "round {round}: {offset} came again");
            let is_there = count.is_some() || after.begun.contains(&offset);
            assert!(is_there, "round {round}: {offset} is lost");
            let earlier = before.delivered.get(&offset).copied().unwrap_or(0);
            assert!(count.is_none_or(|count| *count > earlier), "round {round}: {offset}");
        }
        from = end;
    }
    assert!(!rejected.is_empty());
}
