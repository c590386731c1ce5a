"""The swarm: values, providers and members by their ids, messages to all who subscribe, and content
by its hash. All of it goes through the sessions of the process's node.
"""

from ._content import ContentDistribution, ContentTicket, FetchedContent, SharedContent
from ._kademlia import DHTNode, KademliaDHT
from ._pubsub import Message, PubSubManager, Subscription

__all__ = [
    "ContentDistribution",
    "ContentTicket",
    "DHTNode",
    "FetchedContent",
    "KademliaDHT",
    "Message",
    "PubSubManager",
    "SharedContent",
    "Subscription",
]
