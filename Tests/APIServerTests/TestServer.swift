import HTTPServer
import JSON
import Kernel
import Logging
import ObjectStore
import Synchronization
import TestSupport
import Testing

@testable import APIServer

/// A server over a store of its own, without sockets.
final class TestServer: Sendable {
  let server: APIServer
  let store: ObjectStore
  private let directory: TestDirectory
  private let clock: Mutex<Int64>

  /// Seconds since 1970 at which every test begins.
  static let start: Int64 = 1_800_000_000

  init(_ adjust: (inout APIServerConfiguration) -> Void = { _ in }, peer: HTTPPeer = .process, audit: AuditLog? = nil)
    async throws
  {
    let directory = try TestDirectory()
    self.directory = directory
    store = try await ObjectStore.open(directory: directory.path)
    guard let network = IPv4Network("10.96.0.0/16") else { throw Missing("network") }
    var configuration = APIServerConfiguration(
      serviceNetwork: network, advertiseAddress: "192.0.2.1", authorityPEM: "PEM")
    clock = Mutex(Self.start)
    let box = ClockBox()
    configuration.now = { Self.start + box.advanced.withLock { $0 } }
    adjust(&configuration)
    time = box
    var access = Access(
      reader: APIServer.reader(store),
      nodeIdentity: { fatalError("no test of this room reaches a node") })
    access.audit = audit
    server = APIServer(configuration: configuration, store: store, access: access, logger: Logger(label: "test"))
    try await server.bootstrap()
  }

  final class ClockBox: Sendable { let advanced = Mutex<Int64>(0) }
  private let time: ClockBox

  func advance(seconds: Int64) { time.advanced.withLock { $0 += seconds } }

  func stop() async throws {
    await store.close()
    try directory.remove()
  }

  struct Missing: Error {
    let what: String
    init(_ what: String) { self.what = what }
  }

  /// An answer, read whole.
  struct Answer {
    let status: Int
    let headers: HTTPFields
    let bytes: [UInt8]

    var text: String { String(decoding: bytes, as: UTF8.self) }
    var json: JSONValue { (try? JSONValue.parse(bytes)) ?? .null }
    var message: String { json["message"]?.string ?? "" }
    var reason: String { json["reason"]?.string ?? "" }
    var names: [String] { (json["items"]?.array ?? []).compactMap { $0["metadata"]?["name"]?.string } }
    var revision: String { json["metadata"]?["resourceVersion"]?.string ?? "" }
  }

  @discardableResult
  func send(
    _ method: String, _ target: String, _ body: JSONValue? = nil, text: String? = nil, bytes: [UInt8]? = nil,
    type: String? = nil,
    accept: String? = nil, peer: HTTPPeer = .process, headers: HTTPFields = [:]
  ) async throws -> Answer {
    let response = try await respond(
      method, target, body, text: text, bytes: bytes, type: type, accept: accept, peer: peer, headers: headers)
    switch response.body {
    case .bytes(let bytes): return Answer(status: response.status, headers: response.headers, bytes: bytes)
    case .chunks(let chunks):
      return Answer(status: response.status, headers: response.headers, bytes: Array(chunks.joined()))
    case .stream, .tunnel: throw Missing("a whole body of \(method) \(target)")
    }
  }

  func respond(
    _ method: String, _ target: String, _ body: JSONValue? = nil, text: String? = nil, bytes: [UInt8]? = nil,
    type: String? = nil,
    accept: String? = nil, peer: HTTPPeer = .process, headers: HTTPFields = [:]
  ) async throws -> HTTPResponse {
    guard let parsed = HTTPTarget(target) else { throw Missing("target \(target)") }
    var headers = headers
    if let accept { headers["Accept"] = accept }
    let bytes = bytes ?? text.map { Array($0.utf8) } ?? body?.encoded() ?? []
    if !bytes.isEmpty { headers["Content-Type"] = type ?? "application/json" }
    return await server.respond(
      to: HTTPRequest(method: method, target: parsed, headers: headers, body: bytes, peer: peer))
  }
}

/// The events of a watch as they are sent, each a document.
final class TestWatch: Sendable {
  private let task: Task<Void, any Error>
  private let stream: AsyncStream<[UInt8]>
  private let lines: AsyncStream<JSONValue>

  init(_ server: TestServer, _ target: String, accept: String? = nil) async throws {
    let response = try await server.respond("GET", target, accept: accept)
    let (stream, continuation) = AsyncStream<[UInt8]>.makeStream()
    let (lines, found) = AsyncStream<JSONValue>.makeStream()
    self.stream = stream
    self.lines = lines
    @Sendable func take(_ bytes: [UInt8]) {
      for line in bytes.split(separator: 0x0A) where !line.isEmpty {
        found.yield((try? JSONValue.parse(Array(line))) ?? .null)
      }
    }
    switch response.body {
    case .bytes(let bytes):
      take(bytes)
      found.finish()
      continuation.finish()
      task = Task {}
    case .stream(let write):
      task = Task {
        defer {
          found.finish()
          continuation.finish()
        }
        try await write(
          HTTPBodyWriter { parts async throws(HTTPBodyError) in for part in parts { take(part) } })
      }
    default: throw TestServer.Missing("a watch")
    }
  }

  deinit { task.cancel() }

  /// The next events; fewer where the watch ends.
  func next(_ count: Int) async -> [JSONValue] {
    var found: [JSONValue] = []
    guard count > 0 else { return [] }
    for await line in lines {
      found.append(line)
      if found.count == count { break }
    }
    return found
  }

  /// `ADDED a`, `BOOKMARK`.
  func nextWords(_ count: Int) async -> [String] {
    await next(count).map { event in
      let name = event["object"]?["metadata"]?["name"]?.string
      return "\(event["type"]?.string ?? "?")" + (name.map { " \($0)" } ?? "")
    }
  }

  func stop() { task.cancel() }
}
