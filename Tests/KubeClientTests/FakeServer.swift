import JSON
import KubeClient
import KubeModel
import Synchronization

/// A server of ConfigMaps that forgets old revisions, breaks connections and answers with old lists, as its seed says.
final class FakeServer: Sendable {
  struct Change {
    var revision: Int
    var type: String
    var object: ConfigMap
  }
  private struct State {
    var objects: [ObjectKey: ConfigMap] = [:]
    /// What the store was at an earlier revision: for lists that come late.
    var older: (revision: Int, objects: [ObjectKey: ConfigMap]) = (1, [:])
    var revision = 1
    var log: [Change] = []
    /// Revisions up to this are no longer told of.
    var compacted = 0
    var readers: [Int: Signal] = [:]
    var readersMade = 0
    var dice: Dice
    var faultPercent: Int
    var pages: [String: (items: [ConfigMap], revision: Int)] = [:]
  }
  private let state: Mutex<State>

  init(seed: Int, faultPercent: Int) { state = Mutex(State(dice: Dice(seed: seed), faultPercent: faultPercent)) }

  var truth: [ObjectKey: ConfigMap] { state.withLock { $0.objects } }
  var revision: Int { state.withLock { $0.revision } }

  func stopFaults() { state.withLock { $0.faultPercent = 0 } }

  func put(_ name: String, _ value: String) {
    change { state in
      var map = configMap(name, revision: state.revision)
      let key = ObjectKey(map)
      map.metadata.uid = state.objects[key]?.metadata.uid ?? "uid-\(state.revision)"
      map.data = ["value": value]
      let type = state.objects.updateValue(map, forKey: key) == nil ? "ADDED" : "MODIFIED"
      return Change(revision: state.revision, type: type, object: map)
    }
  }

  func delete(_ name: String) {
    change { state in
      guard var gone = state.objects.removeValue(forKey: ObjectKey(namespace: "default", name: name)) else {
        return nil
      }
      gone.metadata.resourceVersion = "\(state.revision)"
      return Change(revision: state.revision, type: "DELETED", object: gone)
    }
  }

  /// Forgets what happened, all but some of the last changes.
  func compact(keeping count: Int) {
    let readers = state.withLock { state -> [Signal] in
      let drop = max(0, state.log.count - count)
      state.compacted = drop > 0 ? state.log[drop - 1].revision : state.compacted
      state.log.removeFirst(drop)
      return Array(state.readers.values)
    }
    for reader in readers { reader.raise() }
  }

  private func change(_ body: (inout State) -> Change?) {
    let readers = state.withLock { state -> [Signal] in
      if state.dice.chance(10) { state.older = (state.revision, state.objects) }
      state.revision += 1
      if let change = body(&state) { state.log.append(change) }
      return Array(state.readers.values)
    }
    for reader in readers { reader.raise() }
  }

  var transport: KubeTransport {
    KubeTransport { request throws(KubeError) in
      let query = Dictionary(request.query.map { ($0.name, $0.value) }) { $1 }
      if self.fault() { throw KubeError(.connection(wasSent: true), message: "dropped") }
      if self.fault() { return Self.status(500, "InternalError") }
      return query["watch"] == "true" ? try self.watch(query) : self.list(query)
    }
  }

  private func fault() -> Bool { state.withLock { $0.dice.chance($0.faultPercent) } }

  private static func status(_ code: Int, _ reason: String) -> KubeResponse {
    KubeResponse(status: code, body: .bytes(statusDocument(code, reason).encoded()))
  }

  private static func statusDocument(_ code: Int, _ reason: String) -> JSONValue {
    ["kind": "Status", "apiVersion": "v1", "code": .integer(Int64(code)), "reason": .string(reason)]
  }

  private func list(_ query: [String: String]) -> KubeResponse {
    state.withLock { state in
      var rest: [ConfigMap]
      var revision: Int
      if let token = query["continue"] {
        guard let page = state.pages.removeValue(forKey: token), !state.dice.chance(state.faultPercent) else {
          return Self.status(410, "Expired")
        }
        (rest, revision) = page
      } else {
        // A list may come from a replica that is behind; never behind what is still told of.
        let isOld = state.dice.chance(state.faultPercent) && state.older.revision >= state.compacted
        rest = (isOld ? state.older.objects : state.objects).sorted { $0.key < $1.key }.map(\.value)
        revision = isOld ? state.older.revision : state.revision
      }
      let limit = min(Int(query["limit"] ?? "") ?? rest.count, 7)
      let page = rest.prefix(limit)
      rest.removeFirst(page.count)
      var metadata: JSONObject = ["resourceVersion": .string("\(revision)")]
      if !rest.isEmpty {
        let token = "page-\(state.dice.next())"
        state.pages[token] = (rest, revision)
        metadata["continue"] = .string(token)
      }
      let body: JSONValue = [
        "kind": "ConfigMapList", "apiVersion": "v1", "metadata": .object(metadata), "items": .array(page.map(\.json)),
      ]
      return KubeResponse(status: 200, body: .bytes(body.encoded()))
    }
  }

  private func watch(_ query: [String: String]) throws(KubeError) -> KubeResponse {
    let from = Int(query["resourceVersion"] ?? "") ?? 0
    let signal = Signal()
    let id = state.withLock { state -> Int? in
      guard from >= state.compacted else { return nil }
      state.readersMade += 1
      state.readers[state.readersMade] = signal
      return state.readersMade
    }
    guard let id else { return Self.status(410, "Expired") }
    let sent = Mutex(from)
    return KubeResponse(
      status: 200,
      body: KubeBody(
        next: { () throws(KubeError) in
          while true {
            if Task.isCancelled { throw KubeError(.cancelled, message: "cancelled") }
            switch self.next(after: sent.withLock { $0 }) {
            case .bytes(let bytes, let revision):
              sent.withLock { $0 = revision }
              return bytes
            case .end: return nil
            case .broken: throw KubeError(.connection(wasSent: true), message: "broken")
            case .nothing: await signal.wait()
            }
          }
        }, cancel: { self.state.withLock { _ = $0.readers.removeValue(forKey: id) } }))
  }

  private enum Piece {
    case bytes([UInt8], Int)
    case end, broken, nothing
  }

  private func next(after revision: Int) -> Piece {
    state.withLock { state in
      if state.dice.chance(state.faultPercent) { return state.dice.chance(50) ? .end : .broken }
      func line(_ type: String, _ object: JSONValue) -> [UInt8] {
        JSONValue.object(["type": .string(type), "object": object]).encoded() + [0x0A]
      }
      if revision == 1 << 60 { return .end }
      if revision < state.compacted { return .bytes(line("ERROR", Self.statusDocument(410, "Expired")), revision) }
      guard let change = state.log.first(where: { $0.revision > revision }) else {
        guard revision < state.revision else { return .nothing }
        let bookmark = configMap("", revision: state.revision)
        return .bytes(line("BOOKMARK", bookmark.json), state.revision)
      }
      let bytes = line(change.type, change.object.json)
      // Cut within the event, then broken: the rest never comes.
      if state.dice.chance(state.faultPercent) { return .bytes(Array(bytes.prefix(bytes.count / 2)), 1 << 60) }
      return .bytes(bytes, change.revision)
    }
  }
}
