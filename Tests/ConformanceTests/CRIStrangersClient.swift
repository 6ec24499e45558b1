import Kernel
import TestSupport
import Testing

/// Somebody else's client of the socket: gRPC for Python, with a codec that reads nothing but the interface's definition.
enum StrangersClient {
  /// Runs `program` after what follows here, in the node's network: there `call(NAME, {…})` makes a call, and `path` is the
  /// node's directory.
  /// Expects that it ends well, with `last` as the last line of its output.
  static func run(_ program: String, on node: CRINode, _ arguments: [String] = [], says last: String) async throws {
    let definition = Files.parent(of: #filePath) + "/../../Sources/CRIModel/Protocols/cri-v1.proto"
    let outcome = try await ChildProcess.run(
      "/usr/bin/nsenter",
      arguments: [
        "nsenter", "--net=\(node.path)/net", "/usr/bin/python3", "-c", codec + services + program, node.socketPath,
        node.path, definition,
      ] + arguments, environment: ["PATH=/usr/sbin:/usr/bin:/bin"], timeoutSeconds: 120)
    let output = String(decoding: outcome.output, as: UTF8.self)
    let errors = String(decoding: outcome.errorOutput, as: UTF8.self)
    #expect(outcome.status == .exited(0), "\(output)\n\(errors)")
    #expect(output.split(separator: "\n").last.map(String.init) == last, "\(output)\n\(errors)")
  }

  /// Protocol buffers, proto3, as far as the interface uses them.
  static let codec = #"""
    import base64, hashlib, http.server, json, os, re, socket, struct, sys, tarfile, threading
    import grpc
    WIRE = {'int32': 0, 'int64': 0, 'uint32': 0, 'uint64': 0, 'bool': 0, 'double': 1, 'string': 2, 'bytes': 2}
    messages, services, enums = {}, {}, set()
    def read_definition(text):
        stack = []
        for line in re.sub(r'//[^\n]*', '', text).split('\n'):
            if found := re.match(r'\s*(service|message|enum|oneof) (\w+) \{', line):
                stack.append(found.groups())
                if found[1] == 'message': messages[found[2]] = {}
                if found[1] == 'enum': enums.add(found[2])
                if found[1] == 'service': services[found[2]] = {}
            elif found := re.match(r'\s*rpc (\w+)\((\w+)\) returns \((stream )?(\w+)\)', line):
                services[stack[-1][1]][found[1]] = (found[2], bool(found[3]), found[4])
            elif line.strip() == '}': stack.pop()
            elif found := re.match(r'\s*(repeated )?(map<string, string>|[\w.]+) (\w+) = (\d+)', line):
                if stack[-1][0] in ('message', 'oneof'):
                    owner = [name for kind, name in stack if kind == 'message'][-1]
                    messages[owner][found[3]] = (int(found[4]), found[2].split('.')[-1], bool(found[1]))
    def varint(n):
        n &= (1 << 64) - 1
        out = b''
        while n > 127: out += bytes([n & 127 | 128]); n >>= 7
        return out + bytes([n])
    def piece(number, data): return varint(number << 3 | 2) + varint(len(data)) + data
    def encode(name, value):
        out = b''
        for key, inner in value.items():
            number, kind, many = messages[name][key]
            if kind.startswith('map'):
                for k, v in inner.items(): out += piece(number, piece(1, k.encode()) + piece(2, v.encode()))
                continue
            for each in inner if many else [inner]:
                if kind in messages: out += piece(number, encode(kind, each))
                elif WIRE.get(kind, 0) == 2: out += piece(number, each if isinstance(each, bytes) else each.encode())
                elif kind == 'double': out += varint(number << 3 | 1) + struct.pack('<d', each)
                else: out += varint(number << 3) + varint(int(each))
        return out
    def fields(data):
        at = 0
        def number():
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]; at += 1
                value |= (byte & 127) << shift; shift += 7
                if byte < 128: return value
        while at < len(data):
            key = number(); wire = key & 7
            if wire == 0: value = number()
            elif wire == 1: value = data[at:at + 8]; at += 8
            elif wire == 2: size = number(); value = data[at:at + size]; at += size; assert len(value) == size
            else: raise ValueError('wire type %d' % wire)
            yield key >> 3, wire, value
    def packed(data):
        value = shift = 0
        for byte in data:
            value |= (byte & 127) << shift; shift += 7
            if byte < 128: yield value; value = shift = 0
    def decode(name, data):
        known = {number: (key, kind, many) for key, (number, kind, many) in messages[name].items()}
        out = {}
        for number, wire, value in fields(data):
            if number not in known: raise ValueError('%s has no field %d' % (name, number))
            key, kind, many = known[number]
            if kind.startswith('map'):
                pair = {n: v.decode() for n, _, v in fields(value)}
                out.setdefault(key, {})[pair.get(1, '')] = pair.get(2, '')
                continue
            if kind in messages: value = decode(kind, value)
            elif kind == 'string': value = value.decode()
            elif kind == 'double': value = struct.unpack('<d', value)[0]
            elif kind != 'bytes' and wire == 2:
                assert many, (name, key)
                out.setdefault(key, []).extend(packed(value))
                continue
            elif kind in ('int32', 'int64') and value >> 63: value -= 1 << 64
            if many: out.setdefault(key, []).append(value)
            else: out[key] = value
        return out

    """#

  /// Calls by name, a registry of one image, and WebSocket as far as a few bytes of output need it.
  static let services = #"""
    path = sys.argv[2]
    read_definition(open(sys.argv[3]).read())
    channel = grpc.insecure_channel('unix:' + sys.argv[1], options=[('grpc.max_receive_message_length', 16 << 20)])
    made = set()
    def stub(call):
        service = next(s for s in services if call in services[s])
        request, streams, response = services[service][call]
        make = channel.unary_stream if streams else channel.unary_unary
        made.add(call)
        return make('/runtime.v1.%s/%s' % (service, call), request_serializer=lambda v: encode(request, v),
                    response_deserializer=lambda d: decode(response, d))
    def call(name, value={}, timeout=30): return stub(name)(value, timeout=timeout)
    def refused(name, value, *codes):
        try: answer = call(name, value)
        except grpc.RpcError as error:
            assert error.code().name in codes, (name, error.code(), error.details())
            assert error.details(), name
            return error.details()
        raise AssertionError('%s was answered: %r' % (name, answer))
    def whole(name, field): return [each for part in stub(name)({}, timeout=30) for each in part.get(field, [])]

    class Registry(http.server.BaseHTTPRequestHandler):
        blobs, manifest = {}, b''
        def log_message(self, *_): pass
        def do_HEAD(self): self.answer(False)
        def do_GET(self): self.answer(True)
        def answer(self, body):
            if self.path == '/v2/': data, kind = b'{}', 'application/json'
            elif '/manifests/' in self.path: data, kind = self.manifest, 'application/vnd.oci.image.manifest.v1+json'
            else: data, kind = self.blobs.get(self.path.split('/')[-1], b''), 'application/octet-stream'
            self.send_response(200 if data else 404)
            self.send_header('Content-Type', kind); self.send_header('Content-Length', str(len(data)))
            if '/manifests/' in self.path: self.send_header('Docker-Content-Digest', digest(data))
            self.end_headers()
            if body: self.wfile.write(data)
    def digest(data): return 'sha256:' + hashlib.sha256(data).hexdigest()
    def serve(archive):
        def blob(data): Registry.blobs[digest(data)] = data; return {'digest': digest(data), 'size': len(data)}
        with tarfile.open(archive) as tar:
            # Another image than the one that is there: one image has one id, and goes with all of its names.
            described = dict(json.load(tar.extractfile('./config.json')), author='a stranger')
            config = blob(json.dumps(described).encode()); layer = blob(tar.extractfile('./layer.tar').read())
        oci = 'application/vnd.oci.image.'
        Registry.manifest = json.dumps({
            'schemaVersion': 2, 'mediaType': oci + 'manifest.v1+json',
            'config': dict(config, mediaType=oci + 'config.v1+json'),
            'layers': [dict(layer, mediaType=oci + 'layer.v1.tar')]}).encode()
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Registry)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return '127.0.0.1:%d' % server.server_port

    class WebSocket:
        def __init__(self, url, protocol):
            host, port, path = re.match(r'\w+://([^:/]+):(\d+)(/.*)', url).groups()
            self.socket = socket.create_connection((host, int(port)), timeout=20)
            self.socket.sendall(('GET %s HTTP/1.1\r\nHost: %s:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n'
                % (path, host, port, base64.b64encode(os.urandom(16)).decode(), protocol)).encode())
            self.file = self.socket.makefile('rb')
            self.status = self.file.readline().split()[1].decode()
            while self.file.readline().strip(): pass
        def send(self, payload):
            assert len(payload) < 126
            mask = os.urandom(4)
            self.socket.sendall(bytes([0x82, 0x80 | len(payload)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))
        def receive(self):
            head = self.file.read(2)
            if len(head) < 2: return None
            size = head[1] & 127
            if size == 126: size = struct.unpack('>H', self.file.read(2))[0]
            payload = self.file.read(size)
            return None if head[0] & 15 == 8 else payload
        def until(self, wanted):
            seen = {}
            while not wanted(seen):
                payload = self.receive()
                if payload is None: break
                if payload: seen[payload[0]] = seen.get(payload[0], b'') + payload[1:]
            return seen

    """#
}
