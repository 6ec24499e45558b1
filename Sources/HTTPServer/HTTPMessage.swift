/// Who sent a request, as far as the connection proves it.
package enum HTTPPeer: Hashable, Sendable {
  /// A process on this machine, by its unix socket; what the kernel says of it.
  case unix(user: UInt32, group: UInt32, process: Int32)
  /// A client certificate that the server's authorities signed.
  case certificate(commonName: String, organizations: [String])
  /// This very process.
  case process
  case anonymous
}

/// Why a request's body, or a tunnel's bytes, did not come whole.
package enum HTTPBodyError: Error, Hashable, CustomStringConvertible {
  case tooLarge(limitBytes: Int)
  /// The peer left, or its connection broke.
  case disconnected
  /// It sent nothing for this long.
  case timedOut(seconds: Int)

  package var description: String {
    switch self {
    case .tooLarge(let limit): "read(request body): more than \(limit) bytes"
    case .disconnected: "read or write(connection): the other side left"
    case .timedOut(let seconds): "read(request body): nothing came for \(seconds) s"
    }
  }
}

/// A request as a handler gets it: its head, and the body when asked for.
package struct HTTPRequest: Sendable {
  package var method: String
  package var target: HTTPTarget
  package var headers: HTTPFields
  package var peer: HTTPPeer
  /// Came over TLS.
  package var isSecure: Bool
  /// `2` for HTTP/2, else 1.
  package var majorVersion: Int
  /// The client's address for logs: `127.0.0.1:4711`, or empty.
  package var remoteAddress: String
  let incoming: HTTPIncomingBody

  package var path: String { target.path }
  package var query: HTTPQuery { target.query }

  /// The client takes answers compressed.
  package var acceptsGzip: Bool { Compression.isWelcome(headers) }

  /// A request's body may be this long unless the handler says otherwise.
  package static let bodyBytesMax = 3 << 20

  /// A request with a body at hand: what an in-process caller and tests make.
  package init(
    method: String, target: HTTPTarget, headers: HTTPFields = [:], body: [UInt8] = [], peer: HTTPPeer = .anonymous
  ) {
    self.init(method: method, target: target, headers: headers, peer: peer, incoming: HTTPIncomingBody(whole: body))
  }

  init(
    method: String, target: HTTPTarget, headers: HTTPFields, peer: HTTPPeer, isSecure: Bool = false,
    majorVersion: Int = 1, remoteAddress: String = "", incoming: HTTPIncomingBody
  ) {
    self.method = method
    self.target = target
    self.headers = headers
    self.peer = peer
    self.isSecure = isSecure
    self.majorVersion = majorVersion
    self.remoteAddress = remoteAddress
    self.incoming = incoming
  }

  /// The whole body. To be called once, by one task.
  ///
  /// - Throws: `.tooLarge` as soon as more than `limit` bytes came or were announced; answer 413 then.
  package func body(limit: Int = HTTPRequest.bodyBytesMax) async throws(HTTPBodyError) -> [UInt8] {
    if let text = headers["content-length"], let length = Int(text), length > limit {
      throw .tooLarge(limitBytes: limit)
    }
    return try await incoming.collect(limit: limit)
  }

  /// The next bytes of the body as they come; nil is its end. For bodies that need not fit into memory.
  package func nextBodyBytes() async throws(HTTPBodyError) -> [UInt8]? { try await incoming.next() }
}

/// What a handler answers.
package struct HTTPResponse: Sendable {
  package enum Body: Sendable {
    case bytes([UInt8])
    /// Parts of one body, sent one after another without being joined.
    case chunks([[UInt8]])
    /// Written as it comes about. The end of the closure is the body's end; a thrown error breaks the connection (the
    /// stream, in HTTP/2), so that nobody takes half a body for a whole one. Cancelled when the client leaves.
    case stream(@Sendable (HTTPBodyWriter) async throws -> Void)
    /// After a 101: HTTP ends, and the closure has the connection. It is closed when the closure ends. HTTP/1.1 only.
    case tunnel(@Sendable (ByteTunnel) async throws -> Void)
  }

  package var status: Int
  package var headers: HTTPFields
  package var body: Body

  package init(status: Int = 200, headers: HTTPFields = [:], body: Body = .bytes([])) {
    self.status = status
    self.headers = headers
    self.body = body
  }

  package static func text(_ text: String, status: Int = 200) -> HTTPResponse {
    HTTPResponse(
      status: status, headers: ["Content-Type": "text/plain; charset=utf-8"], body: .bytes(Array(text.utf8)))
  }

  /// Switches to `token`, one of those that the request's Upgrade names, and hands the connection over.
  package static func upgrade(
    to token: String, headers: HTTPFields = [:], _ tunnel: @escaping @Sendable (ByteTunnel) async throws -> Void
  ) -> HTTPResponse {
    var headers = headers
    headers["Connection"] = "Upgrade"
    headers["Upgrade"] = token
    return HTTPResponse(status: 101, headers: headers, body: .tunnel(tunnel))
  }
}
