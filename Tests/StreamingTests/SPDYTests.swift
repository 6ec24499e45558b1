import Kernel
import NIOCore
import Testing

@testable import Streaming

/// Clients of SPDY/3.1, spoken by a program that shares no code with the server.
@Suite struct SPDYTests {
  @Test func theDictionaryIsTheOneThatEveryPeerHas() {
    var (low, high): (UInt32, UInt32) = (1, 0)
    for byte in SPDY.dictionary {
      low = (low + UInt32(byte)) % 65_521
      high = (high + low) % 65_521
    }
    #expect(SPDY.dictionary.count == 1423)
    #expect(high << 16 | low == 0xe3c6_a7c2)
  }

  @Test func aCommandRunsOverStreams() async throws {
    let answer = try await withServer { server in
      let url = try server.url(for: request("cat; echo oops >&2; exit 3"))
      return try await client(
        """
        connection = Connection(url, 'v4.channel.k8s.io')
        streams = {kind: connection.open({'streamType': kind}) for kind in ('error', 'stdin', 'stdout', 'stderr')}
        connection.data(streams['stdin'], b'hello', last=True)
        connection.read_until([streams['error'], streams['stdout'], streams['stderr']])
        for kind in ('stdout', 'stderr', 'error'):
            print(kind, connection.received[streams[kind]].decode().strip())
        """, url)
    }
    #expect(answer.contains("stdout hello\n"))
    #expect(answer.contains("stderr oops\n"))
    #expect(answer.contains("\"reason\":\"ExitCode\",\"message\":\"3\""))
  }

  @Test(arguments: ["v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"])
  func olderClientsReadTheEndAsALineOfText(proto: String) async throws {
    let answer = try await withServer { server in
      let url = try server.url(for: request("cat; exit 3"))
      return try await client(
        """
        connection = Connection(url, '\(proto)')
        streams = {kind: connection.open({'streamType': kind}) for kind in ('error', 'stdin', 'stdout', 'stderr')}
        connection.data(streams['stdin'], b'hello\\n', last=True)
        connection.read_until([streams['error'], streams['stdout'], streams['stderr']])
        print(connection.received[streams['stdout']].decode() + connection.received[streams['error']].decode())
        """, url)
    }
    #expect(answer == "hello\ncommand terminated with non-zero exit code: exit status 3\n")
  }

  @Test func muchOutputComesWhole() async throws {
    let answer = try await withServer { server in
      let url = try server.url(for: request("head -c 3000000 /dev/zero"))
      return try await client(
        """
        connection = Connection(url, 'v4.channel.k8s.io')
        streams = {kind: connection.open({'streamType': kind}) for kind in ('error', 'stdin', 'stdout', 'stderr')}
        connection.read_until([streams['error'], streams['stdout']])
        print(len(connection.received[streams['stdout']]))
        """, url)
    }
    #expect(answer == "3000000\n")
  }

  @Test(arguments: [false, true]) func portsAreForwarded(inWebSocket: Bool) async throws {
    let answer = try await withServer { server in
      let forward = StreamRequest(
        kind: .portForward, containerID: "pod", terminal: false, input: false, output: false, errors: false)
      return try await client(
        """
        import threading
        listener = socket.create_server(('127.0.0.1', 0))
        port = str(listener.getsockname()[1])
        def echo():
            while True:
                peer, _ = listener.accept()
                def serve(peer=peer):
                    bytes = b''
                    while chunk := peer.recv(65536):
                        bytes += chunk
                    peer.sendall(bytes[::-1])
                    peer.close()
                threading.Thread(target=serve, daemon=True).start()
        threading.Thread(target=echo, daemon=True).start()
        connection = Connection(url, 'portforward.k8s.io', \(inWebSocket ? "True" : "False"))
        pairs = []
        for number in (b'first', b'second'):
            names = {'port': port, 'requestID': number.decode()}
            errors = connection.open({**names, 'streamType': 'error'})
            connection.data(errors, b'', last=True)
            data = connection.open({**names, 'streamType': 'data'})
            connection.data(data, number * 50000, last=True)
            pairs.append((errors, data, number))
        closed = socket.create_server(('127.0.0.1', 0))
        nobody = str(closed.getsockname()[1])
        closed.close()
        names = {'port': nobody, 'requestID': 'third'}
        failing = connection.open({**names, 'streamType': 'error'})
        lost = connection.open({**names, 'streamType': 'data'})
        connection.read_until([stream for pair in pairs for stream in pair[:2]] + [failing, lost])
        for errors, data, number in pairs:
            print(connection.received[data] == (number * 50000)[::-1], connection.received[errors])
        print(connection.received[failing].decode().replace(nobody, 'PORT'))
        """, try server.url(for: forward))
    }
    #expect(
      answer == """
        True b''
        True b''
        error forwarding port PORT to pod pod: connect(127.0.0.1:PORT): ECONNREFUSED (111)

        """)
  }

  @Test func whatIsNoSPDYEndsTheConnection() async throws {
    let answer = try await withServer { server in
      let url = try server.url(for: request("cat"))
      return try await client(
        """
        connection = Connection(url, 'v4.channel.k8s.io')
        connection.socket.sendall(struct.pack('>HHI', 0x8002, 1, 12) + bytes(12))
        print(connection.socket.recv(100))
        """, url)
    }
    #expect(answer == "b''\n")
  }

  @Test func protocolsThatNobodySpeaksAreRefusedByName() async throws {
    let answer = try await withServer { server in
      try await rawExchange(try server.url(for: request("true"))) { host, path in
        "POST \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
          + "X-Stream-Protocol-Version: v9.channel.k8s.io\r\nContent-Length: 0\r\n\r\n"
      }
    }
    #expect(answer.hasPrefix("HTTP/1.1 400 "))
    #expect(answer.contains("offer a X-Stream-Protocol-Version of v4.channel.k8s.io"))
  }

  /// Runs a Python program that finds `url` and the class `Connection`.
  private func client(_ program: String, _ url: String) async throws -> String {
    let dictionary = SPDY.dictionary.map(String.init).joined(separator: ",")
    let outcome = try await ChildProcess.run(
      "/usr/bin/python3",
      arguments: ["python3", "-c", "url = '\(url)'\ndictionary = bytes([\(dictionary)])\n\(Self.library)\n\(program)"],
      environment: ["PATH=/usr/bin:/bin"], timeoutSeconds: 30)
    #expect(outcome.errorOutput.isEmpty, "\(String(decoding: outcome.errorOutput, as: UTF8.self))")
    return String(decoding: outcome.output, as: UTF8.self)
  }

  private static let library = """
    import base64, os, socket, struct, urllib.parse, zlib
    class Connection:
        def __init__(self, url, protocol, tunnel=False):
            parts = urllib.parse.urlparse(url)
            self.socket = socket.create_connection((parts.hostname, parts.port), timeout=20)
            self.tunnel = tunnel
            lines = [f'GET {parts.path} HTTP/1.1', f'Host: {parts.netloc}', 'Connection: Upgrade']
            if tunnel:
                key = base64.b64encode(os.urandom(16)).decode()
                lines += ['Upgrade: websocket', 'Sec-WebSocket-Version: 13', f'Sec-WebSocket-Key: {key}',
                          f'Sec-WebSocket-Protocol: SPDY/3.1+{protocol}']
            else:
                lines += ['Upgrade: SPDY/3.1', 'X-Stream-Protocol-Version: v9.other', f'X-Stream-Protocol-Version: {protocol}']
            self.socket.sendall(('\\r\\n'.join(lines) + '\\r\\n\\r\\n').encode())
            head = b''
            while b'\\r\\n\\r\\n' not in head:
                head += self.socket.recv(1)
            assert head.startswith(b'HTTP/1.1 101 '), head
            assert protocol.encode() in head, head
            self.compress = zlib.compressobj(zdict=dictionary)
            self.expand = zlib.decompressobj(zdict=dictionary)
            self.next, self.received, self.ended, self.rest = 1, {}, set(), b''
        def send(self, bytes):
            if self.tunnel:
                mask = os.urandom(4)
                masked = b''.join(b''.__class__([b ^ mask[i % 4]]) for i, b in enumerate(bytes)) if len(bytes) < 2000 else None
                if masked is None:
                    mask, masked = b'\\0\\0\\0\\0', bytes
                length = struct.pack('>B', 0x80 | len(bytes)) if len(bytes) < 126 else (
                    struct.pack('>BH', 0xfe, len(bytes)) if len(bytes) < 65536 else struct.pack('>BQ', 0xff, len(bytes)))
                bytes = b'\\x82' + length + mask + masked
            self.socket.sendall(bytes)
        def open(self, headers):
            stream, self.next = self.next, self.next + 2
            block = struct.pack('>I', len(headers))
            for name, value in headers.items():
                for text in (name.lower().encode(), value.encode()):
                    block += struct.pack('>I', len(text)) + text
            block = self.compress.compress(block) + self.compress.flush(zlib.Z_SYNC_FLUSH)
            self.send(struct.pack('>HHIIIH', 0x8003, 1, 10 + len(block), stream, 0, 0) + block)
            self.received[stream] = b''
            return stream
        def data(self, stream, bytes, last=False):
            self.send(struct.pack('>II', stream, (1 << 24 if last else 0) | len(bytes)) + bytes)
        def take(self, count):
            while len(self.rest) < count:
                if self.tunnel:
                    head = self.exactly(2)
                    length = head[1] & 0x7f
                    if length == 126: length = struct.unpack('>H', self.exactly(2))[0]
                    elif length == 127: length = struct.unpack('>Q', self.exactly(8))[0]
                    self.rest += self.exactly(length)
                else:
                    chunk = self.socket.recv(65536)
                    assert chunk, 'closed'
                    self.rest += chunk
            bytes, self.rest = self.rest[:count], self.rest[count:]
            return bytes
        def exactly(self, count):
            bytes = b''
            while len(bytes) < count:
                chunk = self.socket.recv(count - len(bytes))
                assert chunk, 'closed'
                bytes += chunk
            return bytes
        def read_until(self, streams):
            while not self.ended.issuperset(streams):
                first, second = struct.unpack('>II', self.take(8))
                body = self.take(second & 0xffffff)
                if first >> 31 == 0:
                    self.received[first] += body
                    if second >> 24 & 1: self.ended.add(first)
                elif first & 0xffff == 2:
                    assert self.expand.decompress(body[4:]) == bytes(4)
    """
}
