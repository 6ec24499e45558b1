import Kernel
import TestSupport
import Testing

/// The socket as somebody else's client sees it: gRPC for Python, with messages encoded by hand.
@Suite struct CRIStrangerTests {
  @Test func aStrangersClientRunsAPod() async throws {
    try await CRINode.with { node, _ in
      let outcome = try await ChildProcess.run(
        "/usr/bin/python3", arguments: ["python3", "-c", Self.program, node.socketPath, node.path],
        environment: ["PATH=/usr/bin:/bin"], timeoutSeconds: 60)
      let output = String(decoding: outcome.output, as: UTF8.self)
      let errors = String(decoding: outcome.errorOutput, as: UTF8.self)
      #expect(outcome.status == .exited(0), "\(errors)")
      #expect(
        output == "martlet 0.1.0 v1\nrunning\nhello from stranger\nNOT_FOUND\n16773120 5\n8386560 8386560\ngone\n",
        "\(errors)")
    }
  }

  /// Field numbers are those of the Container Runtime Interface, v1.
  private static let program = """
    import sys, grpc
    def varint(n):
        out = b''
        while n > 127: out += bytes([n & 127 | 128]); n >>= 7
        return out + bytes([n])
    def field(number, value):
        if isinstance(value, int): return varint(number << 3) + varint(value)
        if isinstance(value, str): value = value.encode()
        return varint(number << 3 | 2) + varint(len(value)) + value
    def message(*pairs): return b''.join(field(n, v) for n, v in pairs)
    def parse(data):
        fields, at = {}, 0
        def number():
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]; at += 1
                value |= (byte & 127) << shift; shift += 7
                if byte < 128: return value
        while at < len(data):
            key = number()
            if key & 7 == 0: value = number()
            else:
                size = number(); value = data[at:at + size]; at += size
            fields.setdefault(key >> 3, []).append(value)
        return fields
    # A kubelet takes 16 MiB.
    channel = grpc.insecure_channel('unix:' + sys.argv[1], options=[('grpc.max_receive_message_length', 16 << 20)])
    def call(method, *pairs):
        return parse(channel.unary_unary('/runtime.v1.RuntimeService/' + method)(message(*pairs), timeout=30))
    version = call('Version')
    print(version[2][0].decode(), version[3][0].decode(), version[4][0].decode())
    options = message((2, 1))
    config = message((1, message((1, 'stranger'), (2, 'u'), (3, 'default'))), (2, 'stranger'),
                     (3, sys.argv[2] + '/logs/stranger'), (8, message((2, message((1, options))))))
    pod = call('RunPodSandbox', (1, config))[1][0].decode()
    container = message((1, message((1, 'main'))), (2, message((1, 'localhost/busybox:test'))), (3, 'sleep'), (4, '1000'),
                        (11, 'main.log'), (15, message((2, message((3, options))))))
    id = call('CreateContainer', (1, pod), (2, container), (3, config))[1][0].decode()
    call('StartContainer', (1, id))
    state = parse(call('ContainerStatus', (1, id))[1][0]).get(3, [0])[0]
    print('running' if state == 1 else state)
    print(call('ExecSync', (1, id), (2, 'sh'), (2, '-c'), (2, 'echo hello from $(hostname)'), (3, 10))[1][0].decode(), end='')
    try:
        call('ContainerStatus', (1, '0' * 64))
    except grpc.RpcError as error:
        print(error.code().name)
    much = call('ExecSync', (1, id), (2, 'sh'), (2, '-c'), (2, 'yes | head -c 30000000; exit 5'))
    print(len(much[1][0]), much[3][0])
    much = call('ExecSync', (1, id), (2, 'sh'), (2, '-c'), (2, 'yes | head -c 20000000 >&2; yes | head -c 20000000'))
    print(len(much[1][0]), len(much[2][0]))
    call('StopContainer', (1, id))
    call('RemoveContainer', (1, id))
    call('StopPodSandbox', (1, pod))
    call('RemovePodSandbox', (1, pod))
    print('gone' if 1 not in call('ListPodSandbox') else 'left')
    """
}
