internal import Synchronization

/// One request to the API, without the server's address.
package struct KubeRequest: Sendable {
  package enum Method: String, Hashable, Sendable {
    case get = "GET"
    case post = "POST"
    case put = "PUT"
    case patch = "PATCH"
    case delete = "DELETE"
  }
  package var method: Method
  /// Begins with a slash; not escaped.
  package var path: String
  package var query: [(name: String, value: String)]
  package var headers: [(name: String, value: String)]
  package var body: [UInt8]
  /// Seconds until the whole answer must be there; nil for answers without an end, such as watches.
  package var timeoutSeconds: Int?

  package init(
    _ method: Method, _ path: String, query: [(name: String, value: String)] = [],
    headers: [(name: String, value: String)] = [], body: [UInt8] = [], timeoutSeconds: Int? = 30
  ) {
    self.method = method
    self.path = path
    self.query = query
    self.headers = headers
    self.body = body
    self.timeoutSeconds = timeoutSeconds
  }

  /// For messages.
  package var call: String { "\(method.rawValue) \(path)" }
}

/// An answer whose body is still to be read.
package struct KubeResponse: Sendable {
  package var status: Int
  package var headers: [(name: String, value: String)]
  package var body: KubeBody

  package init(status: Int, headers: [(name: String, value: String)] = [], body: KubeBody) {
    self.status = status
    self.headers = headers
    self.body = body
  }

  /// The first value of a header; names are compared without case.
  package func header(_ name: String) -> String? {
    headers.first { $0.name.lowercased() == name.lowercased() }?.value
  }
}

/// The bytes of an answer, in pieces of any size, to be read once by one reader.
///
/// Letting go of it ends the exchange.
package struct KubeBody: AsyncSequence, Sendable {
  package typealias Element = [UInt8]
  package typealias Failure = KubeError

  fileprivate final class Source: Sendable {
    let next: @Sendable () async throws(KubeError) -> [UInt8]?
    let cancel: @Sendable () -> Void

    init(
      _ next: @escaping @Sendable () async throws(KubeError) -> [UInt8]?, _ cancel: @escaping @Sendable () -> Void
    ) {
      self.next = next
      self.cancel = cancel
    }

    deinit { cancel() }
  }
  private let source: Source

  /// - Parameters:
  ///   - next: gives the next piece, nil at the end; called by one reader, never twice at a time.
  ///   - cancel: called once, when nobody holds the body any more.
  package init(
    next: @escaping @Sendable () async throws(KubeError) -> [UInt8]?, cancel: @escaping @Sendable () -> Void = {}
  ) {
    source = Source(next, cancel)
  }

  /// A body that is there already.
  package static func chunks(_ chunks: [[UInt8]]) -> KubeBody {
    let rest = Mutex(chunks[...])
    return KubeBody(next: { () throws(KubeError) in rest.withLock { $0.popFirst() } })
  }

  package static func bytes(_ bytes: [UInt8]) -> KubeBody { chunks(bytes.isEmpty ? [] : [bytes]) }

  package struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let source: Source

    package mutating func next(
      isolation actor: isolated (any Actor)? = #isolation
    ) async throws(KubeError) -> [UInt8]? {
      try await source.next()
    }
  }

  package func makeAsyncIterator() -> AsyncIterator { AsyncIterator(source: source) }

  /// Everything.
  /// - Throws: `.tooLarge` beyond `bytesMax`.
  package func collect(bytesMax: Int, call: String) async throws(KubeError) -> [UInt8] {
    var all: [UInt8] = []
    for try await chunk in self {
      if all.isEmpty { all = chunk } else { all += chunk }
      guard all.count <= bytesMax else {
        throw KubeError(.tooLarge, message: "the answer has more than \(bytesMax) bytes", call: call)
      }
    }
    return all
  }
}

/// How requests reach an API server: one call, so that the same client speaks to a server in its own process, behind a
/// unix socket, or behind TLS.
package struct KubeTransport: Sendable {
  /// Sends and returns when the head of the answer is there. Throws `.connection`, `.timeout`, `.cancelled` or
  /// `.configuration`, never `.status`: statuses are answers.
  package var send: @Sendable (KubeRequest) async throws(KubeError) -> KubeResponse

  package init(send: @escaping @Sendable (KubeRequest) async throws(KubeError) -> KubeResponse) { self.send = send }
}
