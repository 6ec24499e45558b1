package import JSON
internal import KubeModel

/// How often and how far apart a call is tried again.
package struct KubeRetry: Sendable {
  /// Tries, the first included.
  package var triesMax = 5
  package var firstDelay: Duration = .milliseconds(100)
  package var delayMax: Duration = .seconds(5)
  /// A longer Retry-After than this is not waited for.
  package var retryAfterSecondsMax = 30
  /// Gives a number from 0 up to 1.
  package var random: @Sendable () -> Double = { .random(in: 0..<1) }

  package init() {}

  package static var never: KubeRetry {
    var retry = KubeRetry()
    retry.triesMax = 1
    return retry
  }
}

/// A client of the Kubernetes API.
///
/// Decoding is lenient: a server may be newer than this client, so unknown fields are passed over. What is read and then
/// written back with `update` loses them: write with `patch` where the server may know more.
///
/// Calls that may have no second effect (reads) are tried again after a broken connection, 429 and 5xx; others only where
/// the server cannot have done them (no connection, 429, 503 with Retry-After). Every try has the request's timeout.
package struct KubeClient: Sendable {
  package let transport: KubeTransport
  package let retry: KubeRetry
  package let clock: KubeClock
  package let userAgent: String

  /// Bytes of one answer that is no stream: a list page of 500 large objects fits.
  package static let answerBytesMax = 128 << 20
  /// Seconds for one try of a call.
  package static let timeoutSecondsDefault = 30

  package init(
    transport: KubeTransport, retry: KubeRetry = KubeRetry(), clock: KubeClock = .continuous,
    userAgent: String = "martlet"
  ) {
    self.transport = transport
    self.retry = retry
    self.clock = clock
    self.userAgent = userAgent
  }

  /// The answer's body, of a 2xx answer.
  /// - Throws: `KubeError`, with the server's Status where it answered.
  package func raw(_ request: KubeRequest) async throws(KubeError) -> [UInt8] {
    var backoff = Backoff(first: retry.firstDelay, max: retry.delayMax, random: retry.random)
    while true {
      let problem: KubeError
      do throws(KubeError) {
        return try await attempt(request)
      } catch {
        problem = error
      }
      guard backoff.tries + 1 < retry.triesMax, let delay = delay(after: problem, request, &backoff) else {
        throw problem
      }
      do {
        try await clock.sleep(for: delay)
      } catch {
        throw KubeError.cancelled(request.call)
      }
    }
  }

  /// The answer as a document.
  package func document(_ request: KubeRequest) async throws(KubeError) -> JSONValue {
    let bytes = try await raw(request)
    do throws(JSONError) {
      return try JSONValue.parse(bytes, limits: JSONLimits(maxBytes: Self.answerBytesMax))
    } catch {
      throw KubeError(.answer, message: "the answer is no document: \(error)", call: request.call)
    }
  }

  /// The head of an answer of 2xx; the body streams. Not tried again.
  package func stream(_ request: KubeRequest) async throws(KubeError) -> KubeResponse {
    var request = request
    request.timeoutSeconds = nil
    let prepared = prepared(request)
    let response = try await withDeadline(Self.timeoutSecondsDefault, request.call) { () throws(KubeError) in
      try await transport.send(prepared)
    }
    guard (200...299).contains(response.status) else { throw try await refusal(response, request.call) }
    return response
  }

  // MARK: One try

  private func prepared(_ request: KubeRequest) -> KubeRequest {
    var request = request
    func add(_ name: String, _ value: String) {
      guard !request.headers.contains(where: { $0.name.lowercased() == name.lowercased() }) else { return }
      request.headers.append((name, value))
    }
    add("Accept", "application/json")
    add("User-Agent", userAgent)
    if !request.body.isEmpty { add("Content-Type", "application/json") }
    return request
  }

  private func attempt(_ request: KubeRequest) async throws(KubeError) -> [UInt8] {
    let prepared = prepared(request)
    return try await withDeadline(request.timeoutSeconds, request.call) { () throws(KubeError) in
      let response = try await transport.send(prepared)
      guard (200...299).contains(response.status) else { throw try await refusal(response, request.call) }
      return try await response.body.collect(bytesMax: Self.answerBytesMax, call: request.call)
    }
  }

  private func refusal(_ response: KubeResponse, _ call: String) async throws(KubeError) -> KubeError {
    let bytes = try await response.body.collect(bytesMax: Self.answerBytesMax, call: call)
    return KubeError(
      status: try? JSONValue.parse(bytes), code: response.status, retryAfter: response.header("retry-after"),
      text: String(decoding: bytes.prefix(300), as: UTF8.self), call: call)
  }

  /// How long to wait before the next try; nil where another try makes no sense or might do a thing twice.
  private func delay(after problem: KubeError, _ request: KubeRequest, _ backoff: inout Backoff) -> Duration? {
    let isRead = request.method == .get
    switch problem.failure {
    case .connection(let wasSent):
      return isRead || !wasSent ? backoff.next() : nil
    case .timeout:
      return isRead ? backoff.next() : nil
    case .status:
      if let seconds = problem.retryAfterSeconds, problem.code == 429 || problem.code >= 500 {
        guard seconds <= retry.retryAfterSecondsMax else { return nil }
        return max(.seconds(seconds), backoff.next())
      }
      let mayPass = problem.code == 429 || (isRead && problem.code >= 500 && problem.code != 501)
      return mayPass ? backoff.next() : nil
    default:
      return nil
    }
  }

  private func withDeadline<R: Sendable>(
    _ seconds: Int?, _ call: String, _ body: @escaping @Sendable () async throws(KubeError) -> R
  ) async throws(KubeError) -> R {
    guard let seconds else { return try await body() }
    let clock = clock
    let outcome = await withTaskGroup(of: Result<R, KubeError>?.self) { group in
      group.addTask {
        do throws(KubeError) { return .success(try await body()) } catch { return .failure(error) }
      }
      group.addTask {
        try? await clock.sleep(for: .seconds(seconds))
        return nil
      }
      let first = await group.next() ?? nil
      group.cancelAll()
      return first
    }
    if let outcome { return try outcome.get() }
    if Task.isCancelled { throw KubeError.cancelled(call) }
    throw KubeError(
      .timeout, message: "no answer within \(seconds) s; check that the server runs and is not overloaded", call: call)
  }
}
