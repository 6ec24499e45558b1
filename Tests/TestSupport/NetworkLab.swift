internal import Glibc
package import Kernel
internal import Synchronization

/// A network namespace of one test, pinned in its directory, and what tests do in it.
package struct LabNamespace: Sendable {
  package let namespace: NetworkNamespace
  package let path: String

  /// Loopback is up, and there is no way out.
  package static func make(at path: String) async throws -> LabNamespace {
    let namespace = try await NetworkNamespace.make(pinnedAt: path)
    try await namespace.run { () throws(SyscallError) in try RouteSocket().run([.setUp(name: "lo")]) }
    return LabNamespace(namespace: namespace, path: path)
  }

  package static func open(_ path: String) throws -> LabNamespace {
    LabNamespace(namespace: try NetworkNamespace.open(path), path: path)
  }

  package func remove() throws { try NetworkNamespace.unpin(path) }

  package struct Failure: Error, CustomStringConvertible {
    package let description: String
  }

  /// Runs a program of the system inside; its output.
  /// - Throws: `Failure` with its words where it does not exit with 0.
  @discardableResult
  package func command(_ words: String..., input: String = "") async throws -> String {
    let outcome = try await ChildProcess.run(
      "/usr/bin/nsenter", arguments: ["nsenter", "--net=\(path)"] + words,
      environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"], input: Array(input.utf8))
    if outcome.status.code != 0 {
      throw Failure(
        description:
          "\(words.joined(separator: " ")): \(String(decoding: outcome.errorOutput + outcome.output, as: UTF8.self))")
    }
    return String(decoding: outcome.output, as: UTF8.self)
  }

  /// Names of its links, sorted.
  package func links() async throws -> [String] {
    try await namespace.run { () throws(SyscallError) in try RouteSocket().links().map(\.name).sorted() }
  }
}

/// Answers each TCP connection, or UDP packet, with its own name and the address that it came from: "web-1 10.88.0.7".
package final class EchoServer: Sendable {
  private let descriptor: CInt
  private let stopped = Mutex(false)

  package init(name: String, transport: TransportProtocol, port: UInt16, in lab: LabNamespace) async throws {
    let descriptor = try await lab.namespace.run { () throws(SyscallError) -> CInt in
      let fd = try syscall("socket", on: name) { socket(AF_INET6, transport.socketType, 0) }
      var zero: CInt = 0
      setsockopt(fd, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &zero, 4)
      var one: CInt = 1
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, 4)
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      address.sin6_port = port.bigEndian
      _ = try syscall("bind", on: "port \(port)") {
        withUnsafePointer(to: &address) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(fd, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
          }
        }
      }
      if transport == .tcp { _ = try syscall("listen", on: "port \(port)") { listen(fd, 128) } }
      return fd
    }
    self.descriptor = descriptor
    Task.detached {
      await onFreshThread { transport == .tcp ? Self.serveTCP(descriptor, name) : Self.serveUDP(descriptor, name) }
    }
  }

  /// The server's thread then closes the descriptor, so that its number may be another's: once only.
  package func stop() {
    let first = stopped.withLock { stopped in
      defer { stopped = true }
      return !stopped
    }
    if first { shutdown(descriptor, Int32(SHUT_RDWR)) }
  }

  deinit { stop() }

  private static func serveTCP(_ descriptor: CInt, _ name: String) {
    while true {
      var peer = sockaddr_in6()
      let fd = acceptFrom(descriptor, &peer)
      if fd < 0 { break }
      let answer = Array("\(name) \(text(peer))".utf8)
      _ = answer.withUnsafeBytes { send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      close(fd)
    }
    close(descriptor)
  }

  private static func acceptFrom(_ descriptor: CInt, _ peer: inout sockaddr_in6) -> CInt {
    var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
    return withUnsafeMutablePointer(to: &peer) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { accept(descriptor, $0, &length) }
    }
  }

  private static func serveUDP(_ descriptor: CInt, _ name: String) {
    var buffer = [UInt8](repeating: 0, count: 2048)
    while true {
      var peer = sockaddr_in6()
      var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
      let count = withUnsafeMutablePointer(to: &peer) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          recvfrom(descriptor, &buffer, 2048, 0, $0, &length)
        }
      }
      if count <= 0 { break }
      let answer = Array("\(name) \(text(peer))".utf8)
      withUnsafePointer(to: &peer) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          _ = sendto(descriptor, answer, answer.count, 0, $0, length)
        }
      }
    }
    close(descriptor)
  }

  private static func text(_ peer: sockaddr_in6) -> String {
    let bytes = withUnsafeBytes(of: peer.sin6_addr) { Array($0) }
    let mapped = bytes.prefix(12) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
    return IPAddress(bytes: mapped ? bytes.suffix(4) : bytes[...])?.description ?? "?"
  }
}

extension TransportProtocol {
  fileprivate var socketType: CInt {
    self == .tcp
      ? CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
      : CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
  }
}

/// A client's socket, connected to an address and port.
package final class LabClient: Sendable {
  private let descriptor: CInt

  /// - Parameter ownPort: of IPv4 and IPv6 alike; nil: the kernel chooses, also one whose last flow is still known.
  /// - Throws: `SyscallError` of connect: ECONNREFUSED, ETIMEDOUT or EINPROGRESS after `seconds`.
  package init(
    _ transport: TransportProtocol, to address: IPAddress, port: UInt16, from lab: LabNamespace, seconds: Int = 2,
    ownPort: UInt16? = nil
  ) async throws {
    descriptor = try await lab.namespace.run { () throws(SyscallError) -> CInt in
      let family = address.family == .ipv4 ? AF_INET : AF_INET6
      let fd = try syscall("socket", on: "client") { socket(family, transport.socketType, 0) }
      var limit = timeval(tv_sec: seconds, tv_usec: 0)
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
      setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
      do throws(SyscallError) {
        if let ownPort { _ = try syscall("bind", on: "port \(ownPort)") { Self.bindSocket(fd, address, ownPort) } }
        _ = try syscall("connect", on: "\(address) port \(port)") { Self.connectSocket(fd, address, port) }
      } catch {
        close(fd)
        throw error
      }
      return fd
    }
  }

  deinit { close(descriptor) }

  private static func bindSocket(_ fd: CInt, _ peer: IPAddress, _ port: UInt16) -> CInt {
    if peer.family == .ipv4 {
      var own = sockaddr_in()
      own.sin_family = sa_family_t(AF_INET)
      own.sin_port = port.bigEndian
      return withUnsafePointer(to: &own) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
    }
    var own = sockaddr_in6()
    own.sin6_family = sa_family_t(AF_INET6)
    own.sin6_port = port.bigEndian
    return withUnsafePointer(to: &own) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(fd, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
      }
    }
  }

  private static func connectSocket(_ fd: CInt, _ address: IPAddress, _ port: UInt16) -> CInt {
    if address.family == .ipv4 {
      var target = sockaddr_in()
      target.sin_family = sa_family_t(AF_INET)
      target.sin_port = port.bigEndian
      withUnsafeMutableBytes(of: &target.sin_addr) { $0.copyBytes(from: address.bytes) }
      return withUnsafePointer(to: &target) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
    }
    var target = sockaddr_in6()
    target.sin6_family = sa_family_t(AF_INET6)
    target.sin6_port = port.bigEndian
    withUnsafeMutableBytes(of: &target.sin6_addr) { $0.copyBytes(from: address.bytes) }
    return withUnsafePointer(to: &target) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
      }
    }
  }

  /// Sends a word (UDP needs one), and gives the answer. On a thread of its own.
  package func ask(_ word: String = "?") async throws -> String {
    let fd = descriptor
    return try await onFreshThread { () throws(SyscallError) -> String in
      _ = try syscall("send", on: "client") { send(fd, word, word.utf8.count, Int32(MSG_NOSIGNAL)) }
      var buffer = [UInt8](repeating: 0, count: 256)
      let count = try syscall("recv", on: "client") { recv(fd, &buffer, 256, 0) }
      return String(decoding: buffer[..<count], as: UTF8.self)
    }
  }
}

/// The last port that a datagram of `spread` came from, below those that the kernel chooses.
private let spreadPorts = Mutex<UInt16>(10_000)

extension LabNamespace {
  /// One question to a server, over a socket of its own.
  package func ask(_ address: IPAddress, port: UInt16, _ transport: TransportProtocol = .tcp) async throws -> String {
    try await LabClient(transport, to: address, port: port, from: self).ask()
  }

  /// How often which server answered; only its name counts.
  package func spread(_ address: IPAddress, port: UInt16, _ transport: TransportProtocol = .tcp, times: Int)
    async throws -> [String: Int]
  {
    var counts: [String: Int] = [:]
    for _ in 0..<times {
      // A datagram's flow is known for a while: a port that comes again meets the server of before.
      let own =
        transport == .udp
        ? spreadPorts.withLock { ports in
          ports += 1
          return ports
        } : nil
      let answer = try await LabClient(transport, to: address, port: port, from: self, ownPort: own).ask()
      counts[String(answer.prefix { $0 != " " }), default: 0] += 1
    }
    return counts
  }
}
