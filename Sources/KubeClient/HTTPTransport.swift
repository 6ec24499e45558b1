import AsyncHTTPClient
internal import Kernel
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
internal import Synchronization

extension KubeTransport {
  /// A server behind a unix socket, HTTP/1.1. The socket's mode and the peer's user are the authentication.
  package static func unix(path: String) -> KubeTransport {
    let host = HTTPTransport.escaped(path, slashes: true)
    let transport = HTTPTransport(base: "http+unix://\(host)", place: "unix socket \(path)", credentials: nil)
    return KubeTransport { request throws(KubeError) in try await transport.send(request) }
  }

  /// A server by kubeconfig: TLS with HTTP/2 or HTTP/1.1 as the server likes. Files that it names are read again when they
  /// change.
  package static func kubeconfig(_ configuration: Kubeconfig) throws(KubeError) -> KubeTransport {
    try KubeTransport(credentials: KubeCredentials(fixed: configuration))
  }

  /// The same for a file, itself read again when it changes. Blocks on the disk.
  /// - Parameter context: nil for the file's own choice.
  package static func kubeconfig(path: String, context: String? = nil) throws(KubeError) -> KubeTransport {
    try KubeTransport(credentials: KubeCredentials(path: path, context: context))
  }

  private init(credentials: KubeCredentials) throws(KubeError) {
    let configuration = credentials.configuration
    var base = configuration.server
    while base.last == "/" { base.removeLast() }
    let transport = HTTPTransport(base: base, place: base, credentials: credentials)
    self.init { request throws(KubeError) in try await transport.send(request) }
  }
}

/// Requests over a network library: escapes, credentials, and what its errors mean.
final class HTTPTransport: Sendable {
  private static let connectTimeoutSeconds: Int64 = 10
  /// Each watch holds a connection of its own over HTTP/1.1.
  private static let connectionsMax = 1024
  private static let idleSeconds: Int64 = 60

  private let client: HTTPClient
  private let base: String
  private let place: String
  private let credentials: KubeCredentials?

  init(base: String, place: String, credentials: KubeCredentials?) {
    var base = base
    var configuration = HTTPClient.Configuration(
      redirectConfiguration: .disallow, timeout: .init(connect: .seconds(Self.connectTimeoutSeconds)))
    configuration.httpVersion = .automatic
    configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = Self.connectionsMax
    configuration.connectionPool.idleTimeout = .seconds(Self.idleSeconds)
    // Tries are counted and spaced by the caller.
    configuration.connectionPool.retryConnectionEstablishment = false
    // The certificate's name goes into the URL, and the address it stands for beside it.
    if let name = credentials?.configuration.tlsServerName, let split = Self.split(base) {
      configuration.dnsOverride[name] = split.host
      base = "\(split.scheme)://\(name)\(split.rest)"
    }
    self.base = base
    self.place = place
    self.credentials = credentials
    // A loop of its own turn: the whole group would put every client's connections on its first loop.
    client = HTTPClient(
      eventLoopGroupProvider: .shared(MultiThreadedEventLoopGroup.singleton.next()), configuration: configuration)
  }

  deinit { let _: EventLoopFuture<Void> = client.shutdown() }

  func send(_ request: KubeRequest) async throws(KubeError) -> KubeResponse {
    var outgoing = HTTPClientRequest(url: url(request))
    outgoing.method = HTTPMethod(rawValue: request.method.rawValue)
    for (name, value) in request.headers { outgoing.headers.add(name: name, value: value) }
    // The library knows no host behind a socket and would send an empty one, which servers refuse.
    if base.hasPrefix("http+unix:") { outgoing.headers.replaceOrAdd(name: "Host", value: "localhost") }
    if let credentials {
      let current = try await credentials.current()
      outgoing.tlsConfiguration = current.tls
      if let authorization = current.authorization, !outgoing.headers.contains(name: "authorization") {
        outgoing.headers.add(name: "Authorization", value: authorization)
      }
    }
    if !request.body.isEmpty { outgoing.body = .bytes(ByteBuffer(bytes: request.body)) }
    // The caller's own deadline covers the body, too; this one only bounds what nobody waits for any more.
    let deadline = NIODeadline.now() + .seconds(Int64(request.timeoutSeconds ?? 60) + 1)
    let (call, place) = (request.call, place)
    do {
      let response = try await client.execute(outgoing, deadline: deadline)
      let reader = BodyReader(response.body)
      return KubeResponse(
        status: Int(response.status.code), headers: response.headers.map { ($0.name, $0.value) },
        body: KubeBody(next: { () throws(KubeError) in
          do {
            return try await reader.next()
          } catch {
            throw Self.broken(error, place, call, isBody: true)
          }
        }))
    } catch {
      throw Self.broken(error, place, call, isBody: false)
    }
  }

  // MARK: Addresses

  private func url(_ request: KubeRequest) -> String {
    var url = base + Self.escaped(request.path, slashes: false)
    for (index, item) in request.query.enumerated() {
      let (name, value) = (Self.escaped(item.name, slashes: true), Self.escaped(item.value, slashes: true))
      url += "\(index == 0 ? "?" : "&")\(name)=\(value)"
    }
    return url
  }

  /// RFC 3986 §2.3: what is not unreserved is escaped; slashes only where asked.
  static func escaped(_ text: String, slashes: Bool) -> String {
    var out: [UInt8] = []
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"):
        out.append(byte)
      case UInt8(ascii: "/") where !slashes: out.append(byte)
      default: out += Array("%\(hexadecimal([byte]).uppercased())".utf8)
      }
    }
    return String(decoding: out, as: UTF8.self)
  }

  /// `https://host:6443/x` as `https`, `host` and `:6443/x`.
  static func split(_ url: String) -> (scheme: String, host: String, rest: String)? {
    let bytes = Array(url.utf8)
    guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")), bytes[colon...].starts(with: "://".utf8) else {
      return nil
    }
    let start = colon + 3
    var end = start
    if end < bytes.count, bytes[end] == UInt8(ascii: "[") {
      guard let close = bytes[end...].firstIndex(of: UInt8(ascii: "]")) else { return nil }
      let host = String(decoding: bytes[(start + 1)..<close], as: UTF8.self)
      return (
        String(decoding: bytes[..<colon], as: UTF8.self), host,
        String(decoding: bytes[(close + 1)...], as: UTF8.self)
      )
    }
    while end < bytes.count, bytes[end] != UInt8(ascii: ":"), bytes[end] != UInt8(ascii: "/") { end += 1 }
    return (
      String(decoding: bytes[..<colon], as: UTF8.self), String(decoding: bytes[start..<end], as: UTF8.self),
      String(decoding: bytes[end...], as: UTF8.self)
    )
  }

  // MARK: Failures

  private static func broken(_ error: any Error, _ place: String, _ call: String, isBody: Bool) -> KubeError {
    if Task.isCancelled || error is CancellationError || error as? HTTPClientError == .cancelled {
      return .cancelled(call)
    }
    if error as? HTTPClientError == .deadlineExceeded {
      return KubeError(.timeout, message: "\(place) did not answer in time; check that the server runs", call: call)
    }
    if isBody {
      return KubeError(.connection(wasSent: true), message: "the answer of \(place) broke off: \(error)", call: call)
    }
    if error is NIOSSLError || error is NIOSSLExtraError || error is BoringSSLError {
      let hint = "check the kubeconfig's certificate-authority, and that the server's certificate names this address"
      return KubeError(
        .connection(wasSent: false), message: "no TLS with \(place): \(error); \(hint)", call: call)
    }
    let isEarly =
      error is NIOConnectionError || error is IOError || error as? HTTPClientError == .connectTimeout
      || error is SocketAddressError
    let what = isEarly ? "cannot connect to \(place)" : "the connection to \(place) broke"
    return KubeError(
      .connection(wasSent: !isEarly), message: "\(what): \(error); check that the server runs", call: call)
  }
}

/// Pulls an answer's pieces. `@unchecked`: one reader, never twice at a time, as `KubeBody` promises.
private final class BodyReader: @unchecked Sendable {
  private var pieces: HTTPClientResponse.Body.AsyncIterator

  init(_ body: HTTPClientResponse.Body) { pieces = body.makeAsyncIterator() }

  func next() async throws -> [UInt8]? {
    while let piece = try await pieces.next(isolation: #isolation) {
      if piece.readableBytes > 0 { return Array(piece.readableBytesView) }
    }
    return nil
  }
}
