import HTTPServer
import JSON
import KubeModel
import KubeSchema
import ObjectStore
import Synchronization

extension APIServer {
  /// A place among the watches, given back when the last who holds it lets go.
  private final class WatchTicket: Sendable {
    let pass: InFlight.Pass
    init(_ pass: InFlight.Pass) { self.pass = pass }
    deinit { pass.leave() }
  }

  /// Where a watch begins.
  private struct Beginning: Sendable {
    /// Sent first, as ADDED; nil where the client has them already.
    var objects: [StoredObject]?
    var revision: Int64
    /// The end of the first objects is to be marked.
    var marksEnd: Bool
  }

  /// A stream of changes: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
  func watch(_ context: RequestContext) throws(APIStatus) -> HTTPResponse {
    var options = try ListOptions(context.query, isWatch: true)
    if !context.info.name.isEmpty {  // the old form: /watch/…/NAME
      options.fields.terms.append(.init(field: "metadata.name", value: context.info.name, isEqual: true))
    }
    let selection = try Selection(options, context.resource, index)
    guard let pass = inFlight.enterWatch(context.user) else {
      throw .tooManyRequests(retryAfterSeconds: InFlight.retryAfterSeconds)
    }
    let ticket = WatchTicket(pass)
    let prefix = context.resource.prefix(namespace: context.namespace)
    let beginning = try beginning(options, prefix: prefix)
    let encoder = WatchEncoder(server: self, context: context, selection: selection)
    let headers: HTTPFields = [
      "Content-Type": context.negotiated.encoding == .protobuf
        ? "application/vnd.kubernetes.protobuf;stream=watch" : "application/json",
      "Cache-Control": Self.uncached,
    ]
    let changes: StoreWatch
    do throws(StoreError) {
      changes = try store.watch(prefix: prefix, after: beginning.revision)
    } catch {
      let failure: APIStatus
      switch error {
      case .compacted(let oldest): failure = .expired(revision: beginning.revision, oldest: oldest)
      case .future(let current): throw .tooLargeRevision(beginning.revision, current: current)
      default: throw status(error)
      }
      // A watch that cannot begin is told so within the stream, where clients look for it.
      return HTTPResponse(status: 200, headers: headers, body: .bytes(encoder.error(failure)))
    }
    let seconds =
      options.timeoutSeconds ?? configuration.watchSecondsMin
      + Int.random(in: 0..<max(1, configuration.watchSecondsMin))
    let run = WatchRun(
      changes: changes, encoder: encoder, objects: beginning.objects, revision: beginning.revision,
      marksEnd: beginning.marksEnd, allowsBookmarks: options.allowsBookmarks, seconds: seconds,
      bookmarkSeconds: configuration.bookmarkSeconds)
    return HTTPResponse(
      status: 200, headers: headers,
      body: .stream { writer in
        defer { _ = ticket }
        try await run.send(to: writer)
      })
  }

  private func beginning(_ options: ListOptions, prefix: String) throws(APIStatus) -> Beginning {
    let version = options.resourceVersion ?? 0
    let sendsInitial = options.sendsInitialEvents ?? (version == 0)
    if options.sendsInitialEvents == true, version > store.revision {
      throw .tooLargeRevision(version, current: store.revision)
    }
    guard sendsInitial else {
      return Beginning(objects: nil, revision: version > 0 ? version : store.revision, marksEnd: false)
    }
    let listing = store.list(prefix: prefix)
    return Beginning(
      objects: listing.objects, revision: listing.revision,
      marksEnd: options.sendsInitialEvents == true && options.allowsBookmarks)
  }
}

/// One watch while it is being sent.
private struct WatchRun: Sendable {
  let changes: StoreWatch
  let encoder: WatchEncoder
  let objects: [StoredObject]?
  let revision: Int64
  let marksEnd: Bool
  let allowsBookmarks: Bool
  let seconds: Int
  let bookmarkSeconds: Double

  /// Bytes of the first objects that are sent in one go.
  private static let partBytes = 256 << 10

  func send(to writer: HTTPBodyWriter) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { await keepTime() }
      defer { group.cancelAll() }
      try await sendEvents(to: writer)
    }
  }

  /// Asks for bookmarks, and ends the watch when its time is over.
  private func keepTime() async {
    let end = ContinuousClock.now + .seconds(seconds)
    while !Task.isCancelled {
      let rest = end - .now
      guard rest > .zero else {
        changes.cancel()
        return
      }
      try? await Task.sleep(for: allowsBookmarks ? min(rest, .seconds(bookmarkSeconds)) : rest)
      if allowsBookmarks, !Task.isCancelled, ContinuousClock.now < end { changes.requestProgress() }
    }
  }

  private func sendEvents(to writer: HTTPBodyWriter) async throws {
    var encoder = encoder
    if let objects {
      var parts: [[UInt8]] = []
      var bytes = 0
      for object in objects {
        guard let event = encoder.initial(object) else { continue }
        parts.append(event)
        bytes += event.count
        if bytes >= Self.partBytes {
          try await writer.write(parts)
          (parts, bytes) = ([], 0)
        }
      }
      if marksEnd { parts.append(encoder.bookmark(revision, endsInitial: true)) }
      // Also of nothing: the client learns that the watch stands.
      try await writer.write(parts)
    } else {
      try await writer.write([[UInt8]]())
    }
    let lines = WatchLines(changes: changes, encoder: encoder, reached: revision, allowsBookmarks: allowsBookmarks)
    try await writer.write(from: HTTPFeed(next: { lines.next() }, onReady: { changes.onReady($0) }))
  }
}

/// What a watch has to send, as it comes about. Asked on the thread of the client's connection.
private final class WatchLines: Sendable {
  private struct State {
    var encoder: WatchEncoder
    var reached: Int64
    /// The last line has been told.
    var isOver = false
  }

  private let changes: StoreWatch
  private let allowsBookmarks: Bool
  private let state: Mutex<State>

  init(changes: StoreWatch, encoder: WatchEncoder, reached: Int64, allowsBookmarks: Bool) {
    self.changes = changes
    self.allowsBookmarks = allowsBookmarks
    state = Mutex(State(encoder: encoder, reached: reached))
  }

  func next() -> HTTPFeed.Turn {
    state.withLock { state in
      while !state.isOver {
        switch changes.poll() {
        case .nothing: return .nothing
        case .batch(let batch):
          let parts = parts(of: batch, &state)
          if !parts.isEmpty { return .parts(parts) }
        case .ended:
          state.isOver = true
          if allowsBookmarks { return .parts([state.encoder.bookmark(state.reached, endsInitial: false)]) }
        case .failed(let error):
          state.isOver = true
          if let line = Self.line(error, state) { return .parts([line]) }
        }
      }
      return .end
    }
  }

  private func parts(of batch: StoreBatch, _ state: inout State) -> [[UInt8]] {
    state.reached = max(state.reached, batch.revision)
    if batch.isProgress {
      return allowsBookmarks ? [state.encoder.bookmark(state.reached, endsInitial: false)] : []
    }
    var parts: [[UInt8]] = []
    for event in batch.events { if let bytes = state.encoder.event(event) { parts.append(bytes) } }
    return parts
  }

  /// Nil: the server stops, and clients come back by themselves.
  private static func line(_ error: StoreError, _ state: State) -> [UInt8]? {
    switch error {
    case .overflow(let after), .compacted(let after):
      state.encoder.error(.expired(revision: state.reached, oldest: after))
    case .closed: nil
    default: state.encoder.error(.internalError("\(error)"))
    }
  }
}

/// Makes the lines of a watch. What does not depend on the watch is made once for all watches of an event.
private struct WatchEncoder: Sendable {
  let server: APIServer
  let context: RequestContext
  let selection: Selection
  /// Of the objects themselves, as JSON.
  private let isPlain: Bool
  /// Under what name the event keeps what this watch makes of it; nil: it is this watch's own.
  private let form: String?
  /// A Table's columns come with its first event only.
  private var hasColumns = false

  enum Change: String {
    case added = "ADDED"
    case modified = "MODIFIED"
    case deleted = "DELETED"
    case bookmark = "BOOKMARK"
    case error = "ERROR"
  }

  init(server: APIServer, context: RequestContext, selection: Selection) {
    self.server = server
    self.context = context
    self.selection = selection
    isPlain = context.isPlain
    let isProtobuf = context.negotiated.encoding == .protobuf
    if context.resource.isConverted {
      // What is kept with an event is of the stored version.
      form = nil
      return
    }
    switch context.negotiated.form {
    case .object: form = isPlain ? "" : isProtobuf ? " protobuf" : nil
    case .metadata(let version): form = " metadata \(version) \(isProtobuf)"
    case .table: form = nil
    }
  }

  /// Nil where the selectors do not match.
  mutating func initial(_ object: StoredObject) -> [UInt8]? {
    guard selection.matches(object) else { return nil }
    if isPlain || !context.isPlainProtobuf { return encoded(.added, object.value, object.revision) }
    return protobuf(.added, object)
  }

  /// Nil where the watch does not care.
  mutating func event(_ event: StoreEvent) -> [UInt8]? {
    guard let (change, object) = change(event) else { return nil }
    // At the revision of the change, also where the object is that of before.
    guard let form else { return encoded(change, object.value, event.revision) }
    if isPlain { return event.derived(change.rawValue) { _ in plain(change, object.value, event.revision) } }
    return event.derived(change.rawValue + form) { _ in
      if context.isPlainProtobuf, object === event.object { return protobuf(change, object) }
      var encoder = self
      return encoder.encoded(change, object.value, event.revision)
    }
  }

  /// What an event means to those who see only what matches: an object that begins to match was added for them.
  private func change(_ event: StoreEvent) -> (Change, StoredObject)? {
    if selection.isEverything {
      switch event.kind {
      case .put(let created): return (created ? .added : .modified, event.object)
      case .delete: return (.deleted, event.object)
      }
    }
    let before = event.previous.map { matches($0, of: event, "before") } ?? false
    switch event.kind {
    case .delete: return before ? (.deleted, event.object) : nil
    case .put:
      let now = matches(event.object, of: event, "now")
      switch (before, now) {
      case (false, true): return (.added, event.object)
      case (true, true): return (.modified, event.object)
      // The last state that they knew, at the revision of the change.
      case (true, false): return (.deleted, event.previous ?? event.object)
      case (false, false): return nil
      }
    }
  }

  private func matches(_ object: StoredObject, of event: StoreEvent, _ form: String) -> Bool {
    if let name = selection.name, !object.key.hasSuffix("/\(name)") { return false }
    let view = event.derived(form) { _ in SelectableView(object, selection.strategy) }
    return selection.labels.matches(view.labels) && selection.fields.matches(view.fields)
  }

  private func plain(_ change: Change, _ value: [UInt8], _ revision: Int64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(value.count + 80)
    bytes += "{\"type\":\"\(change.rawValue)\",\"object\":".utf8
    context.resource.append(value, revision: revision, to: &bytes)
    bytes += "}\n".utf8
    return bytes
  }

  private mutating func encoded(_ change: Change, _ value: [UInt8], _ revision: Int64) -> [UInt8] {
    if isPlain { return plain(change, value, revision) }
    do throws(APIStatus) {
      let document = try server.document(AnsweredObject(value: value, revision: revision), context.resource)
      return framed(change, formed(document))
    } catch {
      return framed(.error, error.json)
    }
  }

  private mutating func formed(_ document: JSONValue) -> JSONValue {
    let result = server.formed([document], list: nil, context)
    guard case .table = context.negotiated.form, var table = result.object else { return result }
    if hasColumns { table["columnDefinitions"] = [] }
    hasColumns = true
    return .object(table)
  }

  func bookmark(_ revision: Int64, endsInitial: Bool) -> [UInt8] {
    var metadata: JSONObject = ["resourceVersion": .string(String(revision)), "creationTimestamp": .null]
    if endsInitial { metadata["annotations"] = ["k8s.io/initial-events-end": "true"] }
    let type = context.resource.type
    switch context.negotiated.form {
    case .object:
      return framed(
        .bookmark,
        ["kind": .string(type.kind), "apiVersion": .string(type.apiVersion), "metadata": .object(metadata)])
    case .table(let version):
      return framed(
        .bookmark,
        [
          "kind": "Table", "apiVersion": .string("meta.k8s.io/\(version)"), "metadata": .object(metadata),
          "columnDefinitions": [], "rows": [],
        ])
    case .metadata(let version):
      return framed(
        .bookmark,
        [
          "kind": "PartialObjectMetadata", "apiVersion": .string("meta.k8s.io/\(version)"),
          "metadata": .object(metadata),
        ])
    }
  }

  func error(_ status: APIStatus) -> [UInt8] { framed(.error, status.json) }

  /// A stored object at its own revision.
  private func protobuf(_ change: Change, _ object: StoredObject) -> [UInt8] {
    do throws(APIStatus) {
      return try frame(change, try server.protobuf(object, context.resource))
    } catch {
      return self.error(error)
    }
  }

  private func frame(_ change: Change, _ encoded: [UInt8]) throws(APIStatus) -> [UInt8] {
    do throws(ProtobufError) {
      return try KubeProtobuf.watchFrame(event: change.rawValue, encoded: encoded)
    } catch {
      throw .internalError("encode an event: \(error)")
    }
  }

  /// One event: a line of JSON, or a protobuf message after its length.
  private func framed(_ change: Change, _ object: JSONValue) -> [UInt8] {
    if context.negotiated.encoding == .protobuf, let encoded = server.protobuf(object),
      let frame = try? frame(change, encoded)
    {
      return frame
    }
    return JSONValue.object(["type": .string(change.rawValue), "object": object]).encoded() + [0x0A]
  }
}
