import Kernel
import Logging
import PodRuntime
import Testing

@testable import CRIServer

@Suite struct LoopbackPortTests {
  private static func sandbox(
    _ ports: [PortMapping], network: NamespaceChoice = .pod, phase: SandboxMachine.Phase = .ready
  ) -> SandboxSnapshot {
    var config = SandboxConfig(identity: SandboxIdentity(namespace: "n", name: "p", uid: "u", attempt: 0))
    config.hostPorts = ports
    config.network = network
    let record = SandboxRecord(
      id: "s", bootID: "b", createdAt: 1, cgroupPath: "/martlet/s", madeGroups: [], config: config)
    return SandboxSnapshot(
      record: record, phase: phase, addresses: SandboxAddresses(ipv4: "127.0.0.1", ipv6: nil), shimPID: 1)
  }

  private static func mapping(
    _ hostPort: UInt16, _ address: String = "", _ transport: PortMapping.Transport = .tcp, to port: UInt16 = 80
  ) -> PortMapping {
    PortMapping(transport: transport, containerPort: port, hostPort: hostPort, hostAddress: address)
  }

  @Test func onlyPortsThatLoopbackHasAreListenedOn() {
    let ports = [
      Self.mapping(1), Self.mapping(2, "0.0.0.0"), Self.mapping(3, "127.0.0.1"), Self.mapping(4, "10.0.0.1"),
      Self.mapping(5, "", .udp), Self.mapping(6, "::1"),
    ]
    #expect(LoopbackPorts.places(of: Self.sandbox(ports)).map(\.port) == [1, 2, 3])
    #expect(LoopbackPorts.places(of: Self.sandbox(ports, network: .node)).isEmpty)
    #expect(LoopbackPorts.places(of: Self.sandbox(ports, phase: .stopped)).isEmpty)
  }

  /// A server that answers with what it was sent once the client has said all, and clients of it.
  private static let program = """
    import socket, sys, threading
    server = socket.create_server(('127.0.0.1', 0))
    probe = socket.create_server(('127.0.0.1', 0))
    free = probe.getsockname()[1]
    probe.close()
    def serve():
        while True:
            peer, _ = server.accept()
            data = b''
            while chunk := peer.recv(1 << 16): data += chunk
            peer.sendall(data)
            peer.close()
    threading.Thread(target=serve, daemon=True).start()
    print(server.getsockname()[1], free, flush=True)
    sys.stdin.readline()
    sent = bytes(range(256)) * 20000
    peer = socket.create_connection(('127.0.0.1', free), timeout=20)
    sender = threading.Thread(target=lambda: (peer.sendall(sent), peer.shutdown(socket.SHUT_WR)))
    sender.start()
    data = b''
    while chunk := peer.recv(1 << 16): data += chunk
    print('whole' if data == sent else len(data), flush=True)
    sys.stdin.readline()
    for _ in range(1000):
        try: socket.create_connection(('127.0.0.1', free), timeout=1).close()
        except ConnectionRefusedError:
            print('closed', flush=True)
            break
        # Nobody has answered, or somebody has and went at once.
        except OSError: pass
    """

  @Test func bytesGoBothWaysAndHalfAConnectionMayEndFirst() async throws {
    var input = try Pipe()
    var output = try Pipe()
    let theirInput = input.takeReadEnd()
    let theirOutput = output.takeWriteEnd()
    let child = try ChildProcess.start(
      "/usr/bin/python3", arguments: ["python3", "-c", Self.program], environment: ["PATH=/usr/bin:/bin"],
      stdio: [theirInput.withRaw { $0 }, theirOutput.withRaw { $0 }, nil])
    // Only the child has them now: its end is the end of what it says.
    try theirInput.close()
    try theirOutput.close()
    let say = input.takeWriteEnd()
    let hear = output.takeReadEnd()
    func line() throws -> String {
      var text: [UInt8] = []
      while let byte = try hear.read(upTo: 1).first, byte != UInt8(ascii: "\n") { text.append(byte) }
      return String(decoding: text, as: UTF8.self)
    }
    let numbers = try line().split(separator: " ").compactMap { UInt16($0) }
    try #require(numbers.count == 2)
    let ports = LoopbackPorts(log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    let sandbox = Self.sandbox([Self.mapping(numbers[1], to: numbers[0])])
    await ports.open(sandbox)
    await ports.open(sandbox)
    try say.writeAll([UInt8(ascii: "\n")])
    #expect(try line() == "whole")
    await ports.close(sandbox.id)
    try say.writeAll([UInt8(ascii: "\n")])
    #expect(try line() == "closed")
    _ = try child.wait()
  }
}
