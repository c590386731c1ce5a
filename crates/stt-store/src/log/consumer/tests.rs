//! Consumers of a log on a real disk.

use std::{fs, path::Path, time::Duration};

use stc::{Coded, Key};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{Consumer, ConsumerOptions, ConsumerRecord, ConsumerStart, DeadLetter, Lease};
use crate::{
    ChamberKey,
    log::{DurableLog, Log, LogError, LogOptions, Position},
};

const SECOND: Duration = Duration::from_secs(1);

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([9; 32]))
}

fn options() -> ConsumerOptions {
    ConsumerOptions::default().ack_wait(SECOND)
}

async fn open(dir: &TempDir) -> Log {
    Log::open(&key(), dir.path().join("log"), LogOptions::default()).await.unwrap()
}

/// A log with the records `0` to `count - 1`.
async fn filled(dir: &TempDir, count: u8) -> Log {
    let log = open(dir).await;
    log.append_all((0..count).map(|n| vec![n].into()).collect()).await.unwrap();
    log
}

async fn next(consumer: &Consumer) -> ConsumerRecord {
    timeout(60 * SECOND, consumer.next()).await.expect("a record comes").unwrap()
}

fn number(delivery: &ConsumerRecord) -> u8 {
    delivery.record().data[0]
}

/// Number and count of deliveries of all that is there, acknowledged at once.
async fn drain(consumer: &Consumer) -> Vec<(u8, u32)> {
    let mut out = Vec::new();
    while consumer.stats().lag + consumer.stats().unsettled > 0 {
        for delivery in timeout(60 * SECOND, consumer.next_batch(100)).await.unwrap().unwrap() {
            out.push((number(&delivery), delivery.deliveries()));
            delivery.ack().await.unwrap();
        }
    }
    out
}

async fn letters(log: &Log) -> Vec<DeadLetter> {
    let dead = log.dead_letters().await.unwrap();
    let records = dead.read(Position::START, 100, usize::MAX).await.unwrap();
    records.iter().map(|record| DeadLetter::from_record(record).unwrap()).collect()
}

#[tokio::test]
async fn what_was_acknowledged_stays_so_over_a_restart_and_the_rest_comes_again() {
    let dir = TempDir::new().unwrap();
    let log = filled(&dir, 6).await;
    let consumer = log.consumer("c", options()).await.unwrap();
    let mut batch = consumer.next_batch(4).await.unwrap();
    assert_eq!(batch.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    batch.remove(2).ack().await.unwrap();
    batch.remove(0).ack_soon().unwrap();
    consumer.close().await.unwrap();
    // As when the process ends: nobody says anything about the other two.
    batch.into_iter().for_each(std::mem::forget);
    drop(log);

    let log = open_copy(&dir, "log", "copy").await;
    let consumer = log.consumer("c", options()).await.unwrap();
    assert_eq!(consumer.stats().settled_to, 1);
    assert_eq!(drain(&consumer).await, [(1, 2), (3, 2), (4, 1), (5, 1)]);
    drop(consumer);
    let consumer = log.consumer("c", options()).await.unwrap();
    let stats = consumer.stats();
    assert_eq!((stats.settled_to, stats.lag, stats.unsettled), (6, 0, 0));
}

/// Opens what another process would find; the handles that were forgotten hold the lock of `from`.
async fn open_copy(dir: &TempDir, from: &str, to: &str) -> Log {
    copy(&dir.path().join(from), &dir.path().join(to));
    Log::open(&key(), dir.path().join(to), LogOptions::default()).await.unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_closes_gives_back_at_once() {
    let dir = TempDir::new().unwrap();
    let log = filled(&dir, 3).await;
    let hour = options().ack_wait(3600 * SECOND);
    let one = log.consumer("c", hour).await.unwrap();
    let other = log.consumer("c", hour).await.unwrap();
    let held = one.next_batch(2).await.unwrap();
    assert_eq!(number(&next(&other).await), 2);

    let begun = tokio::time::Instant::now();
    drop(one);
    let again = other.next_batch(9).await.unwrap();
    // The third was dropped without a word above.
    let seen: Vec<_> = again.iter().map(|d| (number(d), d.deliveries())).collect();
    assert_eq!(seen, [(0, 2), (1, 2), (2, 2)]);
    assert!(begun.elapsed() < SECOND);
    for late in held {
        assert_eq!(late.ack().await.unwrap_err().code(), "log.lease_ended");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_lives_keeps_its_record_and_one_far_away_must_say_so() {
    let dir = TempDir::new().unwrap();
    let log = filled(&dir, 1).await;
    let consumer = log.consumer("c", options()).await.unwrap();
    let other = log.consumer("c", options()).await.unwrap();

    let delivery = next(&consumer).await;
    assert!(timeout(5 * SECOND, other.next()).await.is_err(), "five deadlines passed");
    let (record, lease) = delivery.detach().unwrap();
    assert_eq!(*record.data, [0]);
    let lease = Lease::from_bytes(lease.to_bytes());
    for _ in 0..5 {
        assert!(timeout(SECOND * 9 / 10, other.next()).await.is_err());
        consumer.extend(lease).unwrap();
    }
    let again = timeout(SECOND * 11 / 10, other.next()).await.expect("it ran out").unwrap();
    assert_eq!(again.deliveries(), 2);
    assert_eq!(consumer.extend(lease).unwrap_err().code(), "log.lease_ended");
    assert_eq!(consumer.ack(lease).await.unwrap_err().code(), "log.lease_ended");
    again.ack().await.unwrap();
    let stats = consumer.stats();
    assert_eq!((stats.delivered, stats.redelivered, stats.expired), (2, 1, 1));
}

#[tokio::test]
async fn what_nobody_can_handle_is_kept_with_reason_and_count() {
    let dir = TempDir::new().unwrap();
    let log = filled(&dir, 3).await;
    let twice = options().max_deliveries(Some(2));
    let consumer = log.consumer("c", twice).await.unwrap();
    next(&consumer).await.retry(Duration::ZERO, "no database").unwrap();
    next(&consumer).await.retry(Duration::ZERO, "still no database").unwrap();
    let one = next(&consumer).await;
    assert_eq!((number(&one), consumer.stats().dead), (1, 1));
    one.reject("no order").await.unwrap();
    next(&consumer).await.ack().await.unwrap();
    let stats = consumer.stats();
    assert_eq!((stats.settled_to, stats.dead, stats.acknowledged), (3, 2, 1));
    drop(consumer);
    drop(log);

    let log = open(&dir).await;
    let found = letters(&log).await;
    let said = |letter: &DeadLetter| {
        assert_eq!((&*letter.consumer, letter.position.offset), ("c", u64::from(letter.data[0])));
        (letter.data[0], letter.deliveries, letter.reason.clone())
    };
    let expected = [(0, 2, "still no database".to_owned()), (1, 1, "no order".to_owned())];
    assert_eq!(found.iter().map(said).collect::<Vec<_>>(), expected);
    // They can be worked on like any others.
    let dead = log.dead_letters().await.unwrap();
    let consumer = dead.consumer("repair", options()).await.unwrap();
    assert_eq!(DeadLetter::from_record(next(&consumer).await.record()).unwrap(), found[0]);
    let no_letter = log.read(Position::START, 1, 1).await.unwrap().remove(0);
    assert_eq!(DeadLetter::from_record(&no_letter).unwrap_err().code(), "store.damaged");
}

#[tokio::test]
async fn a_call_that_is_given_up_has_taken_nothing() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir).await;
    let consumer = log.consumer("c", options()).await.unwrap();
    for n in 0..20u8 {
        log.append(vec![n]).await.unwrap();
        for polls in 0..3 {
            let mut call = Box::pin(consumer.next());
            for _ in 0..polls {
                let poll = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(call.as_mut().poll(context).is_ready())
                });
                if poll.await {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let delivery = next(&consumer).await;
        assert_eq!(number(&delivery), n);
        delivery.ack().await.unwrap();
    }
}

#[tokio::test]
async fn no_more_is_outstanding_than_allowed_and_an_append_wakes() {
    let dir = TempDir::new().unwrap();
    let log = filled(&dir, 5).await;
    let two = options().outstanding(2);
    let consumer = log.consumer("c", two).await.unwrap();
    let mut held = consumer.next_batch(9).await.unwrap();
    assert_eq!(held.len(), 2);
    assert!(timeout(SECOND / 20, consumer.next()).await.is_err());
    held.remove(1).ack().await.unwrap();
    assert_eq!(number(&next(&consumer).await), 2);
    drop(held);
    drain(&consumer).await;

    let waiting = tokio::spawn(async move { next(&consumer).await.ack().await });
    log.append(vec![7]).await.unwrap();
    waiting.await.unwrap().unwrap();
    for wrong in [
        options().outstanding(0),
        options().outstanding(5000),
        options().outstanding_bytes(0),
        options().ack_wait(Duration::ZERO),
        options().max_deliveries(Some(0)),
    ] {
        assert_eq!(log.consumer("c", wrong).await.unwrap_err().code(), "store.setting");
    }
}

#[tokio::test]
async fn what_retention_removed_unhandled_is_told_once() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions::default().segment_bytes(64 << 10);
    let options = options.keep_bytes(160 << 10);
    let log = Log::open(&key(), dir.path().join("log"), options).await.unwrap();
    let consumer = log.consumer("c", self::options()).await.unwrap();
    for n in 0..20u8 {
        log.append(vec![n; 30 << 10]).await.unwrap();
    }
    let shared = log.shared();
    shared.retain(0).unwrap();
    let oldest = log.stats().start.offset;
    assert!(oldest > 5, "{oldest}");
    let error = consumer.next().await.unwrap_err();
    assert_eq!(error, LogError::Trimmed { asked: 0, oldest });
    assert_eq!(u64::from(number(&next(&consumer).await)), oldest);
    assert_eq!(consumer.stats().trimmed, oldest);
}

#[tokio::test]
async fn a_consumer_of_an_older_copy_is_refused_until_it_is_moved() {
    let dir = TempDir::new().unwrap();
    let log = filled(&dir, 2).await;
    let consumer = log.consumer("c", options()).await.unwrap();
    drop(consumer);
    drop(log);
    copy(&dir.path().join("log"), &dir.path().join("older"));
    let log = open(&dir).await;
    log.append(vec![2]).await.unwrap();
    let consumer = log.consumer("c", options()).await.unwrap();
    assert_eq!(drain(&consumer).await.len(), 3);
    drop(consumer);
    drop(log);
    // The segments are the older ones, the cursor is not.
    copy(&dir.path().join("older"), &dir.path().join("log2"));
    for entry in fs::read_dir(dir.path().join("log")).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "cur") {
            fs::copy(entry.path(), dir.path().join("log2").join(entry.file_name())).unwrap();
        }
    }
    let log = Log::open(&key(), dir.path().join("log2"), LogOptions::default()).await.unwrap();
    log.append(vec![9]).await.unwrap();
    let error = log.consumer("c", options()).await.unwrap_err();
    let LogError::EpochChanged { common, .. } = error else { panic!("{error}") };
    assert!(common.offset <= 2);
    log.reset_consumer("c", common).await.unwrap();
    let consumer = log.consumer("c", options()).await.unwrap();
    assert_eq!(drain(&consumer).await.last(), Some(&(9, 1)));
}

#[tokio::test]
async fn consumers_are_listed_moved_and_removed() {
    let dir = TempDir::new().unwrap();
    let log = filled(&dir, 4).await;
    let long = "x".repeat(256);
    for name in ["", &long] {
        let error = log.consumer(name, options()).await.unwrap_err();
        assert_eq!(error.code(), "log.consumer_name");
    }
    let one = log.consumer("one", options()).await.unwrap();
    assert_eq!(drain(&one).await.len(), 4);
    let end = log.consumer("two", options().start(ConsumerStart::End)).await.unwrap();
    assert_eq!(end.stats().lag, 0);
    drop(end);
    let mut found = log.consumers().await.unwrap();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let found: Vec<_> =
        found.iter().map(|c| (&*c.name, c.next.offset, c.unsettled, c.is_open)).collect();
    assert_eq!(found, [("one", 4, 0, true), ("two", 4, 0, false)]);

    let other = options().outstanding(3);
    assert_eq!(log.consumer("one", other).await.unwrap_err().code(), "store.setting");
    let to = log.stats().start;
    for error in [log.reset_consumer("one", to).await, log.remove_consumer("one").await] {
        assert_eq!(error.unwrap_err().code(), "log.consumer_open");
    }
    drop(one);
    log.reset_consumer("one", to).await.unwrap();
    let one = log.consumer("one", other).await.unwrap();
    assert_eq!(drain(&one).await.len(), 4);
    drop(one);
    log.remove_consumer("one").await.unwrap();
    log.remove_consumer("one").await.unwrap();
    assert_eq!(log.consumers().await.unwrap().len(), 1);
    let error = log
        .consumer("one", options().start(ConsumerStart::At(Position { epoch: 5, offset: 1 })))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "log.epoch_changed");
}

#[tokio::test]
async fn a_cursor_of_which_nothing_is_whole_is_refused() {
    let dir = TempDir::new().unwrap();
    let log = filled(&dir, 1).await;
    drop(log.consumer("c", options()).await.unwrap());
    let path = log.shared().dir.join(log.shared().keys.cursor_file("c")).with_extension("cur");
    let mut bytes = fs::read(&path).unwrap();
    for place in bytes.chunks_mut(64 << 10) {
        place[100] ^= 1;
    }
    fs::write(&path, bytes).unwrap();
    let error = log.consumer("c", options()).await.unwrap_err();
    assert_eq!(error.code(), "store.damaged");
    log.reset_consumer("c", Position::START).await.unwrap();
    drop(log.consumer("c", options()).await.unwrap());
}
