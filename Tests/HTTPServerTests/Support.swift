import HTTPServer
import Kernel
import Logging
import Synchronization
import Testing

/// A logger that says nothing.
let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Runs a server on an ephemeral port of loopback while `body` runs.
@discardableResult
func withServer<Result: Sendable>(
  limits: HTTPServerLimits = HTTPServerLimits(), tls: HTTPTLS? = nil,
  handler: @escaping HTTPServer.Handler = echo, _ body: @Sendable (Int) async throws -> Result
) async throws -> Result {
  let server = try await HTTPServer.bind(
    [.tcp(host: "127.0.0.1", port: 0, tls: tls)], limits: limits, logger: quiet, handler: handler)
  let task = Task { try await server.run() }
  let result: Swift.Result<Result, any Error>
  do { result = .success(try await body(server.ports[0])) } catch { result = .failure(error) }
  task.cancel()
  _ = await task.result
  return try result.get()
}

/// Says what it was asked.
@Sendable func echo(_ request: HTTPRequest) async -> HTTPResponse {
  do throws(HTTPBodyError) {
    let body = try await request.body()
    var headers: HTTPFields = [
      "X-Method": request.method, "X-Path": request.path, "X-Version": "\(request.majorVersion)",
    ]
    headers["X-Query"] = request.query.map { "\($0.name)=\($0.value)" }.joined(separator: "|")
    headers["X-Peer"] = "\(request.peer)"
    return HTTPResponse(headers: headers, body: .bytes(body))
  } catch {
    if case .tooLarge = error { return .text("too large\n", status: 413) }
    return .text("\(error)\n", status: 400)
  }
}

struct CommandOutcome: Sendable {
  let code: Int32
  let output: String
  let errorOutput: String
}

/// Runs a program found in the usual places.
func command(_ words: String..., input: String = "") async throws -> CommandOutcome {
  let path = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map { "\($0)/\(words[0])" }.first { Files.exists($0) }
  guard let path else { throw SyscallError(call: "find", subject: "\(words[0]): install it", errno: Errno.noEntry) }
  let outcome = try await ChildProcess.run(path, arguments: words, input: Array(input.utf8))
  return CommandOutcome(
    code: outcome.status.code, output: String(decoding: outcome.output, as: UTF8.self),
    errorOutput: String(decoding: outcome.errorOutput, as: UTF8.self))
}

/// Counts, for many tasks.
final class Counter: Sendable {
  private let state = Atomic<Int>(0)
  var value: Int { state.load(ordering: .sequentiallyConsistent) }
  func add(_ count: Int = 1) { state.add(count, ordering: .sequentiallyConsistent) }
}

/// Waits until `condition` holds, for what nothing tells of.
func eventually(_ what: String, within seconds: Int = 10, _ condition: @Sendable () -> Bool) async throws {
  let end = ContinuousClock.now + .seconds(seconds)
  while !condition() {
    guard ContinuousClock.now < end else {
      Issue.record("not within \(seconds) s: \(what)")
      return
    }
    try await Task.sleep(for: .milliseconds(10))
  }
}
