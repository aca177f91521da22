"""Clients that are not ours: `websockets` receives what `nats-py` publishes, without any SDK."""

import asyncio
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import ssl
import subprocess
import tempfile
import unittest

import nats
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

DEADLINE = 30


class Edge:
    """A `tailwater dev` of this test's own."""

    def __init__(self, port, state_dir, settings):
        command = [os.environ["EDGE_BINARY"], "dev", "--json", "--no-demo", "--nats-listen", "127.0.0.1:0"]
        command += ["--listen", f"127.0.0.1:{port}", "--state-dir", state_dir]
        environment = {**os.environ, **settings}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        self.ready = json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE)
        self.process.stdout.close()


async def receive(socket):
    return json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))


async def publish(edge, subject, payload):
    client = await nats.connect(edge.ready["nats"])
    await client.publish(subject, payload)
    await client.drain()


async def subscribed(url, channel="deployments", **options):
    """The classic client: connect, subscribe; its socket, with the first two messages checked."""
    socket = await websockets.connect(url, **options)
    welcome = await receive(socket)
    assert (welcome["type"], welcome["message"]) == ("connected", "Welcome!"), welcome
    await socket.send(json.dumps({"type": "subscribe", "channel": channel}))
    assert (await receive(socket))["type"] == "subscribed"
    return socket


def shell_of_the_readme(edge):
    """The commands of the section without a WebSocket, with the address of this edge."""
    readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    block = re.search(r"```sh\n(curl -sN.*?)```", readme, re.DOTALL)[1]
    return [shlex.split(line.replace("http://127.0.0.1:8080", edge.ready["http"])) for line in block.splitlines()]


class ClassicClient(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        state = tempfile.TemporaryDirectory()
        self.addCleanup(state.cleanup)
        self.state_dir = state.name

    def start(self, port=0, **settings):
        edge = Edge(port, self.state_dir, settings)
        self.addCleanup(lambda: edge.process.poll() is None and edge.stop())
        return edge

    async def test_a_publication_arrives_as_an_update_with_its_payload_unchanged(self):
        edge = self.start()
        socket = await subscribed(edge.ready["ws"])
        await publish(edge, "deployments", b'{"id":7,"state":"live"}')
        expected = {"type": "update", "channel": "deployments", "payload": {"id": 7, "state": "live"}}
        self.assertEqual(await receive(socket), expected)
        await socket.close()

    async def test_who_offers_compression_gets_and_sends_the_same_as_who_does_not(self):
        settings = {"CHANNELS": "packed.>", "ANONYMOUS": "true", "PUBLISH": "true", "COMPRESS": "true"}
        edge = self.start(**{f"TAILWATER_NAMESPACE__PACKED__{key}": value for key, value in settings.items()})
        window = ClientPerMessageDeflateFactory(server_max_window_bits=15, client_max_window_bits=9)
        small_window = ClientPerMessageDeflateFactory(server_max_window_bits=12)
        options = [{}, {"extensions": [window]}, {"extensions": [small_window], "compression": None}, {"compression": None}]
        sockets = [await subscribed(edge.ready["ws"], "packed.a", **option) for option in options]
        agreed = [[extension.name for extension in socket.protocol.extensions] for socket in sockets]
        self.assertEqual(agreed, [["permessage-deflate"], ["permessage-deflate"], [], []])
        texts = ["compressible " * count for count in range(1, 200, 20)]
        for text in texts:
            await publish(edge, "packed.a", json.dumps(text).encode())
        # `websockets` compresses whatever it sends; the last one goes out as two fragments.
        command = json.dumps({"type": "publish", "id": 1, "channel": "packed.a", "payload": "by a client " * 100})
        for socket in sockets:
            await socket.send([command[:500], command[500:]])
        for socket in sockets:
            received = [await receive(socket) for _ in range(len(texts) + len(sockets) + 1)]
            payloads = [message["payload"] for message in received if message["type"] == "update"]
            self.assertEqual(payloads, texts + ["by a client " * 100] * len(sockets))
            self.assertEqual([message["id"] for message in received if message["type"] == "published"], [1])
            await socket.close()
            self.assertEqual(socket.close_code, 1000)

    async def test_over_tls_it_is_the_same_with_either_version(self):
        certificate, key = (os.path.join(self.state_dir, name) for name in ("edge.pem", "edge.key"))
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
        command += ["-subj", "/CN=edge", "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key]
        subprocess.run(command, check=True, capture_output=True)
        edge = self.start(TAILWATER_TLS__CERTIFICATE=certificate, TAILWATER_TLS__KEY=key)
        self.assertTrue(edge.ready["ws"].startswith("wss://"), edge.ready)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=certificate)
            context.minimum_version = context.maximum_version = version
            socket = await subscribed(edge.ready["ws"], ssl=context)
            # More than one record holds.
            payload = "x" * 100_000
            await publish(edge, "deployments", json.dumps(payload).encode())
            self.assertEqual((await receive(socket))["payload"], payload)
            await socket.close()
            self.assertEqual(socket.close_code, 1000)

    async def test_a_shell_does_without_a_websocket_as_the_readme_says(self):
        edge = self.start()
        stream, poll, command, publication = shell_of_the_readme(edge)
        for number in range(7):
            await publish(edge, "deployments.42", str(number).encode())

        def ask(command):
            return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=DEADLINE).stdout)

        polled = await asyncio.to_thread(ask, poll)
        numbers = [message["payload"] for message in polled["messages"] if message["type"] == "update"]
        self.assertEqual(numbers, list(range(7)))
        streaming = await asyncio.create_subprocess_exec(*stream, stdout=asyncio.subprocess.PIPE)

        async def update():
            while True:
                line = await asyncio.wait_for(streaming.stdout.readline(), DEADLINE)
                message = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
                if message.get("type") == "update":
                    return message["payload"]

        self.assertEqual([await update() for _ in range(5)], [2, 3, 4, 5, 6])
        await publish(edge, "deployments.42", b"7")
        self.assertEqual(await update(), 7)
        streaming.terminate()
        await streaming.communicate()
        (history,) = await asyncio.to_thread(ask, command)
        self.assertEqual(history["publications"][0]["payload"], 7)
        self.assertEqual(await asyncio.to_thread(ask, publication), {"type": "published"})

    async def test_a_wrapper_that_backs_off_exponentially_gets_back_in_after_a_restart(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        edge = self.start(port)
        url = edge.ready["ws"]
        client = await subscribed(url)
        edge.stop()
        with self.assertRaises(websockets.ConnectionClosed) as closed:
            await receive(client)
        self.assertEqual(closed.exception.rcvd.code, 1012)
        refused, delay = 0, 1
        restart = None
        while True:
            try:
                client = await subscribed(url)
                break
            except OSError:
                refused += 1
                self.assertLess(refused, 6)
                restart = restart or asyncio.create_task(asyncio.to_thread(self.start, port))
                await asyncio.sleep(delay)
                delay = min(delay * 2, 30)
        self.assertGreaterEqual(refused, 1)
        await publish(await restart, "deployments", b'"again"')
        self.assertEqual((await receive(client))["payload"], "again")
        await client.close()


if __name__ == "__main__":
    unittest.main()
