import Glibc
internal import Kernel
internal import Synchronization

/// Debian's etcd-server on loopback, alone in its cluster, with a data directory and ports of its own.
package final class EtcdProcess: Sendable {
  package struct Failed: Error, CustomStringConvertible {
    package let description: String

    package init(description: String) { self.description = description }
  }

  /// Certificates of the server, and who signed those that its clients must show.
  package struct TLS: Sendable {
    package let certificate: String
    package let key: String
    package let clientAuthority: String

    package init(certificate: String, key: String, clientAuthority: String) {
      self.certificate = certificate
      self.key = key
      self.clientAuthority = clientAuthority
    }
  }

  private static let program = "/usr/bin/etcd"
  private static let startSecondsMax = 20.0
  /// Another program may take a port that was free a moment ago.
  private static let portAttempts = 5

  package let directory: String
  private let tls: TLS?
  private let ports: Mutex<(client: UInt16, peer: UInt16)>
  private let process = Mutex<ChildProcess?>(nil)

  /// Starts it; returns when it listens. - Throws: `Failed`, also where it is not installed: such a test fails.
  package init(directory: String, tls: TLS? = nil) async throws {
    self.directory = directory
    self.tls = tls
    ports = Mutex((0, 0))
    guard Files.exists(Self.program) else {
      throw Failed(description: "\(Self.program) is not there; hack/setup installs Debian's etcd-server")
    }
    for attempt in 1...Self.portAttempts {
      let chosen = (client: try Self.freePort(), peer: try Self.freePort())
      ports.withLock { $0 = chosen }
      do {
        try await start()
        return
      } catch {
        kill()
        try? Files.removeTree("\(directory)/etcd")
        if attempt == Self.portAttempts { throw error }
      }
    }
  }

  package var port: UInt16 { ports.withLock { $0.client } }
  package var url: String { "\(tls == nil ? "http" : "https")://127.0.0.1:\(port)" }

  /// Starts it (again) on what it has kept.
  package func start() async throws {
    let (client, peer) = ports.withLock { $0 }
    let peerURL = "http://127.0.0.1:\(peer)"
    var arguments = [
      "etcd", "--name", "mt", "--data-dir", "\(directory)/etcd", "--listen-client-urls", url,
      "--advertise-client-urls", url, "--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL,
      "--initial-cluster", "mt=\(peerURL)", "--heartbeat-interval", "20", "--election-timeout", "200",
      "--log-level", "error", "--logger", "zap", "--log-outputs", "\(directory)/etcd.log",
    ]
    if let tls {
      arguments += [
        "--cert-file", tls.certificate, "--key-file", tls.key, "--trusted-ca-file", tls.clientAuthority,
        "--client-cert-auth",
      ]
    }
    try process.withLock {
      $0 = try ChildProcess.start(Self.program, arguments: arguments, environment: ["PATH=/usr/bin:/bin"])
    }
    let deadline = ContinuousClock.now + .seconds(Self.startSecondsMax)
    while (try? LoopbackSocket.connect(port: client)) == nil {
      let hasEnded = process.withLock { (try? $0?.poll()) != nil }
      guard ContinuousClock.now < deadline, !hasEnded else {
        let log = (try? Files.readText("\(directory)/etcd.log", maxBytes: 1 << 20)) ?? nil
        throw Failed(description: "etcd does not listen at \(url): \(log?.suffix(500) ?? "it wrote nothing")")
      }
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  /// SIGKILL; returns when it is gone.
  package func kill() { process.withLock { $0 = nil } }

  package static func freePort() throws -> UInt16 {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard socket >= 0 else { throw Failed(description: "socket: errno \(errno)") }
    defer { Glibc.close(socket) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.bind(socket, $0, size) == 0 ? Glibc.getsockname(socket, $0, &size) : -1
      }
    }
    guard result == 0 else { throw Failed(description: "bind to a free port: errno \(errno)") }
    return UInt16(bigEndian: address.sin_port)
  }

  // MARK: how many at a time

  /// etcds that run at a time: each costs a start of a third of a second.
  private static let slots = Slots(free: 4)

  /// Runs `body` when fewer than four others do: for tests that all start one.
  package static func takeSlot() async { await slots.take() }
  package static func giveSlot() async { await slots.give() }

  private actor Slots {
    private var free: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(free: Int) { self.free = free }

    func take() async {
      if free > 0 {
        free -= 1
        return
      }
      await withCheckedContinuation { waiting.append($0) }
    }

    func give() {
      if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
    }
  }
}
