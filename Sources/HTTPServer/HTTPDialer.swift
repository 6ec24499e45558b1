/// The other end of a connection to be made.
package enum HTTPEndpoint: Sendable, Hashable, CustomStringConvertible {
  case unix(path: String)
  case tcp(host: String, port: Int)
  /// - Parameter serverName: the name that the server's certificate must hold; nil: the host.
  case tls(host: String, port: Int, serverName: String?, identity: HTTPDialIdentity)

  package var description: String {
    switch self {
    case .unix(let path): path
    case .tcp(let host, let port), .tls(let host, let port, _, _):
      host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
  }
}

/// What a client shows and whom it believes, as PEM.
package struct HTTPDialIdentity: Sendable, Hashable {
  package var authorities: [UInt8]
  package var certificateChain: [UInt8]
  package var privateKey: [UInt8]

  package init(authorities: [UInt8], certificateChain: [UInt8] = [], privateKey: [UInt8] = []) {
    self.authorities = authorities
    self.certificateChain = certificateChain
    self.privateKey = privateKey
  }
}

/// Why there is no answer.
package enum HTTPDialError: Error, CustomStringConvertible {
  case connect(endpoint: String, reason: String)
  case certificate(endpoint: String, reason: String)
  case exchange(endpoint: String, reason: String)
  case timedOut(endpoint: String, stage: String, seconds: Int)

  package var description: String {
    switch self {
    case .connect(let endpoint, let reason): "dial \(endpoint): \(reason)"
    case .certificate(let endpoint, let reason): "dial \(endpoint): TLS: \(reason)"
    case .exchange(let endpoint, let reason): "\(endpoint): \(reason)"
    case .timedOut(let endpoint, let stage, let seconds): "\(endpoint): \(stage): nothing for \(seconds) s"
    }
  }
}

/// An answer's head, and then its body or, after 101, the connection itself. Close it when done.
package struct HTTPDialedResponse: Sendable {
  package let status: Int
  package let headers: HTTPFields
  /// The body's bytes, decoded; after 101, the raw connection in both directions.
  package let tunnel: ByteTunnel

  package init(status: Int, headers: HTTPFields, tunnel: ByteTunnel) {
    self.status = status
    self.headers = headers
    self.tunnel = tunnel
  }
}

/// One request on a connection of its own (HTTP/1.1), for proxies: also one that asks for an upgrade.
package enum HTTPDialer {
  /// - Parameter target: path and query, escaped as they go over the wire.
  /// - Parameter timeoutSeconds: for connecting, and again for the answer's head.
  package static func send(
    method: String, target: String, headers: HTTPFields, body: [UInt8] = [], to endpoint: HTTPEndpoint,
    timeoutSeconds: Int = 30
  ) async throws(HTTPDialError) -> HTTPDialedResponse {
    throw .connect(endpoint: "\(endpoint)", reason: "not served yet")
  }
}
