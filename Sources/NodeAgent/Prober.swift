internal import CRIClient
internal import CRIModel
internal import Kernel
package import KubeModel
internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import PodTranslation

/// What a probe or hook found.
package struct ProbeResult: Hashable, Sendable {
  package var success: Bool
  package var message: String

  package init(success: Bool, message: String = "") { (self.success, self.message) = (success, message) }
}

/// One thing to try on a container: run a command, fetch a page, open a connection.
package enum ProbeTarget: Hashable, Sendable {
  case exec([String])
  /// - secure: over TLS, whoever the other side says that it is, as Kubernetes does.
  case http(host: String, port: Int32, path: String, headers: [HTTPHeader], secure: Bool = false)
  case tcp(host: String, port: Int32)
  /// The health check that gRPC services have.
  case grpc(host: String, port: Int32, service: String)

  /// - Parameter address: of the pod, where the probe names no host.
  package init?(_ probe: Probe, of container: Container, address: String) {
    if let exec = probe.exec {
      self = .exec(exec.command)
    } else if let get = probe.httpGet {
      self.init(get, of: container, address: address)
    } else if let grpc = probe.grpc {
      self = .grpc(host: address, port: grpc.port, service: grpc.service ?? "")
    } else if let tcp = probe.tcpSocket, let port = container.port(tcp.port) {
      self = .tcp(host: tcp.host ?? address, port: port)
    } else {
      return nil
    }
  }

  package init?(_ get: HTTPGetAction, of container: Container, address: String) {
    guard let port = container.port(get.port) else { return nil }
    self = .http(
      host: get.host ?? address, port: port, path: get.path ?? "/", headers: get.httpHeaders,
      secure: get.scheme?.uppercased() == "HTTPS")
  }
}

/// Tries targets. No process is started but in the container itself.
package struct Prober: Sendable {
  /// Bytes of an answer that are read to find its status.
  private static let answerBytesMax = 10 << 10
  /// Bytes of a message that are kept.
  static let messageBytesMax = 1024

  package init() {}

  /// - Parameter timeout: after which it has failed.
  package func run(
    _ target: ProbeTarget, container id: String, runtime: any RuntimeClient, timeout: Duration
  ) async -> ProbeResult {
    switch target {
    case .exec(let command):
      do throws(CRIError) {
        let seconds = max(1, timeout.components.seconds)
        let answer = try await runtime.execSync(id, command: command, timeoutSeconds: seconds)
        if answer.exitCode == 0 { return ProbeResult(success: true) }
        let said = String(decoding: (answer.stdout + answer.stderr).prefix(Self.messageBytesMax), as: UTF8.self)
        return ProbeResult(success: false, message: said.isEmpty ? "exit code \(answer.exitCode)" : said)
      } catch {
        guard error.code == .deadlineExceeded else { return ProbeResult(success: false, message: error.message) }
        let words = command.joined(separator: " ")
        return ProbeResult(
          success: false,
          message: "command timed out: \"\(words)\" timed out after \(max(1, timeout.components.seconds))s")
      }
    case .tcp(let host, let port):
      let place = Self.place(host, port)
      return await within(timeout, subject: "dial tcp \(place)", late: "dial tcp \(place): i/o timeout") {
        let connection = try await Self.connect(host, port, timeout)
        return try await connection.executeThenClose { _, _ in ProbeResult(success: true) }
      }
    case .grpc(let host, let port, let service):
      let place = Self.place(host, port)
      return await within(
        timeout, subject: "dial tcp \(place)",
        late: "timeout: failed to connect service \"\(place)\" within \(timeout.components.seconds)s"
      ) {
        do throws(CRIError) {
          let answer = try await GRPCHealth.check(host: host, port: Int(port), service: service, timeout: timeout)
          return ProbeResult(
            success: answer == .serving,
            message: answer == .serving ? "" : "service unhealthy (responded with \"\(answer.name)\")")
        } catch {
          return ProbeResult(success: false, message: "\(place): \(error.message)")
        }
      }
    case .http(let host, let port, let path, let headers, let secure):
      let request = Self.request(host, port, path, headers)
      let url = "\(secure ? "https" : "http")://\(Self.place(host, port))\(path.hasPrefix("/") ? path : "/\(path)")"
      return await within(
        timeout, subject: "Get \"\(url)\": dial tcp \(Self.place(host, port))",
        late: "Get \"\(url)\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
      ) {
        let connection = try await Self.connect(host, port, timeout, tls: secure ? Self.anyServer.get() : nil)
        return try await connection.executeThenClose { inbound, outbound in
          try await outbound.write(ByteBuffer(string: request))
          var answer = ByteBuffer()
          for try await part in inbound {
            answer.writeImmutableBuffer(part)
            if let result = Self.result(answer) { return result }
          }
          return ProbeResult(success: false, message: "the connection ended without an answer")
        }
      }
    }
  }

  private static func place(_ host: String, _ port: Int32) -> String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }

  /// Why there is no connection, as people know it.
  static func words(_ error: any Error) -> String {
    let cause = (error as? NIOConnectionError)?.connectionErrors.first?.error ?? error
    if case ChannelError.connectTimeout = cause { return "i/o timeout" }
    guard let failure = cause as? IOError else { return "\(cause)" }
    switch failure.errnoCode {
    case Errno.connectionRefused: return "connect: connection refused"
    case Errno.connectionReset: return "read: connection reset by peer"
    case Errno.timedOut: return "connect: connection timed out"
    default: return "\(cause)"
    }
  }

  /// - Parameters:
  ///   - subject: what an error is about.
  ///   - late: what is said where the time was up.
  private func within(
    _ timeout: Duration, subject: String, late: String, _ body: @escaping @Sendable () async throws -> ProbeResult
  ) async -> ProbeResult {
    await withTaskGroup(of: ProbeResult?.self) { group in
      group.addTask {
        do {
          return try await body()
        } catch is CancellationError {
          return nil
        } catch {
          return ProbeResult(success: false, message: "\(subject): \(Self.words(error))")
        }
      }
      group.addTask {
        try? await Task.sleep(for: timeout)
        return nil
      }
      let first = await group.next() ?? nil
      group.cancelAll()
      return first ?? ProbeResult(success: false, message: late)
    }
  }

  private typealias Connection = NIOAsyncChannel<ByteBuffer, ByteBuffer>

  /// TLS with whatever certificate a pod has made itself: a probe asks whether something answers, not who.
  private static let anyServer = Result<NIOSSLContext, any Error> {
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.certificateVerification = .none
    configuration.applicationProtocols = ["http/1.1"]
    return try NIOSSLContext(configuration: configuration)
  }

  private static func connect(
    _ host: String, _ port: Int32, _ timeout: Duration, tls: NIOSSLContext? = nil
  ) async throws -> Connection {
    try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .connectTimeout(TimeAmount(timeout))
      .connect(host: host, port: Int(port)) { channel in
        channel.eventLoop.makeCompletedFuture {
          if let tls {
            // The name of the server is not told: most have an address, which TLS does not take for a name.
            try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: tls, serverHostname: nil))
          }
          return try Connection(wrappingChannelSynchronously: channel)
        }
      }
  }

  private static func request(_ host: String, _ port: Int32, _ path: String, _ headers: [HTTPHeader]) -> String {
    // A line break in what a pod says must not become a header of ours.
    func line(_ text: String) -> String { String(text.filter { !$0.isNewline && $0 != "\0" }) }
    let target = line(path.hasPrefix("/") ? path : "/\(path)").replacing(" ", with: "%20")
    var text = "GET \(target) HTTP/1.1\r\n"
    var fields = [
      ("Host", host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"), ("User-Agent", "martlet-probe"),
    ]
    fields += [("Accept", "*/*"), ("Connection", "close")]
    for header in headers {
      fields.removeAll { $0.0.lowercased() == header.name.lowercased() }
      fields.append((line(header.name), line(header.value)))
    }
    for (name, value) in fields { text += "\(name): \(value)\r\n" }
    return text + "\r\n"
  }

  /// Nil while the status line is not all there.
  private static func result(_ answer: ByteBuffer) -> ProbeResult? {
    let bytes = answer.readableBytesView
    guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")) else {
      guard bytes.count > answerBytesMax else { return nil }
      return ProbeResult(success: false, message: "the answer is not HTTP")
    }
    let line = String(decoding: bytes[..<end], as: UTF8.self).filter { !$0.isNewline }
    let words = line.split(separator: " ", maxSplits: 2)
    guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let code = Int(words[1]) else {
      return ProbeResult(success: false, message: "the answer is not HTTP")
    }
    let good = (200..<400).contains(code)
    return ProbeResult(success: good, message: good ? "" : "HTTP probe failed with statuscode: \(code)")
  }
}
