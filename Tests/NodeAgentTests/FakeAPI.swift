import JSON
import KubeClient
import Synchronization

/// An API server in memory: it keeps any object by its path, numbers every change, and tells watches of them.
final class FakeAPI: Sendable {
  private struct Change {
    var revision: Int64
    var type: String
    var path: String
    var object: JSONValue
  }
  private struct State {
    var revision: Int64 = 0
    var objects: [String: JSONValue] = [:]
    var changes: [Change] = []
    var watchers: [Int: AsyncStream<Void>.Continuation] = [:]
    var watchersMade = 0
    var calls: [String] = []
    var isAway = false
    var refusals: [String: (code: Int, reason: String)] = [:]
    var uids = 0
  }
  private let state = Mutex(State())

  var transport: KubeTransport {
    KubeTransport { request async throws(KubeError) in try await self.answer(request) }
  }
  var client: KubeClient {
    var retry = KubeRetry()
    retry.firstDelay = .milliseconds(1)
    retry.delayMax = .milliseconds(5)
    return KubeClient(transport: transport, retry: retry)
  }

  // MARK: for tests

  /// Calls that changed something, as `PATCH /api/v1/…`.
  var writes: [String] { state.withLock { $0.calls.filter { !$0.hasPrefix("GET") } } }

  let tokensGiven = Mutex(0)

  func setAway(_ isAway: Bool) {
    state.withLock { state in
      state.isAway = isAway
      guard isAway else { return }
      for watcher in state.watchers.values { watcher.finish() }
      state.watchers = [:]
    }
  }

  /// Refuses calls such as `GET /api/v1/namespaces/default/secrets/key`; nil answers them again.
  func refuse(_ call: String, _ code: Int?, _ reason: String = "Forbidden") {
    state.withLock { $0.refusals[call] = code.map { ($0, reason) } }
  }

  func get(_ path: String) -> JSONValue? { state.withLock { $0.objects[path] } }

  func list(_ plural: String) -> [JSONValue] {
    state.withLock { state in
      state.objects.filter { Self.isIn($0.key, plural) }.sorted { $0.key < $1.key }.map(\.value)
    }
  }

  /// Makes or replaces the object at a path.
  func put(_ path: String, _ object: JSONValue) { state.withLock { Self.put(&$0, path, object) } }

  func put(_ path: String, _ text: String) throws { put(path, try JSONValue.parse(text)) }

  func remove(_ path: String) {
    state.withLock { state in
      guard let object = state.objects.removeValue(forKey: path) else { return }
      state.revision += 1
      Self.tell(&state, Change(revision: state.revision, type: "DELETED", path: path, object: object))
    }
  }

  /// What `kubectl delete pod` does.
  func delete(pod path: String, graceSeconds: Int64) {
    guard var object = get(path)?.object, var metadata = object["metadata"]?.object else { return }
    metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    metadata["deletionGracePeriodSeconds"] = .integer(graceSeconds)
    object["metadata"] = .object(metadata)
    put(path, .object(object))
  }

  // MARK: the server

  private static func put(_ state: inout State, _ path: String, _ value: JSONValue) {
    guard var object = value.object else { return }
    var metadata = object["metadata"]?.object ?? JSONObject()
    let old = state.objects[path]
    if metadata["uid"] == nil { metadata["uid"] = old?["metadata"]?["uid"] }
    if metadata["uid"] == nil {
      state.uids += 1
      metadata["uid"] = .string("uid-\(state.uids)")
    }
    state.revision += 1
    metadata["resourceVersion"] = .string("\(state.revision)")
    object["metadata"] = .object(metadata)
    state.objects[path] = .object(object)
    tell(
      &state,
      Change(
        revision: state.revision, type: old == nil ? "ADDED" : "MODIFIED", path: path, object: .object(object)))
  }

  private static func tell(_ state: inout State, _ change: Change) {
    state.changes.append(change)
    for watcher in state.watchers.values { watcher.yield() }
  }

  private static func isIn(_ path: String, _ plural: String) -> Bool {
    path.split(separator: "/").dropLast().last == plural[...]
  }

  /// Whether an object at `path` belongs to a collection such as `/api/v1/pods` or `/api/v1/namespaces/default/pods`.
  private static func belongs(_ path: String, _ object: JSONValue, to collection: String, _ field: String?) -> Bool {
    let parts = collection.split(separator: "/")
    guard let plural = parts.last, isIn(path, String(plural)) else { return false }
    if collection.contains("/namespaces/"), !path.hasPrefix("\(collection)/") { return false }
    guard let field else { return true }
    let pair = field.split(separator: "=")
    let value = pair[0].split(separator: ".").reduce(Optional(object)) { $0?[String($1)] }
    return pair.count == 2 && value?.string == String(pair[1])
  }

  private static func status(_ code: Int, _ reason: String, _ message: String = "") -> KubeResponse {
    let body: JSONValue = [
      "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": .integer(Int64(code)),
      "reason": .string(reason), "message": .string(message),
    ]
    return KubeResponse(status: code, body: .bytes(body.encoded()))
  }

  private static func good(_ value: JSONValue) -> KubeResponse {
    KubeResponse(status: 200, body: .bytes(value.encoded()))
  }

  private func answer(_ request: KubeRequest) async throws(KubeError) -> KubeResponse {
    let refused = state.withLock { state -> (away: Bool, refusal: (code: Int, reason: String)?) in
      state.calls.append(request.call)
      return (state.isAway, state.refusals[request.call])
    }
    if refused.away { throw KubeError(.connection(wasSent: false), message: "away", call: request.call) }
    if let refusal = refused.refusal { return Self.status(refusal.code, refusal.reason) }
    func query(_ name: String) -> String? { request.query.first { $0.name == name }?.value }
    let sub = request.path.hasSuffix("/status")
    let path = sub ? String(request.path.dropLast("/status".count)) : request.path
    switch request.method {
    case .get:
      if query("watch") == "true" {
        return watch(path, query("fieldSelector"), from: query("resourceVersion").flatMap { Int64($0) })
      }
      if let object = get(path) { return Self.good(object) }
      let isName = path.split(separator: "/").count.isMultiple(of: 2) != path.hasPrefix("/apis/")
      guard !isName else { return Self.status(404, "NotFound", "not found") }
      return list(path, query("fieldSelector"))
    case .post where path.hasSuffix("/token"): return token(path, request.body)
    case .post: return create(path, request.body)
    case .put, .patch: return change(path, request)
    case .delete:
      guard let object = get(path) else { return Self.status(404, "NotFound") }
      let options = try? JSONValue.parse(request.body)
      if let uid = options?["preconditions"]?["uid"]?.string, uid != object["metadata"]?["uid"]?.string {
        return Self.status(409, "Conflict", "the uid is another")
      }
      remove(path)
      return Self.good(object)
    }
  }

  /// A token that names its place and number, and is old at once.
  private func token(_ path: String, _ body: [UInt8]) -> KubeResponse {
    let asked = (try? JSONValue.parse(body)) ?? .null
    let number = tokensGiven.withLock { count -> Int in
      count += 1
      return count
    }
    let bound = asked["spec"]?["boundObjectRef"]?["name"]?.string ?? ""
    return Self.good([
      "spec": ["expirationSeconds": 0], "status": ["token": .string("\(path) for \(bound) \(number)")],
    ])
  }

  private func create(_ path: String, _ body: [UInt8]) -> KubeResponse {
    guard let object = try? JSONValue.parse(body), let name = object["metadata"]?["name"]?.string else {
      return Self.status(400, "BadRequest")
    }
    let place = "\(path)/\(name)"
    if get(place) != nil { return Self.status(409, "AlreadyExists") }
    put(place, object)
    return Self.good(get(place) ?? .null)
  }

  private func change(_ path: String, _ request: KubeRequest) -> KubeResponse {
    state.withLock { state in
      guard let old = state.objects[path] else { return Self.status(404, "NotFound") }
      guard let body = try? JSONValue.parse(request.body) else { return Self.status(400, "BadRequest") }
      for key in ["uid", "resourceVersion"] {
        if let wanted = body["metadata"]?[key]?.string, wanted != old["metadata"]?[key]?.string {
          return Self.status(409, "Conflict", "\(key) is another")
        }
      }
      Self.put(&state, path, request.method == .put ? body : Self.merged(old, body))
      return Self.good(state.objects[path] ?? .null)
    }
  }

  private static func merged(_ old: JSONValue, _ patch: JSONValue) -> JSONValue {
    guard let changes = patch.object else { return patch }
    var object = old.object ?? JSONObject()
    for (key, value) in changes.members { object[key] = value.isNull ? nil : merged(object[key] ?? .null, value) }
    return .object(object)
  }

  private func list(_ path: String, _ field: String?) -> KubeResponse {
    state.withLock { state in
      let items = state.objects.filter { Self.belongs($0.key, $0.value, to: path, field) }
      return Self.good([
        "kind": "List", "metadata": ["resourceVersion": .string("\(state.revision)")],
        "items": .array(items.sorted { $0.key < $1.key }.map(\.value)),
      ])
    }
  }

  private func watch(_ path: String, _ field: String?, from revision: Int64?) -> KubeResponse {
    let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let present = state.withLock { state -> [Change] in
      state.watchersMade += 1
      state.watchers[state.watchersMade] = continuation
      guard revision == nil else { return [] }
      return state.objects.map { Change(revision: state.revision, type: "ADDED", path: $0.key, object: $0.value) }
    }
    let begin = revision ?? state.withLock { $0.revision }
    continuation.yield()
    let body = KubeBody.produced { writer in
      func send(_ changes: [Change]) async throws {
        for change in changes where Self.belongs(change.path, change.object, to: path, field) {
          let line: JSONValue = ["type": .string(change.type), "object": change.object]
          try await writer.write(line.encoded() + [UInt8(ascii: "\n")])
        }
      }
      try await send(present)
      var seen = begin
      for await _ in stream {
        let news = self.state.withLock { [seen] in $0.changes.filter { $0.revision > seen } }
        try await send(news)
        seen = max(seen, news.last?.revision ?? seen)
      }
    }
    return KubeResponse(status: 200, body: body)
  }
}
