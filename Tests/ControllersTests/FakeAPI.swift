import JSON
import KubeClient
import KubeModel
import Synchronization

/// An API server in memory, as far as controllers need one: objects with revisions, watches, finalizers, status.
final class FakeAPI: Sendable {
  private struct State {
    var objects: [String: JSONObject] = [:]
    var revision: Int64 = 0
    var made = 0
    var watchers: [Int: (prefix: String, feed: AsyncStream<[UInt8]>.Continuation)] = [:]
    var calls: [String] = []
    var failing: [String: Int] = [:]
  }
  private let state = Mutex(State())

  var client: KubeClient {
    KubeClient(transport: KubeTransport { [self] request throws(KubeError) in answer(request) })
  }

  /// What was asked for, reads left out: `POST /api/v1/namespaces/default/pods`.
  var writes: [String] { state.withLock { $0.calls } }

  /// The next `count` calls that begin so are refused.
  func fail(_ call: String, times count: Int) { state.withLock { $0.failing[call] = count } }

  func all<T: KubeResource>(_ type: T.Type) -> [T] {
    let documents = state.withLock { state in
      state.objects.filter { Self.collection(of: $0.key).hasSuffix("/\(T.resource.plural)") }.sorted { $0.key < $1.key }
    }
    return documents.compactMap { try? T(lenient: .object($0.value)) }
  }

  /// Writes as someone else would, without rules.
  func put(_ object: some KubeResource) {
    let path = T(object).path
    state.withLock { state in
      _ = Self.write(path, object.json.object ?? JSONObject(), &state, isNew: state.objects[path] == nil)
    }
  }

  private struct T {
    let path: String
    init<Object: KubeResource>(_ object: Object) {
      path = "\(Object.resource.path(namespace: object.metadata.namespace))/\(object.metadata.name ?? "")"
    }
  }

  // MARK: requests

  private func answer(_ request: KubeRequest) -> KubeResponse {
    if request.query.contains(where: { $0.name == "watch" }) { return watch(request) }
    let body = (try? JSONValue.parse(request.body))?.object ?? JSONObject()
    let (status, document) = state.withLock { state -> (Int, JSONValue) in
      if request.method != .get {
        state.calls.append(request.call)
        for (call, left) in state.failing where left > 0 && request.call.hasPrefix(call) {
          state.failing[call] = left - 1
          return Self.refusal(500, "InternalError")
        }
      }
      switch request.method {
      case .get: return Self.read(request.path, state)
      case .post: return Self.create(request.path, body, &state)
      case .put: return Self.update(request.path, body, &state)
      case .patch: return Self.patch(request.path, body, &state)
      case .delete: return Self.delete(request.path, body, &state)
      }
    }
    return KubeResponse(status: status, body: .bytes(document.encoded()))
  }

  private static func refusal(_ code: Int, _ reason: String) -> (Int, JSONValue) {
    (
      code,
      [
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": .string(reason),
        "message": .string(reason), "code": .integer(Int64(code)),
      ]
    )
  }

  private static func collection(of path: String) -> String {
    String(path.prefix(upTo: path.lastIndex(of: "/") ?? path.startIndex))
  }

  private static func isIn(_ path: String, _ list: String) -> Bool {
    if collection(of: path) == list { return true }
    // Of all namespaces.
    guard let plural = list.split(separator: "/").last, collection(of: path).hasSuffix("/\(plural)") else {
      return false
    }
    return path.hasPrefix(collection(of: list) + "/namespaces/")
      && path.split(separator: "/").count > list.split(separator: "/").count + 1
  }

  private static func read(_ path: String, _ state: State) -> (Int, JSONValue) {
    if let object = state.objects[path] { return (200, .object(object)) }
    // A name never looks like a collection here: those are known by their last word.
    guard plurals.contains(String(path.split(separator: "/").last ?? "")) else { return refusal(404, "NotFound") }
    let items = state.objects.filter { isIn($0.key, path) }.sorted { $0.key < $1.key }.map {
      JSONValue.object($0.value)
    }
    return (
      200, ["kind": "List", "metadata": ["resourceVersion": .string("\(state.revision)")], "items": .array(items)]
    )
  }

  private static let plurals = Set(AnyKind.kinds.values.compactMap { ($0 as? any KubeResource.Type)?.resource.plural })

  private static func create(_ path: String, _ body: JSONObject, _ state: inout State) -> (Int, JSONValue) {
    var (object, metadata) = (body, body["metadata"]?.object ?? JSONObject())
    state.made += 1
    if metadata["name"] == nil { metadata["name"] = .string("\(metadata["generateName"]?.string ?? "")\(state.made)") }
    let name = metadata["name"]?.string ?? ""
    guard state.objects["\(path)/\(name)"] == nil else { return refusal(409, "AlreadyExists") }
    metadata["uid"] = .string("uid-\(state.made)")
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
    metadata["generation"] = 1
    object["metadata"] = .object(metadata)
    return (201, write("\(path)/\(name)", object, &state, isNew: true))
  }

  private static func update(_ path: String, _ body: JSONObject, _ state: inout State) -> (Int, JSONValue) {
    let parts = path.split(separator: "/")
    let subresource = ["status", "finalize"].contains(String(parts.last ?? "")) ? String(parts.last ?? "") : nil
    let target = subresource == nil ? path : collection(of: path)
    guard let old = state.objects[target] else { return refusal(404, "NotFound") }
    let sent = body["metadata"]?["resourceVersion"]
    if let sent, sent != old["metadata"]?["resourceVersion"] { return refusal(409, "Conflict") }
    var new = old
    if subresource == "status" {
      new["status"] = body["status"]
    } else {
      new = body
      new["status"] = old["status"]
    }
    return (200, settle(target, old, new, &state))
  }

  private static func patch(_ path: String, _ body: JSONObject, _ state: inout State) -> (Int, JSONValue) {
    guard let old = state.objects[path] else { return refusal(404, "NotFound") }
    let metadata = body["metadata"]
    for key in ["uid", "resourceVersion"] {
      if let sent = metadata?[key], sent != old["metadata"]?[key] { return refusal(409, "Conflict") }
    }
    return (200, settle(path, old, merge(old, body), &state))
  }

  private static func merge(_ old: JSONObject, _ patch: JSONObject) -> JSONObject {
    var new = old
    for (key, value) in patch.members {
      if value.isNull {
        new[key] = nil
      } else if let inner = value.object {
        new[key] = .object(merge(new[key]?.object ?? JSONObject(), inner))
      } else {
        new[key] = value
      }
    }
    return new
  }

  /// Writes what an update leaves: nothing, where the last finalizer of a deleted object is gone.
  private static func settle(
    _ path: String, _ old: JSONObject, _ changed: JSONObject, _ state: inout State
  ) -> JSONValue {
    var new = changed
    if new["spec"] != old["spec"], var metadata = new["metadata"]?.object {
      metadata["generation"] = .integer((old["metadata"]?["generation"]?.integer ?? 0) + 1)
      new["metadata"] = .object(metadata)
    }
    if new == old { return .object(old) }
    let finalizers = (new["metadata"]?["finalizers"]?.array ?? []) + (new["spec"]?["finalizers"]?.array ?? [])
    if new["metadata"]?["deletionTimestamp"] != nil, finalizers.isEmpty { return remove(path, new, &state) }
    return write(path, new, &state, isNew: false)
  }

  private static func delete(_ path: String, _ body: JSONObject, _ state: inout State) -> (Int, JSONValue) {
    if plurals.contains(String(path.split(separator: "/").last ?? "")) {
      for item in state.objects.keys.filter({ isIn($0, path) }).sorted() { _ = delete(item, body, &state) }
      return (200, ["kind": "Status", "status": "Success"])
    }
    guard var object = state.objects[path], var metadata = object["metadata"]?.object else {
      return refusal(404, "NotFound")
    }
    if let uid = body["preconditions"]?["uid"], uid != metadata["uid"] { return refusal(409, "Conflict") }
    var finalizers = metadata["finalizers"]?.array ?? []
    switch body["propagationPolicy"]?.string {
    case "Foreground": finalizers.append("foregroundDeletion")
    case "Orphan": finalizers.append("orphan")
    default: break
    }
    // A pod that runs ends by its node's hand.
    let ends = path.contains("/pods/") && object["spec"]?["nodeName"] != nil && body["gracePeriodSeconds"] != 0
    guard ends || !finalizers.isEmpty || object["spec"]?["finalizers"] != nil else {
      return (200, remove(path, object, &state))
    }
    metadata["finalizers"] = finalizers.isEmpty ? nil : .array(finalizers)
    metadata["deletionTimestamp"] = metadata["deletionTimestamp"] ?? "2026-01-01T00:00:00Z"
    object["metadata"] = .object(metadata)
    return (200, write(path, object, &state, isNew: false))
  }

  // MARK: revisions and watches

  private static func stamp(_ object: JSONObject, _ state: inout State) -> JSONObject {
    state.revision += 1
    var object = object
    var metadata = object["metadata"]?.object ?? JSONObject()
    metadata["resourceVersion"] = .string("\(state.revision)")
    object["metadata"] = .object(metadata)
    return object
  }

  private static func write(_ path: String, _ object: JSONObject, _ state: inout State, isNew: Bool) -> JSONValue {
    let stamped = stamp(object, &state)
    state.objects[path] = stamped
    tell(path, isNew ? "ADDED" : "MODIFIED", stamped, state)
    return .object(stamped)
  }

  private static func remove(_ path: String, _ object: JSONObject, _ state: inout State) -> JSONValue {
    let stamped = stamp(object, &state)
    state.objects[path] = nil
    tell(path, "DELETED", stamped, state)
    return .object(stamped)
  }

  private static func line(_ type: String, _ object: JSONObject) -> [UInt8] {
    JSONValue.object(["type": .string(type), "object": .object(object)]).encoded() + [0x0A]
  }

  private static func tell(_ path: String, _ type: String, _ object: JSONObject, _ state: State) {
    for watcher in state.watchers.values where isIn(path, watcher.prefix) { watcher.feed.yield(line(type, object)) }
  }

  private func watch(_ request: KubeRequest) -> KubeResponse {
    let (stream, feed) = AsyncStream<[UInt8]>.makeStream()
    let since = request.query.first { $0.name == "resourceVersion" }.flatMap { Int64($0.value) } ?? 0
    let id = state.withLock { state in
      state.made += 1
      // What came between the list and the watch; deletions of that time show with the next list.
      for (path, object) in state.objects.sorted(by: { $0.key < $1.key }) where Self.isIn(path, request.path) {
        let revision = object["metadata"]?["resourceVersion"]?.string.flatMap { Int64($0) } ?? 0
        if revision > since { feed.yield(Self.line("ADDED", object)) }
      }
      state.watchers[state.made] = (request.path, feed)
      return state.made
    }
    let reader = Reader(stream)
    return KubeResponse(
      status: 200,
      body: KubeBody(
        next: { () throws(KubeError) in await reader.next() },
        cancel: { [self] in _ = state.withLock { $0.watchers.removeValue(forKey: id) } }))
  }

  private actor Reader {
    private let stream: AsyncStream<[UInt8]>
    init(_ stream: AsyncStream<[UInt8]>) { self.stream = stream }
    func next() async -> [UInt8]? {
      for await line in stream { return line }
      return nil
    }
  }
}
