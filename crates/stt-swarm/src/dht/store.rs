//! What a node keeps for the DHT. Bounded in bytes, swept by age; of values only signed ones.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map},
    iter::Map,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use libp2p_core::{Multiaddr, multiaddr::Protocol};
use libp2p_identity::PeerId;
use libp2p_kad::{
    KBucketDistance, KBucketKey, ProviderRecord, Record, RecordKey,
    store::{Error, RecordStore, Result},
};

use super::{
    record::{self, MAX_RECORD},
    saved::{self, Entry, SHARDS},
};

/// Bytes of all values, with what is around them.
const MAX_BYTES: usize = 16 << 20;
/// Values.
const MAX_RECORDS: usize = 8_192;
/// Keys that others provide.
const MAX_KEYS: usize = 16_384;
/// Keys that one node provides here.
const MAX_KEYS_OF_ONE: usize = 1_024;
/// Providers of one key.
const MAX_PROVIDERS: usize = 20;
/// Addresses of a provider.
const MAX_ADDRESSES: usize = 4;
/// What an entry costs beside its bytes.
const ENTRY: usize = 256;

type Borrowed<'a, T> = fn(&'a T) -> Cow<'a, T>;

/// Where a provider's session comes from, if it has one.
pub(crate) type Whereabouts = Arc<dyn Fn(&PeerId) -> Option<Multiaddr> + Send + Sync>;

/// Values and providers.
pub(crate) struct Records {
    me: PeerId,
    my_key: KBucketKey<PeerId>,
    whereabouts: Whereabouts,
    values: HashMap<RecordKey, Kept>,
    bytes: usize,
    /// A bit for each [shard](saved::shard) with values of others that changed.
    changed: u16,
    providers: HashMap<RecordKey, Vec<ProviderRecord>>,
    /// Keys for each provider.
    keys_of: HashMap<PeerId, usize>,
    provided: HashMap<RecordKey, ProviderRecord>,
}

#[derive(Debug)]
pub(crate) struct Kept {
    record: Record,
    publisher: stt::NodeId,
    sequence: u64,
    own: bool,
    distance: KBucketDistance,
}

/// The time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

impl Records {
    pub(crate) fn new(me: PeerId, whereabouts: Whereabouts) -> Self {
        Self {
            me,
            my_key: KBucketKey::from(me),
            whereabouts,
            values: HashMap::new(),
            bytes: 0,
            changed: 0,
            providers: HashMap::new(),
            keys_of: HashMap::new(),
            provided: HashMap::new(),
        }
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let old: Vec<_> = self
            .values
            .iter()
            .filter(|(_, kept)| kept.record.is_expired(now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in old {
            self.remove(&key);
        }
        let mut gone = Vec::new();
        for (key, list) in &self.providers {
            let old = list.iter().filter(|record| record.is_expired(now));
            gone.extend(old.map(|record| (key.clone(), record.provider)));
        }
        for (key, provider) in gone {
            self.remove_provider(&key, &provider);
        }
    }

    /// The shards whose values of others changed since the last call.
    pub(crate) fn take_changed(&mut self) -> impl Iterator<Item = u8> + use<> {
        let changed = std::mem::take(&mut self.changed);
        (0..SHARDS).filter(move |shard| changed & (1 << shard) != 0)
    }

    /// The values of others in `shard`, as [`saved`] keeps them.
    pub(crate) fn kept_in(&self, shard: u8) -> Vec<u8> {
        let kept = self.values.values().filter(|kept| !kept.own).filter_map(|kept| {
            let place: &[u8; 32] = kept.record.key.as_ref().try_into().ok()?;
            (saved::shard(place) == shard).then_some((place, kept.record.value.as_slice()))
        });
        saved::encode(kept)
    }

    /// Takes in what was kept before a restart, as far as it still holds.
    pub(crate) fn restore(&mut self, kept: Vec<Entry>) {
        for (place, value) in kept {
            // What is expired or forged is as good as gone.
            let _ = self.put(Record::new(RecordKey::new(&place), value));
        }
    }

    fn touch(&mut self, kept: &Kept) {
        if !kept.own {
            self.changed |= 1 << saved::shard(kept.record.key.as_ref());
        }
    }

    /// Whether another member's value is there, which counts until it expires.
    pub(crate) fn is_of_another(&self, key: &RecordKey, me: stt::NodeId) -> bool {
        let now = Instant::now();
        self.values
            .get(key)
            .is_some_and(|kept| kept.publisher != me && !kept.record.is_expired(now))
    }

    fn cost(record: &Record) -> usize {
        record.value.len() + record.key.as_ref().len() + ENTRY
    }

    /// Makes room for a value that is `distance` away, at the cost of others' values farther away.
    fn make_room(&mut self, cost: usize, distance: KBucketDistance, own: bool) -> Result<()> {
        while self.values.len() >= MAX_RECORDS || self.bytes + cost > MAX_BYTES {
            let farthest = self
                .values
                .iter()
                .filter(|(_, kept)| !kept.own && (own || kept.distance > distance))
                .max_by_key(|(_, kept)| kept.distance)
                .map(|(key, _)| key.clone());
            self.remove(&farthest.ok_or(Error::MaxRecords)?);
        }
        Ok(())
    }
}

/// The address that a record comes from, as far as it can be told.
fn ip(record: &ProviderRecord) -> Option<IpAddr> {
    match record.addresses.first()?.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

/// Which of a full list gives way to `new`: one of the address with the most, if that has more than
/// the new one's would. A thousand identities behind one address cannot push the others out.
fn gives_way(list: &[ProviderRecord], new: &ProviderRecord) -> Option<usize> {
    let mut count: HashMap<Option<IpAddr>, usize> = HashMap::new();
    for record in list {
        *count.entry(ip(record)).or_default() += 1;
    }
    let of = |record: &ProviderRecord| count.get(&ip(record)).copied().unwrap_or(0);
    let (at, most) = list.iter().enumerate().max_by_key(|(_, record)| of(record))?;
    (of(most) > of(new) + 1).then_some(at)
}

impl RecordStore for Records {
    type RecordsIter<'a> =
        Map<hash_map::Values<'a, RecordKey, Kept>, fn(&'a Kept) -> Cow<'a, Record>>;
    type ProvidedIter<'a> =
        Map<hash_map::Values<'a, RecordKey, ProviderRecord>, Borrowed<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        let kept = self.values.get(key)?;
        (!kept.record.is_expired(Instant::now())).then_some(Cow::Borrowed(&kept.record))
    }

    fn put(&mut self, mut record: Record) -> Result<()> {
        if record.value.len() > MAX_RECORD {
            return Err(Error::ValueTooLarge);
        }
        // There is no error for a value that is not signed.
        let now = now();
        let signed = record::open(record.key.as_ref(), &record.value, now);
        let signed = signed.ok_or(Error::ValueTooLarge)?;
        let (publisher, sequence) = (signed.publisher, signed.sequence);
        let left = Duration::from_millis(signed.expires).saturating_sub(now);
        let until = Instant::now() + left.min(record::TTL);
        record.expires = Some(record.expires.map_or(until, |at| at.min(until)));
        let own = record.publisher == Some(self.me);
        if let Some(before) = self.values.get(&record.key)
            && !before.record.is_expired(Instant::now())
            && (before.publisher != publisher || before.sequence > sequence)
        {
            return Err(Error::MaxRecords);
        }
        self.remove(&record.key.clone());
        let distance = self.my_key.distance(&KBucketKey::new(record.key.clone()));
        let cost = Self::cost(&record);
        self.make_room(cost, distance, own)?;
        self.bytes += cost;
        let kept = Kept { publisher, sequence, own, distance, record };
        self.touch(&kept);
        self.values.insert(kept.record.key.clone(), kept);
        Ok(())
    }

    fn remove(&mut self, key: &RecordKey) {
        if let Some(kept) = self.values.remove(key) {
            self.bytes = self.bytes.saturating_sub(Self::cost(&kept.record));
            self.touch(&kept);
        }
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        self.values.values().map(|kept| Cow::Borrowed(&kept.record))
    }

    /// The session's source address counts, whatever the provider says.
    fn add_provider(&mut self, mut record: ProviderRecord) -> Result<()> {
        if record.key.as_ref().len() != 32 {
            return Err(Error::MaxProvidedKeys);
        }
        if record.provider == self.me {
            self.provided.insert(record.key.clone(), record);
            return Ok(());
        }
        match (self.whereabouts)(&record.provider) {
            Some(address) => record.addresses = vec![address],
            None => record.addresses.truncate(MAX_ADDRESSES),
        }
        let now = Instant::now();
        if let Some(list) = self.providers.get_mut(&record.key)
            && let Some(known) = list.iter_mut().find(|known| known.provider == record.provider)
        {
            *known = record;
            return Ok(());
        }
        let keys = self.keys_of.get(&record.provider).copied().unwrap_or(0);
        let known = self.providers.contains_key(&record.key);
        if keys >= MAX_KEYS_OF_ONE || (!known && self.providers.len() >= MAX_KEYS) {
            return Err(Error::MaxProvidedKeys);
        }
        let list = self.providers.entry(record.key.clone()).or_default();
        let mut gone = None;
        if list.len() >= MAX_PROVIDERS {
            let old = list.iter().position(|known| known.is_expired(now));
            let at = old.or_else(|| gives_way(list, &record)).ok_or(Error::MaxProvidedKeys)?;
            gone = Some(list.swap_remove(at).provider);
        }
        *self.keys_of.entry(record.provider).or_default() += 1;
        list.push(record);
        if let Some(provider) = gone {
            self.one_key_less(&provider);
        }
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let now = Instant::now();
        let others = self.providers.get(key).into_iter().flatten();
        let others = others.filter(|record| !record.is_expired(now)).cloned();
        self.provided.get(key).cloned().into_iter().chain(others).collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.provided.values().map(Cow::Borrowed as Borrowed<'_, _>)
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        if *provider == self.me {
            self.provided.remove(key);
            return;
        }
        let Some(list) = self.providers.get_mut(key) else { return };
        let before = list.len();
        list.retain(|record| record.provider != *provider);
        let removed = before - list.len();
        if list.is_empty() {
            self.providers.remove(key);
        }
        if removed > 0 {
            self.one_key_less(provider);
        }
    }
}

impl Records {
    fn one_key_less(&mut self, provider: &PeerId) {
        if let hash_map::Entry::Occupied(mut entry) = self.keys_of.entry(*provider) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// All providers that there are, to count them.
    #[cfg(test)]
    fn all_providers(&self) -> std::collections::HashSet<PeerId> {
        self.providers.values().flatten().map(|record| record.provider).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Records {
        Records::new(PeerId::random(), Arc::new(|_| None))
    }

    fn provider(key: u16, ip: &str, expires: Option<Instant>) -> ProviderRecord {
        let place = record::keyed("test", "", &key.to_be_bytes());
        let address = format!("/ip4/{ip}/udp/9").parse().unwrap();
        let key = RecordKey::new(&place);
        ProviderRecord { expires, ..ProviderRecord::new(key, PeerId::random(), vec![address]) }
    }

    #[test]
    fn many_identities_of_one_address_leave_room_for_others() {
        let mut records = records();
        for _ in 0..1_000 {
            let _ = records.add_provider(provider(1, "10.0.0.1", None));
        }
        let honest: Vec<_> = (2..12).map(|ip| provider(1, &format!("10.0.0.{ip}"), None)).collect();
        for record in &honest {
            records.add_provider(record.clone()).unwrap();
        }
        for _ in 0..1_000 {
            let _ = records.add_provider(provider(1, "10.0.0.1", None));
        }
        let kept = records.providers(&honest[0].key);
        assert_eq!(kept.len(), MAX_PROVIDERS);
        assert!(honest.iter().all(|record| kept.contains(record)));
    }

    #[test]
    fn the_dead_make_room_for_the_living() {
        let mut records = records();
        let now = Instant::now();
        let soon = Some(now + Duration::from_secs(1));
        for key in 0..2_000 {
            records.add_provider(provider(key, "10.0.0.1", soon)).unwrap();
        }
        records.sweep(now + Duration::from_secs(2));
        assert!(records.all_providers().is_empty() && records.keys_of.is_empty());
        records.add_provider(provider(0, "10.0.0.1", None)).unwrap();
    }

    #[test]
    fn one_node_provides_a_bounded_number_of_keys() {
        let mut records = records();
        let first = provider(0, "10.0.0.1", None);
        for key in 0..2_000 {
            let record =
                ProviderRecord { provider: first.provider, ..provider(key, "10.0.0.1", None) };
            assert_eq!(records.add_provider(record).is_ok(), usize::from(key) < MAX_KEYS_OF_ONE);
        }
        records.remove_provider(&first.key, &first.provider);
        let record =
            ProviderRecord { provider: first.provider, ..provider(5_000, "10.0.0.1", None) };
        records.add_provider(record).unwrap();
    }

    #[tokio::test]
    async fn only_signed_values_are_kept_and_the_first_publishers_counts() {
        let node = || async {
            let seed = stt::SharedSeed::from_key(stc::Key::from_bytes([7; 32]));
            stt::Node::builder(seed)
                .host("127.0.0.1")
                .port(0)
                .start(stt::Mode::Server)
                .await
                .unwrap()
        };
        let (one, two) = (node().await, node().await);
        let mut records = records();
        let place = record::place("", b"key");
        let key = RecordKey::new(&place);
        let put = |records: &mut Records, value| records.put(Record::new(key.clone(), value));
        assert!(put(&mut records, b"unsigned".to_vec()).is_err());
        let first = record::sign(&one, &place, b"first", now()).unwrap();
        put(&mut records, first.clone()).unwrap();
        let other = record::sign(&two, &place, b"other", now()).unwrap();
        assert!(put(&mut records, other).is_err());
        let later = now() + Duration::from_secs(1);
        let newer = record::sign(&one, &place, b"newer", later).unwrap();
        put(&mut records, newer.clone()).unwrap();
        // The older one, said again.
        assert!(put(&mut records, first).is_err());
        assert_eq!(records.get(&key).unwrap().value, newer);
        // What it keeps for others is taken in after a restart, unless somebody changed it.
        let shard = saved::shard(&place);
        assert_eq!(records.take_changed().collect::<Vec<_>>(), [shard]);
        let kept = saved::decode(&records.kept_in(shard)).unwrap();
        assert_eq!(records.take_changed().count(), 0);
        records.remove(&key);
        assert_eq!(records.bytes, 0);
        assert_eq!(records.take_changed().collect::<Vec<_>>(), [shard]);
        let mut forged = kept.clone();
        *forged[0].1.last_mut().unwrap() ^= 1;
        records.restore(forged);
        assert!(records.get(&key).is_none());
        records.restore(kept);
        assert_eq!(records.get(&key).unwrap().value, newer);
    }
}
