import JSON
import KubeModel
import KubeSchema
import ObjectStore
import Synchronization

/// Between the versions of one definition.
///
/// Objects are stored in the storage version, those that were written before it changed in the one of then. Without a
/// webhook only the name of the version differs. With one, everything that is answered without waiting — an answer to a
/// write, an event of a watch — has been converted before: on writes to every version that is served, and when a request
/// for a version comes in.
///
/// https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/
final class CustomConversion: Sendable {
  let group: String
  let kind: String
  let storageVersion: String
  let servedVersions: [String]
  /// Nil: the versions differ by name only.
  let client: WebhookClientConfig?
  private let cache: ConversionCache
  private let definition: String

  init(_ document: JSONValue, _ cache: ConversionCache) {
    self.cache = cache
    let spec = document["spec"] ?? [:]
    definition = document["metadata"]?.text("name") ?? ""
    (group, kind) = (spec.text("group"), spec["names"]?.text("kind") ?? "")
    let versions = spec["versions"]?.array ?? []
    storageVersion = versions.first { $0["storage"]?.bool == true }?.text("name") ?? ""
    servedVersions = versions.filter { $0["served"]?.bool == true }.map { $0.text("name") }
    let conversion = spec["conversion"] ?? [:]
    if conversion["strategy"] == "Webhook", let json = conversion["webhook"]?["clientConfig"] {
      var decoder = FieldDecoder(isLenient: true)
      client = WebhookClientConfig(json, &decoder)
    } else {
      client = nil
    }
  }

  /// Whether objects may have to be converted.
  var isNeeded: Bool { servedVersions.count > 1 || servedVersions.first != storageVersion }

  static func version(of object: JSONObject) -> String {
    object.text("apiVersion").split(separator: "/").last.map(String.init) ?? ""
  }

  /// The object in another version, as far as that is known without asking.
  func known(_ object: JSONObject, to version: String) -> JSONObject? {
    let from = Self.version(of: object)
    if from == version { return object }
    var result: JSONObject
    if client == nil {
      result = object
    } else {
      guard let body = cache[.init(definition: definition, from: from, to: version, body: Self.body(object))] else {
        return nil
      }
      result = Self.joined(body, object)
    }
    result["apiVersion"] = .string("\(group)/\(version)")
    return result
  }

  /// Remembers how an object is in another version, there and back.
  func note(_ object: JSONObject, _ converted: JSONObject) {
    let (from, to) = (Self.version(of: object), Self.version(of: converted))
    let (body, made) = (Self.body(object), Self.body(converted))
    cache[.init(definition: definition, from: from, to: to, body: body)] = made
    cache.setDefault(.init(definition: definition, from: to, to: from, body: made), body)
  }

  /// What a webhook may look at and change: all but what only the server says.
  private static func body(_ object: JSONObject) -> JSONObject {
    var body = object.without("apiVersion", "kind", "metadata")
    var metadata = JSONObject()
    for key in ["labels", "annotations"] {
      if let value = object[object: "metadata"][key], value.object?.isEmpty == false { metadata[key] = value }
    }
    body["metadata"] = .object(metadata)
    return body
  }

  private static func joined(_ body: JSONObject, _ object: JSONObject) -> JSONObject {
    var result: JSONObject = [:]
    for key in ["apiVersion", "kind", "metadata"] { result[key] = object[key] }
    for key in ["labels", "annotations"] {
      let value = body[object: "metadata"][key]
      if value != nil || object[object: "metadata"][key] != nil { result[object: "metadata"][key] = value }
    }
    for (key, value) in body.members where key != "metadata" { result[key] = value }
    return result
  }
}

/// What webhooks have said objects are in other versions.
final class ConversionCache: Sendable {
  struct Key: Hashable, Sendable {
    let definition: String
    let from: String
    let to: String
    let body: JSONObject
  }

  /// Conversions that are kept; the oldest go first.
  static let entriesMax = 20_000

  private struct State {
    var entries: [Key: JSONObject] = [:]
    /// In the order in which they came; what lies before `oldest` has gone.
    var order: [Key] = []
    var oldest = 0
  }

  private let state = Mutex(State())

  subscript(key: Key) -> JSONObject? {
    get { state.withLock { $0.entries[key] } }
    set {
      guard let newValue else { return }
      state.withLock { state in
        if state.entries.updateValue(newValue, forKey: key) == nil { Self.ordered(key, &state) }
      }
    }
  }

  func setDefault(_ key: Key, _ value: JSONObject) {
    state.withLock { state in
      guard state.entries[key] == nil else { return }
      state.entries[key] = value
      Self.ordered(key, &state)
    }
  }

  private static func ordered(_ key: Key, _ state: inout State) {
    state.order.append(key)
    guard state.entries.count > entriesMax else { return }
    state.entries[state.order[state.oldest]] = nil
    state.oldest += 1
    if state.oldest > entriesMax {
      state.order.removeFirst(state.oldest)
      state.oldest = 0
    }
  }
}

extension APIServer {
  /// Objects of one call of a webhook.
  private static let convertedMax = 500
  /// Seconds for which a webhook may convert.
  private static let conversionSeconds = 30
  /// Objects that one request may have converted: as many as are kept, there and back.
  private static let preparedMax = ConversionCache.entriesMax / 4

  /// Has converted what a request will read.
  func prepareConversion(_ context: RequestContext) async throws(APIStatus) {
    guard let conversion = context.resource.custom?.conversion, conversion.client != nil, conversion.isNeeded else {
      return
    }
    let name = context.info.name
    let stored =
      name.isEmpty
      ? context.info.verb == "create"
        ? [] : store.list(prefix: context.resource.prefix(namespace: context.namespace)).objects
      : [store.get(context.key)].compactMap { $0 }
    try await convert(stored, to: context.resource.type.version, conversion)
  }

  private func convert(
    _ stored: [StoredObject], to version: String, _ conversion: CustomConversion
  ) async throws(APIStatus) {
    // The version stands at the start of what is stored: most need no look.
    let head = Array("{\"kind\":\"\(conversion.kind)\",\"apiVersion\":\"\(conversion.group)/\(version)\"".utf8)
    var open: [JSONObject] = []
    for object in stored where !object.value.starts(with: head) {
      guard let document = (try? JSONValue.parse(object.value))?.object,
        conversion.known(document, to: version) == nil
      else { continue }
      open.append(document)
    }
    guard open.count <= Self.preparedMax else {
      throw .init(
        code: 500, reason: "InternalError",
        message: "\(open.count) objects would have to be converted, at most \(Self.preparedMax) are at a time; read "
          + "them in the version in which they are stored, \(conversion.storageVersion)")
    }
    // A webhook is given objects of one version.
    for (_, same) in Dictionary(grouping: open, by: { CustomConversion.version(of: $0) }) {
      for start in stride(from: 0, to: same.count, by: Self.convertedMax) {
        let part = Array(same[start..<min(start + Self.convertedMax, same.count)])
        _ = try await converted(part, to: version, conversion)
      }
    }
  }

  /// Has converted what a write will store, and what it will be in every version that is served.
  func prepareConversion(of object: JSONObject, _ context: RequestContext) async throws(APIStatus) {
    guard let conversion = context.resource.custom?.conversion, conversion.client != nil, conversion.isNeeded else {
      return
    }
    var spoken = object
    spoken["apiVersion"] = .string(context.resource.type.apiVersion)
    spoken["kind"] = .string(context.resource.kind)
    var stored = spoken
    if context.resource.type.version != conversion.storageVersion {
      stored = try await converted([spoken], to: conversion.storageVersion, conversion)[0]
    }
    for version in conversion.servedVersions where version != conversion.storageVersion {
      if conversion.known(stored, to: version) == nil || version == context.resource.type.version {
        _ = try await converted([stored], to: version, conversion)
      }
    }
  }

  /// Asks the webhook, and remembers what it says.
  func converted(
    _ objects: [JSONObject], to version: String, _ conversion: CustomConversion
  ) async throws(APIStatus) -> [JSONObject] {
    guard let client = conversion.client else { return objects.compactMap { conversion.known($0, to: version) } }
    let uid = ObjectNames.uid()
    let wanted = "\(conversion.group)/\(version)"
    let review: JSONValue = [
      "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
      "request": [
        "uid": .string(uid), "desiredAPIVersion": .string(wanted), "objects": .array(objects.map { .object($0) }),
      ],
    ]
    func failed(_ why: String) -> APIStatus {
      let from = objects.first?.text("apiVersion") ?? ""
      return .internalError("conversion webhook for \(from), Kind=\(conversion.kind) failed: \(why)")
    }
    let answer: JSONValue
    do throws(WebhookFailure) {
      answer = try await call(client, seconds: Self.conversionSeconds, review)
    } catch {
      throw failed(error.why)
    }
    guard answer["kind"] == "ConversionReview", let response = answer["response"], response["uid"] == .string(uid)
    else {
      throw failed("received invalid webhook response: expected response.uid=\"\(uid)\"")
    }
    guard response["result"]?["status"] == "Success" else {
      throw failed(response["result"]?["message"]?.string ?? "the webhook says no more")
    }
    let found = response["convertedObjects"]?.array ?? []
    guard found.count == objects.count else {
      throw failed("webhook returned \(found.count) objects, expected \(objects.count)")
    }
    var result: [JSONObject] = []
    for (index, (object, value)) in zip(objects, found).enumerated() {
      guard var made = value.object, made.text("apiVersion") == wanted, made.text("kind") == conversion.kind else {
        throw failed(
          "webhook returned an invalid object at index \(index): it is not \(wanted), Kind=\(conversion.kind)")
      }
      guard Self.isSame(made, object) else {
        throw failed("webhook returned an invalid object at index \(index): its metadata changed")
      }
      // What the server says of it is the server's.
      var metadata = object[object: "metadata"]
      for key in ["labels", "annotations"] { metadata[key] = made[object: "metadata"][key] }
      made["metadata"] = .object(metadata)
      conversion.note(object, made)
      result.append(made)
    }
    return result
  }

  /// A stored object in the version that is asked for; what needed a webhook has been prepared.
  func converted(_ object: AnsweredObject, _ resource: ServedResource) throws(APIStatus) -> JSONValue {
    guard let conversion = resource.custom?.conversion,
      let stored = (try? JSONValue.parse(object.value, limits: JSONLimits(maxDepth: 256)))?.object
    else { throw .internalError("read \(resource.qualified) from the store: it is no document") }
    guard var document = conversion.known(stored, to: resource.type.version) else {
      // Whoever lists again has it converted.
      throw APIStatus.expired(
        "too old resource version: how its objects are in \(resource.type.apiVersion) is forgotten")
    }
    if object.revision > 0 { document[object: "metadata"]["resourceVersion"] = .string(String(object.revision)) }
    return .object(document)
  }

  private static func isSame(_ one: JSONObject, _ other: JSONObject) -> Bool {
    ["name", "namespace", "uid"].allSatisfy {
      (one[object: "metadata"][$0] ?? "") == (other[object: "metadata"][$0] ?? "")
    }
  }
}
