internal import Kernel

/// gzip for long answers.
enum Compression {
  /// - Returns: the answer compressed; nil where it is to stay as it is.
  static func applied(to response: HTTPResponse, of request: HTTPRequest, from bytesMin: Int) async -> HTTPResponse? {
    let parts: [[UInt8]]
    switch response.body {
    case .bytes(let bytes):
      guard bytes.count >= bytesMin else { return nil }
      parts = [bytes]
    case .chunks(let chunks):
      guard chunks.reduce(0, { $0 + $1.count }) >= bytesMin else { return nil }
      parts = chunks
    case .stream, .tunnel: return nil
    }
    guard response.status == 200, !response.headers.contains("content-encoding"), isWelcome(request.headers) else {
      return nil
    }
    // Milliseconds: not on the event loop.
    guard let packed = await offLoop({ try? Zlib.gzip(parts, level: level) }) else { return nil }
    var smaller = response
    smaller.headers["Content-Encoding"] = "gzip"
    smaller.headers["Content-Length"] = nil
    if !smaller.headers.tokens("vary").contains(where: { $0.lowercased() == "accept-encoding" }) {
      smaller.headers.add("Vary", "Accept-Encoding")
    }
    smaller.body = .bytes(packed)
    return smaller
  }

  /// The fastest: the network here is mostly the machine itself.
  private static let level: Int32 = 1

  /// Whether the client takes gzip: named, and not with `q=0`.
  static func isWelcome(_ headers: HTTPFields) -> Bool {
    headers.tokens("accept-encoding").contains { token in
      let parts = token.split(separator: ";").map(\.trimmingSpaces)
      guard parts.first?.lowercased() == "gzip" else { return false }
      let weight = parts.dropFirst().first { $0.hasPrefix("q=") }.flatMap { Double($0.dropFirst(2)) }
      return weight != 0
    }
  }
}
