//! Swarms: the distributed hash table, and messages to all who subscribe.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use pyo3::{
    prelude::*,
    types::{PyBytes, PyList},
};
use stt_swarm::{KademliaDht, PubSub, SwarmError, SwarmMember, SwarmOptions, TopicEvent};
use tokio::sync::{Mutex, Semaphore};

use crate::{
    bridge::{self, Held, Reactor},
    failure::{Failure, OrRaise},
    node::{Node, node_id, seconds},
    session::Session,
    value,
};

/// Events that Python takes at once.
const EVENTS_AT_ONCE: usize = 64;
/// A swarm that was left ends beside its last owner: so often, and after so long, another try.
const TRIES: usize = 100;
const BETWEEN: Duration = Duration::from_millis(50);
/// Topics of messages that travel as content.
const LARGE: &str = "stt.large/";

/// A node's part in a swarm.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Swarm {
    inner: Held<stt_swarm::Swarm>,
}

/// Begins to take part.
#[pyfunction]
pub fn start_swarm(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    node: &Node,
    name: String,
    max_links: usize,
    persist: bool,
) -> PyResult<Py<PyAny>> {
    let node = node.node()?.clone();
    let starting = async move {
        let chamber = if persist { Some(node.chamber().await?) } else { None };
        // Who accepts nobody keeps nothing for others.
        let serve = node.stats().accepting_connections;
        let options = SwarmOptions::default().name(name).serve(serve).max_links(max_links);
        let mut tries = 1;
        loop {
            let started = match &chamber {
                Some(chamber) => stt_swarm::Swarm::start_with(&node, &options, chamber).await,
                None => stt_swarm::Swarm::start(&node, &options),
            };
            match started {
                Err(SwarmError::Protocol(_)) if tries < TRIES => tokio::time::sleep(BETWEEN).await,
                started => return Ok::<_, Failure>(started?),
            }
            tries += 1;
        }
    };
    bridge::begin_detached(py, reactor, starting, |py, started| {
        let inner = Held::new(started.map_err(|failure| failure.raise(py))?);
        Ok(Py::new(py, Swarm { inner })?.into_any())
    })
}

type Done<T> = Result<T, SwarmError>;

fn nothing(py: Python<'_>, done: Done<()>) -> PyResult<Py<PyAny>> {
    done.or_raise(py).map(|()| py.None())
}

fn number(py: Python<'_>, done: Done<usize>) -> PyResult<Py<PyAny>> {
    Ok(done.or_raise(py)?.into_pyobject(py)?.into_any().unbind())
}

/// Id, host, port and whether it is linked, of each; host and port are empty if only it can call.
fn members(py: Python<'_>, found: Done<Vec<SwarmMember>>) -> PyResult<Py<PyAny>> {
    let list = PyList::empty(py);
    for member in found.or_raise(py)? {
        let address = member.addresses.first();
        let host = address.map(|address| address.ip().to_string()).unwrap_or_default();
        let port = address.map_or(0, std::net::SocketAddr::port);
        list.append((PyBytes::new(py, member.node_id.as_bytes()), host, port, member.linked))?;
    }
    Ok(list.into_any().unbind())
}

impl Swarm {
    pub(crate) fn dht(&self) -> PyResult<KademliaDht> {
        Ok(self.inner.get()?.dht())
    }

    fn pubsub(&self) -> PyResult<PubSub> {
        Ok(self.inner.get()?.pubsub())
    }
}

#[pymethods]
impl Swarm {
    /// Who was reached first, and how many are known then.
    fn bootstrap(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        addresses: Vec<String>,
    ) -> PyResult<Py<PyAny>> {
        let dht = self.dht()?;
        let joining = async move { dht.bootstrap(&addresses).await };
        bridge::begin_detached(py, reactor, joining, |py, joined| {
            let joined = joined.or_raise(py)?;
            let parts = (PyBytes::new(py, joined.reached.as_bytes()), joined.known);
            Ok(parts.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Copies at other nodes.
    fn store(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        key: Vec<u8>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let (dht, data) = (self.dht()?, value::buffer(data)?);
        let storing = async move { dht.store(&key, &data).await.map(|stored| stored.copies) };
        bridge::begin_detached(py, reactor, storing, number)
    }

    /// Publishes the value of a key no more; whether there was one.
    fn forget(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        key: Vec<u8>,
    ) -> PyResult<Py<PyAny>> {
        let dht = self.dht()?;
        bridge::begin_detached(py, reactor, async move { dht.forget(&key).await }, |py, was| {
            Ok(was.or_raise(py)?.into_pyobject(py)?.to_owned().into_any().unbind())
        })
    }

    /// Value and publisher, or None.
    fn find_value(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        key: Vec<u8>,
        publisher: Option<Vec<u8>>,
    ) -> PyResult<Py<PyAny>> {
        let dht = self.dht()?;
        let publisher = publisher.map(|id| node_id(&id)).transpose()?;
        let finding = async move {
            match publisher {
                Some(publisher) => dht.find_value_of(&key, publisher).await,
                None => dht.find_value(&key).await,
            }
        };
        bridge::begin(py, reactor, finding, |py, found| {
            let Some(found) = found.or_raise(py)? else { return Ok(py.None()) };
            let publisher = PyBytes::new(py, found.publisher.as_bytes());
            let parts = (PyBytes::new(py, &found.data), publisher);
            Ok(parts.into_pyobject(py)?.into_any().unbind())
        })
    }

    fn provide(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        key: Vec<u8>,
    ) -> PyResult<Py<PyAny>> {
        let dht = self.dht()?;
        bridge::begin_detached(py, reactor, async move { dht.provide(&key).await }, nothing)
    }

    fn stop_providing(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        key: Vec<u8>,
    ) -> PyResult<Py<PyAny>> {
        let dht = self.dht()?;
        bridge::begin_detached(py, reactor, async move { dht.stop_providing(&key).await }, nothing)
    }

    /// Id, host and port of each, of at most `most` that answer within `patience` seconds.
    fn find_providers(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        key: Vec<u8>,
        most: usize,
        patience: f64,
    ) -> PyResult<Py<PyAny>> {
        let (dht, patience) = (self.dht()?, seconds(patience)?);
        let finding = async move {
            let until = tokio::time::Instant::now() + patience;
            let mut providers = dht.find_providers(&key).await?;
            let mut found = Vec::new();
            while found.len() < most
                && let Ok(Some(one)) = tokio::time::timeout_at(until, providers.next()).await
            {
                found.push(one);
            }
            Ok(found)
        };
        bridge::begin(py, reactor, finding, |py, found: Done<Vec<_>>| {
            let list = PyList::empty(py);
            for one in found.or_raise(py)? {
                let (host, port) = (one.address.ip().to_string(), one.address.port());
                list.append((PyBytes::new(py, one.node_id.as_bytes()), host, port))?;
            }
            Ok(list.into_any().unbind())
        })
    }

    fn find_node(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        id: &[u8],
    ) -> PyResult<Py<PyAny>> {
        let (dht, id) = (self.dht()?, node_id(id)?);
        bridge::begin(py, reactor, async move { dht.find_node(id).await }, members)
    }

    fn peers(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let dht = self.dht()?;
        bridge::begin(py, reactor, async move { dht.peers().await }, members)
    }

    fn connect(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        id: &[u8],
    ) -> PyResult<Py<PyAny>> {
        let (dht, id) = (self.dht()?, node_id(id)?);
        bridge::begin_detached(py, reactor, async move { dht.connect(id).await }, |py, made| {
            Ok(Py::new(py, Session::new(made.or_raise(py)?))?.into_any())
        })
    }

    /// How many linked nodes subscribe. `large`: on the topic of messages that travel as content.
    fn publish(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        topic: &str,
        data: &Bound<'_, PyAny>,
        ready: f64,
        large: bool,
    ) -> PyResult<Py<PyAny>> {
        let (pubsub, ready) = (self.pubsub()?, seconds(ready)?);
        let data = Bytes::from(value::buffer(data)?);
        let topic = if large { format!("{LARGE}{topic}") } else { topic.to_owned() };
        let publishing = async move {
            let published = pubsub.publish_within(&topic, data, ready).await;
            published.map(|published| published.neighbours)
        };
        bridge::begin_detached(py, reactor, publishing, number)
    }

    /// For each message: what `publish` gives, or None when nobody subscribes and `require` is
    /// false. When one fails, those before it were sent.
    fn publish_many(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        topic: String,
        messages: Vec<Bound<'_, PyAny>>,
        ready: f64,
        require: bool,
    ) -> PyResult<Py<PyAny>> {
        let (pubsub, mut ready) = (self.pubsub()?, seconds(ready)?);
        let messages = messages.iter().map(|one| value::buffer(one).map(Bytes::from));
        let messages = messages.collect::<PyResult<Vec<_>>>()?;
        let publishing = async move {
            let mut counts = Vec::with_capacity(messages.len());
            for message in messages {
                counts.push(match pubsub.publish_within(&topic, message, ready).await {
                    Ok(published) => Some(published.neighbours),
                    Err(SwarmError::NoSubscribers { .. }) if !require => {
                        // It was waited for once.
                        ready = Duration::ZERO;
                        None
                    }
                    Err(error) => return Err(error),
                });
            }
            Ok(counts)
        };
        bridge::begin_detached(py, reactor, publishing, |py, counts: Done<Vec<Option<usize>>>| {
            Ok(PyList::new(py, counts.or_raise(py)?)?.into_any().unbind())
        })
    }

    /// Messages of a topic, those that travel as content among them.
    fn subscribe(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        topic: String,
    ) -> PyResult<Py<PyAny>> {
        let pubsub = self.pubsub()?;
        let subscribing = async move {
            let small = pubsub.subscribe(&topic).await?;
            let large = pubsub.subscribe(&format!("{LARGE}{topic}")).await?;
            Ok(Both { small, large })
        };
        bridge::begin(py, reactor, subscribing, |py, made: Done<Both>| {
            let both = Arc::new(Mutex::new(made.or_raise(py)?));
            let ended = Arc::new(Semaphore::new(0));
            Ok(Py::new(py, Subscription { inner: Held::new(both), ended })?.into_any())
        })
    }
}

struct Both {
    small: stt_swarm::TopicSubscription,
    large: stt_swarm::TopicSubscription,
}

/// What came, and whether it stands for a content.
type Came = (TopicEvent, bool);

impl Both {
    /// What is there, once anything is; nothing at the end. Dropped, it has taken nothing.
    async fn next(&mut self) -> Vec<Came> {
        let first = {
            let (mut small, mut large) = (pin!(self.small.next()), pin!(self.large.next()));
            poll_fn(|cx| match small.as_mut().poll(cx) {
                Poll::Ready(event) => Poll::Ready(event.map(|event| (event, false))),
                Poll::Pending => {
                    large.as_mut().poll(cx).map(|event| event.map(|event| (event, true)))
                }
            })
            .await
        };
        let mut some: Vec<Came> = first.into_iter().collect();
        if some.is_empty() {
            return some;
        }
        // What is taken from here on is given out without waiting.
        for (subscription, large) in [(&mut self.small, false), (&mut self.large, true)] {
            while some.len() < EVENTS_AT_ONCE {
                let mut next = pin!(subscription.next());
                match poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await {
                    Poll::Ready(Some(event)) => some.push((event, large)),
                    _ => break,
                }
            }
        }
        some
    }
}

/// A subscription to a topic. Dropped, it ends.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Subscription {
    inner: Held<Arc<Mutex<Both>>>,
    ended: Arc<Semaphore>,
}

#[pymethods]
impl Subscription {
    /// Messages (data, publisher, the publisher's count, whether it stands for a content), or how
    /// many were lost; at least one. None of them once it ended.
    fn next(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let (both, ended) = (Arc::clone(self.inner.get()?), Arc::clone(&self.ended));
        let next = async move {
            let mut over = pin!(ended.acquire());
            let mut next = pin!(async { both.lock().await.next().await });
            poll_fn(|cx| match over.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(Vec::new()),
                Poll::Pending => next.as_mut().poll(cx),
            })
            .await
        };
        bridge::begin(py, reactor, next, |py, some: Vec<Came>| {
            let list = PyList::empty(py);
            for (event, large) in some {
                match event {
                    TopicEvent::Message(message) => list.append((
                        PyBytes::new(py, &message.data),
                        PyBytes::new(py, message.publisher.as_bytes()),
                        (message.sequence.started, message.sequence.count),
                        large,
                    ))?,
                    TopicEvent::Gap { missed } => list.append(missed)?,
                    _ => {}
                }
            }
            Ok(list.into_any().unbind())
        })
    }

    /// Ends it. Calls of `next` that wait return nothing.
    fn close(&self) {
        self.ended.close();
    }
}
