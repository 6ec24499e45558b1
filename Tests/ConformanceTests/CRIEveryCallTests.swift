import Kernel
import TestSupport
import Testing

/// Every call of both services, by gRPC for Python with a codec that reads nothing but the interface's definition: what the
/// server sends beyond it is an error, and so is a call that nobody made.
@Suite struct CRIEveryCallTests {
  @Test func aStrangersClientMakesEveryCallOfBothServices() async throws {
    try await CRINode.with { node, _ in
      let definition = Files.parent(of: #filePath) + "/../../Sources/CRIModel/Protocols/cri-v1.proto"
      let outcome = try await ChildProcess.run(
        "/usr/bin/nsenter",
        arguments: [
          "nsenter", "--net=\(node.path)/net", "/usr/bin/python3", "-c", Self.codec + Self.services + Self.program,
          node.socketPath, node.path, definition,
        ], environment: ["PATH=/usr/bin:/bin"], timeoutSeconds: 120)
      let output = String(decoding: outcome.output, as: UTF8.self)
      let errors = String(decoding: outcome.errorOutput, as: UTF8.self)
      #expect(outcome.status == .exited(0), "\(output)\n\(errors)")
      #expect(output.split(separator: "\n").last == "41 calls, none left out", "\(output)\n\(errors)")
    }
  }

  /// Protocol buffers, proto3, as far as the interface uses them.
  private static let codec = #"""
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
  private static let services = #"""
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

  private static let program = #"""
    path = sys.argv[2]
    assert call('Version', {'version': 'v1'})['runtime_name'] == 'martlet'
    ready = call('Status', {'verbose': True})
    assert {c['type']: c.get('status') for c in ready['status']['conditions']} == {'RuntimeReady': 1, 'NetworkReady': 1}, ready
    assert call('RuntimeConfig')['linux']['cgroup_driver'] == 1
    call('UpdateRuntimeConfig', {'runtime_config': {'network_config': {'pod_cidr': ''}}})

    # Images: pulled from a registry of this process, found, listed whole and in parts, removed.
    name = serve(path + '/image.tar') + '/some/busybox:1'
    before = call('ListImages').get('images', [])
    reference = call('PullImage', {'image': {'image': name}})['image_ref']
    found = call('ImageStatus', {'image': {'image': name}, 'verbose': True})['image']
    assert name in found['repo_tags'] and reference in (found['id'], found['repo_digests'][0]), (reference, found)
    listed = call('ListImages', {'filter': {'image': {'image': name}}})['images']
    assert [each['id'] for each in listed] == [found['id']]
    assert [i['id'] for i in whole('StreamImages', 'images')] == [i['id'] for i in call('ListImages')['images']]
    usage = call('ImageFsInfo')
    assert usage['image_filesystems'][0]['used_bytes']['value'] > 0, usage
    call('RemoveImage', {'image': {'image': name}}); call('RemoveImage', {'image': {'image': name}})
    assert 'image' not in call('ImageStatus', {'image': {'image': name}})
    assert len(call('ListImages').get('images', [])) == len(before)

    # A pod and a container.
    events = stub('GetContainerEvents')({}, timeout=60)
    config = {'metadata': {'name': 'every', 'uid': 'u', 'namespace': 'default'}, 'hostname': 'every',
              'labels': {'app': 'every'}, 'annotations': {'note': 'kept'}, 'log_directory': path + '/logs/every',
              'port_mappings': [], 'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
    pod = call('RunPodSandbox', {'config': config})['pod_sandbox_id']
    status = call('PodSandboxStatus', {'pod_sandbox_id': pod, 'verbose': True})
    assert status['status'].get('state', 0) == 0 and status['status']['annotations'] == {'note': 'kept'}, status
    json.loads(status['info']['info'])
    listed = call('ListPodSandbox', {'filter': {'label_selector': {'app': 'every'}}})['items']
    assert [each['id'] for each in listed] == [pod]
    assert [each['id'] for each in whole('StreamPodSandboxes', 'pod_sandboxes')] == [pod]
    script = 'echo ready; while read line; do echo got $line; done; sleep 1000'
    main = {'metadata': {'name': 'main'}, 'image': {'image': 'localhost/busybox:test'}, 'command': ['sh', '-c', script],
            'log_path': 'main.log', 'stdin': True, 'labels': {'tier': 'web'},
            'linux': {'security_context': {'namespace_options': {'pid': 1}}}}
    id = call('CreateContainer', {'pod_sandbox_id': pod, 'config': main, 'sandbox_config': config})['container_id']
    call('StartContainer', {'container_id': id})
    status = call('ContainerStatus', {'container_id': id, 'verbose': True})
    assert status['status']['state'] == 1 and status['status']['labels'] == {'tier': 'web'}, status
    json.loads(status['info']['info'])
    assert [each['id'] for each in call('ListContainers', {'filter': {'pod_sandbox_id': pod}})['containers']] == [id]
    assert [each['id'] for each in whole('StreamContainers', 'containers')] == [id]

    # Into it.
    outcome = call('ExecSync', {'container_id': id, 'cmd': ['sh', '-c', 'echo out; echo err >&2; exit 3'], 'timeout': 10})
    assert outcome == {'stdout': b'out\n', 'stderr': b'err\n', 'exit_code': 3}, outcome
    web = WebSocket(call('Exec', {'container_id': id, 'cmd': ['sh', '-c', 'echo hello; exit 2'], 'stdout': True,
                                  'stderr': True})['url'], 'v5.channel.k8s.io')
    assert web.status == '101', web.status
    seen = web.until(lambda seen: 3 in seen)
    assert seen[1] == b'hello\n' and json.loads(seen[3])['status'] == 'Failure', seen
    web = WebSocket(call('Attach', {'container_id': id, 'stdin': True, 'stdout': True, 'stderr': True})['url'],
                    'v5.channel.k8s.io')
    assert web.status == '101', web.status
    web.send(b'\x00word\n')
    seen = web.until(lambda seen: b'got word\n' in seen.get(1, b''))
    assert b'got word\n' in seen.get(1, b''), seen
    web.socket.close()
    url = call('PortForward', {'pod_sandbox_id': pod, 'port': [80]})['url']
    assert re.match(r'https?://127\.0\.0\.1:\d+/', url), url
    os.rename(path + '/logs/every/main.log', path + '/logs/every/main.log.1')
    call('ReopenContainerLog', {'container_id': id})
    assert os.path.exists(path + '/logs/every/main.log')

    # Figures.
    stats = call('ContainerStats', {'container_id': id})['stats']
    assert stats['attributes']['id'] == id and stats['cpu']['timestamp'] > 0, stats
    assert [each['attributes']['id'] for each in call('ListContainerStats')['stats']] == [id]
    assert [each['attributes']['id'] for each in whole('StreamContainerStats', 'container_stats')] == [id]
    assert call('PodSandboxStats', {'pod_sandbox_id': pod})['stats']['attributes']['id'] == pod
    assert [each['attributes']['id'] for each in call('ListPodSandboxStats')['stats']] == [pod]
    assert [each['attributes']['id'] for each in whole('StreamPodSandboxStats', 'pod_sandbox_stats')] == [pod]
    described = {each['name']: each for each in call('ListMetricDescriptors')['descriptors']}
    assert 'container_cpu_usage_seconds_total' in described, sorted(described)
    for metrics in call('ListPodSandboxMetrics')['pod_metrics'], whole('StreamPodSandboxMetrics', 'pod_sandbox_metrics'):
        assert [each['pod_sandbox_id'] for each in metrics] == [pod]
        of_container = metrics[0]['container_metrics'][0]
        assert of_container['container_id'] == id, metrics
        for metric in metrics[0].get('metrics', []) + of_container['metrics']:
            assert len(metric.get('label_values', [])) == len(described[metric['name']].get('label_keys', [])), metric

    # Changes of what runs: the limits' controllers are on this machine or named.
    for name, value in [('UpdateContainerResources', {'container_id': id, 'linux': {'cpu_shares': 512}}),
                        ('UpdatePodSandboxResources', {'pod_sandbox_id': pod, 'resources': {'cpu_shares': 512}})]:
        try: call(name, value)
        except grpc.RpcError as error: assert 'cpu' in error.details(), (name, error.code(), error.details())
    assert 'heckpoint' in refused('CheckpointContainer', {'container_id': id, 'location': path + '/c.tar'}, 'UNIMPLEMENTED')

    # Its end, twice each.
    for _ in range(2): call('StopContainer', {'container_id': id, 'timeout': 0})
    assert call('ContainerStatus', {'container_id': id})['status']['exit_code'] == 137
    for _ in range(2): call('RemoveContainer', {'container_id': id})
    for _ in range(2): call('StopPodSandbox', {'pod_sandbox_id': pod})
    for _ in range(2): call('RemovePodSandbox', {'pod_sandbox_id': pod})
    refused('ContainerStatus', {'container_id': id}, 'NOT_FOUND'); refused('PodSandboxStatus', {'pod_sandbox_id': pod}, 'NOT_FOUND')
    told = []
    for event in events:
        assert event['created_at'] > 0
        if event['container_id'] == id: told.append(event.get('container_event_type', 0))
        if len(told) == 4: break
    events.cancel()
    assert told == [0, 1, 2, 3], told

    every = {each for calls in services.values() for each in calls}
    assert made == every, every - made
    print('%d calls, none left out' % len(made))
    """#
}
