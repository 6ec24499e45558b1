internal import JSON

/// What the WebSocket of a CRI stream says about its end.
package enum StreamingOutcome: Hashable, Sendable {
  /// The process's exit code; an attached stream that just ended counts as 0.
  case exited(Int32)
  /// The server could not serve the stream, in its words.
  case failed(String)

  /// Reads a status message: a `Status` document from v4 on, text before (empty is success).
  init(message: [UInt8], in proto: StreamingProtocol) {
    let text = String(decoding: message, as: UTF8.self)
    guard proto != .v1 else {
      self = Self.plain(text)
      return
    }
    guard let status = try? JSONValue.parse(message, limits: JSONLimits(maxBytes: 1 << 20, maxDepth: 16)) else {
      self = .failed("the server's exit status is no JSON: \(text.prefix(200))")
      return
    }
    if status["status"]?.string == "Success" {
      self = .exited(0)
    } else if status["reason"]?.string == "NonZeroExitCode", let code = Self.exitCode(of: status) {
      self = .exited(code)
    } else {
      self = .failed(status["message"]?.string ?? "the server gave no reason")
    }
  }

  private static func exitCode(of status: JSONValue) -> Int32? {
    let causes = status["details"]?["causes"]?.array ?? []
    return causes.first { $0["reason"]?.string == "ExitCode" }?["message"]?.string.flatMap { Int32($0) }
  }

  private static func plain(_ text: String) -> StreamingOutcome {
    if text.isEmpty { return .exited(0) }
    // "command terminated with non-zero exit code: exit status 3" is the oldest protocol's only form.
    if let code = text.split(separator: " ").last.flatMap({ Int32($0) }), text.contains("exit") { return .exited(code) }
    return .failed(text)
  }
}

/// The subprotocols that this client offers, best first.
package enum StreamingProtocol: String, CaseIterable, Sendable {
  case v5 = "v5.channel.k8s.io"
  case v4 = "v4.channel.k8s.io"
  case v1 = "channel.k8s.io"
}

/// The streams that come back.
package enum StreamingOutput: Sendable {
  case output, errors
}

/// A stream that could not be opened, or broke.
package struct StreamingClientError: Error, Equatable, CustomStringConvertible {
  /// "connect", "upgrade" or "stream".
  package var stage: String
  package var message: String

  package var description: String { "\(stage): \(message)" }
}

/// `http://HOST:PORT/PATH`, as CRI's Exec and Attach return it.
struct StreamingURL: Equatable, Sendable {
  var host: String
  var port: Int
  var path: String

  init(_ url: String) throws(StreamingClientError) {
    let problem = StreamingClientError(stage: "connect", message: "not a URL that this client understands: \(url)")
    var rest: Substring
    if url.hasPrefix("http://") {
      rest = url.dropFirst(7)
    } else if url.hasPrefix("ws://") {
      rest = url.dropFirst(5)
    } else {
      throw problem
    }
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    path = slash == rest.endIndex ? "/" : String(rest[slash...])
    rest = rest[..<slash]
    let colon = rest.lastIndex(of: ":")
    // A colon inside brackets belongs to an IPv6 address.
    if let colon, rest[colon...].dropFirst().allSatisfy(\.isNumber) {
      guard let port = Int(rest[colon...].dropFirst()), (1...65535).contains(port) else { throw problem }
      self.port = port
      rest = rest[..<colon]
    } else {
      port = 80
    }
    if rest.hasPrefix("["), rest.hasSuffix("]") { rest = rest.dropFirst().dropLast() }
    guard !rest.isEmpty else { throw problem }
    host = String(rest)
  }

  var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
