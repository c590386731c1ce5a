"""Calls the gateway of `stt up` with grpcio: health, reflection, files, the store, events, peers, a
stream.

`client.py STT`, with the program to be tried. The stubs are made of the .proto files alone.
"""

import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import zlib

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status

from daemon import PATIENCE, Daemon
from stt.gateway.v1 import content_pb2, content_pb2_grpc, events_pb2, events_pb2_grpc
from stt.gateway.v1 import files_pb2, files_pb2_grpc, peers_pb2, peers_pb2_grpc
from stt.gateway.v1 import store_pb2, store_pb2_grpc
from stt.gateway.v1 import streams_pb2, streams_pb2_grpc, swarm_pb2, swarm_pb2_grpc
from stt.gateway.v1 import system_pb2, system_pb2_grpc, topics_pb2, topics_pb2_grpc

NAMES = ("Content", "Event", "File", "Peer", "Store", "Stream", "Swarm", "System", "Topic")
SERVICES = [f"stt.gateway.v1.{name}Service" for name in NAMES]
MESSAGES = 1_000


def fails(call, code, reason):
    """Asserts that a call fails with this code of gRPC and, in its details, this one of ours."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        status = rpc_status.from_call(error)
        infos = [d for d in status.details if d.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
        info = error_details_pb2.ErrorInfo()
        assert infos and infos[0].Unpack(info), error
        assert (info.domain, info.reason) == ("stt", reason), info
        return
    raise AssertionError(f"{reason} was expected")


def health(daemon):
    """The standard's own client, without a token."""
    stub = health_pb2_grpc.HealthStub(daemon.plain)
    ask = lambda name: health_pb2.HealthCheckRequest(service=name)
    for name in ("", *SERVICES):
        answer = stub.Check(ask(name), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, (name, answer)
    unknown = lambda: stub.Check(ask("nobody"), timeout=PATIENCE)
    fails(unknown, grpc.StatusCode.NOT_FOUND, "request.unknown_service")
    watch = stub.Watch(ask("nobody"), timeout=PATIENCE)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()
    print(f"health: all and {len(SERVICES)} services serve")


def reflection(daemon):
    """Makes a call with nothing but what reflection says."""
    database = ProtoReflectionDescriptorDatabase(daemon.channel)
    assert set(SERVICES) < set(database.get_services()), database.get_services()
    pool = descriptor_pool.DescriptorPool(database)
    for service in SERVICES:
        method = pool.FindServiceByName(service).methods[0]
        message_factory.GetMessageClass(method.input_type)
    method = pool.FindServiceByName("stt.gateway.v1.SystemService").FindMethodByName("GetSystemInfo")
    request, answer = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    call = daemon.channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=request.SerializeToString,
        response_deserializer=answer.FromString,
    )
    info = call(request(), timeout=PATIENCE)
    assert info.node_id == daemon.up["node_id"], info

    # v1 has the messages of v1alpha, byte for byte.
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    ask = [reflection_pb2.ServerReflectionRequest(list_services="")]

    def listed(channel):
        answers = channel.stream_stream(
            path,
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(iter(ask), timeout=PATIENCE)
        return {service.name for service in next(answers).list_services_response.service}

    assert set(SERVICES) < listed(daemon.channel)
    fails(lambda: listed(daemon.plain), grpc.StatusCode.UNAUTHENTICATED, "request.unauthenticated")
    print("reflection: v1alpha describes a call that works, v1 lists the same services")


def files(daemon):
    """Up, down, in parts, and gone."""
    stub = files_pb2_grpc.FileServiceStub(daemon.channel)
    content = b"".join(i.to_bytes(4, "little") for i in range(800_000))
    size = 100_000

    def parts(damage=None):
        header = files_pb2.UploadHeader(key="a/ü", type="text/plain", metadata={"from": "python"})
        yield files_pb2.UploadFileRequest(header=header)
        for at in range(0, len(content), size):
            data = content[at : at + size]
            chunk = files_pb2.FileChunk(data=data, offset=at, checksum=zlib.crc32(data))
            if at == damage:
                chunk.checksum ^= 1
            yield files_pb2.UploadFileRequest(chunk=chunk)

    broken = lambda: stub.UploadFile(parts(damage=size), timeout=PATIENCE)
    fails(broken, grpc.StatusCode.DATA_LOSS, "request.checksum")
    stored = stub.UploadFile(parts(), timeout=PATIENCE)
    assert (stored.size, stored.metadata["from"]) == (len(content), "python"), stored
    chunks = list(stub.DownloadFile(files_pb2.DownloadFileRequest(key="a/ü"), timeout=PATIENCE))
    assert b"".join(chunk.data for chunk in chunks) == content
    assert all(chunk.checksum == zlib.crc32(chunk.data) for chunk in chunks)
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    part = files_pb2.DownloadFileRequest(hash=stored.hash, offset=123_457, length=1_000)
    part = list(stub.DownloadFile(part, timeout=PATIENCE))
    assert b"".join(chunk.data for chunk in part) == content[123_457:124_457]
    page = stub.ListFiles(files_pb2.ListFilesRequest(filter="ü"), timeout=PATIENCE)
    assert (page.total, list(page.files)) == (1, [stored]), page
    assert stub.DeleteFile(files_pb2.DeleteFileRequest(key="a/ü"), timeout=PATIENCE) == stored
    gone = lambda: stub.GetFile(files_pb2.GetFileRequest(key="a/ü"), timeout=PATIENCE)
    fails(gone, grpc.StatusCode.NOT_FOUND, "store.not_found")
    system = system_pb2_grpc.SystemServiceStub(daemon.plain)
    ask = lambda: system.GetSystemInfo(system_pb2.GetSystemInfoRequest(), timeout=PATIENCE)
    fails(ask, grpc.StatusCode.UNAUTHENTICATED, "request.unauthenticated")
    print(f"files: {len(content)} bytes went up and came down, whole and in part")


def store(daemon):
    """What is put is got, listed, verified and removed."""
    stub = store_pb2_grpc.StoreServiceStub(daemon.channel)
    content = bytes(300_000)

    def parts():
        yield store_pb2.PutContentRequest(header=store_pb2.PutContentHeader(name="of python"))
        for at in range(0, len(content), 100_000):
            last = at + 100_000 >= len(content)
            chunk = files_pb2.FileChunk(data=content[at : at + 100_000], last=last)
            yield store_pb2.PutContentRequest(chunk=chunk)

    put = stub.PutContent(parts(), timeout=PATIENCE)
    answers = list(stub.GetContent(store_pb2.GetContentRequest(item="of python"), timeout=PATIENCE))
    assert (answers[0].header.id, answers[0].header.bytes) == (put.id, len(content)), answers[0]
    assert b"".join(answer.chunk.data for answer in answers[1:]) == content
    listed = [one.content for one in stub.ListContents(store_pb2.ListContentsRequest(), timeout=PATIENCE)]
    assert [one.names for one in listed if one.id == put.id] == [["of python"]], listed
    *_, last = stub.VerifyStore(store_pb2.VerifyStoreRequest(), timeout=PATIENCE)
    assert last.report.problems == 0 and last.report.contents == len(listed), last
    removed = store_pb2.RemoveContentRequest(item="of python")
    assert stub.RemoveContent(removed, timeout=PATIENCE).name_only
    again = lambda: stub.RemoveContent(removed, timeout=PATIENCE)
    fails(again, grpc.StatusCode.NOT_FOUND, "store.not_found")
    print(f"store: {len(content)} bytes put, got, listed and verified")


class Exchange:
    """One side of a stream."""

    def __init__(self, daemon, **first):
        self.requests = queue.Queue()
        self.requests.put(streams_pb2.ExchangeRequest(**first))
        stub = streams_pb2_grpc.StreamServiceStub(daemon.channel)
        self.answers = stub.Exchange(iter(self.requests.get, None), timeout=PATIENCE)
        self.opened = next(self.answers).opened

    def send(self, data):
        self.requests.put(streams_pb2.ExchangeRequest(data=data))

    def close(self):
        self.requests.put(None)

    def received(self):
        """All data until the other side says that it is done."""
        for answer in self.answers:
            if answer.WhichOneof("part") == "ended":
                return
            yield answer.data


def events(daemon):
    """What happened before the call comes too, if asked for, and what happens after."""
    stub = events_pb2_grpc.EventServiceStub(daemon.channel)
    files = files_pb2_grpc.FileServiceStub(daemon.channel)
    watch = stub.StreamFileOperations(
        events_pb2.StreamEventsRequest(subscriber_id="python"), timeout=PATIENCE
    )
    # The headers say that the subscription holds.
    watch.initial_metadata()
    again = events_pb2.StreamEventsRequest(subscriber_id="python")
    taken = lambda: next(stub.StreamFileOperations(again, timeout=PATIENCE))
    fails(taken, grpc.StatusCode.ALREADY_EXISTS, "request.subscriber_taken")
    header = files_pb2.UploadFileRequest(header=files_pb2.UploadHeader(key="seen"))
    chunk = files_pb2.UploadFileRequest(chunk=files_pb2.FileChunk(data=b"all"))
    stored = files.UploadFile(iter([header, chunk]), timeout=PATIENCE)
    files.DeleteFile(files_pb2.DeleteFileRequest(key="seen"), timeout=PATIENCE)
    seen = [next(watch), next(watch)]
    assert [event.operation for event in seen] == [
        events_pb2.FILE_OPERATION_UPLOAD,
        events_pb2.FILE_OPERATION_DELETE,
    ], seen
    assert {(event.key, event.hash, event.size) for event in seen} == {("seen", stored.hash, 3)}
    watch.cancel()
    after = events_pb2.StreamEventsRequest(after=seen[0].header.position)
    resumed = stub.StreamFileOperations(after, timeout=PATIENCE)
    assert next(resumed) == seen[1]
    resumed.cancel()
    print("events: each once, in order, and again from a position")


def peers(ours, theirs):
    """Adds a peer, asks about it, and finds it connected on both sides."""
    host, port = theirs.up["address"].rsplit(":", 1)
    id = theirs.up["node_id"]
    stub = peers_pb2_grpc.PeerServiceStub(ours.channel)
    unknown = lambda: stub.GetPeer(peers_pb2.GetPeerRequest(id=id), timeout=PATIENCE)
    fails(unknown, grpc.StatusCode.NOT_FOUND, "request.unknown_peer")
    peer = peers_pb2.AddPeerRequest(address=host, port=int(port), id=id, metadata={"role": "b"})
    added = stub.AddPeer(peer, timeout=PATIENCE)
    assert (added.status, added.metadata["role"]) == (peers_pb2.PEER_STATUS_CONNECTED, "b"), added
    listed = stub.ListPeers(peers_pb2.ListPeersRequest(), timeout=PATIENCE).peers
    assert [peer.id for peer in listed] == [id], listed
    health = stub.GetPeerHealth(peers_pb2.GetPeerHealthRequest(id=id), timeout=PATIENCE)
    assert health.latency_ms > 0 and health.uptime_seconds >= 0, health
    print(f"peers: one added, {health.latency_ms:.1f} ms away")


def stream(ours, theirs):
    """A program beside one node talks to a program beside another."""
    a = Exchange(ours, open=streams_pb2.OpenStream(peer=theirs.up["node_id"]))
    assert a.opened.peer == theirs.up["node_id"], a.opened
    a.send(b"first")
    b = Exchange(theirs, accept=streams_pb2.AcceptStream(peer=ours.up["node_id"]))
    assert (b.opened.peer, b.opened.session) == (ours.up["node_id"], a.opened.session), b.opened
    failed = []

    def echo():
        try:
            for data in b.received():
                b.send(data)
        except grpc.RpcError as error:
            failed.append(error)
        b.close()

    echoing = threading.Thread(target=echo, daemon=True)
    echoing.start()
    assert next(a.answers).data == b"first"
    sent = [i.to_bytes(4, "little") * (1 + i % 500) for i in range(MESSAGES)]
    for data in sent:
        a.send(data)
    a.close()
    got = list(a.received())
    assert next(a.answers, None) is None
    assert got == sent, (len(got), failed)
    echoing.join(PATIENCE)
    assert not failed and not echoing.is_alive(), failed
    print(f"stream: {MESSAGES} messages came back over session {a.opened.session}, and both sides ended")


def swarm(ours, theirs, home):
    """Members, a topic from one node to the other, and a file by its ticket."""
    members = swarm_pb2_grpc.SwarmServiceStub(ours.channel)
    joined = members.JoinSwarm(
        swarm_pb2.JoinSwarmRequest(addresses=[theirs.up["address"]]), timeout=PATIENCE
    )
    assert joined.reached == theirs.up["node_id"], joined
    listed = members.ListMembers(swarm_pb2.ListMembersRequest(), timeout=PATIENCE).members
    assert theirs.up["node_id"] in [member.id for member in listed], listed

    topics = topics_pb2_grpc.TopicServiceStub(theirs.channel)
    heard = topics.Subscribe(topics_pb2.SubscribeRequest(topic="news"), timeout=PATIENCE)
    # The headers say that the subscription holds.
    heard.initial_metadata()
    news = topics_pb2_grpc.TopicServiceStub(ours.channel)
    message = topics_pb2.PublishRequest(topic="news", data=b"hello", ready_ms=PATIENCE * 1000)
    published = news.Publish(message, timeout=PATIENCE)
    event = next(heard)
    assert (event.message.data, event.message.publisher) == (b"hello", ours.up["node_id"]), event
    assert event.message.sequence == published.sequence, (event, published)
    asked = topics_pb2.GetReceiptsRequest(topic="news", sequence=published.sequence)
    assert news.GetReceipts(asked, timeout=PATIENCE).confirmed == 1
    heard.cancel()

    content = content_pb2_grpc.ContentServiceStub(ours.channel)
    path = home / "shared.bin"
    path.write_bytes(bytes(100_000))
    shared = content.ShareContent(
        content_pb2.ShareContentRequest(path=str(path)), timeout=PATIENCE
    )
    wanted = content_pb2.FetchContentRequest(
        tickets=[shared.ticket], directory=str(home / "inbox")
    )
    theirs_content = content_pb2_grpc.ContentServiceStub(theirs.channel)
    *_, last = theirs_content.FetchContent(wanted, timeout=PATIENCE)
    assert last.fetched.bytes == 100_000, last
    assert pathlib.Path(last.fetched.path).read_bytes() == path.read_bytes()
    gone = content_pb2.UnshareContentRequest(hash=shared.hash)
    content.UnshareContent(gone, timeout=PATIENCE)
    again = lambda: content.UnshareContent(gone, timeout=PATIENCE)
    fails(again, grpc.StatusCode.NOT_FOUND, "request.not_shared")
    print("swarm: joined, a message confirmed, a file shared and fetched")


def end(daemon):
    """A supervisor sees it go, and it goes."""
    stub = health_pb2_grpc.HealthStub(daemon.plain)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    daemon.terminate()
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert daemon.wait() == 0
    print("end: not serving, then gone, with exit code 0")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        subprocess.run([program, "seed", "new", "--out", home / "seed"], check=True, capture_output=True)
        daemons = []
        try:
            for name in ("a", "b"):
                daemons.append(Daemon(program, home, name))
            a, b = daemons
            health(a)
            reflection(a)
            files(a)
            store(a)
            events(a)
            peers(a, b)
            stream(a, b)
            swarm(a, b, home)
            end(a)
        finally:
            for daemon in daemons:
                daemon.kill()


if __name__ == "__main__":
    main()
